"""What HeLo is trained on, and the label correlation of the data."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def kl_loss(labels: Tensor, log_predicted: Tensor) -> Tensor:
    """Mean KL(label ‖ prediction) over a batch: (B, E) labels, (B, E) log-probabilities → scalar.

    A term with label 0 counts 0.
    """
    return (torch.xlogy(labels, labels) - labels * log_predicted).sum(dim=-1).mean()


def alignment_loss(learned: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference of two correlation matrices over pairs of different emotions: (E, E) → scalar.

    The diagonal is 1 in both, so it is left out: counting it would only shrink the loss.
    """
    emotions = learned.shape[0]
    return ((learned - target) ** 2).sum() / (emotions * (emotions - 1))


def label_correlation(labels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pearson correlation between emotions over windows: (N, E) → (E, E).

    Of an emotion that never varies the correlation is unknown: 0, and 1 with itself.

    >>> label_correlation(np.array([[0.2, 0.8, 0.0], [0.6, 0.4, 0.0]])).round(6).tolist()
    [[1.0, -1.0, 0.0], [-1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    centred = labels - labels.mean(axis=0)
    spread = np.sqrt((centred**2).mean(axis=0))
    varies = spread > 1e-9
    scaled = np.divide(centred, spread, out=np.zeros_like(centred), where=varies)
    correlation: NDArray[np.float64] = np.clip(scaled.T @ scaled / len(labels), -1, 1)
    np.fill_diagonal(correlation, 1.0)
    return correlation
