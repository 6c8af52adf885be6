"""Weights of an ensemble: greedy selection with replacement, guarded against overfitting.

For candidates c with out-of-fold distributions p_c, the ensemble is ``sum_c w_c p_c`` with ``w_c = n_c / sum(n)``,
where n_c is how often c was picked. Greedy selection picks, one at a time, the candidate that leads to the smallest
loss (R. Caruana et al., "Ensemble selection from libraries of models", ICML 2004). With few validation subjects, this
fits their peculiarities. Three guards of that paper are used. Only the best candidates take part. The selection starts
from the mean of the best n candidates. It is repeated, and the weights are averaged. Caruana et al. repeat it on drawn
candidates; here subjects are drawn instead, because the ensemble has to be good for a new subject.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from helo.metrics import METRICS, window_values

BAGS: Final = 12
"""Number of resamples of the subjects."""

PICKS: Final = 12
"""Maximum number of picks of the greedy selection in a resample, with those that it starts from."""

WINDOWS: Final = 5000
"""Approximate number of windows above which the selection uses every second (third, …) window of each subject."""


def greedy_weights(
    predictions: NDArray[np.floating],
    labels: NDArray[np.floating],
    subjects: NDArray[np.str_],
    objective: str,
    bags: int = BAGS,
) -> NDArray[np.float64]:
    """Return the weights of an ensemble of some candidates.

    The result depends on the arguments only: the resamples are drawn with a fixed seed.

    Parameters
    ----------
    predictions : ndarray of shape (C, V, E)
        Out-of-fold distributions of each candidate.
    labels : ndarray of shape (V, E)
        Reported distributions.
    subjects : ndarray of shape (V,)
        Subject of each window.
    objective : str
        Metric whose loss is minimised, averaged over the windows of each subject and then over subjects.
    bags : int
        Number of resamples of the subjects. With 0, there is a single selection on all subjects.

    Returns
    -------
    ndarray of shape (C,)
        Weights that are not negative and sum to 1.

    Examples
    --------
    >>> labels = np.array([[0.5, 0.5], [0.4, 0.6]])
    >>> low, high = labels - [0.1, -0.1], labels + [0.1, -0.1]
    >>> greedy_weights(np.stack([low, high]), labels, np.array(["S2", "S3"]), "kl")
    array([0.5, 0.5])
    """
    losses = _Losses(predictions, labels, subjects, objective)
    rng = np.random.default_rng(0)
    even = np.full(losses.subjects, 1 / losses.subjects)
    draws = [rng.multinomial(losses.subjects, even) / losses.subjects for _ in range(bags)] or [even]
    picks = [_select(losses, draw) for draw in draws]
    weights: NDArray[np.float64] = np.mean([np.array(counts) / sum(counts) for counts in picks], axis=0)
    return weights


class _Losses:
    """Losses by subject of the ensembles of some candidates. Each ensemble is scored once.

    Parameters
    ----------
    predictions, labels, subjects, objective
        See `greedy_weights`.

    Attributes
    ----------
    candidates, subjects : int
        Number of candidates, and of subjects.
    """

    def __init__(
        self,
        predictions: NDArray[np.floating],
        labels: NDArray[np.floating],
        subjects: NDArray[np.str_],
        objective: str,
    ) -> None:
        codes = np.unique(subjects, return_inverse=True)[1]
        kept = _thinned(codes, -(-len(codes) // WINDOWS))
        self._labels = np.asarray(labels[kept], dtype=np.float64)
        self._predictions = np.asarray(predictions[:, kept], dtype=np.float64).reshape(len(predictions), -1)
        self._codes = codes[kept]
        self._windows = np.bincount(self._codes)
        self._objective = objective
        self._known: dict[tuple[int, ...], NDArray[np.float64]] = {}
        self.candidates, self.subjects = len(self._predictions), len(self._windows)

    def of(self, counts: tuple[int, ...]) -> NDArray[np.float64]:
        """Return the loss of each subject, of shape (subjects,), for candidates that were picked `counts` times."""
        if counts not in self._known:
            mean = (np.array(counts) / sum(counts)) @ self._predictions
            values = window_values(self._objective, self._labels, mean.reshape(self._labels.shape))
            by_subject = np.bincount(self._codes, weights=values) / self._windows
            self._known[counts] = METRICS[self._objective].loss(by_subject)
        return self._known[counts]


def _select(losses: _Losses, draw: NDArray[np.float64]) -> tuple[int, ...]:
    """Return how often each candidate is picked, with subjects weighted by `draw` (subjects,). Ties go to the first."""

    def loss(counts: tuple[int, ...]) -> float:
        return float(draw @ losses.of(counts))

    single = [tuple(int(other == one) for other in range(losses.candidates)) for one in range(losses.candidates)]
    ranks = np.argsort([loss(counts) for counts in single], kind="stable")
    starts = [tuple(int(one in ranks[:size]) for one in range(losses.candidates)) for size in range(1, len(ranks) + 1)]
    best = min(starts, key=loss)
    while sum(best) < PICKS:
        grown = min((tuple(np.add(best, one).tolist()) for one in single), key=loss)
        if loss(grown) >= loss(best):
            break
        best = grown
    return best


def _thinned(codes: NDArray[np.intp], step: int) -> NDArray[np.intp]:
    """Return the places of every `step`-th window of each subject, from its first one; `codes`: subject by window."""
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], codes[order])
    return np.sort(order[(np.arange(len(codes)) - starts) % step == 0])
