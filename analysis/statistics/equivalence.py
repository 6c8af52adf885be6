r"""Whether two methods are practically the same: the Bayesian signed-rank test with a region of practical equivalence.

:math:`x_1, …, x_n` are paired differences of skill, and :math:`x_0 = 0` is the prior, with a weight of one half.
With weights :math:`w \sim Dirichlet(1/2, 1, …, 1)`, the probability that a further pair of subjects is better by more
than the region r is :math:`θ_+ = \sum_{ij} w_i w_j [x_i + x_j > 2r]`, likewise :math:`θ_-` for worse, and
:math:`θ_0 = 1 - θ_+ - θ_-`. The result are the posterior probabilities that each of the three is the largest.

A. Benavoli et al., "Time for a Change: a Tutorial for Comparing Multiple Classifiers Through Bayesian Analysis",
JMLR 18(77), 2017; A. Benavoli et al., "A Bayesian Wilcoxon signed-rank test based on the Dirichlet process", ICML 2014.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from helo.analysis.statistics.comparisons import references
from helo.analysis.statistics.meta_analysis import pair_skills
from helo.metrics import METRICS
from helo.names import Column, Estimate

REGION: Final = 0.02
"""Half the width of the region of practical equivalence, in skill: 2 % of the way from the train mean to perfect."""

SURE: Final = 0.95
"""Posterior probability from which on a result is stated."""

SAMPLES: Final = 5000
"""Number of draws from the posterior. The standard error of a probability of 0.95 is 0.003."""

FEWEST: Final = 5
"""Minimum number of subjects. With fewer, the prior would weigh too much."""

EQUIVALENCE_COLUMNS: Final = (
    Column.METRIC,
    Column.REFERENCE,
    "subjects",
    "difference",
    "p_better",
    "p_same",
    "p_worse",
)
"""Columns of `compare_practically`."""


class Practical(NamedTuple):
    """Posterior probabilities that a method is practically better, the same, or worse. They sum to 1."""

    better: float
    same: float
    worse: float


def bayesian_signed_rank(differences: ArrayLike, region: float = REGION, seed: int = 0) -> Practical:
    """Return the probabilities that a method is practically better, the same, or worse.

    Parameters
    ----------
    differences : array-like of shape (subjects,)
        Paired differences; above 0 if the method is better.
    region : float
        Differences of at most this size are practically none.
    seed : int, default 0
        Seed of the draws.

    Returns
    -------
    Practical
        All NaN with fewer than `FEWEST` differences, or if one is not finite.

    Examples
    --------
    >>> bayesian_signed_rank([0.3, 0.2, 0.4, 0.3, 0.2, 0.5]).better > 0.95
    True
    >>> bayesian_signed_rank([0.001, -0.002, 0.0, 0.003, -0.001, 0.002]).same > 0.95
    True
    """
    values = np.asarray(differences, dtype=float)
    if len(values) < FEWEST or not np.isfinite(values).all():
        return Practical(np.nan, np.nan, np.nan)
    values = np.concatenate([[0.0], values])
    weights = np.random.default_rng(seed).dirichlet([0.5, *[1.0] * (len(values) - 1)], SAMPLES)
    sums = values[:, None] + values
    above, below = (np.einsum("si,si->s", weights @ _exceeds(sign * sums, 2 * region), weights) for sign in (1.0, -1.0))
    largest = np.argmax(np.column_stack([above, 1 - above - below, below]), axis=1)
    shares = np.bincount(largest, minlength=3) / SAMPLES
    return Practical(*map(float, shares))


def _exceeds(sums: NDArray[np.float64], limit: float) -> NDArray[np.float64]:
    """Return 1 where a sum exceeds the limit, and one half where it equals it."""
    found: NDArray[np.float64] = (sums > limit) + 0.5 * (sums == limit)
    return found


def compare_practically(scores: pd.DataFrame, metric: str, compared: Sequence[str] | None = None) -> pd.DataFrame:
    """Compare ``per_fold_selection`` with references: practically better, the same, or worse.

    Parameters
    ----------
    scores : DataFrame
        As from `helo.analysis.statistics.estimates.subject_scores`.
    metric : str
        Metric to compare on.
    compared : sequence of str, optional
        References to compare with; all of them by default.

    Returns
    -------
    DataFrame
        A row per reference, with columns:

        - ``metric``, ``reference``
        - ``subjects``: number of common subjects
        - ``difference``: mean difference of skill over subjects; above 0 if the search is better
        - ``p_better``, ``p_same``, ``p_worse``: see `bayesian_signed_rank`
    """
    rows = []
    for reference in references(scores) if compared is None else compared:
        values = pair_skills(scores, metric, Estimate.PER_FOLD_SELECTION, reference).differences
        mean = float(values.mean()) if len(values) else np.nan
        rows.append((METRICS[metric].name, reference, len(values), mean, *bayesian_signed_rank(values)))
    return pd.DataFrame(rows, columns=list(EQUIVALENCE_COLUMNS))
