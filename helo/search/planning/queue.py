"""Queue of all cells of a search: the baselines' cells first, then the planner's."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from helo.search.planning.outcome import Outcome
from helo.search.planning.planner import MAX_ATTEMPTS, PlannedCell, Planner


@dataclass(frozen=True)
class BaselineCell:
    """One fitted baseline on one fold (by number). `attempt` starts with 1."""

    method: str
    fold: int
    attempt: int = 1


Cell = PlannedCell | BaselineCell


class Queue:
    """Ask-and-tell interface to the cells of the fitted baselines and of a planner.

    Baselines come first, so that an interrupted search has a reference. They take little of its time.

    Parameters
    ----------
    planner : Planner
        Planner of the search.
    baselines : sequence of str
        Fitted baselines to score in every fold.
    finished_baselines : collection of (str, int)
        Method and fold number of baseline cells that need not run again.

    Attributes
    ----------
    baseline_cells, finished_baseline_cells : int
        Number of all baseline cells, and of those that are finished.
    """

    def __init__(
        self,
        planner: Planner,
        baselines: Sequence[str] = (),
        finished_baselines: Collection[tuple[str, int]] = (),
    ) -> None:
        self.planner = planner
        keys = [(method, fold) for method in baselines for fold in range(planner.folds)]
        self._waiting = deque(BaselineCell(*key) for key in keys if key not in finished_baselines)
        self.baseline_cells = len(keys)
        self.finished_baseline_cells = len(keys) - len(self._waiting)

    @property
    def finished(self) -> bool:
        """Whether the outcome of every cell was reported."""
        return self.finished_baseline_cells == self.baseline_cells and self.planner.finished

    def ask(self) -> Cell | None:
        """Return the next cell to run; None if no cell can start now, see `Planner.ask`."""
        return self._waiting.popleft() if self._waiting else self.planner.ask()

    def tell(self, cell: Cell, outcome: Outcome) -> None:
        """Report the outcome of a cell."""
        if isinstance(cell, BaselineCell):
            self.finished_baseline_cells += 1
        else:
            self.planner.tell(cell, outcome)

    def retry(self, cell: Cell, gpu_factor: int = 1) -> bool:
        """Queue a cell again whose worker died or ran out of memory, see `Planner.retry`."""
        if isinstance(cell, PlannedCell):
            return self.planner.retry(cell, gpu_factor)
        if cell.attempt >= MAX_ATTEMPTS:
            return False
        self._waiting.appendleft(replace(cell, attempt=cell.attempt + 1))
        return True
