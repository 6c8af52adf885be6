"""Fit of the linear models that have a share in the predictions of a network, see `helo.model.network`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from helo.evaluation.maximum_entropy import MaximumEntropy
from helo.evaluation.scaling import Part
from helo.model.network import HeLo

MAX_VALUES = 2_000_000
"""Maximum number of values (windows × features) to which a linear model is fitted.

Of more windows, a seeded sample is drawn. It bounds time and memory: 16 MB in float64.
"""


_ITERATIONS = 100
"""Maximum number of L-BFGS iterations. With more, the predictions of new windows change little."""


def fit_linear(model: HeLo, trains: Sequence[Part], seeds: Sequence[int]) -> None:
    """Fit the linear model of each member to the training windows of the member, and set its weights.

    Parameters
    ----------
    model : HeLo
        Model whose weights are set; unchanged if linear models have no share in its predictions.
    trains : sequence of Part
        Training windows of each member.
    seeds : sequence of int
        Seed of each member, for the sample of its windows.
    """
    configuration = model.configuration
    if configuration.linear_share == 0:
        return
    for member, (train, seed) in enumerate(zip(trains, seeds, strict=True)):
        rows = np.arange(len(train))
        most = max(1, MAX_VALUES // len(train.dataset.schema.features))
        if len(rows) > most:
            rows = np.sort(np.random.default_rng(seed).permutation(rows)[:most])
        features = model.features_read(torch.from_numpy(train.take(rows))).numpy()
        fitted = MaximumEntropy(configuration.linear_penalty, _ITERATIONS).fit(features, train.only(rows).labels)
        weights = torch.from_numpy(fitted.weights).float()
        model.linear.weight[member] = weights[:-1]
        model.linear.bias[member] = weights[-1]
