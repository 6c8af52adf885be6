"""Configurations as lines over the hyperparameters, ending at their scores.

The figure consists of ordinary lines. The parallel coordinates of plotly need WebGL and ``eval``, which the content
policy of the report forbids.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from helo.analysis.figures._links import build_owners
from helo.analysis.figures._style import (
    BLUE,
    GREY,
    NARROW,
    VERMILLION,
    describe,
    escape_label,
    format_validation_title,
    make_figure,
)
from helo.analysis.figures.slices import build_log_ticks
from helo.analysis.statistics.parameters import SearchedParameter, searched_parameters
from helo.analysis.wording import count
from helo.errors import InputError
from helo.metrics import METRICS
from helo.names import Column, Prefix

MOST_LINES: Final = 150
"""Number of configurations above which a sample is drawn."""
BEST_LINES: Final = 100
"""Best configurations that a sample always contains."""

NARROW_AXES: Final = 4
"""Hyperparameters on a narrow page: those between whose values the mean score differs most."""

_IDLE: Final = -0.14  # height of a line at a hyperparameter that does not act

_GROUPS: Final = (("best tenth", 0.1, BLUE), ("best quarter", 0.25, "#21918c"), ("best half", 0.5, "#5ec962"))
"""Name, share of the configurations, and colour of the best groups, in colours of viridis (darker is better)."""
_OTHERS: Final = ("the worse half", 1.0, GREY)
_SHAPES: Final = {"best tenth": (2.4, 0.95), "best quarter": (1.8, 0.8), "best half": (1.4, 0.65), _OTHERS[0]: (1, 0.4)}
"""Line width and opacity of each group."""


class _Axis(NamedTuple):
    """Axis of a hyperparameter or of the score."""

    title: str
    ticks: tuple[tuple[float, str], ...]  # height from 0 to 1, and text


class _Line(NamedTuple):
    """Line of a configuration."""

    configuration: int
    group: str
    recommended: bool
    heights: tuple[float, ...]  # on each axis; `_IDLE` if the hyperparameter does not act
    words: tuple[str, ...]  # text of the values, score last


class _ParallelInfo(NamedTuple):
    """Axes and lines of the figure."""

    metric: str
    axes: tuple[_Axis, ...]  # least influential hyperparameter first, score last
    lines: tuple[_Line, ...]  # worst first, so that the best is drawn on top
    left_out: int  # number of configurations that are not drawn


def _build_info(
    configurations: pd.DataFrame, effects: pd.DataFrame, objective: str, parameters: Mapping[str, Any]
) -> _ParallelInfo:
    score = Prefix.ADJUSTED + Prefix.VAL + objective
    done = configurations[np.isfinite(configurations[score])]
    if len(done) < 2:
        raise InputError("fewer than two configurations have a score")
    axes = searched_parameters(done, parameters)
    if not axes:
        raise InputError("no parameter takes two values among the cells with scores")
    means = effects.groupby(Column.PARAMETER)["mean"]
    spread = (means.max() - means.min()).to_dict()
    axes.sort(key=lambda axis: spread.get(axis.name, 0.0))
    ordered = done.sort_values([score, Column.CONFIGURATION], ascending=[not METRICS[objective].higher_is_better, True])
    rank = pd.Series(np.arange(len(ordered)), ordered[Column.CONFIGURATION].to_numpy())
    drawn = _drawn(ordered)
    placed = [_placed(axis, rank.index[drawn]) for axis in axes]
    values = ordered[score].to_numpy(float)[drawn]
    low, high = float(values.min()), float(values.max())
    direction = 1.0 if METRICS[objective].higher_is_better else -1.0
    heights = 0.5 + direction * ((values - low) / (high - low) - 0.5) if high > low else np.full(len(values), 0.5)
    flags = ordered[Column.RECOMMENDED].to_numpy(bool)[drawn]
    lines = [
        _Line(
            int(rank.index[place]),
            next(
                (name for name, share, _ in _GROUPS if place < math.ceil(share * len(ordered))),
                _OTHERS[0],
            ),
            bool(flags[number]),
            (*(heights_of[number] for _, heights_of, _ in placed), float(heights[number])),
            (*(words[number] for _, _, words in placed), f"{values[number]:.4f}"),
        )
        for number, place in enumerate(drawn)
    ]
    ends = sorted(((low, 0.5 - direction / 2), (high, 0.5 + direction / 2)), key=lambda end: end[1])
    scores = _Axis(format_validation_title(objective), tuple((height, f"{value:.3g}") for value, height in ends))
    return _ParallelInfo(
        objective, (*(axis for axis, _, _ in placed), scores), tuple(reversed(lines)), len(ordered) - len(drawn)
    )


def _drawn(ordered: pd.DataFrame) -> list[int]:
    """Return the ranks of the configurations to draw: the best, a sample of the others, and the recommended one."""
    count = len(ordered)
    if count <= MOST_LINES:
        return list(range(count))
    others = np.linspace(BEST_LINES, count - 1, MOST_LINES - BEST_LINES).round().astype(int)
    must = np.flatnonzero(ordered[Column.RECOMMENDED].to_numpy(bool))
    return sorted({*range(BEST_LINES), *others.tolist(), *must.tolist()})


def _placed(axis: SearchedParameter, numbers: pd.Index) -> tuple[_Axis, list[float], list[str]]:
    """Return the axis, and the height and the text of each configuration on it."""
    values = axis.values.reindex(numbers)
    if axis.choices:
        step = 1 / max(1, len(axis.choices) - 1)
        place = {choice: number * step for number, choice in enumerate(axis.choices)}
        ticks = tuple((height, choice) for choice, height in place.items())
        heights = values.map(place)
        words = values.where(values.notna(), "does not act").astype(str)
    else:
        low, high = float(axis.values.min()), float(axis.values.max())

        def height(value: Any) -> Any:
            if axis.log:
                return np.log(value / low) / np.log(high / low)
            return (value - low) / (high - low)

        heights = height(values.astype(float))
        ticks = tuple((float(height(value)), f"{value:.3g}") for value in _ticks(axis, low, high))
        words = values.map(lambda value: "does not act" if pd.isna(value) else f"{value:.4g}")
    if heights.isna().any():
        ticks = ((_IDLE, "does not act"), *ticks)
    return _Axis(axis.name, ticks), heights.fillna(_IDLE).astype(float).tolist(), words.tolist()


def _ticks(axis: SearchedParameter, low: float, high: float) -> list[float]:
    if axis.whole and high - low <= 8:
        return [float(value) for value in range(int(low), int(high) + 1)]
    if not axis.log:
        return [low, (low + high) / 2, high]
    inner = [value for value in build_log_ticks([low, high]).get("tickvals", ()) if low * 1.5 < value < high / 1.5]
    return [low, *inner, high]


def plot_parallel(
    configurations: pd.DataFrame,
    effects: pd.DataFrame,
    objective: str,
    parameters: Mapping[str, Any] | None = None,
) -> go.Figure:
    """Plot each configuration as a line over its searched hyperparameters, ending at its score.

    The score is the mean validation score, adjusted for folds. Better scores are higher, whatever the metric. Lines are
    coloured by rank, and the recommended configuration is thick.

    Parameters
    ----------
    configurations : pandas.DataFrame
        Table from `helo.analysis.statistics.configurations.configurations_table`.
    effects : pandas.DataFrame
        Table of marginal effects from `helo.analysis.statistics.importance.compute_marginal_effects`.
        A hyperparameter is nearer to the score if its mean scores differ more. A narrow page shows only the nearest.
    objective : str
        Metric of the validation scores.
    parameters : mapping, optional
        Hyperparameters of the space, as in the manifest of the run.

    Returns
    -------
    plotly.graph_objects.Figure
        One line per configuration.

    Raises
    ------
    InputError
        If fewer than two configurations have a score, or no hyperparameter takes two values.
    """
    info = _build_info(configurations, effects, objective, parameters or {})
    names = [axis.title.replace("<br>", " ") for axis in info.axes]
    recommended = [
        ", ".join(f"{name} {word}" for name, word in zip(names, line.words, strict=True))
        for line in info.lines
        if line.recommended
    ]
    words = f" Recommended: {recommended[0]}." if recommended else ""
    return describe(_draw_figure(info), f"{count(len(info.lines), 'configuration')}.{words}")


def _draw_figure(info: _ParallelInfo) -> go.Figure:
    last = len(info.axes) - 1
    lowest = min((height for axis in info.axes for height, _ in axis.ticks), default=0.0)
    figure = make_figure([], height=440, hovermode="closest", legend={"traceorder": "reversed"})
    for name, _, colour in (_OTHERS, *reversed(_GROUPS)):
        shown = [line for line in info.lines if line.group == name and not line.recommended]
        shape = _SHAPES[name]
        figure.add_traces([_line(info, line, colour, name, *shape, line is shown[0]) for line in shown])
    for line in (line for line in info.lines if line.recommended):
        figure.add_trace(_line(info, line, VERMILLION, "recommended", 4.5, 1.0, True))
    for place, axis in enumerate(info.axes):
        figure.add_shape(type="line", x0=place, x1=place, y0=0, y1=1, line={"color": GREY, "width": 1.2}, layer="below")
        for height, words in axis.ticks:
            figure.add_annotation(
                x=place,
                y=height,
                text=escape_label(words),
                showarrow=False,
                xanchor="left",
                xshift=5,
                font={"size": 11},
                borderpad=0,
            )
    if info.left_out:
        text = f"{len(info.lines)} of {len(info.lines) + info.left_out} configurations, the best among them"
        pad = {"t": 6}
        figure.update_layout(title={"text": text, "font": {"size": 13}, "x": 0, "y": 1, "yanchor": "top", "pad": pad})
    titles = [escape_label(axis.title).replace("_", "_<br>", 1).replace(" ", "<br>", 1) for axis in info.axes]
    return figure.update_layout(
        margin={"t": 84, "b": 8, "l": 44, "r": 56},
        xaxis={
            "range": [-0.02, last + 0.02],
            "tickvals": list(range(last + 1)),
            "ticktext": titles,
            "tickangle": 0,
            "ticklabeloverflow": "allow",
            "showgrid": False,
            "fixedrange": True,
        },
        yaxis={"range": [lowest - 0.06, 1.06], "visible": False, "fixedrange": True},
        meta={
            NARROW: {"height": 480, "margin.t": 124, "xaxis.range": [max(0, last - NARROW_AXES) - 0.02, last + 0.02]}
        },
    )


def _line(
    info: _ParallelInfo, line: _Line, colour: str, name: str, width: float, opacity: float, first: bool
) -> go.Scatter:
    pairs = zip(info.axes, line.words, strict=True)
    values = "<br>".join(f"{escape_label(axis.title)} {escape_label(words)}" for axis, words in pairs)
    return go.Scatter(
        x=list(range(len(line.heights))),
        y=line.heights,
        mode="lines",
        name=name,
        legendgroup=name,
        showlegend=first,
        line={"color": colour, "width": width},
        opacity=opacity,
        text=f"configuration {line.configuration}<br>{values}",
        hoverinfo="text",
        meta=build_owners(configuration=line.configuration),
    )
