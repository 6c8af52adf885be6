"""What the comparison of the search with a reference shows."""

from __future__ import annotations

import math
from enum import StrEnum

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from helo.analysis.statistics.estimates import CONFIDENCE, RESAMPLES
from helo.analysis.statistics.signed_rank import ALPHA, smallest_p
from helo.metrics import METRICS, equal_scores


class Finding(StrEnum):
    """Result of a signed-rank test with its direction."""

    BETTER = "better"
    WORSE = "worse"
    UNCLEAR = "unclear"
    """No significant difference, or mean and most subjects point in opposite directions."""
    TOO_FEW = "too few"
    """So few subjects that no result can be significant."""
    UNTESTED = "untested"


def judge_difference(subjects: int, gain: float, p: float, effect: float) -> Finding:
    """Return what a comparison shows; the arguments are columns of `compare_with_references`.

    >>> judge_difference(15, 0.01, 0.03, 0.6), judge_difference(15, 0.01, 0.2, 0.3), judge_difference(4, 0.01, 0.125, 1)
    (<Finding.BETTER: 'better'>, <Finding.UNCLEAR: 'unclear'>, <Finding.TOO_FEW: 'too few'>)
    """
    if not subjects:
        return Finding.UNTESTED
    if smallest_p(subjects) >= ALPHA:
        return Finding.TOO_FEW
    if math.isnan(p) or p >= ALPHA or gain * effect <= 0:
        return Finding.UNCLEAR
    return Finding.BETTER if gain > 0 else Finding.WORSE


def fewest_subjects() -> int:
    """Return the smallest number of subjects for which p can be below `ALPHA`.

    >>> fewest_subjects()
    6
    """
    return next(subjects for subjects in range(1, 100) if smallest_p(subjects) < ALPHA)


def skill_interval(both: pd.DataFrame, metric: str, seed: int = 0) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of a skill over subjects.

    Score and reference are resampled together, because they belong to the same subjects.

    Parameters
    ----------
    both : pandas.DataFrame
        Scores and scores of the reference in two columns, with a row per subject.
    metric : str
        Metric of the scores.
    seed : int, default 0
        Seed of the bootstrap.

    Returns
    -------
    tuple of float
        Lower and upper bound. Both are NaN with fewer than two subjects, with a score that is not finite, or if a
        resample has a perfect reference.

    Examples
    --------
    >>> skill_interval(pd.DataFrame({"search": [0.1, 0.2, 0.3], "train_mean": [0.2, 0.4, 0.6]}), "kl")
    (0.5, 0.5)
    """
    distances: NDArray[np.float64] = METRICS[metric].perfect - both.to_numpy(float)
    return error_skill_interval(distances[:, 0], distances[:, 1], seed)


def error_skill(error: float, reference: float) -> float:
    """Return the skill of a mean error: ``1 - error / reference``. NaN if the reference is unknown or makes no error.

    >>> error_skill(0.03, 0.04)
    0.25
    """
    return math.nan if math.isnan(reference) or equal_scores(reference, 0.0) else 1 - error / reference


def error_skill_interval(
    errors: NDArray[np.float64], references: NDArray[np.float64], seed: int = 0
) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of a skill, computed from errors: see `skill_interval`.

    Parameters
    ----------
    errors, references : ndarray of shape (subjects,)
        Errors, or other distances from a perfect score, and those of the reference.
    seed : int, default 0
        Seed of the bootstrap.

    Returns
    -------
    tuple of float
        Lower and upper bound.
    """
    if len(errors) < 2 or not (np.isfinite(errors).all() and np.isfinite(references).all()):
        return math.nan, math.nan
    drawn = np.random.default_rng(seed).integers(len(errors), size=(RESAMPLES, len(errors)))
    score, reference = errors[drawn].mean(axis=1), references[drawn].mean(axis=1)
    if not reference.all():
        return math.nan, math.nan
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(1 - score / reference, [tail, 100 - tail])
    return float(low), float(high)
