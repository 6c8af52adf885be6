"""Importance of each hyperparameter, against the importance that chance alone gives."""

from __future__ import annotations

import math
from typing import NamedTuple

import pandas as pd
import plotly.graph_objects as go

from helo.analysis.figures._style import BLUE, GREY, NARROW, describe, escape_label, make_figure
from helo.errors import InputError
from helo.names import Column


class _ImportanceInfo(NamedTuple):
    """Importance of each hyperparameter, the most important first."""

    parameters: tuple[str, ...]  # most important first
    shares: tuple[float, ...]  # of all importance, 0 to 1
    lows: tuple[float, ...]  # ends of the 95 % interval
    highs: tuple[float, ...]
    noise: tuple[float, ...]  # 95 % quantile of the importance under chance alone
    significant: tuple[bool, ...]  # whether the share exceeds the noise
    configurations: tuple[int, ...]  # number in which the hyperparameter acts


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
    """Plot the importance of each searched hyperparameter with its 95 % interval.

    A bar is grey if it does not exceed its band: such an importance may be due to chance.

    Parameters
    ----------
    importance : pandas.DataFrame
        Table of importances from `helo.analysis.statistics.importance.compute_importance`.

    Returns
    -------
    plotly.graph_objects.Figure
        One bar per hyperparameter, on a band of the importance that chance alone gives.

    Raises
    ------
    InputError
        If no hyperparameter has an importance above 0.
    """
    info = _build_info(importance)
    shares = (f"{name} {100 * share:.0f} %" for name, share in zip(info.parameters, info.shares, strict=True))
    return describe(_draw_figure(info), f"Shares of importance: {', '.join(shares)}.")


def _draw_figure(info: _ImportanceInfo) -> go.Figure:
    names = [escape_label(name) for name in info.parameters]
    finite = [value for value in (*info.shares, *info.highs, *info.noise) if math.isfinite(value)]
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
    for significant, colour, title in ((True, BLUE, "importance"), (False, GREY, "importance, no more than chance")):
        shown = [number for number, one in enumerate(info.significant) if one is significant]
        if not shown:
            continue
        traces.append(
            go.Bar(
                x=[info.shares[number] for number in shown],
                y=[names[number] for number in shown],
                orientation="h",
                width=0.42,
                name=title,
                marker={"color": colour, "opacity": 1 if significant else 0.55},
                # The bootstrap is biased for small shares, so an interval may exclude its share.
                error_x={
                    "array": [max(0.0, info.highs[number] - info.shares[number]) for number in shown],
                    "arrayminus": [max(0.0, info.shares[number] - info.lows[number]) for number in shown],
                    "thickness": 1.4,
                    "width": 4,
                    "color": GREY,
                },
                customdata=[customdata[number] for number in shown],
                hovertemplate=hover,
            )
        )
    height = 102 + 34 * len(names)
    return make_figure(
        traces,
        height=height,
        barmode="overlay",
        margin={"t": 46},
        meta={NARROW: {"height": height + 44, "margin.t": 90}},  # one line per legend entry
        xaxis={
            "title": {"text": "share of all importance"},
            "tickformat": ".0%",
            "range": [0, min(1.0, max(finite)) * 1.04],
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
