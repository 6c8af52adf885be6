"""Learning curves: of the configurations that the search chose, and of all others once one is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from analysis.estimates import chosen_cells, scored
from analysis.figures._links import owners, with_choices
from analysis.figures._style import BLUE, GREY, plain, styled, validation_title
from helo.errors import InputError
from helo.names import BEST_EPOCH, CONFIGURATION, EPOCH, FOLD, VAL
from helo.selection import best_per_fold

MOST_VALUES = 60_000
"""Curves of a run with more values than this are thinned: a page must not grow with the number of cells."""

THINNED = 24
"""Epochs that are left of a thinned curve, first and last among them."""


class _Curves(NamedTuple):
    """Curves one after the other in the order of the cells, a gap (NaN) between two."""

    epochs: NDArray[np.float32]
    scores: NDArray[np.float32]
    folds: tuple[str, ...]  # of each curve
    configurations: tuple[int, ...]
    kept_epochs: tuple[float, ...]  # the epoch whose weights were kept; NaN if it is not known
    kept_scores: tuple[float, ...]


class _Mean(NamedTuple):
    epochs: tuple[int, ...]  # those that every curve has: elsewhere a mean would be over other people
    scores: tuple[float, ...]


class _View(NamedTuple):
    """Curves, and what stands in front of them: a subject's selected configuration, or else the mean over folds."""

    curves: _Curves
    selected: _Curves | None
    mean: _Mean | None


class _LearningInfo(NamedTuple):
    metric: str
    selected: _View
    subjects: Mapping[str, _View]
    configurations: Mapping[int, _View]


def _info(cells: pd.DataFrame, epochs: pd.DataFrame, objective: str) -> _LearningInfo:
    score = VAL + objective
    choice = best_per_fold(cells, objective)
    known = scored(cells)[[FOLD, CONFIGURATION, BEST_EPOCH]]
    rows = epochs[[FOLD, CONFIGURATION, EPOCH, score]].replace([np.inf, -np.inf], np.nan).dropna()
    # Only cells with scores; and each row knows the epoch that its cell kept.
    rows = rows.merge(known, on=[FOLD, CONFIGURATION]).rename(columns={score: "score"})
    order = {fold: place for place, fold in enumerate(cells[FOLD].unique())}
    rows = rows.assign(place=rows[FOLD].map(order)).sort_values(["place", CONFIGURATION, EPOCH], kind="stable")
    selected = chosen_cells(rows, choice)
    if selected.empty:
        raise InputError("no selected cell has recorded an epoch")
    means = {int(number): _means(of) for number, of in rows.groupby(CONFIGURATION)}  # of all epochs
    front = _means(selected)
    if len(rows) > MOST_VALUES:
        rows, selected = _thin(rows), _thin(selected)
    subjects = {
        str(fold): _View(_curves(of), _curves(of[of[CONFIGURATION] == choice.get(str(fold))]), None)
        for fold, of in rows.groupby(FOLD, sort=False)
    }
    configurations = {
        int(number): _View(_curves(of.sort_values(["place", EPOCH], kind="stable")), None, means[int(number)])
        for number, of in rows.groupby(CONFIGURATION)
    }
    return _LearningInfo(objective, _View(_curves(selected), None, front), subjects, configurations)


def _means(rows: pd.DataFrame) -> _Mean:
    by_epoch = rows.pivot(index=EPOCH, columns=FOLD, values="score").dropna()
    return _Mean(tuple(int(epoch) for epoch in by_epoch.index), tuple(by_epoch.mean(axis=1).tolist()))


def _thin(rows: pd.DataFrame) -> pd.DataFrame:
    """At most `THINNED` epochs of each curve, evenly over it, and the one whose weights were kept."""
    of_cell = rows.groupby([FOLD, CONFIGURATION], sort=False)[EPOCH]
    place, size = of_cell.cumcount(), of_cell.transform("size")
    step = (place * (THINNED - 1)) // (size - 1).clip(lower=1)
    before = ((place - 1) * (THINNED - 1)) // (size - 1).clip(lower=1)
    return rows[(size <= THINNED) | (place == 0) | (step != before) | (rows[EPOCH] == rows[BEST_EPOCH])]


