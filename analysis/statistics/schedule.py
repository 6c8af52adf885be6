"""The schedule of a run: cells on workers, pauses and utilisation. Pure functions."""

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
"""Idle seconds above which the search counts as paused: it was resumed later, or it fitted baselines."""

SLACK = 0.01
"""Seconds by which two cells of one worker may overlap, because clocks are adjusted and times are rounded."""


class Schedule(NamedTuple):
    """Cells with their times and workers, in the order of their starts.

    All times are in seconds from the first start, without pauses.

    Attributes
    ----------
    cells : DataFrame
        Rows of ``cells.parquet``.
    start, end : ndarray of shape (cells,)
        Start and end of each cell.
    worker : ndarray of shape (cells,)
        Position in `workers` of the worker that ran each cell.
    workers : tuple of (str, int)
        Node and number of each worker, grouped by node.
    pauses : tuple of (float, float)
        Time and length of each pause.
    span : float
        Time of the last end.
    capacity : float
        Available worker seconds: the sum over the stretches between pauses of their workers × their length.
    """

    cells: pd.DataFrame
    start: NDArray[np.float64]
    end: NDArray[np.float64]
    worker: NDArray[np.int64]
    workers: tuple[tuple[str, int], ...]
    pauses: tuple[tuple[float, float], ...]
    span: float
    capacity: float

    @property
    def busy(self) -> float:
        """Share of `capacity` in which cells ran."""
        return float((self.end - self.start).sum()) / self.capacity


def infer_schedule(cells: pd.DataFrame) -> Schedule:
    """Infer the schedule of a run from the times and nodes of its cells.

    The ledger records the node of a cell, not its worker. On each node, a cell is assigned to the first worker that is
    idle at its start. The number of workers is therefore the maximum number of cells that ran at the same time.

    Parameters
    ----------
    cells : DataFrame
        Columns of ``cells.parquet``.

    Returns
    -------
    Schedule
        Schedule of the cells that ran.

    Raises
    ------
    InputError
        If no cell has an end after its start.
    """
    timed = cells[cells[Column.STARTED].notna() & cells[Column.FINISHED].notna()]
    timed = timed[timed[Column.FINISHED] > timed[Column.STARTED]].sort_values(Column.STARTED, kind="stable")
    if timed.empty:
        raise InputError("no cell has a time")
    first = timed[Column.STARTED].iloc[0]
    start = (timed[Column.STARTED] - first).dt.total_seconds().to_numpy()
    end = (timed[Column.FINISHED] - first).dt.total_seconds().to_numpy()
    starts, lengths = _pauses(start, end)
    paused = np.concatenate([[0.0], np.cumsum(lengths)])
    start, end = (times - paused[np.searchsorted(starts, times, side="left")] for times in (start, end))
    worker, workers = _assign_workers(timed[Column.NODE].astype(str).tolist(), start, end)
    span = float(end.max())
    edges = [0.0, *(starts - paused[:-1]).tolist(), span]
    capacity = 0.0
    for left, right in pairwise(edges):
        capacity += len(np.unique(worker[(start >= left) & (start < right)])) * (right - left)
    pauses = tuple(zip(edges[1:-1], lengths.tolist(), strict=True))
    return Schedule(timed, start, end, worker, workers, pauses, span, capacity)


def _pauses(start: NDArray[np.float64], end: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return start and length of each interval above `PAUSE` without a running cell; `start` is sorted."""
    last = np.maximum.accumulate(end)[:-1]
    idle = start[1:] - last
    return last[idle > PAUSE], idle[idle > PAUSE]


def _assign_workers(
    nodes: list[str], start: NDArray[np.float64], end: NDArray[np.float64]
) -> tuple[NDArray[np.int64], tuple[tuple[str, int], ...]]:
    """Return the position of each cell's worker, and all workers, grouped by node in the order of node names."""
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
    position = {worker: place for place, worker in enumerate(workers)}
    assigned = [position[node, number + 1] for node, number in zip(nodes, numbers, strict=True)]
    return np.array(assigned, dtype=np.int64), workers


class Stretch(NamedTuple):
    """Consecutive cells of one worker that are drawn as one bar.

    Attributes
    ----------
    worker : int
        Position of the worker in `Schedule.workers`.
    start, end : float
        Start of the first cell and end of the last cell, in seconds.
    status : str
        Status with the largest share of the time.
    cells : int
        Number of cells.
    row : int
        Position of the first cell in the schedule.
    """

    worker: int
    start: float
    end: float
    status: str
    cells: int
    row: int


def join_cells(schedule: Schedule, statuses: NDArray[np.str_], step: float) -> list[Stretch]:
    """Join consecutive cells that a drawing with the given resolution cannot show separately.

    A cell joins its predecessor on the same worker if less than `step` lies between them and either both have the
    same status or the joined cells so far are shorter than `step`.

    Parameters
    ----------
    schedule : Schedule
        Schedule of the cells.
    statuses : ndarray of shape (cells,)
        Status of each cell.
    step : float
        Resolution in seconds. 0 joins no cells.

    Returns
    -------
    list of Stretch
        Joined cells, worker by worker.
    """
    stretches: list[Stretch] = []
    order = np.lexsort((schedule.start, schedule.worker))
    joined: list[int] = []

    def close() -> None:
        if joined:
            seconds: dict[str, float] = {}
            for row in joined:
                duration = float(schedule.end[row] - schedule.start[row])
                seconds[statuses[row]] = seconds.get(statuses[row], 0.0) + duration
            first, last = joined[0], joined[-1]
            stretches.append(
                Stretch(
                    worker=int(schedule.worker[first]),
                    start=float(schedule.start[first]),
                    end=float(schedule.end[last]),
                    status=max(seconds, key=lambda status: seconds[status]),
                    cells=len(joined),
                    row=first,
                )
            )
            joined.clear()

    for row in order.tolist():
        if joined:
            first, last = joined[0], joined[-1]
            same_worker = schedule.worker[row] == schedule.worker[last]
            near = same_worker and schedule.start[row] - schedule.end[last] < step
            short = schedule.end[last] - schedule.start[first] < step
            if not (near and (short or statuses[row] == statuses[last])):
                close()
        joined.append(row)
    close()
    return stretches
