r"""Six metrics of a predicted distribution p against a reported distribution d over E emotions.

=============  =======================================================  ==============
Chebyshev      :math:`\max_e |d_e - p_e|`                               lower is better
Clark          :math:`\sqrt{\sum_e ((d_e - p_e) / (d_e + p_e))^2}`      lower
Canberra       :math:`\sum_e |d_e - p_e| / (d_e + p_e)`                 lower
KL             :math:`\sum_e d_e \ln(d_e / p_e)`                        lower
cosine         :math:`d \cdot p / (\|d\| \|p\|)`                        higher
intersection   :math:`\sum_e \min(d_e, p_e)`                            higher
=============  =======================================================  ==============

Source: X. Geng, "Label Distribution Learning", IEEE TKDE 28(7), 2016, table 1. A term of Clark or Canberra with
d = p = 0 is 0. A term of KL with d = 0 is 0. KL clips p at 1e-12 and is therefore finite. All arithmetic is in
float64.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

_Score = TypeVar("_Score", float, NDArray[Any])


@dataclass(frozen=True)
class Metric:
    """A metric of emotion distribution learning.

    Parameters
    ----------
    name : str
        Name in tables and commands.
    label : str
        Name in reports.
    higher_is_better : bool
        Whether the metric is a similarity. The others are distances.
    """

    name: str
    label: str
    higher_is_better: bool = False

    def loss(self, score: _Score) -> _Score:
        """Return a score such that lower is better.

        >>> METRICS["kl"].loss(0.1), METRICS["cosine"].loss(0.9)
        (0.1, -0.9)
        """
        return -score if self.higher_is_better else score

    @property
    def arrow(self) -> str:
        """Direction in which the metric gets better.

        >>> METRICS["kl"].arrow, METRICS["cosine"].arrow
        ('↓', '↑')
        """
        return "↑" if self.higher_is_better else "↓"

    @property
    def perfect(self) -> float:
        """Score of a prediction that equals the reported distribution.

        >>> METRICS["kl"].perfect, METRICS["cosine"].perfect
        (0.0, 1.0)
        """
        return 1.0 if self.higher_is_better else 0.0

    def improvement(self, score: _Score, reference: _Score) -> _Score:
        """Return by how much a score is better than a reference: positive if it is better.

        >>> METRICS["kl"].improvement(0.5, 0.75), METRICS["cosine"].improvement(0.5, 0.75)
        (0.25, -0.25)
        """
        gain: _Score = score - reference if self.higher_is_better else reference - score
        return gain

    def resolved_improvement(self, scores: ArrayLike, references: ArrayLike) -> NDArray[np.float64]:
        """Return the improvements of scores on references, 0 where both are equal within `RESOLUTION`.

        >>> METRICS["kl"].resolved_improvement([0.5, 0.5], [0.75, 0.5 + 1e-9]).tolist()
        [0.25, 0.0]
        """
        one, other = np.asarray(scores, dtype=np.float64), np.asarray(references, dtype=np.float64)
        with np.errstate(invalid="ignore"):  # ∞ - ∞
            return np.where(equal_scores(one, other), 0.0, self.improvement(one, other))

    def best(self, scores: NDArray[Any]) -> float:
        """Return the best of some scores.

        >>> METRICS["kl"].best(np.array([0.2, 0.1])), METRICS["cosine"].best(np.array([0.2, 0.1]))
        (0.1, 0.2)
        """
        return float(scores.max() if self.higher_is_better else scores.min())


METRICS: Final[Mapping[str, Metric]] = MappingProxyType(
    {
        metric.name: metric
        for metric in (
            Metric("chebyshev", "Chebyshev"),
            Metric("clark", "Clark"),
            Metric("canberra", "Canberra"),
            Metric("kl", "KL"),
            Metric("cosine", "Cosine", higher_is_better=True),
            Metric("intersection", "Intersection", higher_is_better=True),
        )
    }
)
"""The six metrics by name, in the order of every table."""

KL_FLOOR = 1e-12
"""Lower bound of predicted probabilities in KL."""

SUM_TOLERANCE = 1e-3
"""Maximum difference of a row sum from 1. The error of a softmax in float32 is far smaller."""


RESOLUTION: Final = 1e-6
"""Difference that scores resolve, relative to scores above 1. Smaller differences are ties.

