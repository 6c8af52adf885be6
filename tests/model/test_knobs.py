"""Tests of the effect of each hyperparameter on a cell, of missing signals and of engines."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from helo.configuration import Configuration
from helo.data.dataset import Dataset
from helo.data.simulated import simulate
from helo.evaluation.baselines import baselines_table
from helo.evaluation.folds import Fold, loso_folds, split_data
from helo.model.losses import alignment_loss, kl_loss
from helo.names import Estimate, Normalisation, enum_values
from helo.settings import CPU, Engine, TrainingSettings
from helo.training.cell import CellResult, CellTraining, train_cell
from helo.training.members import MemberTraining

QUICK = Configuration(width=8, epochs=3, learning_rate=1e-2, batch_size=16)


def start(dataset: Dataset, fold: Fold, configuration: Configuration = QUICK) -> MemberTraining:
    data = [split_data(dataset, fold, split, "train") for split in fold.splits]
    return CellTraining(dataset.schema, data, configuration, TrainingSettings()).current


def cell(
    dataset: Dataset,
    fold: Fold,
    configuration: Configuration = QUICK,
    engine: Engine = CPU,
    normalise: str = Normalisation.TRAIN,
) -> CellResult:
    result = train_cell(dataset, fold, configuration, TrainingSettings(normalise=normalise, engine=engine))
    assert result is not None
    return result


def trained(dataset: Dataset, fold: Fold, epochs: int = 10, **changes: Any) -> MemberTraining:
    configuration = replace(QUICK, **{"epochs": epochs, "dropout": 0.0, **changes})
    training = start(dataset, fold, configuration)
    for _ in range(epochs):
        training.run_epoch()
    return training


def correlation_distance(training: MemberTraining) -> float:
    """Return the mean distance between the learned label correlations and those of the training labels."""
    with torch.no_grad():
        return alignment_loss(training.model.correlation(), training.correlation).mean().item()


def test_the_alignment_weight_moves_the_learned_correlation(dataset: Dataset, fold: Fold) -> None:
    distances = [correlation_distance(trained(dataset, fold, alignment_weight=weight)) for weight in (0.0, 0.1, 10.0)]
    assert distances == sorted(distances, reverse=True)
    assert distances[2] < 0.5 * distances[0]


def test_alignment_weight_0_switches_alignment_off(dataset: Dataset, fold: Fold) -> None:
    """Training does not depend on the label correlation of the data."""
    off, other = (start(dataset, fold, replace(QUICK, alignment_weight=0.0)) for _ in range(2))
    other.correlation = -other.correlation
    for training in (off, other):
        training.run_epoch()
    assert [row["train_loss"] for row in off.history[1]] == [row["train_loss"] for row in other.history[1]]
    for one, two in zip(off.model.parameters(), other.model.parameters(), strict=True):
        assert torch.equal(one, two)
    on, other = (start(dataset, fold, replace(QUICK, alignment_weight=1.0)) for _ in range(2))
    other.correlation = -other.correlation
    for training in (on, other):
        training.run_epoch()
    assert not torch.equal(on.model.labels, other.model.labels)


def test_the_label_embedding_learns_in_a_cell(dataset: Dataset, fold: Fold) -> None:
    training = start(dataset, fold)
    before = training.model.labels.detach().clone()
    training.run_epoch()
    assert (training.model.labels - before).norm(dim=2).min() > 1e-3


def test_plans_get_more_even_with_entropy_in_a_trained_model(dataset: Dataset, fold: Fold) -> None:
    entropies = []
    for epsilon in (1e-3, 1e-2, 0.1, 1.0, 10.0):
        training = trained(dataset, fold, epochs=2, ot_entropy=epsilon)
        training.model.eval()
        plan = training.model(next(training.validation.chunks())).transport.plan.detach()
        entropies.append(-torch.xlogy(plan, plan).sum(dim=(1, 2)).mean().item())
        assert all(row["unconverged"] == 0 for rows in training.history for row in rows)
    assert entropies == sorted(entropies)
    assert entropies[0] < 0.8 * entropies[-1]


def test_unconverged_plans_are_counted(dataset: Dataset, fold: Fold, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Newton steps, the plans of all training and validation windows are unconverged."""
    monkeypatch.setattr("helo.model.sinkhorn.LAST_STEPS", 0)
    monkeypatch.setattr("helo.model.sinkhorn.STAGE_STEPS", 0)
    training = start(dataset, fold, replace(QUICK, ot_entropy=1e-3))
    training.run_epoch()
    validation = list(training.validation.sizes)
    both = [sum(sizes) for sizes in zip(training.windows.sizes, validation, strict=True)]
    assert [[row["unconverged"] for row in rows] for rows in training.history] == [validation, both]


def test_permuted_emotions_permute_the_predictions(dataset: Dataset, fold: Fold) -> None:
    """Permuted embeddings, weights, prior and linear model give the same predictions, permuted."""
    training = trained(dataset, fold, epochs=2)
    order = torch.randperm(len(dataset.emotions), generator=torch.Generator().manual_seed(1))
    model = training.averaged
    before = training.out_of_fold()
    with torch.no_grad():
        for parameter in (model.labels, model.classifier.weight, model.classifier.prior):
            parameter.copy_(parameter[:, order])
        for fitted in (model.linear.weight, model.linear.bias):
            fitted.copy_(fitted[..., order])
    for predicted, expected in zip(training.out_of_fold(), before, strict=True):
        np.testing.assert_allclose(predicted, expected[:, order.numpy()], atol=1e-6)


