"""Made-up studies: reproducible, of the right shapes, learnable, and with a score that nobody can beat."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from studies import SAMPLES, STUDIES, LabelKind

from helo.data import Dataset
from helo.evaluation.baselines import trivial_predictions
from helo.evaluation.baselines.methods import SETTINGS, fit
from helo.evaluation.folds import loso_folds
from helo.evaluation.scaling import Scaling
from helo.metrics import mean_scores
from helo.names import Estimate, Method, Role

SHAPES = {
    "classes": (26, 12, 20, 4),
    "mixtures": (100, 25, 28, 8),
    "quadrants": (12, 50, 22, 4),
    "physiology": (10, 21, 16, 5),
}
"""Subjects, windows per subject, features and emotions."""

FOLDS = 3
"""Number of folds with a fitted forest."""

names = pytest.mark.parametrize("name", STUDIES)


def make(name: str, seed: int = 0, subjects: int | None = None) -> Dataset:
    study = STUDIES[name]
    study = replace(study, subjects=subjects or study.subjects)
    return study.make(seed)


def kl(labels: np.ndarray, predicted: np.ndarray, subjects: np.ndarray) -> float:
    return mean_scores(labels, predicted, subjects)["kl"]


@names
def test_equal_seeds_give_equal_data(name: str) -> None:
    assert make(name, seed=3).digest == make(name, seed=3).digest
    assert make(name, seed=3).digest != make(name, seed=4).digest


@names
def test_shapes(name: str) -> None:
    dataset = make(name)
    subjects, windows, features, emotions = SHAPES[name]
    assert len(dataset.subject_names) == subjects
    assert set(np.unique(dataset.subjects, return_counts=True)[1]) == {windows}
    assert dataset.features.shape[1] == features
    assert len(dataset.emotions) == emotions
    assert dataset.groups is not None
    assert len(np.unique(dataset.groups)) == STUDIES[name].clips
    assert not dataset.missing


def test_one_study_has_signals_of_one_kind() -> None:
    roles = {name: set(make(name).schema.roles) for name in STUDIES}
    assert roles.pop("physiology") == {Role.PHYSIOLOGICAL}
    assert all(found == {Role.PHYSIOLOGICAL, Role.BEHAVIOURAL} for found in roles.values())


@names
def test_labels_are_of_their_kind(name: str) -> None:
    labels, kind = make(name).labels, STUDIES[name].labels
    np.testing.assert_allclose(labels.sum(axis=1), 1, atol=1e-9)
    if kind == LabelKind.CLASS:
        assert set(np.unique(labels)) == {0, 1}
    elif kind == LabelKind.SHARES:
        np.testing.assert_allclose(SAMPLES * labels, np.round(SAMPLES * labels), atol=1e-9)
        assert len(np.unique(labels, axis=0)) > 100
    else:
        assert (labels.max(axis=1) < 1).all()


@names
def test_subjects_differ_more_than_their_windows(name: str) -> None:
    dataset = make(name)
    by_subject = [dataset.features[dataset.rows((subject,))] for subject in dataset.subject_names]
    between = np.std([values.mean(axis=0) for values in by_subject], axis=0)
    within = np.mean([values.std(axis=0) for values in by_subject], axis=0)
    assert np.median(between / within) > 1


@names
def test_features_of_subjects_are_correlated(name: str) -> None:
    dataset = make(name)
    by_subject = [dataset.features[dataset.rows((subject,))] for subject in dataset.subject_names]
    centred = np.concatenate([values - values.mean(axis=0) for values in by_subject])
    correlation = np.corrcoef(centred, rowvar=False)
    others = np.abs(correlation[~np.eye(len(correlation), dtype=bool)])
    assert others.mean() > 0.15


@names
def test_best_possible_is_the_conditional_mean(name: str) -> None:
    dataset = make(name, subjects=2000)
    error = dataset.labels - dataset.best_possible
    for emotion in range(len(dataset.emotions)):
        best = dataset.best_possible[:, emotion]
        for bin_of in np.array_split(np.argsort(best), 5):
            assert abs(error[bin_of, emotion].mean()) < 0.02


@names
def test_sharper_and_flatter_predictions_than_the_best_possible_score_worse(name: str) -> None:
    dataset = make(name, subjects=500)
    assert dataset.best_possible is not None
    best = kl(dataset.labels, dataset.best_possible, dataset.subjects)
    for exponent in (0.8, 1.25):
        other = dataset.best_possible**exponent
        assert kl(dataset.labels, other / other.sum(axis=1, keepdims=True), dataset.subjects) > best


@names
@pytest.mark.parametrize("normalise", ["train", "subject"])
def test_a_forest_scores_between_train_mean_and_best_possible(name: str, normalise: str) -> None:
    dataset = make(name)
    folds = loso_folds(dataset.subject_names, seed=0)
    scores: dict[str, list[float]] = {}
    for fold in folds[:: len(folds) // FOLDS]:
        scaling = Scaling.fit(dataset, fold.others, normalise)
        train, test = scaling.part(dataset, fold.others), scaling.part(dataset, (fold.test,))
        forest = fit(Method.RANDOM_FOREST, SETTINGS[Method.RANDOM_FOREST][1], train.features, train.labels, seed=0)
        predicted = trivial_predictions(dataset, fold) | {"forest": forest.predict(test.features)}
        for method, values in predicted.items():
            scores.setdefault(method, []).append(kl(test.labels, values, test.subjects))
    means = {method: float(np.mean(values)) for method, values in scores.items()}
    gap = means[Estimate.TRAIN_MEAN] - means[Estimate.BEST_POSSIBLE]
    assert means[Estimate.BEST_POSSIBLE] + 0.1 * gap < means["forest"] < means[Estimate.TRAIN_MEAN] - 0.05 * gap
    assert means[Estimate.BEST_POSSIBLE] > 0.1 * means[Estimate.TRAIN_MEAN]
