"""Estimates with their bootstrap intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd
import plotly.graph_objects as go

from helo.analysis.figures._style import (
    ESTIMATE_COLOURS,
    GREY,
    Grid,
    arrange_panels,
    axis_suffix,
    describe,
    escape_label,
    find_range,
    format_metric_title,
    make_figure,
    mark_outside,
    update_narrow_layout,
)
from helo.analysis.wording import NOT_REPORTABLE, format_score
from helo.errors import InputError
from helo.metrics import METRICS
from helo.names import Column, Estimate


class _Panel(NamedTuple):
    """Estimates on one metric."""

    metric: str
    estimates: tuple[str, ...]
    means: tuple[float, ...]
    lows: tuple[float, ...]  # NaN without an interval
    highs: tuple[float, ...]
    reference: float  # mean score of the train mean; NaN if it is missing


class _EstimatesInfo(NamedTuple):
    """Panels of the figure, one per metric."""

    panels: tuple[_Panel, ...]


def _build_info(summary: pd.DataFrame, metrics: Sequence[str]) -> _EstimatesInfo:
    panels = []
    for metric in metrics:
        rows = summary[(summary[Column.METRIC] == metric) & summary["mean"].notna()]
        if rows.empty:
            raise InputError("no estimate has a score yet")
        reference = rows.loc[rows[Column.ESTIMATE] == Estimate.TRAIN_MEAN, "mean"]
        panels.append(
            _Panel(
                metric,
                tuple(rows[Column.ESTIMATE].tolist()),
                tuple(rows["mean"].tolist()),
                tuple(rows["ci_low"].tolist()),
                tuple(rows["ci_high"].tolist()),
                float(reference.iloc[0]) if len(reference) else math.nan,
            )
        )
    return _EstimatesInfo(tuple(panels))


def plot_estimates(summary: pd.DataFrame, metrics: Sequence[str] = ("chebyshev", "kl")) -> go.Figure:
    """Plot the mean of each estimate over subjects with its 95 % interval, one panel per metric.

    Parameters
    ----------
    summary : pandas.DataFrame
        Table of estimates, as in ``summary.parquet``.
    metrics : sequence of str
        Metrics to show.

    Returns
    -------
    plotly.graph_objects.Figure
        One panel per metric. The dotted line is the train mean.

    Raises
    ------
    InputError
        If no estimate has a score.
    """
    info = _build_info(summary, metrics)
    sentences = [
        f"{METRICS[panel.metric].label}: "
        + ", ".join(f"{name} {format_score(mean)}" for name, mean in zip(panel.estimates, panel.means, strict=True))
        for panel in info.panels
    ]
    return describe(_draw_figure(info), f"Means. {'. '.join(sentences)}.")


def _draw_figure(info: _EstimatesInfo) -> go.Figure:
    figure = make_figure([], showlegend=False)
    for index, panel in enumerate(info.panels):
        axis = axis_suffix(index)
        ends = _range(panel)
        figure.add_trace(mark_outside(_trace(panel, axis), ends, format_score))
        figure.update_layout(
            {
                f"xaxis{axis}": {"title": {"text": format_metric_title(panel.metric)}, "nticks": 6, "range": ends},
                f"yaxis{axis}": {"type": "category", "autorange": "reversed", "showticklabels": index == 0},
            }
        )
        if not math.isnan(panel.reference):
            figure.add_vline(panel.reference, line={"color": GREY, "dash": "dot", "width": 1}, layer="below")
            figure.layout.shapes[-1].update(xref=f"x{axis}", yref=f"y{axis} domain")
    tallest = 34 * max(len(panel.estimates) for panel in info.panels)
    wide = Grid(len(info.panels), len(info.panels), tallest, 0, top=12)
    slim = Grid(len(info.panels), 1, tallest, 70, top=12)
    shorter = {
        f"xaxis{axis_suffix(index)}.title.text": f"{METRICS[panel.metric].label} {METRICS[panel.metric].arrow}"
        for index, panel in enumerate(info.panels)
    }
    return update_narrow_layout(arrange_panels(figure, wide, slim), shorter)


def _range(panel: _Panel) -> tuple[float, float] | None:
    """Return the range of the axis, in which the uniform distribution does not make all others look alike."""
    near: list[float] = []
    far: list[float] = []
    for name, *values in zip(panel.estimates, panel.means, panel.lows, panel.highs, strict=True):
        (far if name == Estimate.UNIFORM else near).extend(values)
    return find_range(near, far)


def _trace(panel: _Panel, axis: str) -> go.Scatter:
    rows = list(zip(panel.means, panel.lows, panel.highs, strict=True))
    return go.Scatter(
        x=panel.means,
        y=[_label(name) for name in panel.estimates],
        xaxis=f"x{axis}",
        yaxis=f"y{axis}",
        mode="markers",
        marker={
            "size": 10,
            "color": [ESTIMATE_COLOURS.get(name, GREY) for name in panel.estimates],
            "symbol": [_symbol(name) for name in panel.estimates],
            "line": {"width": 2, "color": [ESTIMATE_COLOURS.get(name, GREY) for name in panel.estimates]},
        },
        error_x={
            "array": [0 if math.isnan(high) else high - mean for mean, _, high in rows],
            "arrayminus": [0 if math.isnan(low) else mean - low for mean, low, _ in rows],
            "thickness": 1.5,
            "width": 4,
            "color": GREY,
        },
        customdata=[[format_score(low), format_score(high)] for _, low, high in rows],
        hovertemplate="%{y}<br>mean %{hovertext}<br>95 % interval %{customdata[0]} to %{customdata[1]}<extra></extra>",
    )


def _symbol(estimate: str) -> str:
    if estimate == Estimate.ORACLE:
        return "diamond-open"
    return "circle" if estimate in ESTIMATE_COLOURS else "square"


def _label(estimate: str) -> str:
    return f"{estimate}<br><i>{NOT_REPORTABLE}</i>" if estimate == Estimate.ORACLE else escape_label(estimate)
