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

import numpy as np
from scipy.stats import wilcoxon

LEVEL = 0.1
"""Significance level of a whole race; each look gets its even share."""

FIRST_LOOK = 5
"""Folds before the first look: with fewer, the test cannot reach its level."""

STEP = 4
"""Folds from one look to the next."""


def looks(folds: int) -> tuple[int, ...]:
    """After how many folds configurations are compared.

    >>> looks(15), looks(8), looks(5)
    ((5, 9, 13), (5,), ())
    """
    return tuple(range(FIRST_LOOK, folds, STEP))


def losers(losses: Mapping[int, Sequence[float]], level: float) -> set[int]:
    """The configurations that are worse than the best one on the same folds.

    `losses`: configuration → its loss in each of the folds seen so far, in the same order for all. The best
    has the least mean (the first among equals) and is never among the losers; nor is a configuration whose
    mean is as good.

    >>> losers({0: [.1, .2, .3, .2, .1], 1: [.2, .3, .4, .3, .2], 2: [.1, .2, .2, .3, .1]}, level=0.05)
    {1}
    """
    means = {number: float(np.mean(values)) for number, values in losses.items()}
    if not means:
        return set()
    best = min(means, key=lambda number: (means[number], number))
    found = set()
    for number, values in losses.items():
        if means[number] <= means[best]:
            continue
        worse = np.subtract(values, losses[best])
        # zsplit as in Optuna: folds without a difference count for both sides instead of vanishing.
        if wilcoxon(worse, alternative="greater", zero_method="zsplit").pvalue < level:
            found.add(number)
    return found
