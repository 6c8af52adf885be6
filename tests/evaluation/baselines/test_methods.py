"""Tests of fitted baselines: valid distributions, agreement with other implementations, known figures of WESAD."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from helo.data.dataset import Dataset
from helo.evaluation.baselines.methods import SETTINGS, SMALLEST, fit
from helo.evaluation.folds import loso_folds
from helo.evaluation.maximum_entropy import MaximumEntropy
from helo.evaluation.scaling import Scaling
from helo.metrics import mean_scores
from helo.names import FITTED_BASELINES, Method


def example(windows: int = 60, features: int = 4, emotions: int = 3) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    draw = np.random.default_rng(0)
    inputs = draw.normal(size=(windows, features)).astype(np.float32)
    shares = np.exp(inputs[:, :emotions] + 0.3 * draw.normal(size=(windows, emotions)))
    return inputs, shares / shares.sum(axis=1, keepdims=True)


def test_every_method_has_several_settings() -> None:
    assert set(SETTINGS) == set(FITTED_BASELINES)
    assert all(len(settings) > 2 for settings in SETTINGS.values())


@pytest.mark.parametrize("method", FITTED_BASELINES)
def test_predictions_are_distributions_better_than_the_mean(method: str) -> None:
    inputs, labels = example(400)
    fitted = fit(method, SETTINGS[method][1], inputs[:300], labels[:300], seed=1)
    predicted = fitted.predict(inputs[300:])
    assert (predicted > 0).all()
    np.testing.assert_allclose(predicted.sum(axis=1), 1)
    person = np.full(100, "S2")
    mean = np.broadcast_to(labels[:300].mean(axis=0), (100, 3))
    assert mean_scores(labels[300:], predicted, person)["kl"] < 0.5 * mean_scores(labels[300:], mean, person)["kl"]


@pytest.mark.parametrize("method", FITTED_BASELINES)
def test_the_same_seed_gives_the_same_predictions(method: str) -> None:
    inputs, labels = example()
    one, other = (fit(method, SETTINGS[method][0], inputs, labels, seed=3).predict(inputs) for _ in range(2))
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("method", FITTED_BASELINES)
def test_a_missing_signal_is_replaced_by_its_training_mean(method: str) -> None:
    inputs, labels = example()
    gaps = inputs.copy()
    gaps[5, 2] = np.nan
    filled = inputs.copy()
    filled[5, 2] = 0
    setting = SETTINGS[method][0]
    expected = fit(method, setting, filled, labels, 0).predict(filled)
    np.testing.assert_array_equal(fit(method, setting, gaps, labels, 0).predict(gaps), expected)
    assert np.isnan(gaps[5, 2])


def test_neighbours_are_averaged() -> None:
    inputs, labels = example()
    predicted = fit(Method.KNN, {"neighbours": 4}, inputs, labels, 0).predict(inputs[:1] + 1e-6)
    nearest = np.argsort(((inputs - inputs[0]) ** 2).sum(axis=1))[:4]
    np.testing.assert_allclose(predicted[0], labels[nearest].mean(axis=0), rtol=1e-6)


def test_all_of_few_windows_are_neighbours() -> None:
    inputs, labels = example(windows=3)
    predicted = fit(Method.KNN, {"neighbours": 200}, inputs, labels, 0).predict(inputs)
    np.testing.assert_allclose(predicted, np.broadcast_to(labels.mean(axis=0), (3, 3)))


@given(penalty=st.sampled_from([1e-3, 1e-2, 0.1, 1.0]))
@settings(max_examples=4, deadline=None)
def test_maximum_entropy_is_logistic_regression_on_weighted_classes(penalty: float) -> None:
    inputs, labels = example()
    inputs = inputs.astype(np.float64)  # scikit-learn computes in the precision of its input.
    windows, emotions = labels.shape
    predicted = MaximumEntropy(penalty).fit(inputs, labels).predict(inputs)
    regression = LogisticRegression(C=1 / (penalty * windows), tol=1e-8, max_iter=5000)
    regression.fit(np.repeat(inputs, emotions, axis=0), np.tile(np.arange(emotions), windows), labels.ravel())
    np.testing.assert_allclose(predicted, regression.predict_proba(inputs), atol=1e-4)


def test_negative_shares_of_least_squares_are_clipped() -> None:
    inputs, labels = example()
    labels[:, 0], labels[:, 1:] = 0, 0.5
    predicted = fit(Method.RIDGE, {"penalty": 1e-3}, inputs, labels, 0).predict(inputs)
    np.testing.assert_allclose(predicted[:, 0], SMALLEST / (1 + SMALLEST), rtol=1e-6)


def scores(dataset: Dataset, method: str, setting: dict[str, float]) -> dict[str, float]:
    """Return mean scores of leave-one-subject-out without validation: fitted to and scaled by all other subjects."""
    found = []
    for fold in loso_folds(dataset.subject_names, 0):
        scaling = Scaling.fit(dataset, fold.others, "train")
        train, test = scaling.part(dataset, fold.others), scaling.part(dataset, (fold.test,))
        predicted = fit(method, setting, train.features, train.labels, 0).predict(test.features)
        found.append(mean_scores(test.labels, predicted, test.subjects))
    return {name: float(np.mean([one[name] for one in found])) for name in found[0]}


@pytest.mark.parametrize(
    ("method", "setting", "known"),
    [
        (Method.KNN, {"neighbours": 50}, {"chebyshev": 0.0397, "clark": 0.897, "kl": 0.0755}),
        # The penalty of a ridge of 100 on some 2,680 windows.
        (Method.RIDGE, {"penalty": 100 / 2680}, {"chebyshev": 0.0405, "clark": 0.937, "kl": 0.0821}),
    ],
)
def test_known_figures_of_wesad(
    wesad_folder: Path, method: str, setting: dict[str, float], known: dict[str, float]
) -> None:
    from helo.data.wesad import read_feature_table

    found = scores(read_feature_table(wesad_folder), method, setting)
    for metric, value in known.items():
        assert found[metric] == pytest.approx(value, rel=0.02)


@pytest.mark.slow
def test_known_figures_of_a_forest_on_wesad(wesad_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The known figures belong to unpruned trees on all features."""
    from sklearn.ensemble import RandomForestRegressor

    import helo.evaluation.baselines.methods as methods
    from helo.data.wesad import read_feature_table

    monkeypatch.setattr(
        methods,
        "RandomForestRegressor",
        lambda _, **options: RandomForestRegressor(40, **options | {"max_features": 1.0}),
    )
    found = scores(read_feature_table(wesad_folder), Method.RANDOM_FOREST, {"smallest_leaf": 1})
    for metric, value in {"chebyshev": 0.0408, "clark": 0.909, "kl": 0.0770}.items():
        assert found[metric] == pytest.approx(value, rel=0.02)


