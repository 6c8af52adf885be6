"""Rungs within a fold: asynchronous successive halving among cells with the same test subject.

Cells of different folds are never compared. Some people are harder to predict than others, and the cells of a hard one
would be stopped whatever their configuration. The rungs of a cell are fixed when it starts, from cells of its fold that
have ended by then. It needs no communication while it trains.

Source: Li et al., A System for Massively Parallel Hyperparameter Tuning, MLSys 2020 (ASHA), in its stopping variant.
"""

from __future__ import annotations

import math
from array import array
from bisect import insort
from collections.abc import Sequence

REDUCTION_FACTOR = 4
"""η of successive halving: one in η cells continues after a rung."""

RUNG_SHARES = (1 / 4, 1 / 2)
"""Rungs, as shares of a cell's epochs.

Earlier rungs would save more epochs, but favour fast learning over good results: on simulated people they cost 4 % of
the score.
"""

MIN_CELLS_AT_RUNG = 2
"""Minimum number of cells of a fold that must have reached a rung before a cell is stopped there."""


def rung_epochs(epochs: int) -> tuple[int, ...]:
    """Return the epochs after which a cell of at most `epochs` epochs is compared.

    >>> rung_epochs(16), rung_epochs(100), rung_epochs(2), rung_epochs(1)
    ((4, 8), (25, 50), (1,), ())
    """
    candidates = {int(share * epochs) for share in RUNG_SHARES}
    return tuple(sorted(epoch for epoch in candidates if 0 < epoch < epochs))


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
    {1: 5.0, 3: 3.0}
    """

    def __init__(self) -> None:
        self._cells: list[tuple[Sequence[float], bool]] = []
        self._losses: dict[int, array[float]] = {}
        """Rung → ascending best losses of the cells up to it, for the rungs that were requested so far."""

    def add(self, curve: Sequence[float], finished: bool) -> None:
        """Add an ended cell.

        Parameters
        ----------
        curve : sequence of float
            Its loss by epoch, starting with epoch 0. Only the best loss up to a rung counts.
        finished : bool
            Whether the cell ran to its end. A cell that was stopped before a rung does not count there.
        """
        self._cells.append((curve, finished))
        for rung, losses in self._losses.items():
            if finished or len(curve) > rung:
                insort(losses, min(curve[: rung + 1]))

    def limits(self, epochs: int) -> dict[int, float]:
        """Return the rungs of a new cell of at most `epochs` epochs: epoch → largest loss with which it continues."""
        found = {}
        for rung in rung_epochs(epochs):
            if rung not in self._losses:
                reached = [min(curve[: rung + 1]) for curve, ended in self._cells if ended or len(curve) > rung]
                self._losses[rung] = array("d", sorted(reached))
            losses = self._losses[rung]
            if len(losses) >= MIN_CELLS_AT_RUNG:
                survivors = math.ceil((len(losses) + 1) / REDUCTION_FACTOR)
                found[rung] = losses[survivors - 1]
        return found