@pytest.mark.parametrize("epsilon", [1e-3, 0.1])
def test_gradients_agree_with_finite_differences(dataset: Dataset, fold: Fold, epsilon: float) -> None:
    """The derivative of the total loss along a random direction of all parameters is right in float64."""
    training = trained(dataset, fold, epochs=2, ot_entropy=epsilon)
    model = training.model.double().train()
    positions = torch.arange(8).expand(training.members, -1)
    features, labels = training.windows.batch(positions).double(), training.windows.labels(positions).double()
    correlation = training.correlation.double()

    def loss() -> torch.Tensor:
        output = model(features)
        assert output.correlation is not None
        losses = kl_loss(labels, output.log_predicted).mean(dim=1)
        return (losses + alignment_loss(output.correlation, correlation)).sum()

    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    slopes = torch.autograd.grad(loss(), parameters)
    generator = torch.Generator().manual_seed(0)
    direction = [torch.randn(p.shape, generator=generator, dtype=torch.float64) for p in parameters]
    expected = sum((slope * d).sum() for slope, d in zip(slopes, direction, strict=True))
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            for parameter, d in zip(parameters, direction, strict=True):
                parameter.add_(d, alpha=sign * 1e-5)
            values.append(loss())
            for parameter, d in zip(parameters, direction, strict=True):
                parameter.sub_(d, alpha=sign * 1e-5)
    assert ((values[0] - values[1]) / 2e-5).item() == pytest.approx(float(expected), rel=1e-2)


# --- missing signals --------------------------------------------------------------------------------


def with_gaps(dataset: Dataset, *modalities: str, subject: str | None = None) -> Dataset:
    """Remove some modalities from every third window, or from all windows of a subject."""
    features: NDArray[np.float32] = dataset.features.copy()
    rows = np.arange(0, len(dataset), 3) if subject is None else dataset.rows((subject,))
    for name in modalities:
        features[rows, dataset.schema.slices[name]] = np.nan
    return replace(dataset, features=features)


@pytest.mark.parametrize("normalise", enum_values(Normalisation))
@pytest.mark.parametrize("modality", [modality.name for modality in simulate(2, 1, 1).schema.modalities])
def test_a_cell_trains_where_signals_are_missing(dataset: Dataset, fold: Fold, modality: str, normalise: str) -> None:
    found = cell(with_gaps(dataset, modality), fold, normalise=normalise)
    assert all(math.isfinite(row["train_loss"]) for row in found.history[1:])
    assert np.isfinite(found.predictions).all()
    assert found.history[-1]["unconverged"] == 0


def test_a_subject_without_a_sensor_is_tested_trained_and_validated_on(dataset: Dataset) -> None:
    subject = dataset.subject_names[1]
    gaps = with_gaps(dataset, "eda", subject=subject)
    for fold in loso_folds(dataset.subject_names, seed=0):
        for normalise in enum_values(Normalisation):
            assert np.isfinite(cell(gaps, fold, replace(QUICK, epochs=1), normalise=normalise).predictions).all()


def test_missing_signals_still_beat_the_mean_label() -> None:
    dataset = simulate(subjects=6, clips=5, windows=5)
    gaps = with_gaps(dataset, "eda")
    folds = loso_folds(dataset.subject_names, seed=0)[::2]
    configuration = Configuration(width=8, epochs=6, learning_rate=1e-2, batch_size=32, dropout=0.1)
    scores = [cell(gaps, fold, configuration, normalise="subject").test["kl"] for fold in folds]
    baselines = baselines_table(dataset, folds)
    assert np.mean(scores) < baselines[baselines["method"] == Estimate.TRAIN_MEAN]["test_kl"].mean()


# --- engines ------------------------------------------------------------------------------------------


def test_mixed_precision_predicts_nearly_the_same(dataset: Dataset, fold: Fold) -> None:
    full, mixed = (cell(dataset, fold, engine=Engine(precision=precision)) for precision in ("full", "mixed"))
    assert repr(mixed.history) != repr(full.history)
    assert mixed.val == pytest.approx(full.val, rel=0.05)
    assert mixed.history[1]["train_loss"] == pytest.approx(full.history[1]["train_loss"], rel=0.02)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None and shutil.which("clang++") is None, reason="needs a C++ compiler")
def test_compiled_training_is_nearly_the_same(dataset: Dataset, fold: Fold) -> None:
    still = replace(QUICK, dropout=0.0)
    plain, compiled = (cell(dataset, fold, still, engine=Engine(compiled=c)) for c in (False, True))
    assert compiled.history[1]["train_loss"] == pytest.approx(plain.history[1]["train_loss"], rel=1e-3)
    np.testing.assert_allclose(compiled.predictions, plain.predictions, atol=5e-3)
    usual = cell(dataset, fold, replace(QUICK, dropout=0.3), engine=Engine(compiled=True))
    assert usual.history[-1]["train_loss"] < usual.history[1]["train_loss"]
