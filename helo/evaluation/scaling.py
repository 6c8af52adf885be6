"""Scaling of features, batch by batch when they are used.

A cell holds the row numbers and the scaling statistics of its windows, not the windows. All cells of a node can
therefore share one copy of the data.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from helo.data.dataset import Dataset, Signals, row_blocks
from helo.errors import InputError
from helo.metrics import mean_scores_by_group
from helo.names import Normalisation, enum_values

BLOCK_VALUES = 2**19
"""Values per block that is scaled at once. Each cell of a node has temporary arrays of this size, 4 MB in float64."""

Positions = NDArray[np.intp] | slice
"""Positions of windows within a part."""


@dataclass(frozen=True)
class Part:
    """Windows of some subjects, with the statistics that scale them.

    Attributes
    ----------
    rows : ndarray of shape (N,)
        Row numbers of the windows in the dataset.
    mean, std : ndarray of shape (S, F)
        Means and standard deviations of the features: one row for all windows, or one per subject.
    of : ndarray of shape (N,)
        Row of `mean` and `std` that scales each window.
    dataset : Signals
        Dataset of the windows.
    """

    rows: NDArray[np.intp]
    mean: NDArray[np.float64] = field(repr=False)
    std: NDArray[np.float64] = field(repr=False)
    of: NDArray[np.intp] = field(repr=False)
    dataset: Signals = field(repr=False)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def subjects(self) -> NDArray[np.str_]:
        """Subject of each window, (N,)."""
        return self.dataset.subjects[self.rows]

    @property
    def labels(self) -> NDArray[np.float64]:
        """Emotion distributions (N, E); only windows of a `Dataset` have them."""
        assert isinstance(self.dataset, Dataset)
        return self.dataset.labels[self.rows]

    @property
    def features(self) -> NDArray[np.float32]:
        """Scaled features (N, F) of all windows, computed at each access."""
        return self.take(slice(None))

    def scores_by_group(self, predicted: NDArray[np.floating]) -> dict[str, float] | None:
        """Return the scores of predictions (N, E) by group, see `helo.metrics.mean_scores_by_group`.

        None if there are no groups to average, see `Signals.averaged_groups`.
        """
        groups = self.dataset.averaged_groups
        if groups is None:
            return None
        return mean_scores_by_group(self.labels, predicted, self.subjects, groups[self.rows])

    def only(self, positions: NDArray[np.intp]) -> Part:
        """Return the part that holds the windows at some positions."""
        return replace(self, rows=self.rows[positions], of=self.of[positions])

    def take(self, positions: Positions) -> NDArray[np.float32]:
        """Return the scaled features (n, F) of the windows at some positions."""
        rows, of = self.rows[positions], self.of[positions]
        columns = self.mean.shape[1]
        scaled: NDArray[np.float32] = np.empty((len(rows), columns), np.float32)
        for block in row_blocks(len(rows), columns, BLOCK_VALUES):
            which = slice(None) if len(self.mean) == 1 else of[block]
            scaled[block] = (self.dataset.features[rows[block]] - self.mean[which]) / self.std[which]
        return scaled


@dataclass(frozen=True)
class Scaling:
    """Scaling of features to z-scores.

    - ``train``: with the mean and standard deviation of the training subjects' windows
    - ``subject``: with the mean and standard deviation of each subject's own windows. This uses all unlabelled windows
      of the test subject, like a device that has recorded a person for a while before it predicts.

    A feature that is constant in these windows becomes 0, and one that is always missing in them stays missing. NaN, a
    missing signal, is ignored by the statistics and stays NaN.

    Attributes
    ----------
    normalise : str
        ``train`` or ``subject``.
    mean, std : ndarray of shape (F,), optional
        Statistics of the training subjects; None under ``subject``.
    """

    normalise: str
    mean: NDArray[np.float64] | None = None
    std: NDArray[np.float64] | None = None

    @classmethod
    def fit(cls, dataset: Signals, subjects: tuple[str, ...], normalise: str) -> Scaling:
        """Return the scaling by some subjects.

        Parameters
        ----------
        dataset : Signals
            Windows of at least these subjects.
        subjects : tuple of str
            Subjects whose windows give the statistics under ``train``.
        normalise : str
            ``train`` or ``subject``.

        Returns
        -------
        Scaling
            The scaling.

        Raises
        ------
        InputError
            If `normalise` is unknown.
        """
        if normalise not in enum_values(Normalisation):
            raise InputError(f"normalise must be {' or '.join(enum_values(Normalisation))}, got {normalise!r}")
        if normalise == Normalisation.SUBJECT:
            return cls(normalise)
        return cls(normalise, *_statistics(dataset.features, dataset.rows(subjects)))

    def part(self, dataset: Signals, subjects: tuple[str, ...]) -> Part:
        """Return the windows of some subjects with their scaling."""
        rows = dataset.rows(subjects)
        if self.mean is not None and self.std is not None:
            return Part(rows, self.mean[None], self.std[None], np.zeros(len(rows), np.intp), dataset)
        statistics = [_statistics(dataset.features, dataset.rows((subject,))) for subject in subjects]
        order = np.argsort(subjects)
        of = order[np.searchsorted(np.asarray(subjects)[order], dataset.subjects[rows])]
        means, stds = (np.stack([pair[i] for pair in statistics]) for i in (0, 1))
        return Part(rows, means, stds, of, dataset)


def _statistics(
    features: NDArray[np.float32], rows: NDArray[np.intp]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean and the standard deviation (F,) of some rows, in two passes over blocks of them."""
    columns = features.shape[1]
    count, total, square = (np.zeros(columns) for _ in range(3))
    for block in row_blocks(len(rows), columns, BLOCK_VALUES):
        values = features[rows[block]]
        present = ~np.isnan(values)
        count += present.sum(axis=0)
        total += np.where(present, values, 0).sum(axis=0, dtype=np.float64)
    mean = total / np.maximum(count, 1)
    for block in row_blocks(len(rows), columns, BLOCK_VALUES):
        values = features[rows[block]]
        square += (np.where(np.isnan(values), 0, values - mean) ** 2).sum(axis=0)
    std = np.where(count > 0, np.sqrt(square / np.maximum(count, 1)), np.nan)
    # Rounding gives a constant feature a tiny deviation. Division by it would amplify the rounding noise.
    constant = std <= 1e-6 * np.maximum(np.abs(mean), 1e-12)
    return mean, np.where(constant, np.inf, std)