Models compute shares in float32, which has 24 bits: a share is accurate to 2⁻²⁴ ≈ 6e-8, and a softmax, another order of
summation or another processor changes its last bits. A score adds the errors of up to some tens of shares, which gives
about 1e-6. Differences between models that matter are a thousand times larger.
"""


def equal_scores(one: ArrayLike, other: ArrayLike) -> NDArray[np.bool_]:
    """Return whether scores are equal within `RESOLUTION`; two infinite scores of the same sign are.

    Parameters
    ----------
    one, other : array-like
        Scores of shapes that NumPy can broadcast.

    Returns
    -------
    ndarray of bool

    Examples
    --------
    >>> equal_scores([0.25, 0.25, float("inf")], [0.25 + 1e-9, 0.2501, float("inf")]).tolist()
    [True, False, True]
    """
    a, b = np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64)
    with np.errstate(invalid="ignore"):  # ∞ - ∞
        close = np.abs(a - b) <= RESOLUTION * np.maximum(1.0, np.minimum(np.abs(a), np.abs(b)))
    return np.asarray((a == b) | close)


def without_rounding(values: ArrayLike) -> NDArray[np.float64]:
    """Return scores with the same value where neighbours in their order are equal within `RESOLUTION`.

    Ranks of the result have ties where scores differ by rounding only.

    Parameters
    ----------
    values : array-like of shape (..., n)
        Scores that are compared along the last axis.

    Returns
    -------
    ndarray of shape (..., n)

    Examples
    --------
    >>> without_rounding([0.5, 0.25 + 1e-9, 0.25]).tolist()
    [0.5, 0.25, 0.25]
    """
    scores = np.asarray(values, dtype=np.float64)
    order = np.argsort(scores, axis=-1, kind="stable")
    ascending = np.take_along_axis(scores, order, axis=-1)
    begins = np.zeros(scores.shape, dtype=np.intp)  # position of the first of the scores that are equal to each one
    begins[..., 1:] = np.where(
        equal_scores(ascending[..., 1:], ascending[..., :-1]), 0, np.arange(1, max(1, scores.shape[-1]))
    )
    begins = np.maximum.accumulate(begins, axis=-1)
    merged = np.empty_like(scores)
    np.put_along_axis(merged, order, np.take_along_axis(ascending, begins, axis=-1), axis=-1)
    return merged


def window_scores(reported: ArrayLike, predicted: ArrayLike) -> dict[str, NDArray[np.float64]]:
    """Return the six metrics of each window.

    Parameters
    ----------
    reported, predicted : array-like of shape (N, E)
        Distributions: rows that are not negative and sum to 1 within `SUM_TOLERANCE`.

    Returns
    -------
    dict
        Metric → values of shape (N,), in the order of `METRICS`.

    Raises
    ------
    ValueError
        If the shapes differ or a row is not a distribution.

    Examples
    --------
    >>> scores = window_scores([[0.5, 0.5, 0.0]], [[0.25, 0.75, 0.0]])
    >>> {name: round(float(value[0]), 4) for name, value in scores.items()}
    {'chebyshev': 0.25, 'clark': 0.3887, 'canberra': 0.5333, 'kl': 0.1438, 'cosine': 0.8944, 'intersection': 0.75}
    """
    d = _distributions(reported, "reported")
    p = _distributions(predicted, "predicted")
    if d.shape != p.shape:
        raise ValueError(f"reported and predicted must have the same shape, got {d.shape} and {p.shape}")
    return {name: window_values(name, d, p) for name in METRICS}


def window_values(metric: str, reported: NDArray[np.float64], predicted: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return one metric of each window, like `window_scores` but without a check of the distributions.

    Parameters
    ----------
    metric : str
        Name of the metric.
    reported, predicted : ndarray of shape (N, E)
        Distributions.

    Returns
    -------
    ndarray of shape (N,)
        Values of the metric.

    Examples
    --------
    >>> window_values("intersection", np.array([[0.5, 0.5]]), np.array([[0.25, 0.75]]))
    array([0.75])
    """
    return _WINDOW_VALUES[metric](reported, predicted)


