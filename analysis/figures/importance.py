"""How much each hyperparameter mattered, and how much it would seem to by chance."""

from __future__ import annotations

import math
from typing import NamedTuple

import pandas as pd
import plotly.graph_objects as go
from helo.analysis.figures._style import BLUE, GREY, NARROW, escape_label, make_figure

from helo.errors import InputError
from helo.names import Column


class _ImportanceInfo(NamedTuple):
    parameters: tuple[str, ...]  # the most important first
    shares: tuple[float, ...]  # 0 to 1
    lows: tuple[float, ...]
    highs: tuple[float, ...]
    noise: tuple[float, ...]  # what chance alone reaches in 95 of 100 cases
    says: tuple[bool, ...]  # whether the share is above it
    configurations: tuple[int, ...]


def _build_info(importance: pd.DataFrame) -> _ImportanceInfo:
    if importance.empty or not importance["share"].sum() > 0:
        raise InputError("no hyperparameter made a difference to the scores")
    ordered = importance.sort_values("share", ascending=False, kind="stable")
    return _ImportanceInfo(
        tuple(ordered[Column.PARAMETER].astype(str)),
        tuple(ordered["share"].tolist()),
        tuple(ordered["low"].tolist()),
        tuple(ordered["high"].tolist()),
        tuple(ordered["noise"].tolist()),
        tuple((ordered["share"] > ordered["noise"]).tolist()),
        tuple(int(count) for count in ordered["configurations"]),
    )


def plot_importance(importance: pd.DataFrame) -> go.Figure:
    """A bar per searched hyperparameter with its 95 % interval, on a band of what chance alone gives.

    `importance` comes from `helo.analysis.statistics.importance.compute_importance`. A bar that does not leave its band
    is grey: it says nothing.
    """
    return _draw_figure(_build_info(importance))


def _draw_figure(info: _ImportanceInfo) -> go.Figure:
    names = [escape_label(name) for name in info.parameters]
    known = [value for value in (*info.shares, *info.highs, *info.noise) if math.isfinite(value)]
    customdata = list(zip(info.noise, info.lows, info.highs, info.configurations, strict=True))
    hover = (
        "%{y}<br>importance %{x:.0%}, 95 % interval %{customdata[1]:.0%} to %{customdata[2]:.0%}"
        "<br>chance alone reaches %{customdata[0]:.0%}<br>acts in %{customdata[3]} configurations<extra></extra>"
    )
    traces: list[go.Bar] = [
        go.Bar(
            x=info.noise,
            y=names,
            orientation="h",
            width=0.84,
            name="what chance alone gives",
            marker={"color": GREY},
            opacity=0.28,
            hoverinfo="skip",
        )
    ]
    for says, colour, title in ((True, BLUE, "importance"), (False, GREY, "importance, no more than chance")):
        mine = [number for number, one in enumerate(info.says) if one is says]
        if not mine:
            continue
        traces.append(
            go.Bar(
                x=[info.shares[number] for number in mine],
                y=[names[number] for number in mine],
                orientation="h",
                width=0.42,
                name=title,
                marker={"color": colour, "opacity": 1 if says else 0.55},
                # The bootstrap is biased where shares are small, so an interval may lie beside its share.
                error_x={
                    "array": [max(0.0, info.highs[number] - info.shares[number]) for number in mine],
                    "arrayminus": [max(0.0, info.shares[number] - info.lows[number]) for number in mine],
                    "thickness": 1.4,
                    "width": 4,
                    "color": GREY,
                },
                customdata=[customdata[number] for number in mine],
                hovertemplate=hover,
            )
        )
    height = 102 + 34 * len(names)
    return make_figure(
        traces,
        height=height,
        barmode="overlay",
        margin={"t": 46},
        meta={NARROW: {"height": height + 44, "margin.t": 90}},  # a line per entry of the legend
        xaxis={
            "title": {"text": "share of all importance"},
            "tickformat": ".0%",
            "range": [0, min(1.0, max(known)) * 1.04],
            "nticks": 6,
        },
        yaxis={
            "type": "category",
            "categoryorder": "array",
            "categoryarray": names,
            "autorange": "reversed",
            "dtick": 1,
        },
    )
