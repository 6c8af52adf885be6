"""Learning curves: of the configurations that the search chose, and of all others once one is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from helo.analysis.figures._links import add_choices, build_owners
from helo.analysis.figures._style import BLUE, GREY, escape_label, format_validation_title, make_figure
from helo.analysis.statistics.estimates import scored
from numpy.typing import NDArray

from helo.errors import InputError
from helo.names import Column, Prefix
from helo.run.selection import best_per_fold

MOST_VALUES = 60_000
"""Curves of a run with more values than this are thinned: a page must not grow with the number of cells."""

THINNED = 16
"""Epochs that are left of a thinned curve, first and last among them."""


_Key = TypeVar("_Key", str, int)


class _Curves(NamedTuple):
    """Curves one after the other, a gap (a score of NaN) between two."""

    epochs: NDArray[np.int16]
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


def _build_info(cells: pd.DataFrame, epochs: pd.DataFrame, objective: str) -> _LearningInfo:
    score = Prefix.VAL + objective
    choice = best_per_fold(cells, objective)
    known = scored(cells)[[Column.FOLD, Column.CONFIGURATION, Column.BEST_EPOCH]]
    folds = {fold: place for place, fold in enumerate(cells[Column.FOLD].unique())}
    # Only cells with scores; and each row knows the epoch that its cell kept. Folds as numbers: names are slow to sort.
    rows = epochs[[Column.FOLD, Column.CONFIGURATION, Column.EPOCH, score]].rename(columns={score: "score"})
    rows = rows[np.isfinite(rows["score"])].merge(known, on=[Column.FOLD, Column.CONFIGURATION])
    rows = rows.assign(place=rows[Column.FOLD].map(folds), best=rows[Column.BEST_EPOCH].astype(float)).drop(
        columns=[Column.FOLD, Column.BEST_EPOCH]
    )
    names = tuple(str(fold) for fold in folds)
    picked = np.array([choice.get(name, -1) for name in names])
    selected = rows[rows[Column.CONFIGURATION] == picked[rows["place"]]]
    if selected.empty:
        raise InputError("no selected cell has recorded an epoch")
    means = _means(rows)  # of all epochs
    front = _means(selected.assign(**{Column.CONFIGURATION: -1}))[-1]
    if len(rows) > MOST_VALUES:
        rows, selected = _thin(rows), _thin(selected)
    by_subject = _curves(rows, names, ["place", Column.CONFIGURATION])
    by_configuration = _curves(rows, names, [Column.CONFIGURATION, "place"])
    of_choice = _curves(selected, names, ["place", Column.CONFIGURATION])
    alone = _split(of_choice, of_choice.folds)
    return _LearningInfo(
        objective,
        _View(of_choice, None, front),
        {fold: _View(of, alone.get(fold), None) for fold, of in _split(by_subject, by_subject.folds).items()},
        {
            number: _View(of, None, means[number])
            for number, of in _split(by_configuration, by_configuration.configurations).items()
        },
    )


def _means(rows: pd.DataFrame) -> dict[int, _Mean]:
    """Mean score per epoch of each configuration, over the epochs that all of its folds have."""
    folds = rows.groupby(Column.CONFIGURATION)["place"].nunique()
    each = rows.groupby([Column.CONFIGURATION, Column.EPOCH])["score"].agg(["mean", "size"]).reset_index()
    each = each[each["size"] == each[Column.CONFIGURATION].map(folds)]
    found = dict.fromkeys((int(number) for number in folds.index), _Mean((), ()))
    for number, of in each.groupby(Column.CONFIGURATION):
        found[int(number)] = _Mean(tuple(of[Column.EPOCH].astype(int).tolist()), tuple(of["mean"].tolist()))
    return found


def _thin(rows: pd.DataFrame) -> pd.DataFrame:
    """At most `THINNED` epochs of each curve, evenly over it, and the one whose weights were kept."""
    rows = rows.sort_values(["place", Column.CONFIGURATION, Column.EPOCH], kind="stable")
    of_cell = rows.groupby(["place", Column.CONFIGURATION], sort=False)[Column.EPOCH]
    place, size = of_cell.cumcount(), of_cell.transform("size")
    step = (place * (THINNED - 1)) // (size - 1).clip(lower=1)
    before = ((place - 1) * (THINNED - 1)) // (size - 1).clip(lower=1)
    return rows[(size <= THINNED) | (place == 0) | (step != before) | (rows[Column.EPOCH] == rows["best"])]


def _curves(rows: pd.DataFrame, names: Sequence[str], order: list[str]) -> _Curves:
    """The curves of all cells, one after the other."""
    rows = rows.sort_values([*order, Column.EPOCH], kind="stable")
    changes = (rows[order].to_numpy()[1:] != rows[order].to_numpy()[:-1]).any(axis=1)
    starts: NDArray[np.intp] = np.concatenate([[0], np.flatnonzero(changes) + 1])
    each, scores = rows.iloc[starts], rows["score"].to_numpy()
    is_kept = (rows[Column.EPOCH] == rows["best"]).to_numpy()
    kept = np.full(len(starts), np.nan)
    kept[np.searchsorted(starts, np.flatnonzero(is_kept), side="right") - 1] = scores[is_kept]
    return _Curves(
        np.insert(rows[Column.EPOCH].to_numpy(np.int16), starts[1:], 0),
        np.insert(scores.astype(np.float32), starts[1:], np.nan),
        tuple(names[place] for place in each["place"]),
        tuple(int(number) for number in each[Column.CONFIGURATION]),
        tuple(each["best"].tolist()),
        tuple(kept.tolist()),
    )


def _split(curves: _Curves, keys: Sequence[_Key]) -> dict[_Key, _Curves]:
    """The curves of each key by themselves; curves of the same key lie beside each other."""
    starts: list[int] = [number for number, key in enumerate(keys) if not number or key != keys[number - 1]]
    gaps = np.concatenate([[-1], np.flatnonzero(np.isnan(curves.scores)), [len(curves.scores)]])
    found = {}
    for first, end in zip(starts, [*starts[1:], len(keys)], strict=True):
        values, cells = slice(int(gaps[first]) + 1, int(gaps[end])), slice(first, end)
        found[keys[first]] = _Curves(
            curves.epochs[values],
            curves.scores[values],
            curves.folds[cells],
            curves.configurations[cells],
            curves.kept_epochs[cells],
            curves.kept_scores[cells],
        )
    return found


def plot_learning(cells: pd.DataFrame, epochs: pd.DataFrame, objective: str) -> go.Figure:
    """Validation score per epoch: a thin line per fold, for the configuration selected in it, and their mean.

    `cells`, `epochs`: as in ``cells.parquet`` and ``epochs.parquet``. A dot is the epoch whose weights were
    kept. Of a chosen subject all configurations are shown, the selected one in front; of a chosen configuration all
    subjects. Of long runs the curves are thinned to `THINNED` epochs each.
    """
    return _draw_figure(_build_info(cells, epochs, objective))


def _draw_figure(info: _LearningInfo) -> go.Figure:
    figure = make_figure(
        _traces(info.selected, "a fold, its selected configuration"),
        height=380,
        xaxis={"title": {"text": "epoch (0: before training)"}, "rangemode": "tozero"},
        yaxis={"title": {"text": format_validation_title(info.metric)}},
    )
    if max(info.selected.curves.epochs, default=0) <= 12:
        figure.update_xaxes(dtick=1)  # or plotly marks half epochs
    return add_choices(
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
            hovertemplate="%{customdata}<br>kept: epoch %{x}, %{y:.4f}<extra></extra>",
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
        f"{escape_label(fold)}, configuration {number}"
        for fold, number in zip(curves.folds, curves.configurations, strict=True)
    ]
    return [
        {"x": curves.epochs, "y": curves.scores, "name": name},
        front,
        {
            "x": list(curves.kept_epochs),
            "y": [round(score, 5) for score in curves.kept_scores],
            "name": "epoch that was kept",
            "customdata": labels,
            "meta": build_owners(subject=curves.folds, configuration=curves.configurations),
        },
    ]