def _relative_difference(d: NDArray[np.float64], p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``|d - p| / (d + p)``, and 0 where both are 0."""
    total = d + p
    found: NDArray[np.float64] = np.divide(np.abs(d - p), total, out=np.zeros_like(total), where=total > 0)
    return found


def _kl(d: NDArray[np.float64], p: NDArray[np.float64]) -> Any:
    ratio = np.divide(d, np.maximum(p, KL_FLOOR), out=np.ones_like(d), where=d > 0)
    return (d * np.log(ratio)).sum(axis=1)


_WINDOW_VALUES: Final[Mapping[str, Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]]] = {
    "chebyshev": lambda d, p: np.abs(d - p).max(axis=1),
    "clark": lambda d, p: np.sqrt((_relative_difference(d, p) ** 2).sum(axis=1)),
    "canberra": lambda d, p: _relative_difference(d, p).sum(axis=1),
    "kl": _kl,
    "cosine": lambda d, p: (d * p).sum(axis=1) / (np.linalg.norm(d, axis=1) * np.linalg.norm(p, axis=1)),
    "intersection": lambda d, p: np.minimum(d, p).sum(axis=1),
}
"""Metric → values (N,) of reported and predicted distributions (N, E)."""


def subject_scores(
    reported: ArrayLike, predicted: ArrayLike, subjects: NDArray[np.str_]
) -> dict[str, dict[str, float]]:
    """Return the six metrics of each subject: means over the subject's windows.

    Parameters
    ----------
    reported, predicted : array-like of shape (N, E)
        Distributions, see `window_scores`.
    subjects : ndarray of shape (N,)
        Subject of each row.

    Returns
    -------
    dict
        Subject → metric → mean.

    Raises
    ------
    ValueError
        If the shapes differ or a row is not a distribution.
    """
    scores = window_scores(reported, predicted)
    if subjects.shape != (len(scores["kl"]),):
        raise ValueError(f"subjects must have shape ({len(scores['kl'])},), got {subjects.shape}")
    return {
        str(subject): {name: float(scores[name][subjects == subject].mean()) for name in METRICS}
        for subject in np.unique(subjects)
    }


def mean_scores(reported: ArrayLike, predicted: ArrayLike, subjects: NDArray[np.str_]) -> dict[str, float]:
    """Return the six metrics, averaged over the windows of each subject and then over subjects.

    All subjects have the same weight, however many windows they have.

    Parameters
    ----------
    reported, predicted : array-like of shape (N, E)
        Distributions, see `window_scores`.
    subjects : ndarray of shape (N,)
        Subject of each row.

    Returns
    -------
    dict
        Metric → mean.

    Raises
    ------
    ValueError
        If the shapes differ or a row is not a distribution.
    """
    by_subject = subject_scores(reported, predicted, subjects)
    return {name: float(np.mean([scores[name] for scores in by_subject.values()])) for name in METRICS}


def with_prefix(prefix: str, scores: Mapping[str, float] | None) -> dict[str, float]:
    """Return scores by the names of their columns in a table; empty without scores.

    >>> with_prefix("val_", {"kl": 0.5})
    {'val_kl': 0.5}
    """
    return {prefix + metric: score for metric, score in (scores or {}).items()}


def mean_scores_by_group(
    reported: ArrayLike, predicted: ArrayLike, subjects: NDArray[np.str_], groups: NDArray[np.str_]
) -> dict[str, float]:
    """Return the six metrics after averaging the windows of each subject in each group.

    Reported and predicted distributions are averaged over the windows that a subject has in a group (a clip or a
    condition). The metrics of these averages are averaged over the groups of each subject and then over subjects. All
    groups of a subject have the same weight, however many windows they have.

    Parameters
    ----------
    reported, predicted : array-like of shape (N, E)
        Distributions, see `window_scores`.
    subjects, groups : ndarray of shape (N,)
        Subject and group of each row. Rows of different subjects are never averaged, even if their groups have the same
        name.

    Returns
    -------
    dict
        Metric → mean.

    Raises
    ------
    ValueError
        If the shapes differ or a row is not a distribution.

    Examples
    --------
    >>> subjects, groups = np.array(["S2", "S2"]), np.array(["film", "film"])
    >>> mean_scores_by_group([[0.5, 0.5], [0.5, 0.5]], [[0.25, 0.75], [0.75, 0.25]], subjects, groups)["chebyshev"]
    0.0
    """
    d, p = _distributions(reported, "reported"), _distributions(predicted, "predicted")
    for name, values in (("subjects", subjects), ("groups", groups)):
        if values.shape != (len(d),):
            raise ValueError(f"{name} must have shape ({len(d)},), got {values.shape}")
    subject_codes, group_codes = (np.unique(names, return_inverse=True)[1] for names in (subjects, groups))
    pairs = subject_codes * (int(group_codes.max()) + 1) + group_codes
    _, first_rows, codes = np.unique(pairs, return_index=True, return_inverse=True)
    return mean_scores(_means(d, codes), _means(p, codes), subjects[first_rows])


def _means(values: NDArray[np.float64], codes: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return the mean (E,) of the rows of `values` (N, E) that share a code (N,), for the codes 0, 1, 2 and so on."""
    sums = np.stack([np.bincount(codes, weights=column) for column in values.T], axis=1)
    means: NDArray[np.float64] = sums / np.bincount(codes)[:, None]
    return means


def _distributions(values: ArrayLike, what: str) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or array.shape[0] == 0 or array.shape[1] == 0:
        raise ValueError(f"{what} must have shape (windows, emotions), got {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{what} must be finite; row {_first(~np.isfinite(array).all(axis=1))} is not")
    if (array < 0).any():
        raise ValueError(f"{what} must not be negative; row {_first((array < 0).any(axis=1))} is")
    off = np.abs(array.sum(axis=1) - 1) > SUM_TOLERANCE
    if off.any():
        row = _first(off)
        raise ValueError(f"{what} must sum to 1; row {row} sums to {array[row].sum():g}")
    return array


def _first(rows: ArrayLike) -> int:
    return int(np.argmax(rows))
