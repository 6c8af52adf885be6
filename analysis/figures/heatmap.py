"""Every cell's test score: for whom which configuration works."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from helo.analysis.figures._links import build_grid_owners, build_owners
from helo.analysis.figures._style import (
    DIVERGING,
    GREY,
    NARROW,
    SEQUENTIAL,
    add_colour_bar,
    escape_label,
    format_metric_title,
    make_figure,
)
from helo.analysis.statistics.estimates import scored, skill
from numpy.typing import NDArray

from helo.errors import InputError
from helo.metrics import METRICS
from helo.names import Column, Estimate, Prefix, Status
from helo.run.selection import best_per_fold

SHARE_IN_RANGE = 0.95
"""This share of the cells lies within the range of colours; those beyond have its last colour."""

Place = tuple[int, int]
"""Row and column of a cell."""


class _HeatmapInfo(NamedTuple):
    metric: str
    subjects: tuple[str, ...]  # hardest first
    configurations: tuple[int, ...]  # by column; empty where each fold has configurations of its own
    numbers: NDArray[np.int64]  # the configuration of each place, (subjects, columns); -1 where there is none
    skills: NDArray[np.float64]  # against the train mean on that subject; NaN without a score; all NaN without it
    test: NDArray[np.float64]
    validation: NDArray[np.float64]
    status: NDArray[np.str_]  # empty where nothing was run
    chosen: tuple[Place, ...]
    failed: tuple[Place, ...]

    @property
    def known(self) -> bool:
        """Whether there is a train mean to measure by."""
        return bool(np.isfinite(self.skills).any())


def _build_info(cells: pd.DataFrame, baselines: pd.DataFrame, objective: str) -> _HeatmapInfo:
    cells = cells.reset_index(drop=True)
    done = scored(cells)
    if done[Prefix.TEST + objective].notna().sum() == 0:
        raise InputError("no cell has a test score yet")
    mean = (
        baselines[baselines[Column.METHOD] == Estimate.TRAIN_MEAN]
        .set_index(Column.FOLD)[Prefix.TEST + objective]
        .astype(float)
    )
    level = mean if len(mean) else done.groupby(Column.FOLD)[Prefix.TEST + objective].mean()
    folds = pd.Series(cells[Column.FOLD].unique())
    difficulty = folds.map(level).to_numpy(float) * (-1 if METRICS[objective].higher_is_better else 1)
    subjects = [str(fold) for fold in folds.iloc[np.argsort(-difficulty, kind="stable")]]  # unknown ones last

    columns, configurations = _columns(cells, done, objective)
    rows = cells[Column.FOLD].map({name: row for row, name in enumerate(subjects)}).to_numpy()
    shape = len(subjects), int(columns.max()) + 1
    test, validation, skills = (np.full(shape, np.nan) for _ in range(3))
    numbers, status = np.full(shape, -1, dtype=np.int64), np.full(shape, "", dtype=object)
    numbers[rows, columns] = cells[Column.CONFIGURATION]
    status[rows, columns] = cells[Column.STATUS]
    has = np.isin(cells.index, done.index)
    test[rows[has], columns[has]] = done[Prefix.TEST + objective]
    validation[rows[has], columns[has]] = done[Prefix.VAL + objective]
    for row, subject in enumerate(subjects):
        if subject in mean.index:
            skills[row] = [skill(score, mean[subject], objective) for score in test[row]]
    choice = best_per_fold(cells, objective)
    chosen = numbers == np.array([choice.get(subject, -2) for subject in subjects])[:, None]
    return _HeatmapInfo(
        objective,
        tuple(subjects),
        configurations,
        numbers,
        skills,
        test,
        validation,
        status.astype(np.str_),
        _places(chosen),
        _places(status == Status.FAILED),
    )


def _places(of: NDArray[np.bool_]) -> tuple[Place, ...]:
    return tuple((int(row), int(column)) for row, column in np.argwhere(of))


def _columns(cells: pd.DataFrame, done: pd.DataFrame, objective: str) -> tuple[NDArray[np.int64], tuple[int, ...]]:
    """The column of each cell, and the configurations by column (none where no two folds share one)."""
    loss = done[Prefix.VAL + objective] * (-1 if METRICS[objective].higher_is_better else 1)
    if cells[Column.FOLD].nunique() > 1 and not cells[Column.CONFIGURATION].duplicated().any():
        ranked = loss.reindex(cells.index).groupby(cells[Column.FOLD]).rank(method="first", na_option="bottom")
        return ranked.to_numpy(np.int64) - 1, ()
    each = pd.DataFrame(
        {"folds": cells.groupby(Column.CONFIGURATION).size(), "mean": loss.groupby(done[Column.CONFIGURATION]).mean()}
    )
    # A mean over fewer people is not one to compare: those tried in more folds come first.
    each = each.sort_values(["folds", "mean"], ascending=[False, True], kind="stable")
    order = [int(name) for name in each.index]
    where = {name: column for column, name in enumerate(order)}
    return cells[Column.CONFIGURATION].map(where).to_numpy(np.int64), tuple(order)


def plot_heatmap(cells: pd.DataFrame, baselines: pd.DataFrame, objective: str) -> go.Figure:
    """A tile per cell, subjects × configurations: skill of its test score against the train mean on that subject.

    - `cells`, `baselines`: as in ``cells.parquet`` and ``baselines.parquet``
    - `objective`: the metric of the scores; on inner validation subjects it orders the columns and chooses in each fold

    The hardest subject (by the train mean's score) is on top. Configurations that were tried in more folds are further
    left, and of those in as many folds the ones with a better mean validation score. Where each fold has configurations
    of its own (protocol ``nested``), column k is the fold's k-th best. 0 is the train mean, 1 perfect; the range of
    colours holds `SHARE_IN_RANGE` of the cells. Without a train mean tiles show the test score itself. Places without
    a tile were not run.
    """
    return _draw_figure(_build_info(cells, baselines, objective))


def _draw_figure(info: _HeatmapInfo) -> go.Figure:
    rows, columns = info.test.shape
    names = [escape_label(subject) for subject in info.subjects]
    heads = [str(name) for name in info.configurations] or [str(rank + 1) for rank in range(columns)]
    height = 12 if rows > 40 else 18 if rows > 20 else 26
    marks = max(5, min(11, height - 6, 900 // columns))
    label = METRICS[info.metric].label
    own: dict[str, Sequence[int]] = {Column.CONFIGURATION: info.configurations} if info.configurations else {}
    tiles = go.Heatmap(
        x=heads,
        y=names,
        z=(info.skills if info.known else info.test).astype(np.float32),
        customdata=np.stack([info.numbers, info.test, info.validation], axis=2).astype(np.float32),
        text=info.status.tolist(),
        hovertemplate="subject %{y}, configuration %{customdata[0]:d}<br>"
        + ("skill %{z:.1%} against the train mean<br>" if info.known else "")
        + f"test {label} %{{customdata[1]:.4f}}, validation %{{customdata[2]:.4f}}<br>%{{text}}"
        "<br><i>a test score: to read, not to choose by</i><extra></extra>",
        hoverongaps=False,
        xgap=0 if columns > 60 else 1,
        ygap=0.5 if rows > 40 else 1,
        coloraxis="coloraxis",
        meta=build_grid_owners(own, {Column.SUBJECT: info.subjects}),
    )
    chosen = {"symbol": "circle", "size": marks, "color": "#ffffff", "line": {"width": 1.6, "color": "#111111"}}
    failed = {"symbol": "x-thin", "size": marks, "color": GREY, "line": {"width": 1.6, "color": GREY}}
    figure = make_figure(
        [
            tiles,
            _marks(info, info.chosen, "chosen in its fold", chosen, heads, names),
            _marks(info, info.failed, Status.FAILED, failed, heads, names),
        ],
        height=height * rows + 122,
        margin={"t": 70, "b": 56},
        showlegend=True,
        xaxis={
            "type": "category",
            "categoryorder": "array",
            "categoryarray": heads,
            "range": [-0.5, columns - 0.5],
            "showgrid": False,
            "title": {
                "text": "configuration: those in most folds first, then by validation score"
                if info.configurations
                else "the fold's own configurations, best validation score first"
            },
        },
        yaxis={
            "type": "category",
            "categoryorder": "array",
            "categoryarray": names,
            "range": [rows - 0.5, -0.5],
            "showgrid": False,
            "title": {"text": "test subject"},
            "tickfont": {"size": 9 if rows > 40 else 12},
        }
        | ({"dtick": 1} if rows <= 100 else {}),
        meta={NARROW: {"xaxis.title.text": "configuration" if info.configurations else "the fold's own, best first"}},
    )
    if info.known:
        size = np.abs(info.skills[np.isfinite(info.skills)])
        limit = max(0.01, float(np.quantile(size, SHARE_IN_RANGE)))
        ticks = {"tickformat": ".0%", "tickvals": [-limit, 0, limit]}
        return add_colour_bar(figure, DIVERGING, -limit, limit, "skill against the train mean", **ticks)
    low, high = np.nanquantile(info.test, [1 - SHARE_IN_RANGE, SHARE_IN_RANGE]).tolist()
    return add_colour_bar(figure, SEQUENTIAL, low, high, f"test {format_metric_title(info.metric)}", nticks=4)


def _marks(
    info: _HeatmapInfo, places: tuple[Place, ...], name: str, marker: dict[str, Any], heads: list[str], names: list[str]
) -> go.Scatter:
    return go.Scatter(
        x=[heads[column] for _, column in places],
        y=[names[row] for row, _ in places],
        name=name,
        mode="markers",
        marker=marker,
        cliponaxis=False,
        visible=bool(places),
        hoverinfo="skip" if name != Status.FAILED else None,
        customdata=[int(info.numbers[place]) for place in places],
        hovertemplate=None
        if name != Status.FAILED
        else "subject %{y}, configuration %{customdata}<br>failed<extra></extra>",
        meta=build_owners(
            subject=[info.subjects[row] for row, _ in places],
            configuration=[int(info.numbers[place]) for place in places],
        ),
    )
