r"""The Wilcoxon signed-rank test of paired differences, with its effect size, and Holm's correction.

:math:`d_i` are the differences of n subjects, without zeros, and :math:`r_i` are the ranks of :math:`|d_i|`. The
statistics are :math:`W_+ = \sum_{d_i > 0} r_i` and :math:`W_- = \sum_{d_i < 0} r_i`. Under the null hypothesis both
signs are equally likely, and the null distribution is that of :math:`W_+` over all :math:`2^n` choices of signs.

F. Wilcoxon, "Individual comparisons by ranking methods", Biometrics Bulletin 1945. The effect size is the matched-pairs
rank-biserial correlation :math:`(W_+ - W_-) / (W_+ + W_-)`: D. S. Kerby, "The simple difference formula", Comprehensive
Psychology 2014. S. Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Statistics 1979.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from helo.metrics import equal_scores, without_rounding

ALPHA: Final = 0.05
"""Significance level."""

FEW: Final = 20
"""Number of subjects from which on p may come from an asymptotic approximation instead of permutations."""

RESAMPLES: Final = 9999
"""Maximum number of permutations. All permutations are used if they are no more, otherwise a random sample."""


class SignedRank(NamedTuple):
    """Result of the signed-rank test.

    Attributes
    ----------
    statistic : float
        The smaller of W₊ and W₋, as in SciPy.
    p : float
        Two-sided p value.
    effect : float
        Matched-pairs rank-biserial correlation, from -1 (all differences below 0) to 1 (all above 0).
    """

    statistic: float
    p: float
    effect: float


def signed_rank_test(differences: ArrayLike, seed: int = 0) -> SignedRank:
    """Test whether paired differences are symmetric about 0.

    Differences below `helo.metrics.RESOLUTION` are zeros, and zeros are left out. Sizes that differ by less are tied.
    Infinite differences have the largest ranks. Below 20 differences, p is that of the
    permutation test: exact if no absolute values are tied or there are at most 13 differences, otherwise from 9,999
    random permutations. From 20 differences on SciPy chooses the method: exact up to 50 without ties, otherwise
    a normal approximation.

    Parameters
    ----------
    differences : array-like of shape (subjects,)
        Differences of two methods.
    seed : int, default 0
        Seed of the permutations.

    Returns
    -------
    SignedRank
        Statistic, p value and effect size. All are NaN with fewer than two differences or if a difference is NaN. If
        all differences are 0, p is 1 and the effect is 0.

    Examples
    --------
    >>> signed_rank_test([1.0, 2.0, 3.0, -4.0])
    SignedRank(statistic=4.0, p=0.875, effect=0.2)
    """
    from scipy.stats import wilcoxon

    values = np.asarray(differences, dtype=float)
    if len(values) < 2 or np.isnan(values).any():
        return SignedRank(np.nan, np.nan, np.nan)
    values = values[~equal_scores(values, 0.0)]
    if not len(values):
        return SignedRank(0.0, 1.0, 0.0)
    values = np.sign(values) * without_rounding(np.abs(values))
    count = len(values)
    tied = len(np.unique(np.abs(values))) < count
    above = float(wilcoxon(values, alternative="greater", method="asymptotic").statistic)
    total = count * (count + 1) / 2
    if tied and count < FEW:
        p = _permuted(values, seed)
    else:
        p = float(wilcoxon(values, method="exact" if count < FEW else "auto").pvalue)
    return SignedRank(min(above, total - above), p, (2 * above - total) / total)


def _permuted(values: NDArray[np.float64], seed: int) -> float:
    """Return the p value of ``wilcoxon(values, method=PermutationMethod(...))``.

    Ranks are computed once instead of for each permutation, which is 50 times faster.
    """
    from scipy.stats import permutation_test, rankdata

    ranks = np.sign(values) * rankdata(np.abs(values))
    result = permutation_test(
        (ranks,),
        lambda drawn, axis: drawn.sum(axis=axis),
        permutation_type="samples",
        n_resamples=RESAMPLES,
        vectorized=True,
        rng=np.random.default_rng(seed),
    )
    return float(result.pvalue)


def holm_correction(p: ArrayLike) -> NDArray[np.float64]:
    """Return p values corrected by Holm's step-down procedure.

    Rejecting corrected values below a significance level bounds the family-wise error rate by that level.

    Parameters
    ----------
    p : array-like of shape (tests,)
        p values of the family. NaN is not part of the family.

    Returns
    -------
    ndarray of shape (tests,)
        Corrected p values, NaN where `p` is NaN.

    Examples
    --------
    >>> holm_correction([0.01, 0.04, float("nan")]).tolist()
    [0.02, 0.04, nan]
    """
    values = np.asarray(p, dtype=float)
    family = ~np.isnan(values)
    corrected = np.full(values.shape, np.nan)
    if family.any():
        corrected[family] = _holm(tuple(values[family].tolist()))
    return corrected


@lru_cache(maxsize=256)  # statsmodels runs the garbage collector in every call (0.1 s), and reports repeat calls
def _holm(p: tuple[float, ...]) -> tuple[float, ...]:
    if len(p) == 1:
        return p
    from statsmodels.stats.multitest import multipletests

    return tuple(multipletests(p, alpha=ALPHA, method="holm")[1].tolist())


def smallest_p(subjects: int) -> float:
    """Return the smallest two-sided p value that the test can reach.

    Parameters
    ----------
    subjects : int
        Number of subjects.

    Returns
    -------
    float
        p value if all differences have the same sign.

    Examples
    --------
    >>> smallest_p(5), smallest_p(6)
    (0.0625, 0.03125)
    """
    return float(min(1.0, 2.0 ** (1 - subjects)))
