"""Rungs within a fold: asynchronous successive halving among cells with the same test subject.

Cells of different folds are never compared: some people are harder to predict than others, and the hard
one's cells would be stopped whatever their configuration. A cell learns its rungs when it is handed out,
from the cells of its fold that are over by then, so that it needs nobody's word while it trains.

Source: Li et al., A System for Massively Parallel Hyperparameter Tuning, MLSys 2020 (ASHA), in its stopping
variant.
"""

from __future__ import annotations

import math
from array import array
from bisect import insort
from collections.abc import Sequence

REDUCTION = 4
"""One in so many cells goes on at a rung (η of successive halving)."""

SHARES = (1 / 4, 1 / 2)
"""Rungs, as shares of a cell's epochs. Earlier ones would save more and favour what learns fast over what learns
well: on simulated people they cost 4 % of the score."""

LEAST_RIVALS = 2
"""Cells of the fold that must have reached a rung before it stops anyone."""


def rung_epochs(epochs: int) -> tuple[int, ...]:
    """The epochs after which a cell of at most `epochs` epochs is compared.

    >>> rung_epochs(16), rung_epochs(100), rung_epochs(2), rung_epochs(1)
    ((4, 8), (25, 50), (1,), ())
    """
    return tuple(sorted({epoch for share in SHARES if 0 < (epoch := int(share * epochs)) < epochs}))


class Rivals:
    """The finished cells of one fold that others are compared with, and what they had reached by each rung.

    A cell goes on at a rung if it is among the best ⌈(rivals + 1) / η⌉ there.

    >>> rivals = Rivals()
    >>> rivals.add([9, 5, 4, 4], finished=True)
    >>> rivals.add([9, 6, 6, 3], finished=True)
    >>> rivals.limits(6)
    {1: 5.0, 3: 3.0}
    """

    def __init__(self) -> None:
        self._cells: list[tuple[Sequence[float], bool]] = []
        self._reached: dict[int, array[float]] = {}
        """By rung, as far as one was asked for: the rivals' best losses up to it, in order."""

    def add(self, curve: Sequence[float], finished: bool) -> None:
        """One rival more.

        `curve`: its loss by epoch, epoch 0 first; only the best up to a rung counts. `finished`: whether it ran
        to its end; one that stopped before a rung is no rival there.
        """
        self._cells.append((curve, finished))
        for rung, reached in self._reached.items():
            if finished or len(curve) > rung:
                insort(reached, min(curve[: rung + 1]))

    def limits(self, epochs: int) -> dict[int, float]:
        """The loss that a cell of `epochs` epochs must have reached at each rung to go on: epoch → largest loss."""
        found = {}
        for rung in rung_epochs(epochs):
            if rung not in self._reached:
                losses = [min(curve[: rung + 1]) for curve, ended in self._cells if ended or len(curve) > rung]
                self._reached[rung] = array("d", sorted(losses))
            reached = self._reached[rung]
            if len(reached) >= LEAST_RIVALS:
                found[rung] = reached[math.ceil((len(reached) + 1) / REDUCTION) - 1]
        return found
