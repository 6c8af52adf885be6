"""Skill of two methods on each subject, over several data sets: the paired plot of MOABB."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import plotly.graph_objects as go

from helo.analysis.figures._links import build_owners
from helo.analysis.figures._style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    Grid,
    arrange_panels,
    escape_label,
    make_figure,
)
from helo.analysis.statistics.meta_analysis import Pairs
from helo.errors import InputError

_COLOURS = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILLION)
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x")


class _PairedInfo(NamedTuple):
    """Skills of both methods by data set, and the range of both axes."""

    judged: str
    reference: str
    pairs: tuple[tuple[str, Pairs], ...]
    low: float
    high: float


def _build_info(pairs: Mapping[str, Pairs], judged: str, reference: str) -> _PairedInfo:
    found = tuple((name, one) for name, one in pairs.items() if len(one.subjects))
    if not found:
        raise InputError(f"no data set has a subject with scores of both {judged} and {reference}")
    values = [value for _, one in found for value in (*one.judged.tolist(), *one.reference.tolist())]
    margin = 0.05 * (max(values) - min(values)) or 0.05
    return _PairedInfo(judged, reference, found, min(values) - margin, max(values) + margin)


def plot_paired(pairs: Mapping[str, Pairs], judged: str, reference: str) -> go.Figure:
    """Plot the skill of a method against that of a reference, a mark per subject and a colour per data set.

    Parameters
    ----------
    pairs : mapping of str to Pairs
        Name of a data set → skills of both methods on its subjects.
    judged, reference : str
        Names of the methods for the axes.

    Returns
    -------
    plotly.graph_objects.Figure
        The judged method is better for subjects above the diagonal.

    Raises
    ------
    InputError
        If no subject has both scores.
    """
    return _draw_figure(_build_info(pairs, judged, reference))


def _draw_figure(info: _PairedInfo) -> go.Figure:
    traces = []
    for place, (name, one) in enumerate(info.pairs):
        traces.append(
            go.Scatter(
                x=one.reference,
                y=one.judged,
                mode="markers",
                name=f"{escape_label(name)}: above for {(one.differences > 0).sum()} of {len(one.subjects)}",
                text=[escape_label(subject) for subject in one.subjects],
                meta=build_owners(subject=one.subjects),
                marker={
                    "size": 9,
                    "color": _COLOURS[place % len(_COLOURS)],
                    "symbol": _SYMBOLS[place % len(_SYMBOLS)],
                    "opacity": 0.85,
                },
                hovertemplate="%{text}<br>%{y:.1%} against %{x:.1%}<extra></extra>",
            )
        )
    figure = make_figure(traces)
    line = {"color": GREY, "dash": "dot", "width": 1}
    figure.add_shape(type="line", x0=info.low, y0=info.low, x1=info.high, y1=info.high, line=line, layer="below")
    extent = [info.low, info.high]
    figure.update_layout(
        xaxis={"title": {"text": f"skill of {escape_label(info.reference)}"}, "tickformat": ".0%", "range": extent},
        yaxis={"title": {"text": f"skill of {escape_label(info.judged)}"}, "tickformat": ".0%", "range": extent},
        showlegend=True,
    )
    grid = Grid(1, 1, 420, 0, top=30 + 20 * len(info.pairs))
    return arrange_panels(figure, grid, grid)
