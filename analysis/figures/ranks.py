"""Mean ranks of the methods, with the critical difference."""

from __future__ import annotations

from typing import NamedTuple

import plotly.graph_objects as go

from helo.analysis.figures._style import (
    ESTIMATE_COLOURS,
    GREY,
    Grid,
    arrange_panels,
    describe,
    escape_label,
    make_figure,
    update_narrow_layout,
)
from helo.analysis.statistics.comparisons import Ranks

_ROW = 30
"""Height of a row in pixels."""


class _Bar(NamedTuple):
    """Bar over methods that do not differ significantly."""

    best: float
    worst: float
    level: int  # 0 is the lowest; overlapping bars have different levels


class _RanksInfo(NamedTuple):
    """Mean ranks, and bars over methods that do not differ significantly."""

    methods: tuple[str, ...]  # best first
    mean_ranks: tuple[float, ...]
    critical_difference: float
    bars: tuple[_Bar, ...]  # over methods that do not differ significantly


def _build_info(ranks: Ranks) -> _RanksInfo:
    bars: list[_Bar] = []
    for first, last in ranks.groups:
        best, worst = ranks.mean_ranks[first], ranks.mean_ranks[last]
        taken = {bar.level for bar in bars if bar.worst >= best}
        bars.append(_Bar(best, worst, min(set(range(len(taken) + 1)) - taken)))
    return _RanksInfo(ranks.methods, ranks.mean_ranks, ranks.critical_difference, tuple(bars))


def plot_ranks(ranks: Ranks) -> go.Figure:
    """Plot a critical-difference diagram of mean ranks.

    A bar joins methods that Nemenyi's test does not tell apart. The critical difference is drawn on top. The diagram is
    for illustration only: mean ranks depend on which methods are compared.

    Parameters
    ----------
    ranks : Ranks
        Mean ranks from `helo.analysis.statistics.comparisons.rank_methods`.

    Returns
    -------
    plotly.graph_objects.Figure
        One row per method at its mean rank, the best on top and left.
    """
    info = _build_info(ranks)
    ranked = (f"{name} {rank:.2f}" for name, rank in zip(info.methods, info.mean_ranks, strict=True))
    return describe(_draw_figure(info), f"Mean ranks, best first: {', '.join(ranked)}.")


def _draw_figure(info: _RanksInfo) -> go.Figure:
    count = len(info.methods)
    above = 1 + max((bar.level for bar in info.bars), default=-1)  # rows of bars
    drops_x: list[float | None] = []
    drops_y: list[float | None] = []
    for row, rank in enumerate(info.mean_ranks):
        drops_x += [rank, rank, None]
        drops_y += [-above, row, None]
    colours = [ESTIMATE_COLOURS.get(name, GREY) for name in info.methods]
    names = [escape_label(name) for name in info.methods]
    top = -above - 1
    traces = [
        _line(drops_x, drops_y, {"color": GREY, "width": 1, "dash": "dot"}),
        *(_line([bar.best, bar.worst], [-1 - bar.level] * 2, {"color": GREY, "width": 6}) for bar in info.bars),
        go.Scatter(
            x=[1, 1 + info.critical_difference],
            y=[top, top],
            mode="lines+markers",
            line={"color": GREY, "width": 1.5},
            marker={"symbol": "line-ns-open", "size": 10, "color": GREY},
            hovertemplate=f"critical difference {info.critical_difference:.2f}<extra></extra>",
        ),
        go.Scatter(
            x=info.mean_ranks,
            y=list(range(count)),
            mode="markers",
            marker={"size": 11, "color": colours},
            customdata=names,
            hovertemplate="%{customdata}<br>mean rank %{x:.2f}<extra></extra>",
        ),
    ]
    figure = make_figure(traces, showlegend=False)
    figure.add_annotation(
        x=1,
        y=top,
        text=f"critical difference {info.critical_difference:.2f}",
        showarrow=False,
        xanchor="left",
        yanchor="bottom",
        yshift=4,
    )
    figure.update_layout(
        xaxis={"title": {"text": "mean rank over subjects (1 is best)"}, "range": [0.8, count + 0.2], "dtick": 1},
        yaxis={
            "range": [count - 0.5, top - 1],
            "tickvals": list(range(count)),
            "ticktext": names,
            "title": {"text": "method"},
            "showgrid": False,
        },
    )
    grid = Grid(1, 1, _ROW * (count + above + 2), 0, top=8)
    return update_narrow_layout(
        arrange_panels(figure, grid, grid), {"xaxis.title.text": "mean rank (1 is best)", "yaxis.title.text": ""}
    )


def _line(x: list[float | None], y: list[float | None], line: dict[str, object]) -> go.Scatter:
    return go.Scatter(x=x, y=y, mode="lines", line=line, hoverinfo="skip")
