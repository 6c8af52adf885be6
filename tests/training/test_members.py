"""Tests of out-of-fold scores of members."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from helo.configuration import Configuration
from helo.data.dataset import Dataset
from helo.evaluation.folds import Fold, split_data
from helo.metrics import METRICS, mean_scores
from helo.names import Column, Prefix
from helo.settings import TrainingSettings
from helo.training.members import MemberTraining, joint_curve, joint_scores, untrained_scores

QUICK = Configuration(width=8, epochs=3, learning_rate=1e-2, batch_size=16)


def start(dataset: Dataset, fold: Fold, configuration: Configuration = QUICK) -> MemberTraining:
    data = [split_data(dataset, fold, split, "train") for split in fold.splits]
    return MemberTraining(dataset.schema, data, range(len(data)), configuration, TrainingSettings())


def test_each_member_is_scored_on_its_validation_subjects(dataset: Dataset, fold: Fold) -> None:
    training = start(dataset, fold)
    training.run_epoch()
    assert len(training.history) == 2
    for row, predicted, split in zip(training.history[-1], training.out_of_fold(), fold.splits, strict=True):
        rows = dataset.rows(split.validation)
        expected = mean_scores(dataset.labels[rows], predicted, dataset.subjects[rows])
        assert {name: row[Prefix.VAL + name] for name in METRICS} == pytest.approx(expected)


def test_epoch_0_equals_the_scores_of_an_untrained_member(dataset: Dataset, fold: Fold) -> None:
    training = start(dataset, fold, replace(QUICK, linear_share=0.0))
    for row, split in zip(training.history[0], fold.splits, strict=True):
        expected, predicted = untrained_scores(split_data(dataset, fold, split, "train"))
        assert row == pytest.approx(expected, abs=1e-5, nan_ok=True)
        np.testing.assert_allclose(predicted, dataset.labels[dataset.rows(split.train)].mean(axis=0), atol=1e-3)


def test_joint_scores_are_means_over_subjects() -> None:
    rows = [
        {Column.TRAIN_LOSS: 1.0, Column.UNCONVERGED: 2.0, "val_kl": 0.3},
        {Column.TRAIN_LOSS: 3.0, Column.UNCONVERGED: 1.0, "val_kl": 0.6},
        {Column.TRAIN_LOSS: math.nan, Column.UNCONVERGED: 0.0, "val_kl": 0.9},
    ]
    joint = joint_scores(rows, [2, 1, 1])
    assert joint == pytest.approx({Column.TRAIN_LOSS: 2.0, Column.UNCONVERGED: 3.0, "val_kl": 0.525})
    assert math.isnan(joint_scores(rows[2:], [1])[Column.TRAIN_LOSS])


def test_a_joint_curve_has_a_loss_per_epoch() -> None:
    history = [[{"val_cosine": 0.5}, {"val_cosine": 0.8}], [{"val_cosine": 0.6}, {"val_cosine": 0.9}]]
    assert joint_curve(history, [2, 1], "cosine") == pytest.approx([-0.6, -0.7])
