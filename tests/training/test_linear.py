"""Linear models in predictions: what they are fitted to, and what their share is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from helo.configuration import Configuration
from helo.data import Dataset, simulate
from helo.evaluation.folds import loso_folds, split_data
from helo.evaluation.maximum_entropy import MaximumEntropy
from helo.names import Normalisation
from helo.settings import TrainingSettings
from helo.training import linear
from helo.training.cell import train_cell
from helo.training.fitting import Fitting
from helo.training.windows import Windows

SMALL = Configuration(width=8, batch_size=32, epochs=2, linear_share=0.5, linear_penalty=0.1)


@pytest.fixture(scope="module")
def data() -> Dataset:
    return simulate(subjects=6, clips=4, windows=4, emotions=4, seed=3)


def parts(data: Dataset) -> list:
    fold = loso_folds(data.subject_names, seed=0, inner_folds=2)[0]
    return [split_data(data, fold, split, Normalisation.TRAIN) for split in fold.splits]


def columns_of(data: Dataset, role: str) -> list[int]:
    slices = [data.schema.slices[one.name] for one in data.schema.modalities if role in (one.role, "both")]
    return [column for one in slices for column in range(one.start, one.stop)]


@pytest.mark.parametrize("modalities", ["both", "physiological", "behavioural"])
def test_each_member_has_a_model_of_its_training_windows(data: Dataset, modalities: str) -> None:
    splits = parts(data)
    fitting = Fitting(data.schema, [one.train for one in splits], replace(SMALL, modalities=modalities), [0, 1])
    for member, one in enumerate(splits):
        features = np.nan_to_num(one.train.features)[:, columns_of(data, modalities)]
        expected = MaximumEntropy(SMALL.linear_penalty, 100).fit(features, one.train.labels).weights
        np.testing.assert_allclose(fitting.model.linear.weight[member], expected[:-1], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(fitting.model.linear.bias[member], expected[-1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_a_prediction_is_the_weighted_geometric_mean(data: Dataset, share: float) -> None:
    """The network is trained as it is without a linear model, and the model stays as it was fitted."""
    splits = parts(data)
    found, network = (
        Fitting(data.schema, [one.train for one in splits], replace(SMALL, linear_share=value), [0, 1])
        for value in (share, 0.0)
    )
    fitted = found.model.linear.weight.clone()
    for fitting in (found, network):
        fitting.run_epoch()
    trained = network.averaged.state_dict()
    assert all(torch.equal(found.averaged.state_dict()[name], trained[name]) for name in trained)
    assert torch.equal(found.averaged.linear.weight, fitted)
    windows = Windows([one.validation for one in splits], found.device)
    for one, both, alone in zip(
        splits, found.answer(windows).predicted, network.answer(windows).predicted, strict=True
    ):
        model = MaximumEntropy(SMALL.linear_penalty, 100).fit(np.nan_to_num(one.train.features), one.train.labels)
        expected = alone ** (1 - share) * model.predict(np.nan_to_num(one.validation.features)) ** share
        np.testing.assert_allclose(both, expected / expected.sum(axis=1, keepdims=True), rtol=1e-4, atol=1e-6)


def test_many_windows_are_sampled(data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    train = parts(data)[0].train
    monkeypatch.setattr(linear, "MAX_VALUES", 20 * len(data.schema.features))
    first, same, other = (Fitting(data.schema, [train], SMALL, [seed]).model.linear.weight for seed in (0, 0, 1))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_a_linear_task_is_predicted_better_with_the_linear_model() -> None:
    """Few subjects, whose labels are linear in the features but for the softmax."""
    draw = np.random.default_rng(0)
    data = simulate(subjects=6, clips=4, windows=4, emotions=4, seed=3)
    features = np.nan_to_num(data.features)
    logits = features @ draw.normal(size=(features.shape[1], 4)) / np.sqrt(features.shape[1])
    labels = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    linear_data = replace(data, features=features, labels=labels)
    fold = loso_folds(data.subject_names, seed=0, inner_folds=2)[0]
    losses = []
    for share in (0.0, 0.5):
        configuration = replace(SMALL, linear_share=share, linear_penalty=1e-3)
        result = train_cell(linear_data, fold, configuration, TrainingSettings())
        assert result is not None
        losses.append(result.test["kl"])
    assert losses[1] < losses[0]
