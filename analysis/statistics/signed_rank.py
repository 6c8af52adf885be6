r"""The Wilcoxon signed-rank test of paired differences, with its effect size, and Holm's correction.

Differences :math:`d_i` of n subjects, those that are 0 left out; :math:`r_i` are the ranks of :math:`|d_i|`,
:math:`W_+ = \sum_{d_i > 0} r_i` and :math:`W_-` likewise. If two methods are alike, each sign is as likely as the
other: the null distribution is that of :math:`W_+` over all :math:`2^n` choices of signs.

F. Wilcoxon, "Individual comparisons by ranking methods", Biometrics Bulletin 1945. The effect size is the matched-pairs
rank-biserial correlation :math:`(W_+ - W_-) / (W_+ + W_-)`: D. S. Kerby, "The simple difference formula", Comprehensive
Psychology 2014. S. Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Statistics 1979.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

ALPHA: Final = 0.05
"""A p below this is taken for a difference."""

FEW: Final = 20
"""Below so many subjects p comes from permutations and not from a normal approximation."""

RESAMPLES: Final = 9999
"""Permutations that are drawn where there are more; with no more than so many, all are gone through."""


class SignedRank(NamedTuple):
    """- `statistic`: SciPy's, the smaller of W₊ and W₋
    - `p`: two-sided
    - `effect`: from -1 (all below 0) to 1 (all above 0)
    """

    statistic: float
    p: float
    effect: float


def signed_rank_test(differences: ArrayLike, seed: int = 0) -> SignedRank:
    """Test whether `differences`, shape (subjects,), lie about 0.

    Zeros say nothing of a direction and are left out; if all are zero, p is 1 and the effect 0. Infinite differences
    count as the largest. Below 20 differences p is that of the permutation test: exact where all are of different size
    or there are at most 13, else from 9,999 permutations drawn by `seed`. From 20 on it is what SciPy
    chooses: exact up to 50, then normal. Fewer than two differences, or one that is no number, give NaN.

    >>> signed_rank_test([1.0, 2.0, 3.0, -4.0])
    SignedRank(statistic=4.0, p=0.875, effect=0.2)
    """
    from scipy.stats import wilcoxon

    values = np.asarray(differences, dtype=float)
    if len(values) < 2 or np.isnan(values).any():
        return SignedRank(np.nan, np.nan, np.nan)
    values = values[values != 0]
    if not len(values):
        return SignedRank(0.0, 1.0, 0.0)
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
    """What ``wilcoxon(values, method=PermutationMethod(...))`` gives, 50 times faster: ranks are made once."""
    from scipy.stats import permutation_test, rankdata

    ranks = np.sign(values) * rankdata(np.abs(values))
    found = permutation_test(
        (ranks,),
        lambda drawn, axis: drawn.sum(axis=axis),
        permutation_type="samples",
        n_resamples=RESAMPLES,
        vectorized=True,
        rng=np.random.default_rng(seed),
    )
    return float(found.pvalue)


def holm_correction(p: ArrayLike) -> NDArray[np.float64]:
    """Holm's correction of a family of p values, shape (tests,): below 0.05 they hold together.

    NaN stays NaN and is no part of the family.

    >>> holm_correction([0.01, 0.04, float("nan")]).tolist()
    [0.02, 0.04, nan]
    """
    values = np.asarray(p, dtype=float)
    known = ~np.isnan(values)
    corrected = np.full(values.shape, np.nan)
    if known.any():
        corrected[known] = _holm(tuple(values[known].tolist()))
    return corrected


@lru_cache(maxsize=256)  # statsmodels collects garbage at every call: 0.1 s, and reports ask again
def _holm(p: tuple[float, ...]) -> tuple[float, ...]:
    if len(p) == 1:
        return p
    from statsmodels.stats.multitest import multipletests

    return tuple(multipletests(p, alpha=ALPHA, method="holm")[1].tolist())


def smallest_p(subjects: int) -> float:
    """The smallest p that so many subjects can give, when all agree.

    >>> smallest_p(5), smallest_p(6)
    (0.0625, 0.03125)
    """
    return float(min(1.0, 2.0 ** (1 - subjects)))
