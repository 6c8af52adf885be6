"""Plain regressors from signals to emotion distributions, by scikit-learn, each with a few settings to choose from."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax
from sklearn.ensemble import RandomForestRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsRegressor
from sklearn.neural_network import MLPRegressor

from helo.names import Method

SMALLEST: Final = 1e-4
"""A predicted share is at least this before shares are divided by their sum: least squares also predicts below 0."""

LARGEST: Final = 1e12
"""And at most this: of a window far from all others the exponential of a network may be infinite."""

PENALTIES: Final = (1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0)

SETTINGS: Final[dict[str, tuple[dict[str, Any], ...]]] = {
    Method.KNN: tuple({"neighbours": k} for k in (5, 10, 20, 50, 100, 200, 500, 1000)),
    Method.MAX_ENTROPY: tuple({"penalty": penalty} for penalty in PENALTIES),
    Method.RIDGE: tuple({"penalty": penalty} for penalty in PENALTIES),
    Method.RANDOM_FOREST: tuple({"smallest_leaf": leaf} for leaf in (2, 10, 50, 200)),
    Method.MLP: tuple({"penalty": penalty} for penalty in (5e-3, 5e-2, 0.15, 0.5, 1.5)),
}
"""What each method's search tries: as many settings as a careful colleague would, in every fold. A penalty is on the
squared weights, beside the mean loss over windows, so that it means the same for few and many windows."""

TREES: Final = 100
HIDDEN: Final = 32
ITERATIONS: Final = 100
_MLP_BATCH: Final = 200


class Regressor(Protocol):
    """Anything with scikit-learn's ``fit`` and ``predict``."""

    def fit(self, features: NDArray[Any], labels: NDArray[Any]) -> Any: ...

    def predict(self, features: NDArray[Any]) -> NDArray[Any]: ...


class MaximumEntropy:
    r"""The linear maximum-entropy model of label distribution learning, fitted by L-BFGS: as SA-BFGS.

    Minimises :math:`\frac1N \sum_n KL(d_n ‖ p_n) + \frac{λ}{2} ‖W‖²` with :math:`p_n = softmax(W x_n + b)`; λ is
    `penalty`, b is not penalised. Source: X. Geng, "Label Distribution Learning", IEEE TKDE 28(7), 2016 (SA-BFGS,
    there without penalty). scikit-learn's logistic regression takes classes only: with each window repeated once
    per emotion, weighted by its share, it would be the same model at E times the work and memory.
    """

    def __init__(self, penalty: float, iterations: int = 500) -> None:
        self.penalty, self.iterations = penalty, iterations

    def fit(self, features: NDArray[Any], labels: NDArray[Any]) -> MaximumEntropy:
        """(N, F) features, (N, E) distributions."""
        inputs = self._with_constant(features)
        shape = inputs.shape[1], labels.shape[1]

        def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            weights = flat.reshape(shape)
            log_predicted = log_softmax(inputs @ weights, axis=1)
            gradient = inputs.T @ (np.exp(log_predicted) - labels) / len(inputs)
            gradient[:-1] += self.penalty * weights[:-1]
            value = -(labels * log_predicted).sum() / len(inputs) + self.penalty / 2 * (weights[:-1] ** 2).sum()
            return float(value), gradient.ravel()

        start = np.zeros(shape[0] * shape[1])
        found = minimize(
            loss, start, jac=True, method="L-BFGS-B", options={"maxiter": self.iterations, "ftol": 1e-12, "gtol": 1e-6}
        )
        self.weights = found.x.reshape(shape)
        return self

    def predict(self, features: NDArray[Any]) -> NDArray[np.float64]:
        """(N, E) distributions."""
        predicted: NDArray[np.float64] = np.exp(log_softmax(self._with_constant(features) @ self.weights, axis=1))
        return predicted

    @staticmethod
    def _with_constant(features: NDArray[Any]) -> NDArray[np.float64]:
        return np.column_stack([np.asarray(features, dtype=np.float64), np.ones(len(features))])


def build(method: str, setting: Mapping[str, Any], windows: int, seed: int) -> Regressor:
    """An unfitted regressor with one of its `SETTINGS`, for so many training windows."""
    made: Regressor
    if method == Method.KNN:
        made = KNeighborsRegressor(min(setting["neighbours"], windows))
    elif method == Method.MAX_ENTROPY:
        made = MaximumEntropy(setting["penalty"])
    elif method == Method.RIDGE:
        made = Ridge(setting["penalty"] * windows)
    elif method == Method.RANDOM_FOREST:
        made = RandomForestRegressor(
            TREES, min_samples_leaf=setting["smallest_leaf"], max_features="sqrt", random_state=seed % 2**32
        )
    elif method == Method.MLP:
        # The Poisson loss of shares that are later divided by their sum is their cross-entropy, but for the sum.
        made = MLPRegressor(
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
    return made


@dataclass(frozen=True)
class FittedBaseline:
    """A regressor that has seen its training windows, whose (E,) mean label is `scale`."""

    regressor: Regressor
    scale: NDArray[np.float64]

    def predict(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Distributions (N, E) for scaled features (N, F)."""
        with np.errstate(over="ignore"):
            shares = np.clip(self.regressor.predict(_without_gaps(features)) * self.scale, SMALLEST, LARGEST)
        predicted: NDArray[np.float64] = shares / shares.sum(axis=1, keepdims=True)
        return predicted


def fit(
    method: str, setting: Mapping[str, Any], features: NDArray[np.float32], labels: NDArray[np.float64], seed: int
) -> FittedBaseline:
    """Fit a method to scaled features (N, F) and distributions (N, E)."""
    # A network starts from even outputs; divided by their mean, so are the labels.
    scale = np.maximum(labels.mean(axis=0), SMALLEST) if method == Method.MLP else np.ones(labels.shape[1])
    regressor = build(method, setting, len(features), seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the number of iterations is part of the method
        regressor.fit(_without_gaps(features), labels / scale)
    return FittedBaseline(regressor, scale)


def _without_gaps(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """A signal that is missing stands at its training mean: these methods know no gaps."""
    return np.where(np.isnan(features), np.float32(0), features)
