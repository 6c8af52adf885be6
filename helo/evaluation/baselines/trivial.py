"""Trivial baselines: predictions that need no training."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from helo.data.dataset import Dataset
from helo.evaluation.folds import Fold
from helo.names import Estimate


def trivial_predictions(dataset: Dataset, fold: Fold) -> dict[str, NDArray[np.float64]]:
    """Return the trivial predictions for the windows of the test subject.

    Parameters
    ----------
    dataset : Dataset
        Windows of all subjects.
    fold : Fold
        Subjects of the fold.

    Returns
    -------
    dict of ndarray of shape (N, E)
        Predicted distributions by name:

        - ``train_mean``: the mean label of all windows of the other subjects
        - ``uniform``: the same share for every emotion
        - ``best_possible``: for simulated data, the best prediction that any method could make
    """
    rows = dataset.rows((fold.test,))
    shape = (len(rows), len(dataset.emotions))
    others = dataset.rows(fold.others)
    predictions: dict[str, NDArray[np.float64]] = {
        Estimate.TRAIN_MEAN: np.broadcast_to(dataset.labels[others].mean(axis=0), shape),
        Estimate.UNIFORM: np.full(shape, 1 / shape[1]),
    }
    if dataset.best_possible is not None:
        predictions[Estimate.BEST_POSSIBLE] = dataset.best_possible[rows]
    return predictions