def _curves(rows: pd.DataFrame) -> _Curves:
    """`rows` are ordered by cell, then epoch."""
    cell = rows.groupby([FOLD, CONFIGURATION], sort=False).ngroup().to_numpy()
    starts = np.flatnonzero(np.diff(cell, prepend=-1))
    kept = rows[rows[EPOCH] == rows[BEST_EPOCH]].set_index([FOLD, CONFIGURATION])["score"]
    each = rows.iloc[starts]
    return _Curves(
        np.insert(rows[EPOCH].to_numpy(np.float32), starts[1:], np.nan),
        np.insert(rows["score"].to_numpy(np.float32), starts[1:], np.nan),
        tuple(each[FOLD].astype(str)),
        tuple(int(number) for number in each[CONFIGURATION]),
        tuple(each[BEST_EPOCH].astype(float)),
        tuple(kept.reindex(pd.MultiIndex.from_frame(each[[FOLD, CONFIGURATION]])).astype(float)),
    )


def plot_learning(cells: pd.DataFrame, epochs: pd.DataFrame, objective: str) -> go.Figure:
    """Validation score per epoch: a thin line per fold, for the configuration selected in it, and their mean.

    `cells`, `epochs`: as in ``cells.parquet`` and ``epochs.parquet``. A dot is the epoch whose weights were
    kept. Of a chosen subject all configurations are shown, the selected one in front; of a chosen configuration all
    subjects. Of long runs the curves are thinned to `THINNED` epochs each.
    """
    return _figure(_info(cells, epochs, objective))


def _figure(info: _LearningInfo) -> go.Figure:
    figure = styled(
        _traces(info.selected, "a fold, its selected configuration"),
        height=380,
        xaxis={"title": {"text": "epoch (0: before training)"}, "rangemode": "tozero"},
        yaxis={"title": {"text": validation_title(info.metric)}},
    )
    if max(info.selected.curves.epochs, default=0) <= 12:
        figure.update_xaxes(dtick=1)  # or plotly marks half epochs
    return with_choices(
        figure,
        subject={name: _changes(view, "a configuration") for name, view in info.subjects.items()},
        configuration={number: _changes(view, "a fold") for number, view in info.configurations.items()},
    )


def _traces(view: _View, name: str) -> list[go.Scatter]:
    lines, front, dots = _changes(view, name)
    return [
        go.Scatter(mode="lines", line={"color": GREY, "width": 1}, hoverinfo="skip", **lines),
        go.Scatter(
            mode="lines",
            line={"color": BLUE, "width": 3},
            hovertemplate="epoch %{x}: %{y:.4f}<extra></extra>",
            **front,
        ),
        go.Scatter(
            mode="markers",
            marker={"color": GREY, "size": 7},
            hovertemplate="%{text}<br>kept: epoch %{x}, %{y:.4f}<extra></extra>",
            **dots,
        ),
    ]


def _changes(view: _View, name: str) -> list[dict[str, Any]]:
    """What the three traces show: all curves, the one in front, and the epochs that were kept."""
    curves = view.curves
    front: dict[str, Any] = {"x": [], "y": [], "name": "the selected configuration"}
    if view.selected is not None:
        front |= {"x": view.selected.epochs, "y": view.selected.scores}
    elif view.mean is not None:
        front = {"x": list(view.mean.epochs), "y": list(view.mean.scores), "name": "mean over folds"}
    labels = [
        f"{plain(fold)}, configuration {number}"
        for fold, number in zip(curves.folds, curves.configurations, strict=True)
    ]
    return [
        {"x": curves.epochs, "y": curves.scores, "name": name},
        front,
        {
            "x": list(curves.kept_epochs),
            "y": [round(score, 5) for score in curves.kept_scores],
            "name": "epoch that was kept",
            "text": labels,
            "meta": owners(subject=curves.folds, configuration=curves.configurations),
        },
    ]
