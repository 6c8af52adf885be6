"""Baselines first, then the planner; every cell once, whatever happens to workers."""

from __future__ import annotations

from helo.search.planning.outcome import Outcome
from helo.search.planning.planner import MAX_ATTEMPTS, PlannedCell, Planner
from helo.search.planning.queue import BaselineCell, Queue
from helo.search.planning.space import Space

DONE = Outcome("completed", (0.3, 0.2))


def queue(*baselines: str, done: tuple[tuple[str, int], ...] = ()) -> Queue:
    return Queue(Planner(Space("two", 2, {}), folds=3, seed=0), baselines, done)


def test_baselines_come_first_and_everything_comes_once() -> None:
    mine = queue("knn", "ridge")
    cells = []
    while (cell := mine.ask()) is not None:
        cells.append(cell)
        assert not mine.finished
        mine.tell(cell, DONE)
    assert mine.finished
    assert cells[:6] == [BaselineCell(method, fold) for method in ("knn", "ridge") for fold in range(3)]
    assert all(isinstance(cell, PlannedCell) for cell in cells[6:])
    assert len(set(map(repr, cells))) == len(cells) == 6 + 6


def test_what_is_done_is_not_done_again() -> None:
    mine = queue("knn", "ridge", done=(("knn", 1), ("ridge", 0), ("mlp", 2)))
    found = [mine.ask() for _ in range(4)]
    assert found == [BaselineCell("knn", 0), BaselineCell("knn", 2), BaselineCell("ridge", 1), BaselineCell("ridge", 2)]
    assert (mine.finished_baseline_cells, mine.baseline_cells) == (2, 6)


def test_a_search_is_not_over_while_a_baseline_runs() -> None:
    mine = queue("knn")
    slow = mine.ask()
    assert slow is not None
    while (cell := mine.ask()) is not None:
        mine.tell(cell, DONE)
    assert mine.planner.finished
    assert not mine.finished
    mine.tell(slow, DONE)
    assert mine.finished


def test_a_baseline_whose_worker_dies_is_tried_again_but_not_for_ever() -> None:
    mine = queue("knn")
    cell = mine.ask()
    assert cell is not None
    for attempt in range(2, MAX_ATTEMPTS + 1):
        assert mine.retry(cell)
        cell = mine.ask()
        assert cell == BaselineCell("knn", 0, attempt)
    assert not mine.retry(cell)
