"""Rungs within a fold: asynchronous successive halving among cells with the same test subject.

Cells of different folds are never compared: some people are harder to predict than others, and the hard
one's cells would be stopped whatever their configuration. A cell learns its rungs when it is handed out,
from the cells of its fold that are over by then, so that it needs nobody's word while it trains.

Source: Li et al., A System for Massively Parallel Hyperparameter Tuning, MLSys 2020 (ASHA), in its stopping
variant.
"""

from __future__ import annotations

import math
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


def limits(curves: Sequence[Sequence[float]], finished: Sequence[bool], epochs: int) -> dict[int, float]:
    """The loss that a cell must have reached at each rung to go on: epoch → largest loss.

    `curves`: for each rival, a cell of the same fold, its loss by epoch, epoch 0 first; only the best up to a
    rung counts. `finished`: whether the rival ran to its end; one that stopped before a rung is no rival
    there. A cell goes on if it is among the best ⌈(rivals + 1) / η⌉.

    >>> limits([[9, 5, 4, 4], [9, 6, 6, 3]], [True, True], 6)
    {1: 5, 3: 3}
    """
    found = {}
    for rung in rung_epochs(epochs):
        best = sorted(
            min(curve[: rung + 1]) for curve, ended in zip(curves, finished, strict=True) if ended or len(curve) > rung
        )
        if len(best) >= LEAST_RIVALS:
            found[rung] = best[math.ceil((len(best) + 1) / REDUCTION) - 1]
    return found
