"""Features that nearly give the label away: codes of clip or label with some noise on them, which no value shows.

Windows are put in the order of a feature and cut into bins of equal size; the share of the labels' variance that lies
between bins (the correlation ratio η², K. Pearson 1905) is what the feature alone tells of them. On WESAD the most
that a signal tells is .41 of all emotions and .56 of one.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from helo.data.dataset import Dataset

MOST: Final = 0.95
"""A feature that tells more of the labels, or of one emotion, is a code and no signal."""

_BINS: Final = 64
_WINDOWS_IN_BIN: Final = 20
_LEAST: Final = 10  # bins: fewer tell too little of too few windows
_SAMPLE: Final = 20_000


def find_noisy_leaks(dataset: Dataset) -> dict[str, float]:
    """Features that tell more than `MOST`, with how much; on a sample of at most 20,000 windows."""
    windows = len(dataset)
    rows = np.arange(windows)
    if windows > _SAMPLE:
        rows = np.sort(np.random.default_rng(0).choice(windows, _SAMPLE, replace=False))
    bins = min(_BINS, len(rows) // _WINDOWS_IN_BIN)
    if bins < _LEAST:
        return {}
    labels = dataset.labels[rows]
    found = {}
    for column, name in enumerate(dataset.schema.features):
        values = dataset.features[rows, column]
        told = share_told(np.where(np.isnan(values), np.inf, values), labels, bins)
        if told > MOST:
            found[name] = told
    return found


def share_told(values: NDArray[np.floating], labels: NDArray[np.float64], bins: int) -> float:
    """η² of labels (n, E) between `bins` bins of a feature (n,): of all emotions, or of the one that it tells most of.

    >>> place = np.arange(100)
    >>> share_told(place, np.column_stack([place >= 50, place < 50]).astype(float), bins=10)
    1.0
    """
    order = np.argsort(values, kind="stable")
    bin_of = np.empty(len(values), dtype=np.intp)
    bin_of[order] = np.arange(len(values)) * bins // len(values)
    counts = np.bincount(bin_of, minlength=bins)
    centred = labels - labels.mean(axis=0)
    sums = np.column_stack([np.bincount(bin_of, column, bins) for column in centred.T])
    between, total = (sums**2 / counts[:, None]).sum(axis=0), (centred**2).sum(axis=0)
    varies = total > 1e-12 * len(labels)
    if not varies.any():
        return 0.0
    return float(max(between.sum() / total.sum(), (between[varies] / total[varies]).max()))
