"""Tests of HeLo: first predictions, training, ablations and missing signals."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from helo.configuration import Configuration
from helo.data.label_correlation import label_correlation
from helo.data.schema import Modality, Schema
from helo.data.simulated import simulate
from helo.model.losses import alignment_loss, kl_loss
from helo.model.network import HeLo, Output, join_members

SCHEMA = simulate(subjects=2, clips=1, windows=1).schema
EMOTIONS = len(SCHEMA.emotions)
MEAN = torch.tensor([0.3, 0.25, 0.2, 0.15, 0.07, 0.03])
SMALL = Configuration(width=8, heads=2, dropout=0.0)


NETWORK = replace(SMALL, linear_share=0.0)


def build(schema: Schema = SCHEMA, configuration: Configuration = SMALL, seed: int = 0) -> HeLo:
    """Return a model of one member."""
    torch.manual_seed(seed)
    return HeLo(schema, configuration, MEAN.unsqueeze(0))


def trained_parameters(model: HeLo) -> list[tuple[str, torch.nn.Parameter]]:
    """Return the parameters but those of the linear model, which is fitted before."""
    fitted = {"linear.weight", "linear.bias"}
    parameters = dict(model.named_parameters())
    assert {name for name, parameter in parameters.items() if not parameter.requires_grad} == fitted
    return [(name, parameter) for name, parameter in parameters.items() if name not in fitted]


def run(model: HeLo, features: Tensor) -> Output:
    """Return the output of a model of one member for features (b, F), without the dimension of members."""
    log_predicted, correlation, transport = model(features.unsqueeze(0))
    return Output(log_predicted[0], None if correlation is None else correlation[0], transport)


def windows(count: int = 12, schema: Schema = SCHEMA, seed: int = 1) -> Tensor:
    return torch.randn(count, len(schema.features), generator=torch.Generator().manual_seed(seed))


def targets(count: int = 12, seed: int = 2) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).dirichlet(np.ones(EMOTIONS), size=count)).float()


def train(model: HeLo, steps: int = 2, learning_rate: float = 1e-2) -> HeLo:
    """Train for some steps, because the weights of the classifier start at 0 and ignore the input."""
    optimiser = torch.optim.Adam(model.parameters(), lr=learning_rate)
    features, labels = windows(), targets()
    for _ in range(steps):
        output = run(model, features)
        loss = kl_loss(labels, output.log_predicted).mean()
        if output.correlation is not None:
            loss = loss + alignment_loss(output.correlation, torch.eye(EMOTIONS))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model


@pytest.fixture(scope="module")
def trained() -> HeLo:
    return train(build(), steps=10).eval()


def schema_of(*modalities: tuple[str, str, int, int]) -> Schema:
    """Return a schema of (name, role, tokens, features per token); the first modality is the main one."""
    return replace(
        SCHEMA,
        modalities=tuple(
            Modality(name, role, tuple(f"{name}{i}" for i in range(tokens * width)), tokens, main=number == 0)
            for number, (name, role, tokens, width) in enumerate(modalities)
        ),
    )


def test_output_is_a_distribution(trained: HeLo) -> None:
    output = run(trained, windows())
    predicted = output.log_predicted.exp()
    assert predicted.shape == (12, EMOTIONS)
    assert (predicted > 0).all()
    torch.testing.assert_close(predicted.sum(dim=1), torch.ones(12))
    assert output.transport is not None
    assert output.transport.plan.shape == (12, 8 // 2, 6)
    assert not output.transport.unconverged.any()


def test_predictions_differ_between_windows_once_trained(trained: HeLo) -> None:
    assert run(trained, windows()).log_predicted.std(dim=0).min() > 1e-3


def test_starts_from_the_mean_label() -> None:
    predicted = run(build(configuration=NETWORK).eval(), windows()).log_predicted.exp()
    torch.testing.assert_close(predicted, MEAN.expand(12, EMOTIONS), atol=1e-5, rtol=0)


def test_an_emotion_without_reports_starts_near_zero() -> None:
    mean = torch.tensor([0.5, 0.5, 0.0, 0.0, 0.0, 0.0])
    predicted = run(HeLo(SCHEMA, NETWORK, mean.unsqueeze(0)).eval(), windows()).log_predicted.exp()
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
    assert torch.equal(run(model, features).log_predicted, run(model, features).log_predicted)
    model.train()
    assert not torch.equal(run(model, features).log_predicted, run(model, features).log_predicted)


def test_every_parameter_learns() -> None:
    model = train(build(configuration=replace(SMALL, attention_depth=2)), steps=2)
    output = run(model, windows())
    assert output.correlation is not None
    (
        kl_loss(targets(), output.log_predicted).mean() + alignment_loss(output.correlation, torch.eye(EMOTIONS))
    ).backward()
    for name, parameter in trained_parameters(model):
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_the_label_embedding_is_a_parameter_and_moves() -> None:
    model = build()
    before = model.labels.detach().clone()
    train(model, steps=3)
    assert (model.labels - before).norm(dim=2).min() > 1e-3


def test_correlation_is_the_cosine_of_the_embeddings(trained: HeLo) -> None:
    correlation = run(trained, windows()).correlation
    assert correlation is not None
    embeddings = trained.labels[0].detach().double().numpy()
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
        loss = alignment_loss(model.correlation()[0], target)
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


ABLATIONS = (
    {"transport": "none"},
    {"transport": "gromov", "ot_entropy": 0.02},
    {"transport": "fused", "ot_entropy": 0.02},
    {"ot_entropy": 1e-3},
    {"label_attention": "none"},
    {"label_attention": "plain"},
    {"modalities": "physiological"},
    {"modalities": "behavioural"},
    {"modalities": "behavioural", "label_attention": "none", "attention_depth": 0},
)


def named(changes: dict[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in changes.items())


@pytest.fixture(scope="module", params=({}, *ABLATIONS), ids=named)
def ablated(request: pytest.FixtureRequest) -> HeLo:
    return train(build(configuration=replace(SMALL, **request.param)), steps=10).eval()


def test_a_window_does_not_depend_on_the_others(ablated: HeLo) -> None:
    trained, features = ablated, windows()
    together = run(trained, features).log_predicted.exp()
    alone = torch.cat([run(trained, window[None]).log_predicted.exp() for window in features])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
    wild = features.clone()
    wild[1:] *= 100
    torch.testing.assert_close(run(trained, wild).log_predicted.exp()[0], together[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("modality", [modality.name for modality in SCHEMA.modalities])
def test_every_modality_matters(trained: HeLo, modality: str) -> None:
    features = windows()
    changed = features.clone()
    changed[:, SCHEMA.slices[modality]] += 1
    assert (run(trained, changed).log_predicted - run(trained, features).log_predicted).abs().max() > 1e-4


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
        output = run(model, windows(schema=schema))
        kl_loss(targets(), output.log_predicted).mean().backward()
        optimiser.step()
    assert torch.isfinite(output.log_predicted).all()
    assert output.transport.plan.shape[1:] == (
        schema.main.tokens,
        sum(modality.tokens for modality in schema.behavioural),
    )


@pytest.mark.parametrize("name", ["wrist.acc", "keys", "type", "main token"])
def test_a_modality_may_have_any_name(name: str) -> None:
    schema = schema_of((name, "physiological", 2, 1), ("face", "behavioural", 2, 1))
    assert run(build(schema), windows(schema=schema)).log_predicted.shape == (12, EMOTIONS)


@pytest.mark.parametrize("name", ["ecg", "eda", "motion"])
def test_permuted_tokens_with_permuted_maps_predict_the_same(trained: HeLo, name: str) -> None:
    """Tokens that are permuted together with their maps give the same prediction.

    A reshape that mixed tokens with features, as in the release, would fail here.
    """
    modality = next(modality for modality in SCHEMA.modalities if modality.name == name)
    order = torch.randperm(modality.tokens, generator=torch.Generator().manual_seed(0)).roll(1)
    moved = build()
    moved.load_state_dict(trained.state_dict())
    encoder = moved.encoders[[modality.name for modality in SCHEMA.modalities].index(name)]
    with torch.no_grad():
        encoder.weight.copy_(encoder.weight[:, order])
        encoder.bias.copy_(encoder.bias[:, order])
    features = windows()
    changed = features.clone()
    where = SCHEMA.slices[name]
    columns = features[:, where].unflatten(1, (modality.tokens, modality.token_features))
    changed[:, where] = columns[:, order].flatten(1)
    assert not torch.equal(changed, features)
    before, after = run(trained, features).log_predicted.exp(), run(moved.eval(), changed).log_predicted.exp()
    torch.testing.assert_close(after, before, atol=1e-4, rtol=0)


def test_the_order_of_modalities_does_not_matter_for_shapes() -> None:
    """The main modality is the query at any position in the schema."""
    schema = replace(SCHEMA, modalities=SCHEMA.modalities[::-1])
    assert run(build(schema), windows(schema=schema)).transport.plan.shape[1] == schema.main.tokens


def test_larger_entropy_gives_more_even_plans(trained: HeLo) -> None:
    state = trained.state_dict()
    entropies = []
    for epsilon in (0.02, 0.2, 5.0):
        model = build(configuration=replace(SMALL, ot_entropy=epsilon))
        model.load_state_dict(state)
        plan = run(model.eval(), windows()).transport.plan
        entropies.append(-torch.xlogy(plan, plan).sum().item())
    assert entropies == sorted(entropies)
    assert entropies[0] < entropies[2]


@pytest.mark.parametrize("changes", ABLATIONS, ids=named)
def test_every_parameter_of_an_ablation_is_trained(changes: dict[str, Any]) -> None:
    """A model has no unused parameters, which would be counted, decayed and saved."""
    model = train(build(configuration=replace(SMALL, **changes)), steps=2)
    output = run(model, windows())
    loss = kl_loss(targets(), output.log_predicted).mean()
    if output.correlation is not None:
        loss = loss + alignment_loss(output.correlation, torch.eye(EMOTIONS))
    loss.backward()
    for name, parameter in trained_parameters(model):
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("role", ["physiological", "behavioural"])
def test_a_role_left_out_is_not_read(role: str) -> None:
    model = train(build(configuration=replace(SMALL, modalities=role)), steps=10).eval()
    features = windows()
    for modality in SCHEMA.modalities:
        changed = features.clone()
        changed[:, SCHEMA.slices[modality.name]] += 1
        moved = (run(model, changed).log_predicted - run(model, features).log_predicted).abs().max()
        assert moved > 1e-4 if modality.role == role else moved == 0, modality.name


def test_transport_makes_a_difference(trained: HeLo) -> None:
    state = trained.state_dict()
    predicted = {}
    for kind in ("linear", "gromov", "fused", "none"):
        model = build(configuration=replace(SMALL, transport=kind, ot_entropy=0.02))
        model.load_state_dict(state)  # Transport has no parameters.
        predicted[kind] = run(model.eval(), windows()).log_predicted.exp()
    for one in predicted:
        for other in predicted:
            assert one == other or (predicted[one] - predicted[other]).abs().max() > 1e-6, (one, other)


def test_the_bias_of_label_attention_is_that_of_the_correlation(trained: HeLo) -> None:
    """γ = 0 gives plain attention; with γ = 1 correlated emotions attend to the same tokens."""
    plain = build(configuration=replace(SMALL, label_attention="plain")).eval()
    plain.load_state_dict({k: v for k, v in trained.state_dict().items() if k != "label_attention.strength"})
    biased = build().eval()
    biased.load_state_dict(trained.state_dict())
    features = windows()
    with torch.no_grad():
        biased.label_attention.strength.zero_()
        torch.testing.assert_close(run(biased, features).log_predicted, run(plain, features).log_predicted)
        biased.label_attention.strength.fill_(1.0)
        assert (run(biased, features).log_predicted - run(plain, features).log_predicted).abs().max() > 1e-5


# --- missing signals ----------------------------------------------------------------------------


def without(features: Tensor, rows: list[int], *names: str, schema: Schema = SCHEMA) -> Tensor:
    gaps = features.clone()
    for name in names:
        gaps[rows, schema.slices[name]] = torch.nan
    return gaps


EVERY = [modality.name for modality in SCHEMA.modalities]
PHYSIOLOGICAL = [modality.name for modality in SCHEMA.physiological]
BEHAVIOURAL = [modality.name for modality in SCHEMA.behavioural]


@pytest.mark.parametrize("missing", [[name] for name in EVERY] + [PHYSIOLOGICAL, BEHAVIOURAL, EVERY], ids=" ".join)
def test_windows_with_missing_signals_are_predicted_and_trained_on(ablated: HeLo, missing: list[str]) -> None:
    features = without(windows(), [1, 4], *missing)
    output = run(ablated, features)
    assert torch.isfinite(output.log_predicted).all()
    assert output.transport is None or not output.transport.unconverged.any()
    ablated.zero_grad()
    kl_loss(targets(), output.log_predicted).mean().backward()
    for name, parameter in ablated.named_parameters():
        assert parameter.grad is None or torch.isfinite(parameter.grad).all(), name


@pytest.mark.parametrize("missing", [[name] for name in EVERY] + [PHYSIOLOGICAL, BEHAVIOURAL], ids=" ".join)
def test_a_missing_signal_does_not_change_other_windows(ablated: HeLo, missing: list[str]) -> None:
    whole = run(ablated, windows()).log_predicted
    gaps = run(ablated, without(windows(), [1], *missing)).log_predicted
    others = [row for row in range(12) if row != 1]
    torch.testing.assert_close(gaps[others], whole[others], rtol=0, atol=1e-5)


@pytest.mark.parametrize("missing", [[name] for name in EVERY] + [PHYSIOLOGICAL, BEHAVIOURAL], ids=" ".join)
def test_a_missing_signal_has_no_effect_on_the_prediction(trained: HeLo, missing: list[str]) -> None:
    """A missing signal differs from a signal at its mean, and its former values have no effect."""
    features = windows()
    gaps = run(trained, without(features, [1], *missing)).log_predicted[1]
    zeros = features.clone()
    for name in missing:
        zeros[1, SCHEMA.slices[name]] = 0.0
    assert (gaps - run(trained, zeros).log_predicted[1]).abs().max() > 1e-6
    changed = features.clone()  # The prediction must not depend on the masked values.
    for name in missing:
        changed[1, SCHEMA.slices[name]] = 7.0
    assert torch.equal(run(trained, without(changed, [1], *missing)).log_predicted[1], gaps)


def test_a_missing_modality_equals_a_schema_without_it() -> None:
    """The answers of a modality that is masked everywhere are 0, for any weights of its encoder."""
    model = train(build(), steps=10).eval()
    gaps = without(windows(), list(range(12)), "eda")
    before = run(model, gaps).log_predicted
    with torch.no_grad():
        encoder = model.encoders[[modality.name for modality in SCHEMA.modalities].index("eda")]
        encoder.bias.add_(1.0)
    assert torch.equal(run(model, gaps).log_predicted, before)


def test_a_single_missing_feature_is_replaced_by_its_mean(trained: HeLo) -> None:
    modality = next(modality for modality in SCHEMA.modalities if modality.token_features > 1)
    column = SCHEMA.slices[modality.name].start
    gaps, zero = windows(), windows()
    gaps[1, column], zero[1, column] = torch.nan, 0.0
    torch.testing.assert_close(run(trained, gaps).log_predicted, run(trained, zero).log_predicted, rtol=0, atol=1e-5)


def test_windows_without_any_signal_get_the_same_prediction(ablated: HeLo) -> None:
    """All windows without any signal get the same prediction."""
    predicted = run(ablated, without(windows(), [1, 4], *EVERY)).log_predicted
    torch.testing.assert_close(predicted[1], predicted[4])


def test_an_absent_token_has_no_mass_in_the_plan(trained: HeLo) -> None:
    """Absent tokens have no mass, except main tokens that carry the answers of other modalities."""
    first = SCHEMA.slices[SCHEMA.main.name].start
    token = SCHEMA.main.token_features
    gaps = windows()
    gaps[1, first : first + token] = torch.nan
    gaps[2, SCHEMA.slices[SCHEMA.main.name]] = torch.nan
    plan = run(trained, gaps).transport.plan.sum(dim=2)
    count = SCHEMA.main.tokens
    torch.testing.assert_close(plan[0], torch.full((count,), 1 / count), rtol=0, atol=1e-3)
    torch.testing.assert_close(plan[1, 1:], torch.full((count - 1,), 1 / (count - 1)), rtol=0, atol=1e-3)
    assert plan[1, 0] == 0
    torch.testing.assert_close(plan[2], torch.full((count,), 1 / count), rtol=0, atol=1e-3)


def test_the_correlation_is_exact_in_mixed_precision(trained: HeLo) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        correlation = run(trained, windows()).correlation
    torch.testing.assert_close(correlation, trained.correlation()[0])
    assert correlation.dtype == torch.float32


# --- members ------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{}, *ABLATIONS], ids=named)
@pytest.mark.parametrize(
    "missing", [(), ("eda",), tuple(PHYSIOLOGICAL)], ids=["complete", "without eda", "behavioural"]
)
def test_members_are_models_of_their_own(changes: dict[str, Any], missing: tuple[str, ...]) -> None:
    """Joined models give the outputs and gradients that each has alone, in float64."""
    configuration = replace(SMALL, **changes)
    alone = [train(build(configuration=configuration, seed=seed), steps=3).double().eval() for seed in range(3)]
    together = join_members(alone[0], [model.state_dict() for model in alone])
    assert together.members == 3
    features = torch.stack([without(windows(seed=seed), [1, seed + 2], *missing).double() for seed in range(3)])
    output = together(features)
    kl_loss(targets().double(), output.log_predicted).mean(dim=1).sum().backward()
    gradients = dict(together.named_parameters())
    for member, model in enumerate(alone):
        model.zero_grad()
        expected = run(model, features[member])
        kl_loss(targets().double(), expected.log_predicted).mean().backward()
        torch.testing.assert_close(output.log_predicted[member], expected.log_predicted, rtol=0, atol=1e-9)
        if expected.correlation is not None:
            torch.testing.assert_close(output.correlation[member], expected.correlation, rtol=0, atol=1e-12)
        for name, parameter in model.named_parameters():
            if parameter.grad is None:
                continue  # No gradient reaches the embeddings of modalities that are not read.
            grad = gradients[name].grad
            assert grad is not None, name
            torch.testing.assert_close(grad[member : member + 1], parameter.grad, rtol=1e-5, atol=1e-7, msg=name)


def test_joined_models_have_copies_of_the_weights() -> None:
    one, other = build(seed=0), build(seed=1)
    joined = join_members(one, [one.state_dict(), other.state_dict()])
    with torch.no_grad():
        joined.labels.zero_()
    assert one.members == 1
    assert one.labels.abs().min() > 0
    assert other.labels.abs().min() > 0


def test_unconverged_plans_are_marked_by_member_and_window() -> None:
    model = build(configuration=replace(SMALL, ot_entropy=1e-3))
    model = join_members(model, [model.state_dict()] * 2).eval()
    features = torch.stack([windows(), windows()])
    features[1, 3] = 1e30
    output = model(features)
    expected = torch.zeros(2, 12, dtype=torch.bool)
    expected[1, 3] = True
    assert torch.equal(output.unconverged, expected)
    none = HeLo(SCHEMA, replace(SMALL, transport="none"), MEAN.expand(2, -1))
    assert torch.equal(none(features).unconverged, torch.zeros(2, 12, dtype=torch.bool))
