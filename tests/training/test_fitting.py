"""Tests of training steps: members are separate, gradients are clipped, and weights are averaged."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from helo.configuration import Configuration
from helo.data.dataset import Dataset
from helo.evaluation.folds import Fold, split_data
from helo.evaluation.scaling import Part
from helo.names import Column
from helo.training.fitting import Fitting, clip_gradients, parameter_groups
from helo.training.windows import Batches

QUICK = Configuration(width=8, epochs=3, learning_rate=1e-2, batch_size=8, dropout=0.3)
SEEDS = (3, 4, 5)


def parts_of(dataset: Dataset, fold: Fold) -> list[Part]:
    """Return training windows of three members, in different numbers."""
    trains = [split_data(dataset, fold, split, "train").train for split in fold.splits]
    return [train.only(np.arange(size)) for train, size in zip(trains, (24, 21, 17), strict=True)]


def with_gaps(dataset: Dataset) -> Dataset:
    features: NDArray[np.float32] = dataset.features.copy()
    features[::3, dataset.schema.slices["eda"]] = np.nan
    features[1::4, dataset.schema.slices[dataset.schema.main.name]] = np.nan
    return replace(dataset, features=features)


def in_float64(fitting: Fitting) -> Fitting:
    """Return the fitting itself, with weights and data in float64."""
    fitting.model.double()
    fitting.averaged.double()
    fitting.correlation = fitting.correlation.double()
    windows = fitting.windows
    assert windows.resident is not None
    assert windows.resident_labels is not None
    windows.resident, windows.resident_labels = windows.resident.double(), windows.resident_labels.double()
    return fitting


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"transport": "fused", "ot_entropy": 0.1},
        {"transport": "gromov", "ot_entropy": 0.1},
        {"transport": "none", "label_attention": "plain"},
        {"label_attention": "none", "weight_decay": 1.0},
        {"modalities": "physiological", "attention_depth": 2},
        {"feature_encoding": "linear", "subject_offset": 0.0},
    ],
    ids=str,
)
@pytest.mark.parametrize("has_gaps", [False, True], ids=["complete", "gaps"])
@pytest.mark.parametrize("exact", [True, False], ids=["float64", "float32"])
def test_members_trained_together_equal_members_trained_alone(
    dataset: Dataset, fold: Fold, changes: dict[str, Any], has_gaps: bool, exact: bool
) -> None:
    """Training windows differ in number, and dropout is on."""
    data = with_gaps(dataset) if has_gaps else dataset
    parts, configuration = parts_of(data, fold), replace(QUICK, **changes)
    batches = Batches.for_sizes(list(map(len, parts)), configuration.batch_size)
    together = Fitting(data.schema, parts, configuration, SEEDS)
    assert together.batches == batches
    alone = [
        Fitting(data.schema, [part], configuration, [seed], batches) for part, seed in zip(parts, SEEDS, strict=True)
    ]
    if exact:
        for fitting in (together, *alone):
            in_float64(fitting)
    losses = [together.run_epoch() for _ in range(2)]
    tolerance = 1e-6 if exact else 5e-3
    for member, fitting in enumerate(alone):
        for rows in losses:
            expected = fitting.run_epoch()[0]
            assert rows[member][Column.TRAIN_LOSS] == pytest.approx(expected[Column.TRAIN_LOSS], abs=tolerance)
            assert rows[member][Column.ALIGNMENT_LOSS] == pytest.approx(expected[Column.ALIGNMENT_LOSS], abs=tolerance)
        for name, value in fitting.averaged.state_dict().items():
            joint = together.averaged.state_dict()[name][member]
            torch.testing.assert_close(joint, value[0], rtol=0, atol=tolerance, msg=name)


def test_a_member_depends_on_its_seed_only(dataset: Dataset, fold: Fold) -> None:
    part = parts_of(dataset, fold)[0]
    fitting = Fitting(dataset.schema, [part] * 3, QUICK, [1, 2, 1])
    fitting.run_epoch()
    for name, value in fitting.model.state_dict().items():
        torch.testing.assert_close(value[0], value[2], rtol=0, atol=1e-6, msg=name)
    assert not torch.equal(fitting.model.labels[0], fitting.model.labels[1])


def test_training_leaves_the_random_stream_of_the_process_alone(dataset: Dataset, fold: Fold) -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    Fitting(dataset.schema, parts_of(dataset, fold), QUICK, SEEDS).run_epoch()
    assert torch.equal(torch.rand(4), expected)


def test_gradients_are_clipped_by_member() -> None:
    parameters = [
        torch.nn.Parameter(torch.zeros(2, 3, 4)),
        torch.nn.Parameter(torch.zeros(2)),
        torch.nn.Parameter(torch.zeros(2)),
    ]
    parameters[0].grad = torch.stack([torch.full((3, 4), 5.0), torch.full((3, 4), 0.01)])
    parameters[1].grad = torch.tensor([100.0, 0.02])
    before = [parameter.grad.clone() for parameter in parameters[:2]]
    clip_gradients(parameters, 1.0)
    first, second = parameters[0].grad, parameters[1].grad
    norm = (12 * 5.0**2 + 100.0**2) ** 0.5
    torch.testing.assert_close(first[0], before[0][0] / norm)
    torch.testing.assert_close(second[0], before[1][0] / norm)
    assert torch.equal(first[1], before[0][1])
    assert second[1] == before[1][1]


def test_the_averaged_weights_are_means_weighted_by_the_step(dataset: Dataset, fold: Fold) -> None:
    fitting = Fitting(dataset.schema, parts_of(dataset, fold), QUICK, SEEDS)
    positions, weights = torch.arange(8).expand(3, -1), torch.full((3, 8), 1 / 8)
    snapshots = []
    for _ in range(5):
        fitting.step(positions, weights)
        snapshots.append(fitting.model.classifier.weight.detach().clone())
    # The share of step t is 1 - (1 - 1/t)^2, so step s has the weight s² - (s - 1)² = 2s - 1 of t².
    expected = sum((2 * step - 1) * one for step, one in enumerate(snapshots, 1)) / 25
    torch.testing.assert_close(fitting.averaged.classifier.weight, expected)


def test_windows_without_weight_do_not_count(dataset: Dataset, fold: Fold, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("helo.model.sinkhorn.LAST_STEPS", 0)
    monkeypatch.setattr("helo.model.sinkhorn.STAGE_STEPS", 0)
    parts = parts_of(dataset, fold)
    fitting = Fitting(dataset.schema, parts, replace(QUICK, ot_entropy=1e-3), SEEDS)
    assert [row[Column.UNCONVERGED] for row in fitting.run_epoch()] == [len(part) for part in parts]


def test_weight_decay_acts_on_weights_alone(dataset: Dataset, fold: Fold) -> None:
    """The prior, embeddings, norms and biases do not decay."""
    model = Fitting(dataset.schema, parts_of(dataset, fold), QUICK, SEEDS).model
    decayed, kept = parameter_groups(model, 0.5)
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.5, 0.0)
    assert len(decayed["params"]) + len(kept["params"]) == len(list(model.parameters()))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    untouched = {names[id(parameter)] for parameter in kept["params"]}
    expected = {"labels", "origin", "classifier.prior", "norm.weight", "encoders.0.bias", "label_attention.strength"}
    assert expected <= untouched
    weights = {names[id(parameter)] for parameter in decayed["params"]}
    assert {"encoders.0.weight", "classifier.weight", "label_attention.query.weight"} <= weights
    assert not any(name.endswith("bias") for name in weights)


@pytest.mark.parametrize("size", [65536, 5, 1])
def test_large_and_small_batches_both_train(dataset: Dataset, fold: Fold, size: int) -> None:
    fitting = Fitting(dataset.schema, parts_of(dataset, fold), replace(QUICK, batch_size=size), SEEDS)
    assert all(np.isfinite(row[Column.TRAIN_LOSS]) for row in fitting.run_epoch())
