"""Rungs within a fold: asynchronous successive halving among cells with the same test subject.

Cells are compared by the out-of-fold loss of their first members, which are the same in all cells of a fold. A cell
that continues after the last rung trains the rest of its members. Cells of different folds are never compared. Some
people are harder to predict than others, and the cells of a hard one would be stopped whatever their configuration. The
rungs of a cell are fixed when it starts, from cells of its fold that have ended by then. It needs no communication
while it trains.

Source: Li et al., A System for Massively Parallel Hyperparameter Tuning, MLSys 2020 (ASHA), in its stopping variant.
"""

from __future__ import annotations

import math
from array import array
from bisect import insort
from collections.abc import Sequence

REDUCTION_FACTOR = 4
"""η of successive halving: one in η cells continues after a rung."""

RUNG_SHARES = (1 / 4, 1 / 2, 1)
"""Rungs, as shares of a cell's epochs. At the last one, all members but the first are still to be trained."""

MIN_CELLS_AT_RUNG = 1
"""Minimum number of cells of a fold that must have reached a rung before a cell is stopped there.

With 2, a search of 12 configurations would train a sixth of its epochs before it could stop anything.
"""


def rung_epochs(epochs: int) -> tuple[int, ...]:
    """Return the epochs of the first members after which a cell of `epochs` epochs is compared.

    >>> rung_epochs(16), rung_epochs(100), rung_epochs(2), rung_epochs(1)
    ((4, 8, 16), (25, 50, 100), (1, 2), (1,))
    """
    candidates = {int(share * epochs) for share in RUNG_SHARES}
    return tuple(sorted(epoch for epoch in candidates if epoch > 0))


class FoldRungs:
    """Losses that the ended cells of one fold had reached by each rung.

    A new cell continues after a rung if it is among the best ⌈(n + 1) / η⌉ there, where n is the number of ended cells
    that reached the rung.

    Examples
    --------
    >>> rungs = FoldRungs()
    >>> rungs.add([9, 5, 4, 4], finished=True)
    >>> rungs.add([9, 6, 6, 3], finished=True)
    >>> rungs.limits(6)
    {1: 5.0, 3: 3.0, 6: 3.0}
    """

    def __init__(self) -> None:
        self._cells: list[tuple[Sequence[float], bool]] = []
        self._losses: dict[int, array[float]] = {}
        """Rung → ascending losses of the cells there, for the rungs that were requested so far."""

    def add(self, curve: Sequence[float], finished: bool) -> None:
        """Add an ended cell.

        Parameters
        ----------
        curve : sequence of float
            Loss of its first members by epoch, starting with epoch 0. Beyond its end, the last loss counts.
        finished : bool
            Whether the cell ran to its end. A cell that was stopped before a rung does not count there.
        """
        self._cells.append((curve, finished))
        for rung, losses in self._losses.items():
            if finished or len(curve) > rung:
                insort(losses, _loss_at(curve, rung))

    def limits(self, epochs: int) -> dict[int, float]:
        """Return the rungs of a new cell of `epochs` epochs: epoch → largest loss with which it continues."""
        found = {}
        for rung in rung_epochs(epochs):
            if rung not in self._losses:
                reached = [_loss_at(curve, rung) for curve, ended in self._cells if ended or len(curve) > rung]
                self._losses[rung] = array("d", sorted(reached))
            losses = self._losses[rung]
            if len(losses) >= MIN_CELLS_AT_RUNG:
                survivors = math.ceil((len(losses) + 1) / REDUCTION_FACTOR)
                found[rung] = losses[survivors - 1]
        return found


def _loss_at(curve: Sequence[float], rung: int) -> float:
    return curve[min(rung, len(curve) - 1)]
