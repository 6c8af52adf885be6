"""Fitted baselines: regressors from signals to emotion distributions, each with a few settings to select from."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsRegressor
from sklearn.neural_network import MLPRegressor

from helo.evaluation.maximum_entropy import MaximumEntropy
from helo.names import Method

SMALLEST: Final = 1e-4
"""Smallest predicted share before normalisation to sum 1; least squares may predict negative shares."""

LARGEST: Final = 1e12
"""Largest predicted share before normalisation; the exponential output of a network may overflow."""

PENALTIES: Final = (1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0)
"""Penalties of the linear methods."""

SETTINGS: Final[dict[str, tuple[dict[str, Any], ...]]] = {
    Method.KNN: tuple({"neighbours": k} for k in (5, 10, 20, 50, 100, 200, 500, 1000)),
    Method.MAX_ENTROPY: tuple({"penalty": penalty} for penalty in PENALTIES),
    Method.RIDGE: tuple({"penalty": penalty} for penalty in PENALTIES),
    Method.RANDOM_FOREST: tuple({"smallest_leaf": leaf} for leaf in (2, 10, 50, 200)),
    Method.MLP: tuple({"penalty": penalty} for penalty in (5e-3, 5e-2, 0.15, 0.5, 1.5)),
}
"""Method → settings among which each fold selects.

A penalty multiplies the squared weights and is added to the mean loss over windows, so it does not depend on the number
of windows.
"""

TREES: Final = 100
"""Number of trees of the random forest."""

HIDDEN: Final = 32
"""Number of hidden units of the network."""

ITERATIONS: Final = 100
"""Maximum number of epochs of the network."""

_MLP_BATCH: Final = 200
"""Number of windows per training batch of the network."""


class Regressor(Protocol):
    """Estimator with scikit-learn's ``fit`` and ``predict``."""

    def fit(self, features: NDArray[Any], labels: NDArray[Any]) -> Any:
        """Fit features (N, F) to labels (N, E)."""

    def predict(self, features: NDArray[Any]) -> NDArray[Any]:
        """Return predictions (N, E) for features (N, F)."""


def build(method: str, setting: Mapping[str, Any], windows: int, seed: int) -> Regressor:
    """Return an unfitted regressor.

    Parameters
    ----------
    method : str
        Key of `SETTINGS`.
    setting : mapping
        One of the settings of the method.
    windows : int
        Number of training windows.
    seed : int
        Seed of the random forest and the network.

    Returns
    -------
    Regressor
        The regressor.

    Raises
    ------
    ValueError
        If the method is unknown.
    """
    regressor: Regressor
    if method == Method.KNN:
        regressor = KNeighborsRegressor(min(setting["neighbours"], windows))
    elif method == Method.MAX_ENTROPY:
        regressor = MaximumEntropy(setting["penalty"])
    elif method == Method.RIDGE:
        regressor = Ridge(setting["penalty"] * windows)
    elif method == Method.RANDOM_FOREST:
        regressor = RandomForestRegressor(
            TREES, min_samples_leaf=setting["smallest_leaf"], max_features="sqrt", random_state=seed % 2**32
        )
    elif method == Method.MLP:
        # The Poisson loss is the cross-entropy plus the sum of the predicted shares, which `predict` divides by it.
        regressor = MLPRegressor(
            loss="poisson",
            hidden_layer_sizes=(HIDDEN,),
            alpha=setting["penalty"] * _MLP_BATCH,
            batch_size=min(_MLP_BATCH, windows),
            learning_rate_init=3e-3,
            max_iter=ITERATIONS,
            random_state=seed % 2**32,
        )
    else:
        raise ValueError(f"unknown method {method!r}")
    return regressor


@dataclass(frozen=True)
class FittedBaseline:
    """Fitted regressor and the scale of its outputs.

    Attributes
    ----------
    regressor : Regressor
        Regressor of the shares divided by `scale`.
    scale : ndarray of shape (E,)
        Factor of the outputs: the mean training label for ``mlp``, otherwise 1.
    """

    regressor: Regressor
    scale: NDArray[np.float64]

    def predict(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the predicted distributions (N, E) for scaled features (N, F)."""
        with np.errstate(over="ignore"):
            shares = np.clip(self.regressor.predict(_without_gaps(features)) * self.scale, SMALLEST, LARGEST)
        predicted: NDArray[np.float64] = shares / shares.sum(axis=1, keepdims=True)
        return predicted


def fit(
    method: str, setting: Mapping[str, Any], features: NDArray[np.float32], labels: NDArray[np.float64], seed: int
) -> FittedBaseline:
    """Fit a method.

    Parameters
    ----------
    method : str
        Key of `SETTINGS`.
    setting : mapping
        One of the settings of the method.
    features : ndarray of shape (N, F)
        Scaled features; missing signals are NaN.
    labels : ndarray of shape (N, E)
        Emotion distributions.
    seed : int
        Seed of the random forest and the network.

    Returns
    -------
    FittedBaseline
        The fitted regressor.
    """
    # A network starts from similar outputs for all emotions. Labels divided by their mean are on a similar scale.
    scale = np.maximum(labels.mean(axis=0), SMALLEST) if method == Method.MLP else np.ones(labels.shape[1])
    regressor = build(method, setting, len(features), seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # The number of iterations is part of the method.
        regressor.fit(_without_gaps(features), labels / scale)
    return FittedBaseline(regressor, scale)


def _without_gaps(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return features with missing signals at the training mean, 0, because these methods do not accept NaN."""
    return np.where(np.isnan(features), np.float32(0), features)
