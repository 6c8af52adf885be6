"""HeLo: what it predicts before it has learned, what it learns, and what it must not depend on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from helo.configuration import Configuration
from helo.data.dataset import Modality, Schema
from helo.data.simulated import simulate
from helo.losses import alignment_loss, kl_loss, label_correlation
from helo.model import HeLo

SCHEMA = simulate(subjects=2, clips=1, windows=1).schema
EMOTIONS = len(SCHEMA.emotions)
MEAN = torch.tensor([0.3, 0.25, 0.2, 0.15, 0.07, 0.03])
SMALL = Configuration(width=8, heads=2, dropout=0.0)


def build(schema: Schema = SCHEMA, configuration: Configuration = SMALL, seed: int = 0) -> HeLo:
    torch.manual_seed(seed)
    return HeLo(schema, configuration, MEAN[: len(schema.emotions)] / MEAN[: len(schema.emotions)].sum())


def windows(count: int = 12, schema: Schema = SCHEMA, seed: int = 1) -> Tensor:
    return torch.randn(count, len(schema.features), generator=torch.Generator().manual_seed(seed))


def targets(count: int = 12, seed: int = 2) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).dirichlet(np.ones(EMOTIONS), size=count)).float()


def train(model: HeLo, steps: int = 2, learning_rate: float = 1e-2) -> HeLo:
    """Some steps of both losses: the head's weights start at 0, so one is needed before inputs matter."""
    optimiser = torch.optim.Adam(model.parameters(), lr=learning_rate)
    features, labels = windows(), targets()
    for _ in range(steps):
        output = model(features)
        loss = kl_loss(labels, output.log_predicted) + alignment_loss(output.correlation, torch.eye(EMOTIONS))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model


@pytest.fixture(scope="module")
def trained() -> HeLo:
    return train(build(), steps=10).eval()


def schema_of(*modalities: tuple[str, str, int, int]) -> Schema:
    """A schema of (name, role, tokens, features per token); the first modality is the main one."""
    return replace(
        SCHEMA,
        modalities=tuple(
            Modality(name, role, tuple(f"{name}{i}" for i in range(tokens * width)), tokens, main=number == 0)
            for number, (name, role, tokens, width) in enumerate(modalities)
        ),
    )


def test_output_is_a_distribution(trained: HeLo) -> None:
    output = trained(windows())
    predicted = output.log_predicted.exp()
    assert predicted.shape == (12, EMOTIONS)
    assert (predicted > 0).all()
    torch.testing.assert_close(predicted.sum(dim=1), torch.ones(12))
    assert output.plan.shape == (12, 8 // 2, 6)
    assert output.unconverged.shape == (12,)


def test_predictions_differ_between_windows_once_trained(trained: HeLo) -> None:
    assert trained(windows()).log_predicted.std(dim=0).min() > 1e-3


def test_starts_from_the_mean_label() -> None:
    predicted = build().eval()(windows()).log_predicted.exp()
    torch.testing.assert_close(predicted, MEAN.expand(12, EMOTIONS), atol=1e-5, rtol=0)


def test_an_emotion_that_nobody_reported_starts_near_zero() -> None:
    mean = torch.tensor([0.5, 0.5, 0.0, 0.0, 0.0, 0.0])
    predicted = HeLo(SCHEMA, SMALL, mean).eval()(windows()).log_predicted.exp()
    assert torch.isfinite(predicted.log()).all()
    torch.testing.assert_close(predicted, mean.expand(12, EMOTIONS), atol=1e-3, rtol=0)


def test_the_weights_follow_the_seed() -> None:
    one, same, other = build(seed=0), build(seed=0), build(seed=1)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert not torch.equal(one.labels, other.labels)


def test_evaluation_is_deterministic_and_training_is_not() -> None:
    model = train(build(configuration=replace(SMALL, dropout=0.5)))
    features = windows()
    model.eval()
    assert torch.equal(model(features).log_predicted, model(features).log_predicted)
    model.train()
    assert not torch.equal(model(features).log_predicted, model(features).log_predicted)


def test_every_parameter_learns() -> None:
    model = train(build(configuration=replace(SMALL, attention_depth=2)), steps=2)
    output = model(windows())
    (kl_loss(targets(), output.log_predicted) + alignment_loss(output.correlation, torch.eye(EMOTIONS))).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_the_label_embedding_is_a_parameter_and_moves() -> None:
    model = build()
    before = model.labels.detach().clone()
    train(model, steps=3)
    assert (model.labels - before).norm(dim=1).min() > 1e-3


def test_correlation_is_the_cosine_of_the_embeddings(trained: HeLo) -> None:
    correlation = trained(windows()).correlation
    embeddings = trained.labels.detach().double().numpy()
    lengths = np.linalg.norm(embeddings, axis=1)
    expected = embeddings @ embeddings.T / np.outer(lengths, lengths)
    np.testing.assert_allclose(correlation.detach().numpy(), expected, atol=1e-5)
    torch.testing.assert_close(torch.diagonal(correlation), torch.ones(EMOTIONS))


def test_alignment_moves_the_correlation_to_that_of_the_data() -> None:
    target = torch.from_numpy(label_correlation(simulate(subjects=3, clips=4, windows=1).labels)).float()
    model = build()
    optimiser = torch.optim.Adam([model.labels], lr=0.05)
    losses = []
    for _ in range(60):
        loss = alignment_loss(model.correlation(), target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]


def test_depth_adds_whole_layers() -> None:
    counts = [
        sum(parameter.numel() for parameter in build(configuration=replace(SMALL, attention_depth=depth)).parameters())
        for depth in range(4)
    ]
    steps = np.diff(counts)
    assert steps[0] > 0
    assert (steps == steps[0]).all()


def test_a_window_does_not_depend_on_the_others(trained: HeLo) -> None:
    features = windows()
    together = trained(features).log_predicted.exp()
    alone = torch.cat([trained(window[None]).log_predicted.exp() for window in features])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=0)
    wild = features.clone()
    wild[1:] *= 100
    torch.testing.assert_close(trained(wild).log_predicted.exp()[0], together[0], atol=1e-4, rtol=0)