@pytest.mark.optional
def test_pyldl_agrees(wesad_folder: Path) -> None:
    """AA-kNN agrees to rounding; SA-BFGS, whose constant term is a feature, agrees within 2 %."""
    os.environ.setdefault("KERAS_BACKEND", "torch")
    algorithms = pytest.importorskip("pyldl.algorithms", reason="optional referee: pip install python-ldl")
    from helo.data.wesad import read_feature_table

    dataset = read_feature_table(wesad_folder)
    fold = loso_folds(dataset.subject_names, 0)[0]
    scaling = Scaling.fit(dataset, fold.others, "train")
    train, test = scaling.part(dataset, fold.others), scaling.part(dataset, (fold.test,))
    inputs, asked = (np.nan_to_num(part.features).astype(float) for part in (train, test))

    def score(predicted: NDArray[np.float64]) -> dict[str, float]:
        return mean_scores(test.labels, np.asarray(predicted), test.subjects)

    referee = algorithms.AA_KNN(k=5)
    referee.fit(inputs, train.labels)
    predicted = fit(Method.KNN, {"neighbours": 5}, train.features, train.labels, 0).predict(test.features)
    assert score(predicted) == pytest.approx(score(referee.predict(asked)), rel=1e-6)

    referee = algorithms.SA_BFGS()
    referee.fit(np.column_stack([inputs, np.ones(len(inputs))]), train.labels)
    expected = score(referee.predict(np.column_stack([asked, np.ones(len(asked))])))
    predicted = fit(Method.MAX_ENTROPY, {"penalty": 0.0}, train.features, train.labels, 0).predict(test.features)
    assert score(predicted) == pytest.approx(expected, rel=0.02)
