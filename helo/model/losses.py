"""What HeLo is trained on."""

from __future__ import annotations

import torch
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
