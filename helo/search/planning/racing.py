"""Racing over folds: a configuration is dropped once the subjects seen so far say that it cannot win.

After some of the folds each configuration is compared with the best one on the same folds, subject by
subject: a one-sided Wilcoxon signed-rank test on the paired inner validation losses, as Optuna's
`WilcoxonPruner` does, at a level that shrinks with the number of looks. Few looks, at folds fixed beforehand,
keep the number of chances to be unlucky small; folds that share validation subjects are not independent,
so the level is a threshold for a forgiving rule and no error rate.

Sources: Maron and Moore, Hoeffding Races, NIPS 1993; López-Ibáñez et al., The irace package, 2016;
Holm's and Bonferroni's bound for the repeated looks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import wilcoxon

LEVEL = 0.2
"""Significance level of a whole race; each look gets its even share of it."""

MOST = 0.1
"""No look is laxer than this, however few there are."""

FIRST_LOOK = 4
"""Folds before the first look at least: with fewer, the test could not tell anything."""


@dataclass(frozen=True)
class Looks:
    """After how many folds configurations are compared, and the p value below which one is dropped."""

    folds: tuple[int, ...]
    level: float


def looks(folds: int) -> Looks:
    """The looks of a race over so many folds: each after twice as many as the one before.

    The first comes as early as the test can say anything: when all folds agree, its p value is 2⁻ⁿ.

    >>> looks(15), looks(73)
    (Looks(folds=(4, 8), level=0.1), Looks(folds=(5, 10, 20, 40), level=0.05))
    >>> looks(4)
    Looks(folds=(), level=0.1)
    """
    first = FIRST_LOOK
    while True:
        found = tuple(first * 2**power for power in range(32) if first * 2**power < folds)
        level = min(MOST, LEVEL / max(1, len(found)))
        if 2.0**-first < level:
            return Looks(found, level)
        first += 1


def leader(losses: Mapping[int, Sequence[float]]) -> int:
    """The configuration with the least mean, the first among equals. `losses` as for `losers`, and not empty."""
    means = {number: float(np.mean(values)) for number, values in losses.items()}
    return min(means, key=lambda number: (means[number], number))


def losers(losses: Mapping[int, Sequence[float]], level: float) -> set[int]:
    """The configurations that are worse than the best one on the same folds.

    `losses`: configuration → its loss in each of the folds seen so far, in the same order for all. The best
    has the least mean (the first among equals) and is never among the losers; nor is a configuration whose
    mean is as good.

    >>> losers({0: [.1, .2, .3, .2, .1], 1: [.2, .3, .4, .3, .2], 2: [.1, .2, .2, .3, .1]}, level=0.05)
    {1}
    """
    if not losses:
        return set()
    best = leader(losses)
    least = float(np.mean(losses[best]))
    worse = [number for number, values in losses.items() if float(np.mean(values)) > least]
    if not worse:
        return set()
    p = _p_values(np.array([losses[number] for number in worse]) - losses[best])
    return {number for number, value in zip(worse, p, strict=True) if value < level}


def _p_values(differences: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of the one-sided test that differences (n, folds) are above 0 in a row: (n,)."""
    sizes = np.sort(np.abs(differences), axis=1)
    plain = (sizes[:, 0] > 0) & (np.diff(sizes, axis=1) > 0).all(axis=1)
    # SciPy takes one method for all rows that it is given: those with zeros or ties, which need another, come alone.
    found = np.empty(len(differences))
    for rows in (np.flatnonzero(plain), *np.flatnonzero(~plain)[:, None]):
        if len(rows):
            # zsplit as in Optuna: folds without a difference count for both sides instead of vanishing.
            found[rows] = wilcoxon(differences[rows], axis=1, alternative="greater", zero_method="zsplit").pvalue
    return found
