"""What a search hands out: the baselines' cells first, then what the planner plans."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from helo.search.planning.planner import MAX_ATTEMPTS, PlannedCell, Planner
from helo.search.planning.race import Outcome


@dataclass(frozen=True)
class BaselineCell:
    """One baseline on one fold (by number); `attempt` counts from 1."""

    method: str
    fold: int
    attempt: int = 1


Cell = PlannedCell | BaselineCell


class Queue:
    """The planner, and before it the cells of `baselines`, in every fold but those in `done` (method, fold).

    Baselines come first so that a search that is cut short has something to stand beside; they take little of it.
    """

    def __init__(self, planner: Planner, baselines: Sequence[str] = (), done: Collection[tuple[str, int]] = ()) -> None:
        self.planner = planner
        every = [(method, fold) for method in baselines for fold in range(planner.folds)]
        self._open = deque(BaselineCell(*key) for key in every if key not in done)
        self.baselines, self.baselines_told = len(every), len(every) - len(self._open)

    @property
    def finished(self) -> bool:
        """Whether every cell has been told."""
        return self.baselines_told == self.baselines and self.planner.finished

    def ask(self) -> Cell | None:
        """The next cell to run, or None if there is none: for now, unless `finished`."""
        return self._open.popleft() if self._open else self.planner.ask()

    def tell(self, cell: Cell, outcome: Outcome) -> None:
        """Take a finished cell."""
        if isinstance(cell, BaselineCell):
            self.baselines_told += 1
        else:
            self.planner.tell(cell, outcome)

    def retry(self, cell: Cell, scale: int = 1) -> bool:
        """See `Planner.retry`."""
        if isinstance(cell, PlannedCell):
            return self.planner.retry(cell, scale)
        if cell.attempt >= MAX_ATTEMPTS:
            return False
        self._open.appendleft(replace(cell, attempt=cell.attempt + 1))
        return True
