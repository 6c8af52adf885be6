"""Tests of the queue: baselines come before the planner, and each cell runs once."""

from __future__ import annotations

from helo.search.planning.outcome import Outcome
from helo.search.planning.planner import MAX_ATTEMPTS, PlannedCell, Planner
from helo.search.planning.queue import BaselineCell, Queue
from helo.search.planning.space import Space

DONE = Outcome("completed", (0.3, 0.2), 0.2)


def make_queue(*baselines: str, done: tuple[tuple[str, int], ...] = ()) -> Queue:
    return Queue(Planner(Space("two", 2, {}), folds=3, seed=0), baselines, done)


def test_baselines_come_first_and_each_cell_once() -> None:
    queue = make_queue("knn", "ridge")
    cells = []
    while (cell := queue.ask()) is not None:
        cells.append(cell)
        assert not queue.finished
        queue.tell(cell, DONE)
    assert queue.finished
    assert cells[:6] == [BaselineCell(method, fold) for method in ("knn", "ridge") for fold in range(3)]
    assert all(isinstance(cell, PlannedCell) for cell in cells[6:])
    assert len(set(map(repr, cells))) == len(cells) == 6 + 6


def test_finished_baseline_cells_are_not_repeated() -> None:
    queue = make_queue("knn", "ridge", done=(("knn", 1), ("ridge", 0), ("mlp", 2)))
    found = [queue.ask() for _ in range(4)]
    assert found == [BaselineCell("knn", 0), BaselineCell("knn", 2), BaselineCell("ridge", 1), BaselineCell("ridge", 2)]
    assert (queue.finished_baseline_cells, queue.baseline_cells) == (2, 6)


def test_search_is_not_finished_while_a_baseline_runs() -> None:
    queue = make_queue("knn")
    slow = queue.ask()
    assert slow is not None
    while (cell := queue.ask()) is not None:
        queue.tell(cell, DONE)
    assert queue.planner.finished
    assert not queue.finished
    queue.tell(slow, DONE)
    assert queue.finished


def test_lost_baseline_cell_is_retried_a_limited_number_of_times() -> None:
    queue = make_queue("knn")
    cell = queue.ask()
    assert cell is not None
    for attempt in range(2, MAX_ATTEMPTS + 1):
        assert queue.retry(cell)
        cell = queue.ask()
        assert cell == BaselineCell("knn", 0, attempt)
    assert not queue.retry(cell)
