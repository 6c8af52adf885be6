"""The scores that no model has to be trained for: what every result stands beside."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from helo.data.dataset import Dataset
from helo.folds import Fold
from helo.metrics import mean_scores
from helo.names import BEST_POSSIBLE, FOLD, METHOD, TEST, TRAIN_MEAN, UNIFORM


def trivial_predictions(dataset: Dataset, fold: Fold) -> dict[str, NDArray[np.float64]]:
    """Predictions (N, E) for the test subject's windows without looking at a signal.

    - ``train_mean``: the mean label of all windows of the other subjects
    - ``uniform``: the same share for every emotion
    - ``best_possible``: for simulated data, the best prediction that anyone could make
    """
    rows = dataset.rows((fold.test,))
    shape = (len(rows), len(dataset.emotions))
    others = dataset.rows(fold.train + fold.validation)
    predictions = {
        TRAIN_MEAN: np.broadcast_to(dataset.labels[others].mean(axis=0), shape),
        UNIFORM: np.full(shape, 1 / shape[1]),
    }
    if dataset.best_possible is not None:
        predictions[BEST_POSSIBLE] = dataset.best_possible[rows]
    return predictions


def baselines_table(dataset: Dataset, folds: tuple[Fold, ...]) -> pd.DataFrame:
    """A row per method and fold with the six test measures: ``baselines.parquet``."""
    rows = []
    for fold in folds:
        labels = dataset.labels[dataset.rows((fold.test,))]
        who = np.full(len(labels), fold.test)
        for method, predicted in trivial_predictions(dataset, fold).items():
            scores = mean_scores(labels, predicted, who)
            rows.append({METHOD: method, FOLD: fold.test, **{TEST + name: v for name, v in scores.items()}})
    return pd.DataFrame(rows)
