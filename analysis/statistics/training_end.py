"""Whether training was still improving when it reached its last epoch.

The limits below were chosen on out-of-fold curves, cut after several numbers of epochs. For the built-in simulated data
and for 26 people with 12 windows each, four folds each, 36 of 40 curves that were cut after at most 72 steps count as
improving; most of them improved clearly later. Of those that were cut after 90 steps or more, nearly all of which had
reached their best score up to noise, 1 of 92 does. For WESAD, with a small gain and much noise, at most 2 of 7 folds
count as improving in 61 of 62 sets of curves, whose means are flat or rise at the end. In the other set, whose mean
still falls, 4 of 7 do.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm

from helo.metrics import METRICS
from helo.names import Column, Prefix

TAIL = 0.1
"""Share of the epochs that make up the end of training, at least one epoch."""

MIN_SHARE = 0.03
"""Smallest gain of the end that counts, as a share of the whole gain. A curve that approaches its limit exponentially
has reached 88 % of its way when the last tenth of its epochs brings 3 % of its gain."""

MIN_NOISE = 1.0
"""Smallest gain of the end that counts, in standard deviations of the noise between epochs. A new best score on a curve
that is flat, except for noise, is better than the best one before by less than that."""

MIN_FOLDS = 1 / 3
"""Share of the folds from which on a run counts as still improving. Flat and noisy curves reach 2 of 7 folds."""

EPOCHS_PARAM = f"{Prefix.PARAM}{Column.EPOCHS}"
"""Column of the configured number of epochs."""

TRAINING_END_COLUMNS = (Column.FOLD, Column.CONFIGURATION, Column.EPOCHS, "gain", "share", "improving")
"""Columns of `measure_training_end`."""


def measure_training_end(chosen: pd.DataFrame, epochs: pd.DataFrame, objective: str) -> pd.DataFrame:
    """Return how much the last tenth of training improved the chosen cell of each fold.

    The gain is the difference between the best inner validation loss of the last tenth of the epochs and the best one
    before. It is negative if the best epoch lies before. A cell is still improving if it was trained for all epochs of
    its configuration, and if the gain is at least `MIN_SHARE` of the whole gain since epoch 0 and at least `MIN_NOISE`
    times the noise between epochs.

    Parameters
    ----------
    chosen : DataFrame
        Rows of ``cells.parquet``, at most one per fold.
    epochs : DataFrame
        Columns of ``epochs.parquet``: ``configuration``, ``fold``, ``epoch`` and ``val_<objective>``.
    objective : str
        Name of the metric that selects configurations.

    Returns
    -------
    DataFrame
        A row per fold whose cell has epochs: number of epochs, gain, its share of the whole gain (NaN if there is
        none), and whether the cell is still improving.
    """
    if EPOCHS_PARAM not in chosen:
        return pd.DataFrame(columns=list(TRAINING_END_COLUMNS))
    keys = [Column.FOLD, Column.CONFIGURATION]
    rows = epochs.merge(chosen[[*keys, EPOCHS_PARAM]], on=keys).sort_values([*keys, Column.EPOCH])
    found = []
    for (fold, configuration), cell in rows.groupby(keys, sort=False):
        losses = np.asarray(METRICS[objective].loss(cell[Prefix.VAL + objective].to_numpy(float)))
        trained = int(cell[Column.EPOCH].max())
        row: dict[str, Any] = {Column.FOLD: fold, Column.CONFIGURATION: configuration, Column.EPOCHS: trained}
        if trained < 1 or not np.isfinite(losses).all():
            continue
        gain, share = gain_at_end(losses)
        is_large = share >= MIN_SHARE and gain >= MIN_NOISE * noise_between_epochs(losses)
        row |= {"gain": gain, "share": share, "improving": is_large and trained >= cell[EPOCHS_PARAM].iloc[0]}
        found.append(row)
    return pd.DataFrame(found, columns=list(TRAINING_END_COLUMNS))


def gain_at_end(losses: NDArray[np.float64]) -> tuple[float, float]:
    """Return the gain of the last tenth of the epochs, and its share of the whole gain.

    Parameters
    ----------
    losses : ndarray of shape (epochs + 1,)
        Validation loss from epoch 0, which precedes training, to the last epoch.

    Returns
    -------
    float
        Best loss before the last tenth minus the best loss in it.
    float
        The same, divided by the difference between the loss of epoch 0 and the best loss; NaN if that is 0.

    Examples
    --------
    >>> gain, share = gain_at_end(np.array([1.0, 0.8, 0.6, 0.5, 0.45]))
    >>> round(gain, 2), round(share, 2)
    (0.05, 0.09)
    """
    tail = max(1, round(TAIL * (len(losses) - 1)))
    gain = float(losses[:-tail].min() - losses[-tail:].min())
    whole = float(losses[0] - losses.min())
    return gain, gain / whole if whole > 0 else math.nan


def noise_between_epochs(losses: NDArray[np.float64]) -> float:
    """Return the standard deviation of the noise of a curve, from the second half of its second differences.

    The median makes it robust to jumps, and the second difference of a smooth curve is small. Independent noise of
    variance σ² gives second differences of variance 6 σ².

    Parameters
    ----------
    losses : ndarray of shape (epochs + 1,)
        Validation loss of each epoch.

    Returns
    -------
    float
        0 for fewer than three epochs.
    """
    second = np.abs(np.diff(losses, 2))
    if not len(second):
        return 0.0
    return float(np.median(second[len(second) // 2 :]) / norm.ppf(0.75) / math.sqrt(6))
