"""Tests of layers: dropout keeps the expectation, and absent tokens are ignored."""

from __future__ import annotations

import pytest
import torch

from helo.model.layers import Attention, Classifier, Dropout, EncoderLayer, LabelAttention, mean_token


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.9])
def test_dropout_drops_its_share_and_keeps_the_expectation(share: float) -> None:
    torch.manual_seed(0)
    dropped = Dropout(share).train()(torch.ones(200_003))  # Not a multiple of the draws per word.
    zero = (dropped == 0).double().mean().item()
    assert zero == pytest.approx(share, abs=5e-3)
    assert dropped[dropped > 0].unique().numel() == 1
    assert dropped.double().mean().item() == pytest.approx(1, abs=1e-2)


def test_dropout_draws_elements_independently() -> None:
    """The four draws of one word are independent."""
    torch.manual_seed(0)
    kept = (Dropout(0.5).train()(torch.ones(100_000)) > 0).double()
    for lag in range(1, 9):
        assert torch.corrcoef(torch.stack([kept[:-lag], kept[lag:]]))[0, 1].abs() < 0.02


def test_dropout_follows_the_seed_and_is_off_in_evaluation() -> None:
    layer, x = Dropout(0.5), torch.randn(7, 5)
    assert layer.eval()(x) is x
    assert Dropout(0.0).train()(x) is x
    torch.manual_seed(3)
    one = layer.train()(x)
    torch.manual_seed(3)
    assert torch.equal(layer(x), one)
    assert not torch.equal(layer(x), one)


def test_dropout_passes_gradients_to_kept_elements() -> None:
    torch.manual_seed(0)
    x = torch.ones(50, requires_grad=True)
    dropped = Dropout(0.5).train()(x)
    dropped.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, dropped.detach())


@pytest.fixture
def tokens() -> torch.Tensor:
    return torch.randn(3, 6, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def present() -> torch.Tensor:
    present = torch.ones(3, 6, dtype=torch.bool)
    present[0, [1, 4]] = False
    present[2] = False
    return present


def test_attention_ignores_absent_tokens(tokens: torch.Tensor, present: torch.Tensor) -> None:
    torch.manual_seed(0)
    attention, query = Attention(8, 2), torch.randn(3, 4, 8)
    answers = attention(query, tokens, present)
    torch.testing.assert_close(answers[:1], attention(query[:1], tokens[:1, present[0]]))
    torch.testing.assert_close(answers[1:2], attention(query[1:2], tokens[1:2]))
    assert (answers[2] == 0).all()


def test_an_encoder_layer_ignores_absent_tokens(tokens: torch.Tensor, present: torch.Tensor) -> None:
    torch.manual_seed(0)
    layer = EncoderLayer(8, 2, 0.3).eval()
    read = layer(tokens, present)
    torch.testing.assert_close(read[0, present[0]], layer(tokens[:1, present[0]])[0])
    assert torch.isfinite(read).all()


@pytest.mark.parametrize("correlated", [True, False])
def test_label_attention_ignores_absent_tokens(tokens: torch.Tensor, present: torch.Tensor, correlated: bool) -> None:
    torch.manual_seed(0)
    attention, labels = LabelAttention(8, correlated), torch.randn(5, 8)
    correlation = torch.nn.functional.normalize(labels, dim=1) @ torch.nn.functional.normalize(labels, dim=1).T
    answers = attention(labels, tokens, correlation, present)
    torch.testing.assert_close(answers[:1], attention(labels, tokens[:1, present[0]], correlation))
    assert (answers[2] == 0).all()


def test_label_attention_agrees_with_its_definition(tokens: torch.Tensor) -> None:
    """Projecting queries and answers instead of all tokens changes the order of the products only."""
    torch.manual_seed(0)
    attention, labels = LabelAttention(8, True), torch.randn(5, 8)
    with torch.no_grad():
        attention.strength.fill_(0.7)
    directions = torch.nn.functional.normalize(labels, dim=1)
    correlation = directions @ directions.T
    related = correlation - torch.eye(5)
    related = related / related.abs().sum(dim=1, keepdim=True).clamp_min(1)
    scores = attention.query(labels) @ attention.key(tokens).transpose(1, 2) / 8**0.5
    weights = (scores + 0.7 * related @ scores).softmax(dim=-1)
    expected = attention.output(weights @ attention.value(tokens))
    torch.testing.assert_close(attention(labels, tokens, correlation), expected)


def test_mean_token_ignores_absent_tokens(tokens: torch.Tensor, present: torch.Tensor) -> None:
    mean = mean_token(tokens, present)
    torch.testing.assert_close(mean[0], tokens[0, present[0]].mean(dim=0))
    assert (mean[2] == 0).all()
    torch.testing.assert_close(mean_token(tokens), tokens.mean(dim=1))


def test_a_classifier_starts_at_its_prior() -> None:
    prior = torch.tensor([0.1, 0.2, 0.7]).log()
    classifier = Classifier(prior, 8, 0.5)
    torch.testing.assert_close(classifier(torch.randn(4, 3, 8)), prior.expand(4, 3))
    torch.testing.assert_close(classifier(torch.randn(4, 1, 8)), prior.expand(4, 3))
