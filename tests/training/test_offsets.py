"""Tests of offsets: they remove what identifies a person from training, and leave predictions alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from helo.configuration import Configuration
from helo.data import simulate
from helo.data.dataset import Dataset
from helo.evaluation.folds import Fold, loso_folds, split_data
from helo.evaluation.scaling import Part
from helo.training.fitting import Fitting
from helo.training.offsets import SubjectOffsets
from helo.training.windows import Windows

CPU = torch.device("cpu")


def added(part: Part, log_predicted: torch.Tensor, strength: float = 1.0) -> torch.Tensor:
    """Return the log-distributions of all windows of a part with their offsets."""
    return SubjectOffsets([part], strength, CPU).added(log_predicted, torch.arange(len(part)).unsqueeze(0))


@pytest.fixture
def train(dataset: Dataset, fold: Fold) -> Part:
    return split_data(dataset, fold, fold.splits[0], "train").train


def log_of_mean(part: Part) -> torch.Tensor:
    mean = torch.from_numpy(part.labels.mean(axis=0)).float().log()
    return mean.expand(1, len(part), -1)


def test_the_mean_label_with_the_offset_is_between_it_and_that_of_the_subject(train: Part) -> None:
    predicted = added(train, log_of_mean(train)).exp()[0].numpy()
    mean = train.labels.mean(axis=0)
    for subject in np.unique(train.subjects):
        own = train.labels[train.subjects == subject]
        share = 1 - 1 / len(np.unique(own, axis=0))
        assert 0 < share < 1
        expected = share * own.mean(axis=0) + (1 - share) * mean
        np.testing.assert_allclose(predicted[train.subjects == subject], np.tile(expected, (len(own), 1)), rtol=1e-5)


def test_a_subject_with_one_label_has_no_offset(dataset: Dataset, train: Part) -> None:
    """Otherwise the offset would explain the label, and the network would learn nothing."""
    own = np.stack([train.labels[train.subjects == subject][0] for subject in train.subjects])
    labels = dataset.labels.copy()
    labels[train.rows] = own
    alike = replace(train, dataset=replace(dataset, labels=labels))
    log_predicted = log_of_mean(alike)
    torch.testing.assert_close(added(alike, log_predicted), log_predicted.log_softmax(dim=-1))


def test_no_strength_means_no_offset(train: Part) -> None:
    log_predicted = torch.randn(1, len(train), 4).log_softmax(dim=-1)
    assert torch.equal(added(train, log_predicted, strength=0.0), log_predicted)


def test_offsets_are_finite_for_emotions_that_no_training_subject_reports(dataset: Dataset, train: Part) -> None:
    labels = dataset.labels.copy()
    labels[:, 0] = 0
    labels /= labels.sum(axis=1, keepdims=True)
    without = replace(train, dataset=replace(dataset, labels=labels))
    log_predicted = torch.randn(1, len(train), labels.shape[1]).log_softmax(dim=-1)
    found = added(without, log_predicted)
    assert torch.isfinite(found).all()
    torch.testing.assert_close(found.exp().sum(dim=-1), torch.ones(1, len(train)))


def test_a_feature_that_identifies_the_person_is_not_used_with_offsets() -> None:
    """The only feature that varies says who a person is, not what the person feels."""
    data = simulate(subjects=8, clips=6, windows=3)
    habits = np.array([data.labels[data.subjects == subject][:, 0].mean() for subject in data.subjects])
    features = np.zeros_like(data.features)
    features[:, 0] = habits
    data = replace(data, features=features)
    fold = loso_folds(data.subject_names, seed=0, inner_folds=1)[0]
    part = split_data(data, fold, fold.splits[0], "train").train
    configuration = Configuration(width=8, epochs=20, learning_rate=1e-2, batch_size=16, dropout=0.0)
    spreads = []
    for strength in (0.0, 1.0):
        fitting = Fitting(data.schema, [part], replace(configuration, subject_offset=strength), [0])
        for _ in range(configuration.epochs):
            fitting.run_epoch()
        spreads.append(fitting.answer(Windows([part], CPU)).predicted[0][:, 0].std())
    assert spreads[1] < 0.5 * spreads[0]
