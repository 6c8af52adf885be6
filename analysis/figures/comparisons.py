"""Gain of the search over each reference."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from helo.analysis.figures._style import (
    BLUE,
    GREY,
    Grid,
    arrange_panels,
    describe,
    escape_label,
    find_range,
    make_figure,
    mark_outside,
    update_narrow_layout,
)
from helo.analysis.statistics.signed_rank import ALPHA
from helo.analysis.wording import format_difference, format_effect, format_p
from helo.errors import InputError
from helo.metrics import METRICS
from helo.names import Column, Estimate


class _ComparisonsInfo(NamedTuple):
    """Gain over each reference on one metric."""

    metric: str
    references: tuple[str, ...]
    gains: tuple[float, ...]
    lows: tuple[float, ...]  # NaN without an interval
    highs: tuple[float, ...]
    p: tuple[float, ...]  # with Holm's correction; NaN without a test
    effects: tuple[float, ...]
    better: tuple[int, ...]  # subjects for whom the search is better
    subjects: tuple[int, ...]  # subjects with both scores


def _build_info(comparisons: pd.DataFrame, metric: str) -> _ComparisonsInfo:
    rows = comparisons[(comparisons[Column.METRIC] == metric) & np.isfinite(comparisons["gain"].astype(float))]
    if rows.empty:
        raise InputError("no subject has both a completed cell and a baseline")
    columns = ("gain", "gain_low", "gain_high", "p_holm", "effect", "better", "subjects")
    return _ComparisonsInfo(
        metric, tuple(rows[Column.REFERENCE].astype(str)), *(tuple(rows[column].tolist()) for column in columns)
    )


def plot_comparisons(comparisons: pd.DataFrame, metric: str) -> go.Figure:
    """Plot the mean gain of the search over each reference, with its 95 % interval.

    Parameters
    ----------
    comparisons : pandas.DataFrame
        Table of comparisons from `helo.analysis.statistics.comparisons.compare_with_references`.
    metric : str
        Metric to show.

    Returns
    -------
    plotly.graph_objects.Figure
        One row per reference. A filled marker is a significant difference (p < 0.05 with Holm's correction).

    Raises
    ------
    InputError
        If no subject has both a completed cell and a baseline.
    """
    info = _build_info(comparisons, metric)
    gains = (f"{name} {format_difference(gain)}" for name, gain in zip(info.references, info.gains, strict=True))
    return describe(_draw_figure(info), f"Gain over {', '.join(gains)}.")


def _draw_figure(info: _ComparisonsInfo) -> go.Figure:
    label = METRICS[info.metric].label
    ends = _range(info)
    figure = make_figure([mark_outside(_trace(info), ends, format_difference)], showlegend=False)
    figure.add_vline(0, line={"color": GREY, "dash": "dot", "width": 1}, layer="below")
    figure.update_layout(
        xaxis={"title": {"text": f"mean gain in {label} (right: the search is better)"}, "nticks": 6, "range": ends},
        yaxis={"type": "category", "autorange": "reversed"},
    )
    grid = Grid(1, 1, 34 * len(info.references) + 10, 0, top=12)
    return update_narrow_layout(
        arrange_panels(figure, grid, grid),
        {"xaxis.title.text": f"gain in {label} (right: better)", "yaxis.title.text": ""},
    )


def _range(info: _ComparisonsInfo) -> tuple[float, float] | None:
    """Return the range of the axis, in which the gain over the uniform distribution does not dwarf all others."""
    near = [0.0]
    far: list[float] = []
    for name, *values in zip(info.references, info.gains, info.lows, info.highs, strict=True):
        (far if name == Estimate.UNIFORM else near).extend(values)
    return find_range(near, far)


def _trace(info: _ComparisonsInfo) -> go.Scatter:
    intervals = zip(info.lows, info.highs, info.p, info.effects, info.better, info.subjects, strict=True)
    return go.Scatter(
        x=info.gains,
        y=[escape_label(name) for name in info.references],
        mode="markers",
        marker={
            "size": 11,
            "color": BLUE,
            "symbol": ["circle" if p < ALPHA else "circle-open" for p in info.p],
            "line": {"width": 2, "color": BLUE},
        },
        error_x={
            "array": _lengths(info.gains, info.highs),
            "arrayminus": _lengths(info.lows, info.gains),
            "thickness": 1.5,
            "width": 4,
            "color": GREY,
        },
        customdata=[
            [
                format_difference(low),
                format_difference(high),
                format_p(p).replace("<", "&lt;"),
                format_effect(effect),
                better,
                subjects,
            ]
            for low, high, p, effect, better, subjects in intervals
        ],
        hovertemplate="%{y}<br>gain %{hovertext}, 95 % %{customdata[0]} to %{customdata[1]}"
        "<br>p %{customdata[2]}, effect size %{customdata[3]}"
        "<br>better for %{customdata[4]} of %{customdata[5]} subjects<extra></extra>",
    )


def _lengths(lows: tuple[float, ...], highs: tuple[float, ...]) -> list[float]:
    lengths = [high - low for low, high in zip(lows, highs, strict=True)]
    return [0.0 if math.isnan(length) else length for length in lengths]
