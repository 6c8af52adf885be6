"""Learning curves: of the selected configurations, and of all others on request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from helo.analysis.figures._links import add_choices, build_owners
from helo.analysis.figures._style import BLUE, GREY, describe, escape_label, format_validation_title, make_figure
from helo.analysis.statistics.estimates import scored
from helo.errors import InputError
from helo.names import Column, Prefix
from helo.run.selection import best_per_fold

MOST_VALUES = 60_000
"""Number of values above which the curves of a run are thinned, to limit the size of a page."""

THINNED = 16
"""Epochs that a thinned curve keeps, including the first and the last one."""


_Key = TypeVar("_Key", str, int)


class _Curves(NamedTuple):
    """Curves one after another, separated by gaps (a score of NaN)."""

    epochs: NDArray[np.int16]
    scores: NDArray[np.float32]
    folds: tuple[str, ...]  # test subject of each curve
    configurations: tuple[int, ...]
    kept_epochs: tuple[float, ...]  # epoch whose weights were kept; NaN if unknown
    kept_scores: tuple[float, ...]  # score at that epoch


class _Mean(NamedTuple):
    """Mean curve over folds."""

    epochs: tuple[int, ...]  # epochs that every curve has, so that all means cover the same subjects
    scores: tuple[float, ...]


class _View(NamedTuple):
    """Curves, and the highlighted curve: the selected configuration of a subject, or the mean over folds."""

    curves: _Curves
    selected: _Curves | None
    mean: _Mean | None


class _LearningInfo(NamedTuple):
    """Curves of the selected configurations, of each subject and of each configuration."""

    metric: str
    selected: _View
    subjects: Mapping[str, _View]
    configurations: Mapping[int, _View]


def _build_info(cells: pd.DataFrame, epochs: pd.DataFrame, objective: str) -> _LearningInfo:
    score = Prefix.VAL + objective
    choice = best_per_fold(cells, objective)
    kept = scored(cells)[[Column.FOLD, Column.CONFIGURATION, Column.BEST_EPOCH]]
    folds = {fold: place for place, fold in enumerate(cells[Column.FOLD].unique())}
    # Join the kept epoch of each cell with a score. Folds become numbers, because strings are slow to sort.
    rows = epochs[[Column.FOLD, Column.CONFIGURATION, Column.EPOCH, score]].rename(columns={score: "score"})
    rows = rows[np.isfinite(rows["score"])].merge(kept, on=[Column.FOLD, Column.CONFIGURATION])
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
    """Return the mean score per epoch of each configuration, over the epochs that all of its folds have."""
    folds = rows.groupby(Column.CONFIGURATION)["place"].nunique()
    each = rows.groupby([Column.CONFIGURATION, Column.EPOCH])["score"].agg(["mean", "size"]).reset_index()
    each = each[each["size"] == each[Column.CONFIGURATION].map(folds)]
    found = dict.fromkeys((int(number) for number in folds.index), _Mean((), ()))
    for number, of in each.groupby(Column.CONFIGURATION):
        found[int(number)] = _Mean(tuple(of[Column.EPOCH].astype(int).tolist()), tuple(of["mean"].tolist()))
    return found


def _thin(rows: pd.DataFrame) -> pd.DataFrame:
    """Return evenly spaced epochs of each curve, at most `THINNED`, and the epoch whose weights were kept."""
    rows = rows.sort_values(["place", Column.CONFIGURATION, Column.EPOCH], kind="stable")
    of_cell = rows.groupby(["place", Column.CONFIGURATION], sort=False)[Column.EPOCH]
    place, size = of_cell.cumcount(), of_cell.transform("size")
    step = (place * (THINNED - 1)) // (size - 1).clip(lower=1)
    before = ((place - 1) * (THINNED - 1)) // (size - 1).clip(lower=1)
    return rows[(size <= THINNED) | (place == 0) | (step != before) | (rows[Column.EPOCH] == rows["best"])]


def _curves(rows: pd.DataFrame, names: Sequence[str], order: list[str]) -> _Curves:
    """Join the curves of all cells."""
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
    """Split curves by key. Curves with the same key are neighbours."""
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
    """Plot the validation score per epoch of the configuration selected in each fold, and their mean.

    If a subject is chosen, the figure shows all configurations in the fold of this test subject and highlights the
    selected one. If a configuration is chosen, it shows all folds. Curves of long runs are thinned to `THINNED` epochs.

    Parameters
    ----------
    cells : pandas.DataFrame
        Table of cells, as in ``cells.parquet``.
    epochs : pandas.DataFrame
        Table of epochs, as in ``epochs.parquet``.
    objective : str
        Metric by whose inner validation score each fold selects its configuration.

    Returns
    -------
    plotly.graph_objects.Figure
        One thin line per fold. A dot marks the epoch whose weights were kept.

    Raises
    ------
    InputError
        If no selected cell has a recorded epoch.
    """
    info = _build_info(cells, epochs, objective)
    mean = info.selected.mean
    ends = f" The mean goes from {mean.scores[0]:.4f} to {mean.scores[-1]:.4f}." if mean and mean.scores else ""
    return describe(_draw_figure(info), f"Learning curves of {len(info.subjects)} folds.{ends}")


def _draw_figure(info: _LearningInfo) -> go.Figure:
    figure = make_figure(
        _traces(info.selected, "a fold with its selected configuration"),
        height=380,
        xaxis={"title": {"text": "epoch (0: before training)"}, "rangemode": "tozero"},
        yaxis={"title": {"text": format_validation_title(info.metric)}},
    )
    if max(info.selected.curves.epochs, default=0) <= 12:
        figure.update_xaxes(dtick=1)  # plotly would mark half epochs
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
    """Return the content of the three traces: all curves, the highlighted curve, and the kept epochs."""
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
            "name": "kept epoch",
            "customdata": labels,
            "meta": build_owners(subject=curves.folds, configuration=curves.configurations),
        },
    ]
