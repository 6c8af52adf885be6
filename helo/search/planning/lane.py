"""One fold of a race: which of its cells can start, and against whom.

A fold's cells start in the order of their configurations, and each only when all those are over that its rungs
come from: the cells whose configuration is at least `lag` numbers back. So its rivals are a function of its
number, whichever worker was faster.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from helo.search.planning.rungs import Rivals

_Cell = tuple[Sequence[float], bool]
"""A cell that is over: its loss by epoch, and whether it ran to its end."""


class Lane:
    """The cells of one fold, by the numbers of their configurations.

    `lag` None: there are no rungs, and no cell waits for another.
    """

    def __init__(self, lag: int | None) -> None:
        self._lag = lag
        self._waiting: deque[int] = deque()
        self._under_way: deque[int] = deque()
        """Cells that have started, from the first that is not over."""
        self._over: dict[int, _Cell] = {}
        """Those of them that are over."""
        self._coming: deque[tuple[int, _Cell]] = deque()
        """Cells before them, too near to be rivals of one that has started."""
        self._rivals = Rivals()

    @property
    def free(self) -> int | None:
        """The first cell that waits, if it can start."""
        if not self._waiting:
            return None
        number = self._waiting[0]
        if self._lag is None or not self._under_way or self._under_way[0] > number - self._lag:
            return number
        return None

    def queue(self, numbers: Sequence[int]) -> None:
        """Cells that are to run; their numbers ascend, from call to call, too."""
        self._waiting.extend(numbers)

    def start(self, epochs: int) -> dict[int, float]:
        """Start the cell that is `free`, of at most `epochs` epochs, and return its rungs: epoch → largest loss."""
        number = self._waiting.popleft()
        if self._lag is None:
            return {}
        self._under_way.append(number)
        while self._coming and self._coming[0][0] <= number - self._lag:
            self._rivals.add(*self._coming.popleft()[1])
        return self._rivals.limits(epochs)

    def tell(self, number: int, curve: Sequence[float], finished: bool) -> None:
        """A cell is over: its loss by epoch, empty if it failed, and whether it ran to its end."""
        if self._lag is None:
            return
        self._over[number] = curve, finished
        while self._under_way and self._under_way[0] in self._over:
            first = self._under_way.popleft()
            cell = self._over.pop(first)
            if len(cell[0]):
                self._coming.append((first, cell))
