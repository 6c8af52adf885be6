"""The ensemble that is fitted with all subjects: the mean of the ensembles of the folds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

import pandas as pd

from helo.configuration import Configuration
from helo.names import Column

MOST_CONFIGURATIONS: Final = 5
"""Maximum number of configurations of a delivered ensemble. The time of a prediction grows with it."""


def numbers_in(table: pd.DataFrame) -> dict[int, str]:
    """Return each configuration of the ensembles of the folds, and one fold that has it.

    Parameters
    ----------
    table : DataFrame
        ``ensemble.parquet``.

    Returns
    -------
    dict
        Number of a configuration → test subject of a fold.
    """
    found: dict[int, str] = {}
    for fold, weights in zip(table[Column.FOLD], table[Column.WEIGHTS], strict=True):
        for number in json.loads(weights):
            found.setdefault(int(number), fold)
    return found


def mean_ensemble(table: pd.DataFrame, configurations: Mapping[int, Configuration]) -> dict[Configuration, float]:
    """Return the mean weights of the ensembles of all folds.

    The weights of a fold are chosen by out-of-fold predictions for its inner validation subjects. No test score enters
    them. Numbers with the same hyperparameters, which independent studies have, are one configuration. Only the
    configurations with the largest weights remain.

    Parameters
    ----------
    table : DataFrame
        ``ensemble.parquet``.
    configurations : mapping
        Number → hyperparameters, for all numbers in `table`.

    Returns
    -------
    dict
        Configuration → weight, largest first. At most `MOST_CONFIGURATIONS` weights, which sum to 1.

    Examples
    --------
    >>> table = pd.DataFrame({"fold": ["S2", "S3"], "weights": ['{"0": 1.0}', '{"1": 0.75, "2": 0.25}']})
    >>> wide, narrow = Configuration(width=32), Configuration(width=16)
    >>> weights = mean_ensemble(table, {0: narrow, 1: wide, 2: narrow})
    >>> [(one.width, weight) for one, weight in weights.items()]
    [(16, 0.625), (32, 0.375)]
    """
    total: dict[Configuration, float] = {}
    for weights in table[Column.WEIGHTS]:
        for number, weight in json.loads(weights).items():
            configuration = configurations[int(number)]
            total[configuration] = total.get(configuration, 0.0) + weight
    largest = sorted(total.items(), key=lambda item: -item[1])[:MOST_CONFIGURATIONS]
    whole = sum(weight for _, weight in largest)
    return {configuration: weight / whole for configuration, weight in largest}
