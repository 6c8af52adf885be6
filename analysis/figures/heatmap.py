"""Test score of every cell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from helo.analysis.figures._links import build_grid_owners, build_owners
from helo.analysis.figures._style import (
    DIVERGING,
    GREY,
    NARROW,
    SEQUENTIAL,
    add_colour_bar,
    describe,
    escape_label,
    format_metric_title,
    make_figure,
)
from helo.analysis.statistics.estimates import scored, skill
from helo.errors import InputError
from helo.metrics import METRICS
from helo.names import Column, Estimate, Prefix, Status
from helo.run.selection import best_per_fold

SHARE_IN_RANGE = 0.95
"""Share of the cells within the colour range; the other cells have its first or last colour."""

Place = tuple[int, int]
"""Row and column of a cell."""


class _HeatmapInfo(NamedTuple):
    """Scores of all cells, as arrays of shape (subjects, columns)."""

    metric: str
    subjects: tuple[str, ...]  # hardest first
    configurations: tuple[int, ...]  # by column; empty if each fold has its own configurations
    numbers: NDArray[np.int64]  # configuration of each cell; -1 without a cell
    skills: NDArray[np.float64]  # against the train mean; NaN without a score or without a train mean
    test: NDArray[np.float64]  # test scores; NaN without a score
    validation: NDArray[np.float64]  # inner validation scores; NaN without a score
    status: NDArray[np.str_]  # empty without a cell
    chosen: tuple[Place, ...]
    failed: tuple[Place, ...]

    @property
    def has_skills(self) -> bool:
        """Whether there is a train mean to compute the skill against."""
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
    difficulty = METRICS[objective].loss(folds.map(level).to_numpy(float))
    subjects = [
        str(fold) for fold in folds.iloc[np.argsort(-difficulty, kind="stable")]
    ]  # subjects of unknown difficulty last

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


def _places(mask: NDArray[np.bool_]) -> tuple[Place, ...]:
    return tuple((int(row), int(column)) for row, column in np.argwhere(mask))


def _columns(cells: pd.DataFrame, done: pd.DataFrame, objective: str) -> tuple[NDArray[np.int64], tuple[int, ...]]:
    """Return the column of each cell, and the configuration of each column (empty if no two folds share one)."""
    loss = -done[Prefix.VAL + objective] if METRICS[objective].higher_is_better else done[Prefix.VAL + objective]
    if cells[Column.FOLD].nunique() > 1 and not cells[Column.CONFIGURATION].duplicated().any():
        ranked = loss.reindex(cells.index).groupby(cells[Column.FOLD]).rank(method="first", na_option="bottom")
        return ranked.to_numpy(np.int64) - 1, ()
    each = pd.DataFrame(
        {"folds": cells.groupby(Column.CONFIGURATION).size(), "mean": loss.groupby(done[Column.CONFIGURATION]).mean()}
    )
    # Means over different folds are not comparable, so configurations with more folds come first.
    each = each.sort_values(["folds", "mean"], ascending=[False, True], kind="stable")
    order = [int(name) for name in each.index]
    where = {name: column for column, name in enumerate(order)}
    return cells[Column.CONFIGURATION].map(where).to_numpy(np.int64), tuple(order)


def plot_heatmap(cells: pd.DataFrame, baselines: pd.DataFrame, objective: str) -> go.Figure:
    """Plot the skill of every cell on its test subject as a heat map, subjects × configurations.

    The reference of the skill is the train mean on the same test subject: 0 is as good as the train mean, 1 is a
    perfect score. The colour range holds `SHARE_IN_RANGE` of the cells. Without a train mean, tiles show the test
    score.

    The hardest subject, by the score of the train mean, is on top. Configurations that ran in more folds are further
    left. Configurations that ran in equally many folds are ordered by their mean validation score. If each fold has its
    own configurations (protocol ``nested``), column k holds the k-th best configuration of each fold.

    Parameters
    ----------
    cells : pandas.DataFrame
        Table of cells, as in ``cells.parquet``.
    baselines : pandas.DataFrame
        Table of baselines, as in ``baselines.parquet``.
    objective : str
        Metric of the scores. Its inner validation score orders the columns and selects a configuration in each fold.

    Returns
    -------
    plotly.graph_objects.Figure
        One tile per cell. Cells that were not run have no tile.

    Raises
    ------
    InputError
        If no cell has a test score.
    """
    info = _build_info(cells, baselines, objective)
    better = np.nansum(info.skills > 0)
    return describe(
        _draw_figure(info),
        f"{len(info.subjects)} subjects and {info.numbers.shape[1]} columns of cells; {better:.0f} of"
        f" {np.isfinite(info.skills).sum()} cells are better than the train mean.",
    )


def _draw_figure(info: _HeatmapInfo) -> go.Figure:
    rows, columns = info.test.shape
    names = [escape_label(subject) for subject in info.subjects]
    heads = [str(name) for name in info.configurations] or [str(rank + 1) for rank in range(columns)]
    height = 12 if rows > 40 else 18 if rows > 20 else 26
    marks = max(5, min(11, height - 6, 900 // columns))
    label = METRICS[info.metric].label
    by_column: dict[str, Sequence[int]] = {Column.CONFIGURATION: info.configurations} if info.configurations else {}
    tiles = go.Heatmap(
        x=heads,
        y=names,
        z=(info.skills if info.has_skills else info.test).astype(np.float32),
        customdata=np.stack([info.numbers, info.test, info.validation], axis=2).astype(np.float32),
        text=info.status.tolist(),
        hovertemplate="subject %{y}, configuration %{customdata[0]:d}<br>"
        + ("skill %{z:.1%} against the train mean<br>" if info.has_skills else "")
        + f"test {label} %{{customdata[1]:.4f}}, validation %{{customdata[2]:.4f}}<br>%{{text}}"
        "<br><i>a test score: not for choosing</i><extra></extra>",
        hoverongaps=False,
        xgap=0 if columns > 60 else 1,
        ygap=0.5 if rows > 40 else 1,
        coloraxis="coloraxis",
        meta=build_grid_owners(by_column, {Column.SUBJECT: info.subjects}),
    )
    chosen = {"symbol": "circle", "size": marks, "color": "#ffffff", "line": {"width": 1.6, "color": "#111111"}}
    failed = {"symbol": "x-thin", "size": marks, "color": GREY, "line": {"width": 1.6, "color": GREY}}
    figure = make_figure(
        [
            tiles,
            _marks(info, info.chosen, "selected in its fold", chosen, heads, names),
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
                "text": "configuration: by number of folds, then by validation score"
                if info.configurations
                else "configuration of each fold: best validation score first"
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
        meta={NARROW: {"xaxis.title.text": "configuration" if info.configurations else "configuration of each fold"}},
    )
    if info.has_skills:
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
