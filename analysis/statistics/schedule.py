"""When cells ran and beside which others: workers, pauses, and how busy they were. Pure functions."""

from __future__ import annotations

import heapq
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from helo.errors import InputError
from helo.names import Column

PAUSE = 60.0
"""Seconds without any running cell from which on a search has paused: it was resumed later, or ran its baselines."""


SLACK = 0.01
"""Seconds by which cells of one worker may overlap: clocks are adjusted while they run, and times are rounded."""


class Schedule(NamedTuple):
    """The cells that ran, in the order in which they started. Times are seconds from the first start, without pauses.

    - `cells`: their rows of ``cells.parquet``
    - `start`, `end`: (cells,)
    - `lane`: (cells,) on which worker, by number in `workers`
    - `workers`: node and number of each worker, node by node
    - `pauses`: when the search paused, and for how long
    - `span`: seconds from the first start to the last end
    - `capacity`: worker seconds that there were: of each stretch between pauses, its workers × its length
    """

    cells: pd.DataFrame
    start: NDArray[np.float64]
    end: NDArray[np.float64]
    lane: NDArray[np.int64]
    workers: tuple[tuple[str, int], ...]
    pauses: tuple[tuple[float, float], ...]
    span: float
    capacity: float

    @property
    def busy(self) -> float:
        """The share of `capacity` in which cells ran."""
        return float((self.end - self.start).sum()) / self.capacity


def infer_schedule(cells: pd.DataFrame) -> Schedule:
    """How the cells of a run lay beside each other; `cells` is as in ``cells.parquet``.

    The ledger knows the node of a cell, not its worker: on each node a cell takes the first worker that is free when
    it starts, so that there are as many as ran at once at most. Raise `InputError` if no cell has run for any time.
    """
    known = cells[cells[Column.STARTED].notna() & cells[Column.FINISHED].notna()]
    known = known[known[Column.FINISHED] > known[Column.STARTED]].sort_values(Column.STARTED, kind="stable")
    if known.empty:
        raise InputError("no cell has a time")
    first = known[Column.STARTED].iloc[0]
    start = (known[Column.STARTED] - first).dt.total_seconds().to_numpy()
    end = (known[Column.FINISHED] - first).dt.total_seconds().to_numpy()
    starts, lengths = _pauses(start, end)
    passed = np.concatenate([[0.0], np.cumsum(lengths)])
    start, end = (times - passed[np.searchsorted(starts, times, side="left")] for times in (start, end))
    lane, workers = _lanes(known[Column.NODE].astype(str).tolist(), start, end)
    span = float(end.max())
    edges = [0.0, *(starts - passed[:-1]).tolist(), span]
    capacity = 0.0
    for left, right in pairwise(edges):
        capacity += len(np.unique(lane[(start >= left) & (start < right)])) * (right - left)
    pauses = tuple(zip(edges[1:-1], lengths.tolist(), strict=True))
    return Schedule(known, start, end, lane, workers, pauses, span, capacity)


def _pauses(start: NDArray[np.float64], end: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """When no cell ran for longer than `PAUSE`, and for how long; `start` is in order."""
    last = np.maximum.accumulate(end)[:-1]
    idle = start[1:] - last
    return last[idle > PAUSE], idle[idle > PAUSE]


def _lanes(
    nodes: list[str], start: NDArray[np.float64], end: NDArray[np.float64]
) -> tuple[NDArray[np.int64], tuple[tuple[str, int], ...]]:
    """The worker of each cell, and all workers, node by node in order of their names."""
    free: dict[str, list[int]] = {node: [] for node in sorted(set(nodes))}
    running: dict[str, list[tuple[float, int]]] = {node: [] for node in free}
    counts = dict.fromkeys(free, 0)
    numbers = []
    for node, begins, ends in zip(nodes, start.tolist(), end.tolist(), strict=True):
        while running[node] and running[node][0][0] <= begins + SLACK:
            heapq.heappush(free[node], heapq.heappop(running[node])[1])
        if free[node]:
            number = heapq.heappop(free[node])
        else:
            number = counts[node]
            counts[node] += 1
        heapq.heappush(running[node], (ends, number))
        numbers.append(number)
    workers = tuple((node, number + 1) for node in free for number in range(counts[node]))
    place = {worker: lane for lane, worker in enumerate(workers)}
    lanes = [place[node, number + 1] for node, number in zip(nodes, numbers, strict=True)]
    return np.array(lanes, dtype=np.int64), workers


class Stretch(NamedTuple):
    """Cells of one worker that are drawn as one: `cells` of them from `start` to `end`, most of the time `status`.

    `row` is the first one's place in the schedule.
    """

    lane: int
    start: float
    end: float
    status: str
    cells: int
    row: int


def join_cells(found: Schedule, statuses: NDArray[np.str_], step: float) -> list[Stretch]:
    """The schedule's cells, joined where they could not be told apart at a resolution of `step` seconds; 0 joins none.

    A cell joins the one before it on its worker if less than `step` lies between them, and the two have the same
    status or what is joined so far is shorter than `step`.
    """
    done: list[Stretch] = []
    order = np.lexsort((found.start, found.lane))
    joined: list[int] = []

    def close() -> None:
        if joined:
            seconds: dict[str, float] = {}
            for row in joined:
                seconds[statuses[row]] = seconds.get(statuses[row], 0.0) + float(found.end[row] - found.start[row])
            lane, start, end = found.lane[joined[0]], found.start[joined[0]], found.end[joined[-1]]
            most = max(seconds, key=lambda status: seconds[status])
            done.append(Stretch(int(lane), float(start), float(end), most, len(joined), joined[0]))
            joined.clear()

    for row in order.tolist():
        if joined:
            first, last = joined[0], joined[-1]
            near = found.lane[row] == found.lane[last] and found.start[row] - found.end[last] < step
            short = found.end[last] - found.start[first] < step
            if not (near and (short or statuses[row] == statuses[last])):
                close()
        joined.append(row)
    close()
    return done
