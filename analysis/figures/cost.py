"""What a search cost: how long cells took, and how busy its workers were."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from helo.analysis.figures._links import build_owners
from helo.analysis.figures._style import (
    BLUE,
    GREY,
    NARROW,
    STATUS_COLOURS,
    Grid,
    arrange_panels,
    build_note,
    escape_label,
    make_figure,
)
from helo.analysis.statistics.schedule import Schedule, Stretch, infer_schedule, join_cells
from numpy.typing import NDArray

from helo._text import format_duration
from helo.names import Column, Status

STATUSES = (Status.COMPLETED, Status.STOPPED, Status.FAILED)

BINS = 30
"""Bars of the histogram of cell times."""

STEPS = 240
"""Points of the line of busy workers."""

MOST_BARS = 4000
"""Of more cells the timeline draws neighbours together."""

_LEGEND = {"y": 1, "yref": "container", "yanchor": "top", "traceorder": "normal"}

Numbers = NDArray[np.float64]


class _Unit(NamedTuple):
    name: str
    seconds: float


def _unit(seconds: float) -> _Unit:
    """The unit in which a time of this size is read."""
    return _Unit("s", 1) if seconds < 180 else _Unit("min", 60) if seconds < 3 * 3600 else _Unit("h", 3600)


class _CostInfo(NamedTuple):
    edges: Numbers  # of the histogram's bars, in seconds
    counts: dict[str, Numbers]  # cells per bar by status, those there are
    median: float
    cells: int
    times: Numbers  # of the line, in seconds without pauses: the start of each step and the end of the last
    running: Numbers  # mean number of running cells in each step
    workers: int
    busy: float
    pauses: tuple[tuple[float, float], ...]


def _build_info(cells: pd.DataFrame) -> _CostInfo:
    found = infer_schedule(cells)
    seconds = found.end - found.start
    statuses = found.cells[Column.STATUS].to_numpy()
    # Beyond the last bar but one percent, so that one cell that hung does not push all others into the first.
    top = float(seconds.max()) if seconds.max() < 4 * np.median(seconds) else float(np.quantile(seconds, 0.99))
    edges = np.linspace(0, top, BINS + 1)
    counts: dict[str, Numbers] = {
        status: np.histogram(np.minimum(seconds[statuses == status], top), edges)[0].astype(float)
        for status in STATUSES
        if (statuses == status).any()
    }
    times = np.linspace(0, found.span, STEPS + 1)
    return _CostInfo(
        edges,
        counts,
        float(np.median(seconds)),
        len(seconds),
        times,
        np.diff(_worked(found, times)) / np.diff(times),
        len(found.workers),
        found.busy,
        found.pauses,
    )


def _worked(found: Schedule, times: Numbers) -> Numbers:
    """Worker seconds until each of some times: every cell adds what has passed of it."""

    def until(sorted_times: Numbers) -> Numbers:
        sums = np.concatenate([[0.0], np.cumsum(sorted_times)])
        before = np.searchsorted(sorted_times, times)
        worked: Numbers = before * times - sums[before]
        return worked

    return until(np.sort(found.start)) - until(np.sort(found.end))


def plot_cost(cells: pd.DataFrame) -> go.Figure:
    """Two panels: how long cells took, by status, and how many ran at once over the time of the search.

    `cells` is as in ``cells.parquet``; times of an hour and more are in hours. Pauses of the search (see
    `helo.analysis.statistics.schedule`) are cut out and marked. Busy is the sum of cell times ÷ (workers × time without
    pauses). The last bar holds all that took longer.
    """
    return _draw_figure(_build_info(cells))


def _draw_figure(info: _CostInfo) -> go.Figure:
    length, time = _unit(float(info.edges[-1])), _unit(float(info.times[-1]))
    middles = (info.edges[:-1] + info.edges[1:]) / 2 / length.seconds
    width = float(info.edges[1]) / length.seconds
    bars = [
        go.Bar(
            x=np.round(middles, 4).tolist(),
            y=counts.tolist(),
            width=width,
            name=status,
            marker={"color": STATUS_COLOURS[status]},
            hovertemplate=f"about %{{x:.3g}} {length.name}: %{{y}} {status}<extra></extra>",
        )
        for status, counts in info.counts.items()
    ]
    line = go.Scatter(
        x=np.round(info.times / time.seconds, 4).tolist(),
        y=np.round([*info.running, info.running[-1]], 3).tolist(),
        xaxis="x2",
        yaxis="y2",
        mode="lines",
        line={"color": BLUE, "width": 1.5, "shape": "hv"},
        fill="tozeroy",
        showlegend=False,
        hovertemplate=f"%{{x:.3g}} {time.name}: %{{y:.1f}} running<extra></extra>",
    )
    figure = make_figure(
        [*bars, line],
        barmode="stack",
        showlegend=len(bars) > 1,
        legend=_LEGEND,
        xaxis={"title": {"text": f"time of a cell in {length.name}"}, "rangemode": "tozero"},
        yaxis={"title": {"text": "cells"}},
        xaxis2={"title": {"text": f"time of the search in {time.name}"}, "range": [0, info.times[-1] / time.seconds]},
        yaxis2={"title": {"text": "running cells"}, "range": [0, 1.05 * info.workers], "nticks": 6},
        shapes=_pause_lines(info.pauses, time, "x2", "y2 domain"),
    )
    titles = [
        f"<b>{info.cells:,} cells</b>, median {_short(info.median)}",
        _use(info.workers, info.busy, info.pauses),
    ]
    wide = Grid(2, 2, panel=230, gap=70, top=64, bottom=48, spacing=0.08)
    slim = Grid(2, 1, panel=190, gap=90, top=64, bottom=48)
    return arrange_panels(figure, wide, slim, titles).update_annotations(align="left")


def _short(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else format_duration(seconds)


def _use(workers: int, busy: float, pauses: tuple[tuple[float, float], ...]) -> str:
    """How many workers there were, and what they did; in a line of its own, that pauses do not count."""
    said = f"<b>{workers} worker{'s' * (workers != 1)}</b>, {100 * busy:.0f} % busy"
    if not pauses:
        return said
    count = "a pause" if len(pauses) == 1 else f"{len(pauses)} pauses"
    return f"{said}<br>not counting {count} of {format_duration(sum(length for _, length in pauses))}"


def _pause_lines(pauses: tuple[tuple[float, float], ...], time: _Unit, x: str, y: str) -> list[dict[str, Any]]:
    line = {"color": GREY, "width": 1.5, "dash": "dot"}
    return [
        {"type": "line", "x0": at / time.seconds, "x1": at / time.seconds, "y0": 0, "y1": 1, "line": line}
        | {"xref": x, "yref": y}
        for at, _ in pauses
    ]


class _TimelineInfo(NamedTuple):
    workers: tuple[str, ...]
    bars: tuple[Stretch, ...]
    subjects: tuple[str, ...]  # of the first cell of each bar
    configurations: tuple[int, ...]
    joined: bool  # whether bars may be several cells
    span: float
    busy: float
    pauses: tuple[tuple[float, float], ...]


def _build_timeline_info(cells: pd.DataFrame) -> _TimelineInfo:
    found = infer_schedule(cells)
    joined = len(found.cells) > MOST_BARS
    step = found.span * len(found.workers) / MOST_BARS if joined else 0.0
    bars = join_cells(found, found.cells[Column.STATUS].to_numpy().astype(np.str_), step)
    first = found.cells.iloc[[bar.row for bar in bars]]
    several = len({node for node, _ in found.workers}) > 1
    names = [f"{node} · {number}" if several else f"worker {number}" for node, number in found.workers]
    subjects = tuple(first[Column.FOLD].astype(str))
    numbers = tuple(int(number) for number in first[Column.CONFIGURATION])
    return _TimelineInfo(tuple(names), tuple(bars), subjects, numbers, joined, found.span, found.busy, found.pauses)


def plot_timeline(cells: pd.DataFrame) -> go.Figure:
    """A row per worker, a bar per cell from its start to its end, in the colour of its status.

    `cells` is as in ``cells.parquet``. Which worker ran a cell is inferred (see
    `helo.analysis.statistics.schedule.infer_schedule`), and pauses are cut out and marked. Of more than `MOST_BARS`
    cells, short
    neighbours are one bar.
    """
    return _draw_timeline(_build_timeline_info(cells))


def _draw_timeline(info: _TimelineInfo) -> go.Figure:
    time, lanes = _unit(info.span), len(info.workers)
    row = 26 if lanes <= 12 else 14 if lanes <= 40 else max(3, 560 // lanes)
    shown = range(0, lanes, math.ceil(lanes / max(1, row * lanes // 14)))
    figure = make_figure(
        [_bars(info, status, time) for status in STATUSES if any(bar.status == status for bar in info.bars)],
        height=row * lanes + 160,
        margin={"t": 92 if info.joined else 74, "b": 56},
        barmode="overlay",
        bargap=0.15 if row >= 14 else 0,
        showlegend=True,
        legend=_LEGEND,
        xaxis={"title": {"text": f"time of the search in {time.name}"}, "range": [0, info.span / time.seconds]},
        yaxis={
            "range": [lanes - 0.5, -0.5],
            "showgrid": False,
            "tickvals": list(shown),
            "ticktext": [escape_label(info.workers[lane]) for lane in shown],
        },
        shapes=_pause_lines(info.pauses, time, "x", "y domain"),
        annotations=[
            build_note(_use(lanes, info.busy, info.pauses) + "<br>a bar is cells of mostly this status" * info.joined)
        ],
    )
    figure.layout.meta = {NARROW: {"yaxis.tickfont.size": 10}}
    return figure


def _bars(info: _TimelineInfo, status: str, time: _Unit) -> go.Bar:
    mine = [place for place, bar in enumerate(info.bars) if bar.status == status]
    bars = [info.bars[place] for place in mine]
    lengths = np.array([bar.end - bar.start for bar in bars])
    subjects, configurations = [info.subjects[place] for place in mine], [info.configurations[place] for place in mine]
    if info.joined:
        about: dict[str, Any] = {
            "customdata": [bar.cells for bar in bars],
            "hovertemplate": f"%{{customdata}} cells, mostly {status}<br>from %{{base:.3f}} {time.name}<extra></extra>",
        }
    else:
        about = {
            "customdata": [
                [escape_label(subject), configuration, _short(length)]
                for subject, configuration, length in zip(subjects, configurations, lengths.tolist(), strict=True)
            ],
            "hovertemplate": "subject %{customdata[0]}, configuration %{customdata[1]}"
            f"<br>{status}, %{{customdata[2]}}<extra></extra>",
            "meta": build_owners(subject=subjects, configuration=configurations),
        }
    return go.Bar(
        base=_compact([bar.start / time.seconds for bar in bars]),
        x=_compact(lengths / time.seconds),
        y=np.array([bar.lane for bar in bars], dtype=np.int16),
        orientation="h",
        name=status,
        marker={"color": STATUS_COLOURS[status], "line": {"width": 0 if info.joined else 0.5, "color": "white"}},
        **about,
    )


def _compact(values: Any) -> NDArray[np.float32]:
    """Numbers that take few letters in the page."""
    return np.asarray(values, dtype=np.float32)
