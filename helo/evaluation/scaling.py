"""Features made comparable, window by window when they are asked for.

A cell does not hold its windows: it knows which rows of the dataset are its own, and by what they are scaled. So all
cells of a node can share one copy of the data, however large.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from helo.data.dataset import Dataset, Signals, row_blocks
from helo.errors import InputError
from helo.names import Normalisation, enum_values

Positions = NDArray[np.intp] | slice
"""Windows of a part, by their number in it."""


@dataclass(frozen=True)
class Part:
    """Windows of some subjects: (N,) `rows` of the dataset, scaled by row `of` (N,) of `mean` and `std` (S, F)."""

    rows: NDArray[np.intp]
    mean: NDArray[np.float64] = field(repr=False)
    std: NDArray[np.float64] = field(repr=False)
    of: NDArray[np.intp] = field(repr=False)
    dataset: Signals = field(repr=False)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def subjects(self) -> NDArray[np.str_]:
        """(N,) the person of each window."""
        return self.dataset.subjects[self.rows]

    @property
    def labels(self) -> NDArray[np.float64]:
        """(N, E) emotion distributions; only windows of a `Dataset` have them."""
        assert isinstance(self.dataset, Dataset)
        return self.dataset.labels[self.rows]

    @property
    def features(self) -> NDArray[np.float32]:
        """(N, F) scaled features of all windows, computed anew each time."""
        return self.take(slice(None))

    def only(self, positions: NDArray[np.intp]) -> Part:
        """Some of the windows."""
        return replace(self, rows=self.rows[positions], of=self.of[positions])

    def take(self, positions: Positions) -> NDArray[np.float32]:
        """(n, F) scaled features of some windows."""
        rows, of = self.rows[positions], self.of[positions]
        scaled: NDArray[np.float32] = np.empty((len(rows), self.mean.shape[1]), np.float32)
        for block in row_blocks(*scaled.shape):
            which = slice(None) if len(self.mean) == 1 else of[block]
            scaled[block] = (self.dataset.features[rows[block]] - self.mean[which]) / self.std[which]
        return scaled


@dataclass(frozen=True)
class Scaling:
    """How features become comparable.

    - ``train``: z-scores with mean and standard deviation of the training subjects' windows
    - ``subject``: z-scores within each subject. This uses all unlabelled windows of the test subject, as
      a device would that has recorded a person for a while before it predicts.

    A feature that does not vary there becomes 0 for everyone, and one that is always missing there stays missing:
    nothing could be learnt of it. NaN, a signal that is missing, counts in no statistic and stays NaN.
    `mean`, `std`: (F,), or None under ``subject``.
    """

    normalise: str
    mean: NDArray[np.float64] | None = None
    std: NDArray[np.float64] | None = None

    @classmethod
    def fit(cls, dataset: Signals, subjects: tuple[str, ...], normalise: str) -> Scaling:
        """Take the statistics of these subjects, and of nobody else."""
        if normalise not in enum_values(Normalisation):
            raise InputError(f"normalise must be {' or '.join(enum_values(Normalisation))}, got {normalise!r}")
        if normalise == Normalisation.SUBJECT:
            return cls(normalise)
        return cls(normalise, *_statistics(dataset.features, dataset.rows(subjects)))

    def part(self, dataset: Signals, subjects: tuple[str, ...]) -> Part:
        """The windows of some subjects, to be scaled."""
        rows = dataset.rows(subjects)
        if self.mean is not None and self.std is not None:
            return Part(rows, self.mean[None], self.std[None], np.zeros(len(rows), np.intp), dataset)
        found = [_statistics(dataset.features, dataset.rows((subject,))) for subject in subjects]
        order = np.argsort(subjects)
        of = order[np.searchsorted(np.asarray(subjects)[order], dataset.subjects[rows])]
        means, stds = (np.stack([pair[i] for pair in found]) for i in (0, 1))
        return Part(rows, means, stds, of, dataset)


def _statistics(
    features: NDArray[np.float32], rows: NDArray[np.intp]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation (F,) of some rows, in two passes over blocks of them."""
    columns = features.shape[1]
    count, total, square = (np.zeros(columns) for _ in range(3))
    for block in row_blocks(len(rows), columns):
        values = features[rows[block]]
        there = ~np.isnan(values)
        count += there.sum(axis=0)
        total += np.where(there, values, 0).sum(axis=0, dtype=np.float64)
    mean = total / np.maximum(count, 1)
    for block in row_blocks(len(rows), columns):
        values = features[rows[block]]
        square += (np.where(np.isnan(values), 0, values - mean) ** 2).sum(axis=0)
    std = np.where(count > 0, np.sqrt(square / np.maximum(count, 1)), np.nan)
    # Rounding leaves a constant feature with a tiny spread; dividing by it would turn noise into signal.
    still = std <= 1e-6 * np.maximum(np.abs(mean), 1e-12)
    return mean, np.where(still, np.inf, std)
