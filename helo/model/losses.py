"""Losses that training minimises."""

from __future__ import annotations

import torch
from torch import Tensor


def kl_loss(labels: Tensor, log_predicted: Tensor) -> Tensor:
    """Return the Kullback–Leibler divergences KL(label ‖ prediction).

    Parameters
    ----------
    labels : Tensor of shape (…, E)
        Emotion distributions. A share of 0 adds 0 to the divergence.
    log_predicted : Tensor of shape (…, E)
        Natural logarithms of the predicted distributions.

    Returns
    -------
    Tensor of shape (…)
        Divergences, in nats.
    """
    return (torch.xlogy(labels, labels) - labels * log_predicted).sum(dim=-1)


def alignment_loss(learned: Tensor, target: Tensor) -> Tensor:
    """Return the mean squared difference of two correlation matrices over pairs of different emotions.

    The diagonal is 1 in both matrices. It is left out, because it would only scale the loss down.

    Parameters
    ----------
    learned : Tensor of shape (…, E, E)
        Learned label correlation.
    target : Tensor of shape (…, E, E)
        Correlation of the training labels.

    Returns
    -------
    Tensor of shape (…)
        Mean squared differences.
    """
    emotions = learned.shape[-1]
    return ((learned - target) ** 2).sum(dim=(-2, -1)) / (emotions * (emotions - 1))
