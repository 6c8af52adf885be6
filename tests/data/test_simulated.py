"""Simulated subjects: reproducible, learnable, and with a valid best possible score."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from helo.data.label_correlation import label_correlation
from helo.data.simulated import CIRCUMPLEX, simulate
from helo.errors import InputError
from helo.evaluation.baselines import baselines_table, trivial_predictions
from helo.evaluation.folds import loso_folds


def test_equal_seeds_give_equal_data() -> None:
    assert simulate(subjects=3, seed=4).digest == simulate(subjects=3, seed=4).digest
    assert simulate(subjects=3, seed=4).digest != simulate(subjects=3, seed=5).digest


def test_shapes_and_roles() -> None:
    dataset = simulate(subjects=3, clips=2, windows=5, emotions=4)
    assert len(dataset) == 30
    assert dataset.labels.shape == (30, 4)
    assert dataset.schema.main.name == "ecg"
    assert len(dataset.schema.behavioural) == 1
    assert dataset.groups is not None
    assert len(set(dataset.groups)) == 2


@pytest.mark.parametrize("role", ["physiological", "behavioural"])
def test_modalities_of_one_role_are_the_columns_of_the_whole(role: str) -> None:
    whole, one = (simulate(subjects=3, clips=2, windows=5, modalities=which) for which in ("both", role))
    assert one.schema.modalities == whole.schema.with_role(role)
    columns = [whole.schema.features.index(name) for name in one.schema.features]
    np.testing.assert_array_equal(one.features, whole.features[:, columns])
    np.testing.assert_array_equal(one.labels, whole.labels)
    assert one.schema.source == f"{whole.schema.source[:-1]}, modalities={role!r})"


def test_unknown_modalities() -> None:
    with pytest.raises(InputError, match=r"modalities must be one of both, .* \(did you mean 'behavioural'\?\)$"):
        simulate(modalities="behavioral")


def test_a_report_is_one_per_subject_and_clip() -> None:
    dataset = simulate(subjects=3, clips=2, windows=5)
    assert dataset.groups is not None
    assert len(np.unique(dataset.labels, axis=0)) == 6
    for subject in dataset.subject_names:
        for clip in set(dataset.groups):
            rows = (dataset.subjects == subject) & (dataset.groups == clip)
            assert len(np.unique(dataset.labels[rows], axis=0)) == 1


def test_best_possible_beats_the_trivial_baselines() -> None:
    dataset = simulate()
    table = baselines_table(dataset, loso_folds(dataset.subject_names, seed=0))
    means = table.groupby("method")["test_kl"].mean()
    assert means["best_possible"] < 0.5 * means["train_mean"]
    assert means["best_possible"] < 0.5 * means["uniform"]


def test_real_data_have_no_best_possible_baseline() -> None:
    dataset = simulate(subjects=3)
    real = replace(dataset, best_possible=None)
    assert set(baselines_table(real, loso_folds(real.subject_names, 0))["method"]) == {
        "train_mean",
        "uniform",
    }


def test_train_mean_does_not_use_the_test_subject() -> None:
    dataset = simulate(subjects=3)
    fold = loso_folds(dataset.subject_names, 0)[0]
    labels = dataset.labels.copy()
    labels[dataset.rows((fold.test,))] = np.eye(6)[0]
    before = trivial_predictions(dataset, fold)["train_mean"]
    after = trivial_predictions(replace(dataset, labels=labels), fold)["train_mean"]
    np.testing.assert_array_equal(after, before)


def test_neighbours_on_the_circle_correlate_and_opposites_do_not() -> None:
    correlation = label_correlation(simulate(subjects=20, emotions=6).labels)
    neighbours = np.mean([correlation[i, (i + 1) % 6] for i in range(6)])
    opposites = np.mean([correlation[i, (i + 3) % 6] for i in range(6)])
    assert neighbours > 0.2
    assert opposites < -0.2


def test_subjects_differ_in_level_more_than_windows_do() -> None:
    dataset = simulate(subjects=10)
    means = np.array([dataset.features[dataset.rows((name,))].mean(axis=0) for name in dataset.subject_names])
    assert means.std(axis=0).mean() > 0.5


@pytest.mark.parametrize("name", ["subjects", "clips", "windows", "emotions"])
def test_arguments_below_their_minimum(name: str) -> None:
    with pytest.raises(InputError, match=f"{name} must be at least [12], got 0"):
        simulate(**{name: 0})  # type: ignore[arg-type]


def test_too_many_emotions() -> None:
    with pytest.raises(InputError, match=f"at most {len(CIRCUMPLEX)}, got 9"):
        simulate(emotions=9)
