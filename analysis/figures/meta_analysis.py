"""Standardised mean difference of two methods in each data set and over all of them, as MOABB plots it."""

from __future__ import annotations

import math
from typing import NamedTuple

import pandas as pd
import plotly.graph_objects as go

from helo.analysis.figures._style import BLUE, GREY, Grid, arrange_panels, escape_label, make_figure
from helo.analysis.statistics.meta_analysis import COMBINED
from helo.analysis.statistics.signed_rank import ALPHA
from helo.analysis.wording import format_effect, p_equals
from helo.errors import InputError


class _MetaInfo(NamedTuple):
    """Rows of the plot, from top to bottom."""

    names: tuple[str, ...]
    subjects: tuple[int, ...]
    smd: tuple[float, ...]
    lows: tuple[float, ...]
    highs: tuple[float, ...]
    p: tuple[float, ...]


def _build_info(table: pd.DataFrame) -> _MetaInfo:
    rows = table[table["smd"].notna()]
    if rows.empty:
        raise InputError("no data set has two subjects whose scores differ")
    columns = ("dataset", "subjects", "smd", "smd_low", "smd_high", "p")
    return _MetaInfo(*(tuple(rows[column].tolist()) for column in columns))


def plot_meta_analysis(table: pd.DataFrame, judged: str, reference: str) -> go.Figure:
    """Plot the standardised mean differences of a meta-analysis with their 95 % intervals.

    Parameters
    ----------
    table : pandas.DataFrame
        Result of `helo.analysis.statistics.meta_analysis.meta_analysis`.
    judged, reference : str
        Names of the methods for the axis.

    Returns
    -------
    plotly.graph_objects.Figure
        A row per data set, and a diamond for all of them. A filled mark is a significant difference.

    Raises
    ------
    InputError
        If no data set has a standardised mean difference.
    """
    return _draw_figure(_build_info(table), judged, reference)


def _draw_figure(info: _MetaInfo, judged: str, reference: str) -> go.Figure:
    names = [f"{escape_label(name)} (n = {count})" for name, count in zip(info.names, info.subjects, strict=True)]
    symbols = []
    for name, p in zip(info.names, info.p, strict=True):
        shape = "diamond" if name == COMBINED else "circle"
        symbols.append(shape if p < ALPHA else f"{shape}-open")
    said = ["" if math.isnan(p) else p_equals(p).replace("<", "&lt;") for p in info.p]
    trace = go.Scatter(
        x=info.smd,
        y=names,
        mode="markers+text",
        text=said,
        textposition="top center",
        marker={"size": 12, "color": BLUE, "symbol": symbols, "line": {"width": 2, "color": BLUE}},
        error_x={
            "array": [high - middle for middle, high in zip(info.smd, info.highs, strict=True)],
            "arrayminus": [middle - low for middle, low in zip(info.smd, info.lows, strict=True)],
            "thickness": 1.5,
            "width": 4,
            "color": GREY,
        },
        customdata=[format_effect(middle) for middle in info.smd],
        hovertemplate="%{y}<br>%{customdata}, %{text}<extra></extra>",
    )
    figure = make_figure([trace], showlegend=False)
    figure.add_vline(0, line={"color": GREY, "dash": "dot", "width": 1}, layer="below")
    title = f"standardised mean difference<br>(right: {escape_label(judged)} is better than {escape_label(reference)})"
    extent = [len(names) - 0.5, -0.8]  # from top to bottom, with room for the first p value
    figure.update_layout(xaxis={"title": {"text": title}}, yaxis={"type": "category", "range": extent})
    grid = Grid(1, 1, 60 * len(info.names) + 20, 0, top=12, bottom=68)
    return arrange_panels(figure, grid, grid)
