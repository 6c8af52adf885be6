"""Cost of a search: run times of cells, and use of the workers."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from helo._text import format_duration
from helo.analysis.figures._links import build_owners
from helo.analysis.figures._style import (
    BLUE,
    GREY,
    NARROW,
    STATUS_COLOURS,
    Grid,
    arrange_panels,
    build_note,
    describe,
    escape_label,
    make_figure,
)
from helo.analysis.statistics.schedule import Schedule, Stretch, infer_schedule, join_cells
from helo.analysis.wording import count
from helo.names import Column, Status

STATUSES = (Status.COMPLETED, Status.STOPPED, Status.FAILED)
"""Statuses of cells, in the order of the legend."""

BINS = 30
"""Bars of the histogram of run times."""

STEPS = 240
"""Steps of the line of running cells."""

MOST_BARS = 4000
"""Number of bars of the timeline above which neighbouring cells share a bar."""

_LEGEND = {"y": 1, "yref": "container", "yanchor": "top", "traceorder": "normal"}

Numbers = NDArray[np.float64]


class _Unit(NamedTuple):
    """Unit of time and its length in seconds."""

    name: str
    seconds: float


def _unit(seconds: float) -> _Unit:
    """Return the unit in which to show a duration of this size."""
    return _Unit("s", 1) if seconds < 180 else _Unit("min", 60) if seconds < 3 * 3600 else _Unit("h", 3600)


class _CostInfo(NamedTuple):
    """Histogram of run times, and running cells over time."""

    edges: Numbers  # edges of the histogram's bars, in seconds
    counts: dict[str, Numbers]  # cells per bar, by status that occurs
    median: float  # run time in seconds
    cells: int
    times: Numbers  # edges of the steps, in seconds without pauses
    running: Numbers  # mean number of running cells in each step
    workers: int
    busy: float  # share of the workers' time, 0 to 1
    pauses: tuple[tuple[float, float], ...]  # start and length in seconds


def _build_info(cells: pd.DataFrame) -> _CostInfo:
    found = infer_schedule(cells)
    seconds = found.end - found.start
    statuses = found.cells[Column.STATUS].to_numpy()
    # Cut a long tail at the 99 % quantile: a single hung cell would push all others into the first bar.
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
    """Return the worker seconds spent until each of the given times."""

    def until(sorted_times: Numbers) -> Numbers:
        sums = np.concatenate([[0.0], np.cumsum(sorted_times)])
        before = np.searchsorted(sorted_times, times)
        worked: Numbers = before * times - sums[before]
        return worked

    return until(np.sort(found.start)) - until(np.sort(found.end))


def plot_cost(cells: pd.DataFrame) -> go.Figure:
    """Plot a histogram of run times by status, and the number of running cells over time.

    Pauses of the search (see `helo.analysis.statistics.schedule`) are cut out and marked. The share of busy time is the
    sum of run times divided by (workers × time without pauses). The last bar also counts all cells with longer run
    times.

    Parameters
    ----------
    cells : pandas.DataFrame
        Table of cells, as in ``cells.parquet``.

    Returns
    -------
    plotly.graph_objects.Figure
        Two panels.

    Raises
    ------
    InputError
        If no cell has a start and an end.
    """
    info = _build_info(cells)
    return describe(
        _draw_figure(info),
        f"{count(info.cells, 'cell')} with a median of {info.median:.3g} s on {count(info.workers, 'worker')}, busy"
        f" {100 * info.busy:.0f} % of the time.",
    )


def _draw_figure(info: _CostInfo) -> go.Figure:
    run_unit, time = _unit(float(info.edges[-1])), _unit(float(info.times[-1]))
    middles = (info.edges[:-1] + info.edges[1:]) / 2 / run_unit.seconds
    width = float(info.edges[1]) / run_unit.seconds
    bars = [
        go.Bar(
            x=np.round(middles, 4).tolist(),
            y=counts.tolist(),
            width=width,
            name=status,
            marker={"color": STATUS_COLOURS[status]},
            hovertemplate=f"about %{{x:.3g}} {run_unit.name}: %{{y}} {status}<extra></extra>",
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
        xaxis={"title": {"text": f"time of a cell in {run_unit.name}"}, "rangemode": "tozero"},
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
    """Format a duration, with one decimal below 10 seconds."""
    return f"{seconds:.1f} s" if seconds < 10 else format_duration(seconds)


def _use(workers: int, busy: float, pauses: tuple[tuple[float, float], ...]) -> str:
    """Describe the number of workers, their busy share, and the pauses left out."""
    summary = f"<b>{workers} worker{'' if workers == 1 else 's'}</b>, {100 * busy:.0f} % busy"
    if not pauses:
        return summary
    count = "a pause" if len(pauses) == 1 else f"{len(pauses)} pauses"
    return f"{summary}<br>not counting {count} of {format_duration(sum(length for _, length in pauses))}"


def _pause_lines(pauses: tuple[tuple[float, float], ...], time: _Unit, x: str, y: str) -> list[dict[str, Any]]:
    line = {"color": GREY, "width": 1.5, "dash": "dot"}
    return [
        {"type": "line", "x0": at / time.seconds, "x1": at / time.seconds, "y0": 0, "y1": 1, "line": line}
        | {"xref": x, "yref": y}
        for at, _ in pauses
    ]


class _TimelineInfo(NamedTuple):
    """Bars of the timeline, and the workers that they belong to."""

    workers: tuple[str, ...]
    bars: tuple[Stretch, ...]
    subjects: tuple[str, ...]  # test subject of the first cell of each bar
    configurations: tuple[int, ...]
    joined: bool  # whether a bar may stand for several cells
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
    """Plot the cells of each worker as bars from start to end, coloured by status.

    The worker of a cell is inferred (see `helo.analysis.statistics.schedule.infer_schedule`). Pauses are cut out and
    marked. With more than `MOST_BARS` cells, neighbouring short cells share a bar.

    Parameters
    ----------
    cells : pandas.DataFrame
        Table of cells, as in ``cells.parquet``.

    Returns
    -------
    plotly.graph_objects.Figure
        One row per worker.

    Raises
    ------
    InputError
        If no cell has a start and an end.
    """
    info = _build_timeline_info(cells)
    return describe(
        _draw_timeline(info),
        f"{count(len(info.bars), 'bar')} on {count(len(info.workers), 'worker')}, busy {100 * info.busy:.0f} % of the"
        " time.",
    )


def _draw_timeline(info: _TimelineInfo) -> go.Figure:
    time, rows = _unit(info.span), len(info.workers)
    row_height = 26 if rows <= 12 else 14 if rows <= 40 else max(3, 560 // rows)
    shown = range(0, rows, math.ceil(rows / max(1, row_height * rows // 14)))
    figure = make_figure(
        [_bars(info, status, time) for status in STATUSES if any(bar.status == status for bar in info.bars)],
        height=row_height * rows + 160,
        margin={"t": 92 if info.joined else 74, "b": 56},
        barmode="overlay",
        bargap=0.15 if row_height >= 14 else 0,
        showlegend=True,
        legend=_LEGEND,
        xaxis={"title": {"text": f"time of the search in {time.name}"}, "range": [0, info.span / time.seconds]},
        yaxis={
            "range": [rows - 0.5, -0.5],
            "showgrid": False,
            "tickvals": list(shown),
            "ticktext": [escape_label(info.workers[worker]) for worker in shown],
        },
        shapes=_pause_lines(info.pauses, time, "x", "y domain"),
        annotations=[
            build_note(
                _use(rows, info.busy, info.pauses)
                + ("<br>a bar shows the most frequent status of its cells" if info.joined else "")
            )
        ],
    )
    figure.layout.meta = {NARROW: {"yaxis.tickfont.size": 10}}
    return figure


def _bars(info: _TimelineInfo, status: str, time: _Unit) -> go.Bar:
    places = [place for place, bar in enumerate(info.bars) if bar.status == status]
    bars = [info.bars[place] for place in places]
    lengths = np.array([bar.end - bar.start for bar in bars])
    subjects, configurations = (
        [info.subjects[place] for place in places],
        [info.configurations[place] for place in places],
    )
    if info.joined:
        content: dict[str, Any] = {
            "customdata": [bar.cells for bar in bars],
            "hovertemplate": f"%{{customdata}} cells, mostly {status}<br>from %{{base:.3f}} {time.name}<extra></extra>",
        }
    else:
        content = {
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
        y=np.array([bar.worker for bar in bars], dtype=np.int16),
        orientation="h",
        name=status,
        marker={"color": STATUS_COLOURS[status], "line": {"width": 0 if info.joined else 0.5, "color": "white"}},
        **content,
    )


def _compact(values: Any) -> NDArray[np.float32]:
    """Return values in single precision, which take few characters in a page."""
    return np.asarray(values, dtype=np.float32)