@pytest.mark.parametrize("modality", [modality.name for modality in SCHEMA.modalities])
def test_every_modality_matters(trained: HeLo, modality: str) -> None:
    features = windows()
    changed = features.clone()
    changed[:, SCHEMA.slices[modality]] += 1
    assert (trained(changed).log_predicted - trained(features).log_predicted).abs().max() > 1e-4


@pytest.mark.parametrize(
    "schema",
    [
        schema_of(("ecg", "physiological", 3, 2), ("face", "behavioural", 4, 1)),
        schema_of(("ecg", "physiological", 1, 5), ("face", "behavioural", 1, 7)),
        schema_of(("ecg", "physiological", 1, 1), ("face", "behavioural", 1, 1)),
        schema_of(
            ("ecg", "physiological", 2, 3),
            ("face", "behavioural", 3, 2),
            ("eda", "physiological", 4, 1),
            ("voice", "behavioural", 1, 6),
            ("motion", "behavioural", 5, 1),
        ),
    ],
    ids=["one physiological", "one token each", "one feature each", "several behavioural"],
)
def test_any_schema_can_be_trained(schema: Schema) -> None:
    model = build(schema)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(2):
        optimiser.zero_grad()
        output = model(windows(schema=schema))
        kl_loss(targets(), output.log_predicted).backward()
        optimiser.step()
    assert torch.isfinite(output.log_predicted).all()
    assert output.plan.shape[1:] == (
        schema.main.tokens,
        sum(modality.tokens for modality in schema.behavioural),
    )


@pytest.mark.parametrize("name", ["wrist.acc", "keys", "type", "main token"])
def test_a_modality_may_have_any_name(name: str) -> None:
    schema = schema_of((name, "physiological", 2, 1), ("face", "behavioural", 2, 1))
    assert build(schema)(windows(schema=schema)).log_predicted.shape == (12, EMOTIONS)


@pytest.mark.parametrize("name", ["ecg", "eda", "motion"])
def test_tokens_keep_their_own_features(trained: HeLo, name: str) -> None:
    """The order of tokens is a matter of naming: moved together with their maps, they say the same.

    A reshape that mixed tokens with features, as in the release, would fail here.
    """
    modality = next(modality for modality in SCHEMA.modalities if modality.name == name)
    order = torch.randperm(modality.tokens, generator=torch.Generator().manual_seed(0)).roll(1)
    moved = build()
    moved.load_state_dict(trained.state_dict())
    encoder = moved.encoders[[modality.name for modality in SCHEMA.modalities].index(name)]
    with torch.no_grad():
        encoder.weight.copy_(encoder.weight[order])
        encoder.bias.copy_(encoder.bias[order])
    features = windows()
    changed = features.clone()
    where = SCHEMA.slices[name]
    columns = features[:, where].unflatten(1, (modality.tokens, modality.token_features))
    changed[:, where] = columns[:, order].flatten(1)
    assert not torch.equal(changed, features)
    before, after = trained(features).log_predicted.exp(), moved.eval()(changed).log_predicted.exp()
    torch.testing.assert_close(after, before, atol=1e-4, rtol=0)


def test_the_order_of_modalities_does_not_matter_for_shapes() -> None:
    """The main modality is the query wherever it stands in the file."""
    schema = replace(SCHEMA, modalities=SCHEMA.modalities[::-1])
    assert build(schema)(windows(schema=schema)).plan.shape[1] == schema.main.tokens


def test_larger_entropy_gives_more_even_plans(trained: HeLo) -> None:
    state = trained.state_dict()
    entropies = []
    for epsilon in (0.02, 0.2, 5.0):
        model = build(configuration=replace(SMALL, ot_entropy=epsilon))
        model.load_state_dict(state)
        plan = model.eval()(windows()).plan
        entropies.append(-torch.xlogy(plan, plan).sum().item())
    assert entropies == sorted(entropies)
    assert entropies[0] < entropies[2]
