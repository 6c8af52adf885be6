"""Schedule of the cells of one fold in a race: which cell can start, and which cells decide its rungs.

The cells of a fold start in the order of their configurations. The rungs of a cell come from the cells whose
configuration is at least `lag` numbers back, and the cell starts only after all of these have ended. Its rungs are thus
a function of its number and do not depend on the speed of workers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from helo.search.planning.rungs import FoldRungs

_EndedCell = tuple[Sequence[float], bool]
"""Loss of the first members of an ended cell by epoch, and whether the cell ran to its end."""


class FoldSchedule:
    """Cells of one fold, identified by the numbers of their configurations.

    Parameters
    ----------
    lag : int or None
        See `helo.search.planning.pace.Pace`. With None there are no rungs, and no cell waits for another.
    """

    def __init__(self, lag: int | None) -> None:
        self._lag = lag
        self._waiting: deque[int] = deque()
        self._started: deque[int] = deque()
        """Started cells in order, from the first that has not ended."""
        self._ended: dict[int, _EndedCell] = {}
        """Cells of `_started` that have ended."""
        self._not_compared: deque[tuple[int, _EndedCell]] = deque()
        """Ended cells before `_started` that are less than `lag` numbers behind the last started cell."""
        self._rungs = FoldRungs()

    @property
    def next_cell(self) -> int | None:
        """First waiting cell if it can start, None otherwise."""
        if not self._waiting:
            return None
        number = self._waiting[0]
        if self._lag is None or not self._started or self._started[0] > number - self._lag:
            return number
        return None

    def add(self, numbers: Sequence[int]) -> None:
        """Append cells to run. Their numbers must ascend, also from call to call."""
        self._waiting.extend(numbers)

    def start(self, epochs: int) -> dict[int, float]:
        """Start `next_cell`, which trains for `epochs` epochs, and return its rungs: epoch → largest loss."""
        number = self._waiting.popleft()
        if self._lag is None:
            return {}
        self._started.append(number)
        while self._not_compared and self._not_compared[0][0] <= number - self._lag:
            _, (curve, finished) = self._not_compared.popleft()
            self._rungs.add(curve, finished)
        return self._rungs.limits(epochs)

    def end(self, number: int, curve: Sequence[float], finished: bool) -> None:
        """Record the end of a cell.

        `curve` is the loss of its first members by epoch, empty for a failed cell; `finished` says whether it ran to
        its end.
        """
        if self._lag is None:
            return
        self._ended[number] = curve, finished
        while self._started and self._started[0] in self._ended:
            first = self._started.popleft()
            cell = self._ended.pop(first)
            if len(cell[0]):
                self._not_compared.append((first, cell))
