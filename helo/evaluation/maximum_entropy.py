"""Linear maximum-entropy model of label distributions: a baseline, and a part of the predictions of HeLo."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax


class MaximumEntropy:
    r"""Linear maximum-entropy model of label distribution learning, fitted by L-BFGS.

    It minimises :math:`\frac1N \sum_n KL(d_n ‖ p_n) + \frac{λ}{2} ‖W‖²` with :math:`p_n = softmax(W x_n + b)`. λ is
    `penalty`; b is not penalised. Source: X. Geng, "Label Distribution Learning", IEEE TKDE 28(7), 2016, as SA-BFGS
    without a penalty. The logistic regression of scikit-learn accepts classes only. With each window repeated once per
    emotion and weighted by its share, it would fit the same model with E times the time and memory.

    Parameters
    ----------
    penalty : float
        Weight λ of the squared weights.
    iterations : int
        Maximum number of L-BFGS iterations.
    """

    def __init__(self, penalty: float, iterations: int = 500) -> None:
        self.penalty, self.iterations = penalty, iterations

    def fit(self, features: NDArray[Any], labels: NDArray[Any]) -> MaximumEntropy:
        """Fit features (N, F) to distributions (N, E), and return the model."""
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
        solution = minimize(
            loss, start, jac=True, method="L-BFGS-B", options={"maxiter": self.iterations, "ftol": 1e-12, "gtol": 1e-6}
        )
        self.weights = solution.x.reshape(shape)
        return self

    def predict(self, features: NDArray[Any]) -> NDArray[np.float64]:
        """Return the predicted distributions (N, E) for features (N, F)."""
        predicted: NDArray[np.float64] = np.exp(log_softmax(self._with_constant(features) @ self.weights, axis=1))
        return predicted

    @staticmethod
    def _with_constant(features: NDArray[Any]) -> NDArray[np.float64]:
        inputs = np.ones((features.shape[0], features.shape[1] + 1))
        inputs[:, :-1] = features  # one copy, for large tables
        return inputs
