"""Racing over folds: drop a configuration once the subjects seen so far show that it cannot win.

After some of the folds each configuration is compared with the best one on the same folds, subject by subject: a
one-sided Wilcoxon signed-rank test on the paired inner validation losses, as in Optuna's `WilcoxonPruner`. The
significance level shrinks with the number of looks. Few looks, at folds fixed beforehand, limit the number of chances
for an unlucky drop. Folds that share validation subjects are not independent, so the level is the threshold of a
forgiving rule and not an error rate.

Sources: Maron and Moore, Hoeffding Races, NIPS 1993; López-Ibáñez et al., The irace package, 2016; Holm's and
Bonferroni's bound for the repeated looks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import wilcoxon

from helo.metrics import equal_scores, without_rounding

RACE_LEVEL = 0.2
"""Significance level of a whole race. It is divided evenly among the looks."""

MAX_LOOK_LEVEL = 0.1
"""Maximum per-look significance level."""

MIN_FIRST_LOOK = 4
"""Minimum number of folds before the first look. With fewer folds the test cannot reject."""


@dataclass(frozen=True)
class Looks:
    """Looks of a race: interim comparisons of configurations.

    Attributes
    ----------
    folds : tuple of int
        Numbers of folds after which configurations are compared.
    level : float
        p-value below which a configuration is dropped.
    """

    folds: tuple[int, ...]
    level: float

    @classmethod
    def for_folds(cls, folds: int) -> Looks:
        """Return the looks of a race over `folds` folds, each after twice as many folds as the one before.

        The first look is the earliest at which the test can reject: where all n folds agree, its p-value is 2⁻ⁿ.

        >>> Looks.for_folds(15), Looks.for_folds(73)
        (Looks(folds=(4, 8), level=0.1), Looks(folds=(5, 10, 20, 40), level=0.05))
        >>> Looks.for_folds(4)
        Looks(folds=(), level=0.1)
        """
        first = MIN_FIRST_LOOK
        while True:
            found = tuple(first * 2**power for power in range(32) if first * 2**power < folds)
            level = min(MAX_LOOK_LEVEL, RACE_LEVEL / max(1, len(found)))
            if 2.0**-first < level:
                return cls(found, level)
            first += 1


def find_best(losses: Mapping[int, Sequence[float]]) -> int:
    """Return the configuration with the lowest mean, the first one among equals.

    `losses` is as for `find_inferior` and must not be empty.
    """
    means = {number: float(np.mean(values)) for number, values in losses.items()}
    return min(means, key=lambda number: (means[number], number))


def find_inferior(losses: Mapping[int, Sequence[float]], level: float) -> set[int]:
    """Return the configurations that are significantly worse than the best one on the same folds.

    Parameters
    ----------
    losses : mapping of int to sequence of float
        Configuration → its loss in each of the folds seen so far, in the same order for all configurations.
    level : float
        Significance level.

    Returns
    -------
    set of int
        Never contains the configuration with the lowest mean (see `find_best`), nor one whose mean is equal to it.

    Examples
    --------
    >>> find_inferior({0: [.1, .2, .3, .2, .1], 1: [.2, .3, .4, .3, .2], 2: [.1, .2, .2, .3, .1]}, level=0.05)
    {1}
    """
    if not losses:
        return set()
    best = find_best(losses)
    lowest = float(np.mean(losses[best]))
    worse = [number for number, values in losses.items() if float(np.mean(values)) > lowest]
    if not worse:
        return set()
    p_values = _p_values(np.array([losses[number] for number in worse]) - losses[best])
    return {number for number, p_value in zip(worse, p_values, strict=True) if p_value < level}


def _p_values(differences: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the p-value of each row of `differences` (n, folds): one-sided, against a median of at most 0."""
    sizes = without_rounding(np.where(equal_scores(differences, 0.0), 0.0, np.abs(differences)))
    differences = np.sign(differences) * sizes
    sizes = np.sort(np.abs(differences), axis=1)
    without_ties = (sizes[:, 0] > 0) & (np.diff(sizes, axis=1) > 0).all(axis=1)
    # SciPy chooses one method for all rows of a call. Rows with zeros or ties need another method than the rest, so
    # each of them is tested in a call of its own.
    found = np.empty(len(differences))
    for rows in (np.flatnonzero(without_ties), *np.flatnonzero(~without_ties)[:, None]):
        if len(rows):
            # zsplit as in Optuna: folds without a difference count half for either side instead of being left out.
            found[rows] = wilcoxon(differences[rows], axis=1, alternative="greater", zero_method="zsplit").pvalue
    return found
