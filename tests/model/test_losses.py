"""Tests of the two losses against SciPy and NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import entropy

from helo.model.losses import alignment_loss, kl_loss


def test_kl_agrees_with_scipy() -> None:
    d, p = np.random.default_rng(0).dirichlet(np.ones(5), size=(2, 8))
    loss = kl_loss(torch.from_numpy(d), torch.from_numpy(p).log())
    assert loss.numpy() == pytest.approx(entropy(d, p, axis=1))


def test_losses_keep_leading_dimensions() -> None:
    d, p = torch.from_numpy(np.random.default_rng(0).dirichlet(np.ones(5), size=(2, 3, 4))).float()
    assert torch.equal(kl_loss(d, p.log())[1], kl_loss(d[1], p[1].log()))
    one, other = torch.randn(2, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    assert alignment_loss(one, other).shape == (3,)
    torch.testing.assert_close(alignment_loss(one, other)[2], alignment_loss(one[2], other[2]))


def test_kl_and_its_gradient_are_zero_at_the_label() -> None:
    d = torch.tensor([[0.2, 0.3, 0.5]])
    logits = d.log().requires_grad_()
    loss = kl_loss(d, logits.log_softmax(dim=-1))
    loss.sum().backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert logits.grad == pytest.approx(torch.zeros(1, 3), abs=1e-6)


def test_kl_of_a_label_with_zeros_is_finite() -> None:
    logits = torch.tensor([[0.0, 0.0]], requires_grad=True)
    loss = kl_loss(torch.tensor([[1.0, 0.0]]), logits.log_softmax(dim=-1))
    loss.sum().backward()
    assert loss.item() == pytest.approx(np.log(2))
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_alignment_is_zero_at_the_target() -> None:
    target = torch.from_numpy(np.corrcoef(np.random.default_rng(0).normal(size=(4, 9))))
    assert alignment_loss(target, target).item() == 0


def test_alignment_is_the_mean_over_pairs_of_different_emotions() -> None:
    learned, target = torch.eye(3), torch.eye(3)
    learned[0, 1] = learned[1, 0] = 0.6
    assert alignment_loss(learned, target).item() == pytest.approx(2 * 0.36 / 6)


def test_alignment_does_not_shrink_with_more_emotions() -> None:
    """The diagonals always agree; counting them would lower the loss for few emotions."""
    for emotions in (2, 5, 9):
        learned = torch.full((emotions, emotions), 0.5).fill_diagonal_(1.0)
        assert alignment_loss(learned, torch.eye(emotions)).item() == pytest.approx(0.25)
