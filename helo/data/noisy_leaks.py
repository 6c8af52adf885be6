"""Features that nearly determine the label, such as codes of the clip or the label with noise.

The windows are sorted by a feature and cut into bins of equal size. The share of the variance of the labels that lies
between bins (the correlation ratio η², K. Pearson 1905) measures the information of the feature alone. On WESAD, the
maximum over features is 0.41 for all emotions and 0.56 for a single emotion.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from helo.data.dataset import Dataset

MAX_EXPLAINED: Final = 0.95
"""Maximum share of variance of the labels, or of one emotion, that a plausible signal explains."""

_BINS: Final = 64
_WINDOWS_IN_BIN: Final = 20
_MIN_BINS: Final = 10  # with fewer bins there are too few windows for an estimate
_SAMPLE: Final = 20_000


def find_noisy_leaks(dataset: Dataset) -> dict[str, float]:
    """Find features that explain more than `MAX_EXPLAINED` of the labels' variance.

    Parameters
    ----------
    dataset
        The dataset, of which a sample of at most 20,000 windows is used.

    Returns
    -------
    dict
        Name of a feature → share of the variance that it explains, from 0 to 1.
    """
    windows = len(dataset)
    rows = np.arange(windows)
    if windows > _SAMPLE:
        rows = np.sort(np.random.default_rng(0).choice(windows, _SAMPLE, replace=False))
    bins = min(_BINS, len(rows) // _WINDOWS_IN_BIN)
    if bins < _MIN_BINS:
        return {}
    labels = dataset.labels[rows]
    found = {}
    for column, name in enumerate(dataset.schema.features):
        values = dataset.features[rows, column]
        explained = share_explained(np.where(np.isnan(values), np.inf, values), labels, bins)
        if explained > MAX_EXPLAINED:
            found[name] = explained
    return found


def share_explained(values: NDArray[np.floating], labels: NDArray[np.float64], bins: int) -> float:
    """Return the correlation ratio η² of labels with a binned feature.

    Parameters
    ----------
    values
        Values of the feature (n,).
    labels
        Emotion distributions (n, E).
    bins
        Number of bins of equal size.

    Returns
    -------
    float
        Maximum of η² over all emotions together and each emotion alone, from 0 to 1.

    Examples
    --------
    >>> place = np.arange(100)
    >>> share_explained(place, np.column_stack([place >= 50, place < 50]).astype(float), bins=10)
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
