"""Tests of the basic layers: members are separate, and dropout keeps the expectation."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from helo.model.basics import Dropout, LayerNorm, Linear, Streams


def dropout(share: float, *seeds: int) -> Dropout:
    """Return dropout in training, with a generator per seed, or with torch's own without seeds."""
    streams = Streams()
    if seeds:
        streams.generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    return Dropout(share, streams).train()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(4, 5), (4, 2, 5)])
def test_linear_equals_one_of_torch_per_member(bias: bool, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    layer, x = Linear(3, 5, 7, bias), torch.randn(3, *shape)
    for member in range(3):
        alone = nn.Linear(5, 7, bias)
        alone.load_state_dict({name: value[member] for name, value in layer.state_dict().items()})
        torch.testing.assert_close(layer(x)[member], alone(x[member]))


def test_linear_starts_like_that_of_torch() -> None:
    torch.manual_seed(0)
    layer, alone = Linear(1, 50, 40), nn.Linear(50, 40)
    for name in ("weight", "bias"):
        one, other = getattr(layer, name), getattr(alone, name)
        assert one.abs().max().item() == pytest.approx(other.abs().max().item(), rel=0.1)
        assert one.std().item() == pytest.approx(other.std().item(), rel=0.3)


def test_layer_norm_equals_one_of_torch_per_member() -> None:
    torch.manual_seed(0)
    layer, x = LayerNorm(3, 8), torch.randn(3, 4, 5, 8)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_()
    for member in range(3):
        alone = nn.LayerNorm(8)
        alone.load_state_dict({name: value[member] for name, value in layer.state_dict().items()})
        torch.testing.assert_close(layer(x)[member], alone(x[member]))


@pytest.mark.parametrize("seeds", [(), (0,)])
@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.9])
def test_dropout_drops_its_share_and_keeps_the_expectation(share: float, seeds: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    dropped = dropout(share, *seeds)(torch.ones(1, 200_003))  # Not a multiple of the draws per word.
    zero = (dropped == 0).double().mean().item()
    assert zero == pytest.approx(share, abs=5e-3)
    assert dropped[dropped > 0].unique().numel() == 1
    assert dropped.double().mean().item() == pytest.approx(1, abs=1e-2)


def test_dropout_draws_elements_independently() -> None:
    """The four draws of one word are independent."""
    torch.manual_seed(0)
    kept = (dropout(0.5)(torch.ones(1, 100_000))[0] > 0).double()
    for lag in range(1, 9):
        assert torch.corrcoef(torch.stack([kept[:-lag], kept[lag:]]))[0, 1].abs() < 0.02


def test_dropout_follows_the_seed_and_is_off_in_evaluation() -> None:
    layer, x = dropout(0.5), torch.randn(1, 7, 5)
    assert layer.eval()(x) is x
    assert dropout(0.0)(x) is x
    torch.manual_seed(3)
    one = layer.train()(x)
    torch.manual_seed(3)
    assert torch.equal(layer(x), one)
    assert not torch.equal(layer(x), one)


def test_dropout_passes_gradients_to_kept_elements() -> None:
    torch.manual_seed(0)
    x = torch.ones(2, 50, requires_grad=True)
    dropped = dropout(0.5, 0, 1)(x)
    dropped.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, dropped.detach())


def test_a_member_draws_the_same_dropout_alone_and_beside_others() -> None:
    x = torch.ones(3, 5, 7)
    together = dropout(0.5, 4, 5, 6)(x)
    for member, seed in enumerate((4, 5, 6)):
        assert torch.equal(dropout(0.5, seed)(x[:1])[0], together[member])
    assert not torch.equal(together[0], together[1])


def test_dropout_with_generators_leaves_the_random_stream_of_the_process_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    dropout(0.5, 1, 2)(torch.ones(2, 9))
    assert torch.equal(torch.rand(4), expected)
