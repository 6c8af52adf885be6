"""The cells that an ensemble may choose. Only these keep their out-of-fold predictions in the ledger."""

from __future__ import annotations

import math
from bisect import insort
from typing import Final

CANDIDATES: Final = 8
"""Number of configurations of a fold among which its ensemble chooses: those with the best validation scores."""


class CandidateCells:
    """The best completed cells of each fold so far.

    A cell that is among the best `size` of its fold at the end is among them at any time before, whatever the order in
    which cells finish. It is therefore enough to keep the predictions of cells for which `add` returns True.

    Parameters
    ----------
    size : int
        Number of candidates of a fold.
    """

    def __init__(self, size: int = CANDIDATES) -> None:
        self.size = size
        self._best: dict[int, list[tuple[float, int]]] = {}

    def add(self, configuration: int, fold: int, loss: float) -> bool:
        """Add a completed cell and return whether it is among the best of its fold now.

        Parameters
        ----------
        configuration, fold : int
            Numbers of configuration and fold.
        loss : float
            Out-of-fold loss. Among equal losses, the lower number of the configuration is better.

        Returns
        -------
        bool
            Whether the cell is a candidate.

        Examples
        --------
        >>> best = CandidateCells(size=1)
        >>> best.add(0, 0, 0.3), best.add(1, 0, 0.4), best.add(2, 0, 0.2), best.add(3, 1, 0.9)
        (True, False, True, True)
        """
        entry = (loss, configuration)
        best = self._best.setdefault(fold, [])
        if math.isnan(loss) or (len(best) == self.size and entry > best[-1]):
            return False
        if entry not in best:
            insort(best, entry)
            del best[self.size :]
        return True
