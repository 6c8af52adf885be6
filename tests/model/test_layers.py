"""Tests of layers: members are separate, and absent tokens are ignored."""

from __future__ import annotations

import copy
from itertools import pairwise

import pytest
import torch
from torch import nn

from helo.data.schema import Modality
from helo.model.basics import Dropout, Streams
from helo.model.layers import (
    KNOTS,
    Attention,
    Classifier,
    EncoderLayer,
    LabelAttention,
    PhysiologicalFusion,
    PiecewiseEncoding,
    TokenEncoder,
    mean_token,
)

MEMBERS = 2


def dropout(share: float = 0.3) -> Dropout:
    return Dropout(share, Streams())


def member_of(layer: nn.Module, member: int) -> nn.Module:
    """Return a copy of a layer with one of its members."""
    alone = copy.deepcopy(layer)
    for parameter in alone.parameters():
        parameter.data = parameter.data[member : member + 1]
    return alone


@pytest.fixture
def tokens() -> torch.Tensor:
    return torch.randn(MEMBERS, 3, 6, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def present() -> torch.Tensor:
    """Return which tokens are present: the samples of the second member are those of the first in another order."""
    present = torch.ones(3, 6, dtype=torch.bool)
    present[0, [1, 4]] = False
    present[2] = False
    return torch.stack([present, present[[2, 0, 1]]])


def test_members_do_not_read_each_other(tokens: torch.Tensor, present: torch.Tensor) -> None:
    torch.manual_seed(0)
    labels, query = torch.randn(MEMBERS, 5, 8), torch.randn(MEMBERS, 3, 4, 8)
    correlation = torch.randn(MEMBERS, 5, 5)
    attention = LabelAttention(MEMBERS, 8, True)
    torch.nn.init.normal_(attention.strength)  # type: ignore[arg-type]
    classifier = Classifier(torch.randn(MEMBERS, 5), 8, dropout())
    torch.nn.init.normal_(classifier.weight)
    modality = Modality("eda", "physiological", tuple("abcdef"), 3)
    calls = [
        (TokenEncoder(MEMBERS, modality, 8, dropout()), (torch.randn(MEMBERS, 3, 6),)),
        (Attention(MEMBERS, 8, 2), (query, tokens, present)),
        (EncoderLayer(MEMBERS, 8, 2, dropout()), (tokens, present)),
        (attention, (labels, tokens, correlation, present)),
        (classifier, (torch.randn(MEMBERS, 3, 5, 8),)),
    ]
    for layer, inputs in calls:
        layer.eval()
        together = layer(*inputs)
        assert together.shape[0] == MEMBERS
        for member in range(MEMBERS):
            alone = member_of(layer, member)(*(one[member : member + 1] for one in inputs))
            torch.testing.assert_close(alone[0], together[member], msg=type(layer).__name__)


def test_members_of_a_fusion_do_not_read_each_other(tokens: torch.Tensor, present: torch.Tensor) -> None:
    torch.manual_seed(0)
    fusion = PhysiologicalFusion(MEMBERS, 1, 8, 2, dropout()).eval()
    main, main_present = torch.randn(MEMBERS, 3, 4, 8), torch.rand(MEMBERS, 3, 4) > 0.3
    together = fusion(main, [tokens], main_present, [present])
    for member in range(MEMBERS):
        here = slice(member, member + 1)
        alone = member_of(fusion, member)(main[here], [tokens[here]], main_present[here], [present[here]])
        torch.testing.assert_close(alone[0], together[member])


def test_an_encoder_of_single_features_equals_the_general_product() -> None:
    """One feature per token takes a shortcut."""
    torch.manual_seed(0)
    encoder = TokenEncoder(MEMBERS, Modality("eda", "physiological", tuple("abc"), 3), 8, dropout()).eval()
    features = torch.randn(MEMBERS, 4, 3)
    expected = torch.einsum("mbtf,mtfd->mbtd", features.unsqueeze(3), encoder.weight) + encoder.bias.unsqueeze(1)
    torch.testing.assert_close(encoder(features), encoder.norm(expected))


def test_the_encoding_of_a_feature_is_that_of_its_definition() -> None:
    features = torch.tensor([-5.0, -2.0, -0.7, 0.0, 0.1, 2.0, 9.0])
    expected = []
    for x in features.tolist():
        parts = [(x - a) / (b - a) for a, b in pairwise(KNOTS)]
        inner = [min(max(part, 0.0), 1.0) for part in parts]
        expected.append([min(parts[0], 1.0), *inner[1:-1], max(parts[-1], 0.0)])
    torch.testing.assert_close(PiecewiseEncoding()(features.unsqueeze(1)), torch.tensor(expected) - 0.5)


def test_an_encoded_token_is_linear_between_knots_and_beyond_them() -> None:
    torch.manual_seed(0)
    modality = Modality("eda", "physiological", ("a",), 1)
    encoder = TokenEncoder(1, modality, 8, dropout(0.0), "piecewise")
    encoder.norm = nn.Identity()  # type: ignore[assignment]
    ends = [-9.0, *KNOTS, 9.0]
    slopes = []
    for start, end in pairwise(ends):
        points = torch.linspace(start, end, 3).view(1, 3, 1)
        low, middle, high = encoder(points)[0, :, 0]
        torch.testing.assert_close(middle, (low + high) / 2)
        slopes.append((high - low) / (end - start))
    for below, above in pairwise(slopes[1:-1]):
        assert not torch.allclose(below, above)
    torch.testing.assert_close(slopes[0], slopes[1])
    torch.testing.assert_close(slopes[-1], slopes[-2])


def test_a_piecewise_encoder_reads_the_components_of_each_token() -> None:
    """Tokens of two features; a change of one feature changes its token only."""
    torch.manual_seed(0)
    modality = Modality("eda", "physiological", tuple("abcdef"), 3)
    encoder = TokenEncoder(MEMBERS, modality, 8, dropout(), "piecewise").eval()
    features = torch.randn(MEMBERS, 4, 6)
    encoded = PiecewiseEncoding()(features.view(MEMBERS, 4, 3, 2))
    expected = torch.einsum("mbtf,mtfd->mbtd", encoded, encoder.weight) + encoder.bias.unsqueeze(1)
    torch.testing.assert_close(encoder(features), encoder.norm(expected))
    changed = features.clone()
    changed[..., 2] += 1
    same = (encoder(changed) == encoder(features)).all(dim=3).flatten(0, 1).all(dim=0)
    assert same.tolist() == [True, False, True]


def test_attention_ignores_absent_tokens(tokens: torch.Tensor, present: torch.Tensor) -> None:
    torch.manual_seed(0)
    attention, query = Attention(MEMBERS, 8, 2), torch.randn(MEMBERS, 3, 4, 8)
    answers = attention(query, tokens, present)[0]
    whole = attention(query[:, :1], tokens[:, :1, present[0, 0]])
    torch.testing.assert_close(answers[0], whole[0, 0])
    torch.testing.assert_close(answers[1], attention(query, tokens)[0, 1])
    assert (answers[2] == 0).all()


def test_an_encoder_layer_ignores_absent_tokens(tokens: torch.Tensor, present: torch.Tensor) -> None:
    torch.manual_seed(0)
    layer = EncoderLayer(MEMBERS, 8, 2, dropout()).eval()
    read = layer(tokens, present)
    torch.testing.assert_close(read[0, 0, present[0, 0]], layer(tokens[:, :1, present[0, 0]])[0, 0])
    assert torch.isfinite(read).all()


def correlation_of(labels: torch.Tensor) -> torch.Tensor:
    directions = torch.nn.functional.normalize(labels, dim=-1)
    return directions @ directions.mT


@pytest.mark.parametrize("correlated", [True, False])
def test_label_attention_ignores_absent_tokens(tokens: torch.Tensor, present: torch.Tensor, correlated: bool) -> None:
    torch.manual_seed(0)
    attention, labels = LabelAttention(MEMBERS, 8, correlated), torch.randn(MEMBERS, 5, 8)
    answers = attention(labels, tokens, correlation_of(labels), present)
    whole = attention(labels, tokens[:, :1, present[0, 0]], correlation_of(labels))
    torch.testing.assert_close(answers[0, 0], whole[0, 0])
    assert (answers[0, 2] == 0).all()
    assert (answers[1, 0] == 0).all()


def test_label_attention_agrees_with_its_definition(tokens: torch.Tensor) -> None:
    """Projecting queries and answers instead of all tokens changes the order of the products only."""
    torch.manual_seed(0)
    attention, labels = LabelAttention(MEMBERS, 8, True), torch.randn(MEMBERS, 5, 8)
    strength = torch.tensor([0.7, -0.4])
    assert attention.strength is not None
    with torch.no_grad():
        attention.strength.copy_(strength)
    related = correlation_of(labels) - torch.eye(5)
    related = (related / related.abs().sum(dim=2, keepdim=True).clamp_min(1)).unsqueeze(1)
    scores = attention.query(labels).unsqueeze(1) @ attention.key(tokens).mT / 8**0.5
    weights = (scores + strength[:, None, None, None] * related @ scores).softmax(dim=-1)
    expected = attention.output(weights @ attention.value(tokens))
    torch.testing.assert_close(attention(labels, tokens, correlation_of(labels)), expected)


def test_mean_token_ignores_absent_tokens(tokens: torch.Tensor, present: torch.Tensor) -> None:
    mean = mean_token(tokens, present)
    torch.testing.assert_close(mean[0, 0], tokens[0, 0, present[0, 0]].mean(dim=0))
    assert (mean[0, 2] == 0).all()
    torch.testing.assert_close(mean_token(tokens), tokens.mean(dim=2))


def test_a_classifier_starts_at_its_prior() -> None:
    prior = torch.tensor([[0.1, 0.2, 0.7], [0.5, 0.3, 0.2]]).log()
    classifier = Classifier(prior, 8, dropout(0.5))
    expected = prior.unsqueeze(1).expand(2, 4, 3)
    torch.testing.assert_close(classifier(torch.randn(2, 4, 3, 8)), expected)
    torch.testing.assert_close(classifier(torch.randn(2, 4, 1, 8)), expected)
