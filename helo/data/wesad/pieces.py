"""Signals with gaps: samples that are missing are NaN, and nothing is computed from made-up samples.

A *piece* is a run of samples without a gap. Signals are filtered, and peaks found, in one piece at a time.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from helo.data.wesad.recording import LABEL_RATE, SIGNALS, Recording

Samples = NDArray[np.float64]

ENOUGH: Final = 0.5
"""Minimum share of the samples of a window, or of a block of samples, that must be present."""


def with_gaps(raw: NDArray[Any], unit: float) -> Samples:
    """Return a signal in its unit, NaN in all axes where a sample of any axis is NaN or infinite."""
    values = raw.astype(np.float64)
    values *= unit
    values[~_present(values)] = np.nan
    return values


def _present(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Return a mask (n,) of the samples that are finite in every axis."""
    finite = np.isfinite(values)
    return np.asarray(finite if finite.ndim == 1 else finite.all(axis=1))


def known(values: Samples) -> Samples:
    """Return the samples that are present, in their order."""
    return values[_present(values)]


def enough(values: Samples) -> bool:
    """Return whether so many samples are present that features can be computed."""
    return bool(len(values)) and float(_present(values).mean()) >= ENOUGH


def pieces(values: Samples, shortest: int) -> list[slice]:
    """Return the runs of present samples that have at least `shortest` samples.

    Parameters
    ----------
    values
        Signal of shape (n,) or (n, axes), NaN in gaps.
    shortest
        Minimum number of samples.

    Returns
    -------
    list of slice
        The runs in the order of time.

    Examples
    --------
    >>> pieces(np.array([1.0, 2.0, np.nan, 3.0, np.nan, 4.0, 5.0]), 2)
    [slice(0, 2, None), slice(5, 7, None)]
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], _present(values), [False]]).astype(np.int8)))
    runs = edges.reshape(-1, 2).tolist()
    return [slice(start, stop) for start, stop in runs if stop - start >= shortest]


def longest(values: Samples) -> Samples:
    """Return the longest run of present samples; an empty array if there is none."""
    return values[max(pieces(values, 1), key=lambda run: run.stop - run.start, default=slice(0))]


def averaged(values: Samples, rate: int, lower: int) -> Samples:
    """Return a signal averaged in blocks to a `lower` rate, which must divide `rate`.

    A block is NaN if less than half of its samples are present; otherwise it is the mean of those that are.
    """
    block = rate // lower
    whole = len(values) // block * block
    blocks = values[:whole].reshape(whole // block, block, *values.shape[1:])
    mean: Samples = blocks.mean(axis=1)
    for number in np.flatnonzero(~_present(mean)).tolist():
        if enough(blocks[number]):
            mean[number] = known(blocks[number]).mean(axis=0)
    return mean


def missing_shares(recording: Recording, starts: NDArray[np.intp], window: float) -> dict[str, float]:
    """Return the share of the samples in windows that are missing, by modality.

    Parameters
    ----------
    recording
        The recording.
    starts
        First sample (N,) of each window at the rate of the label.
    window
        Length of a window in seconds.

    Returns
    -------
    dict of str to float
        Modality → share from 0 to 1.
    """
    shares = {}
    for name, raw in recording.signals.items():
        rate = SIGNALS[name].rate
        before = np.concatenate([[0], np.cumsum(~_present(raw))])  # missing samples before each sample
        first = np.minimum(starts * rate // LABEL_RATE, len(raw))
        stop = np.minimum(first + round(window * rate), len(raw))
        shares[name] = float((before[stop] - before[first]).sum() / max(1, (stop - first).sum()))
    return shares
