"""Tests of fitted baselines on a fold: selection of settings, final fit and no leakage from the test subject."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest

from helo._deadline import Deadline
from helo.data.dataset import Dataset
from helo.data.simulated import simulate
from helo.evaluation.baselines import baselines_table, trivial_predictions
from helo.evaluation.baselines.cell import run_baseline
from helo.evaluation.baselines.methods import SETTINGS, fit
from helo.evaluation.folds import Fold, cell_seed, loso_folds
from helo.evaluation.scaling import Scaling
from helo.metrics import METRICS, window_scores
from helo.names import FITTED_BASELINES, Method, Normalisation, enum_values
from helo.run.ledger import CellRecord
from helo.settings import TrainingSettings


@pytest.fixture(scope="module")
def fold(dataset: Dataset) -> Fold:
    """Return a fold with two inner splits, the fewest in which each other subject validates once."""
    return loso_folds(dataset.subject_names, seed=0, inner_folds=2)[0]


@pytest.mark.parametrize("normalise", enum_values(Normalisation))
@pytest.mark.parametrize("method", FITTED_BASELINES)
def test_the_test_subject_affects_its_own_score_only(dataset: Dataset, fold: Fold, method: str, normalise: str) -> None:
    before = run_baseline(dataset, fold, method, TrainingSettings(normalise=normalise))
    features, labels = dataset.features.copy(), dataset.labels.copy()
    test_rows = dataset.rows((fold.test,))
    features[test_rows] *= np.linspace(1, 9, len(test_rows))[:, None].astype(np.float32)
    labels[test_rows] = np.roll(labels[test_rows], 1, axis=1)
    after = run_baseline(
        replace(dataset, features=features, labels=labels), fold, method, TrainingSettings(normalise=normalise)
    )
    assert (after.params, after.val) == (before.params, before.val)
    assert after.test != before.test


def test_settings_are_chosen_on_the_validation_subjects_and_fitted_to_all_others() -> None:
    dataset = simulate(subjects=6, clips=4, windows=5)
    fold = loso_folds(dataset.subject_names, 0)[2]
    result = run_baseline(dataset, fold, Method.RIDGE, TrainingSettings(objective="chebyshev"))
    assert len(fold.splits) == 5
    losses = []
    for setting in SETTINGS[Method.RIDGE]:
        by_subject = []
        for split in fold.splits:  # each other subject is predicted by the fit that has not seen it
            scaling = Scaling.fit(dataset, split.train, "train")
            train, validation = scaling.part(dataset, split.train), scaling.part(dataset, split.validation)
            predicted = fit(Method.RIDGE, setting, train.features, train.labels, 0).predict(validation.features)
            for subject in split.validation:
                rows = validation.subjects == subject
                by_subject.append(window_scores(validation.labels[rows], predicted[rows])["chebyshev"].mean())
        assert len(by_subject) == len(fold.others)
        losses.append(np.mean(by_subject))
    assert result.configuration == int(np.argmin(losses))
    assert result.val["chebyshev"] == pytest.approx(min(losses))
    scaling = Scaling.fit(dataset, fold.others, "train")
    others, test = scaling.part(dataset, fold.others), scaling.part(dataset, (fold.test,))
    fitted = fit(Method.RIDGE, result.params, others.features, others.labels, cell_seed(0, fold.test))
    np.testing.assert_allclose(result.predictions, fitted.predict(test.features), atol=1e-6)
    np.testing.assert_array_equal(result.windows, test.rows)
    assert dataset.groups is not None
    groups = dataset.groups[test.rows]
    both = (pd.DataFrame(values).groupby(groups).mean() for values in (test.labels, result.predictions))
    expected = {name: values.mean() for name, values in window_scores(*both).items()}
    assert result.test_by_group == pytest.approx(expected, abs=1e-6)


def test_a_sample_of_many_windows_is_drawn(dataset: Dataset, fold: Fold, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run_baseline(dataset, fold, Method.RIDGE, TrainingSettings())
    monkeypatch.setattr("helo.evaluation.baselines.cell.MAX_WINDOWS", 10)
    few, again = (run_baseline(dataset, fold, Method.RIDGE, TrainingSettings()) for _ in range(2))
    assert few.val != whole.val
    assert few.val == again.val
    np.testing.assert_array_equal(few.predictions, again.predictions)
    assert len(few.predictions) == len(dataset.rows((fold.test,)))


@pytest.mark.parametrize("method", FITTED_BASELINES)
def test_artefacts_do_not_fail_a_baseline(dataset: Dataset, fold: Fold, method: str) -> None:
    """Artefacts of thousands of standard deviations in validation and test windows do not fail a baseline."""
    features = dataset.features.copy()
    for person in (fold.validation[0], fold.test):
        features[dataset.rows((person,))[0], 0] *= 1e5
    result = run_baseline(replace(dataset, features=features), fold, method, TrainingSettings())
    assert result is not None
    assert np.isfinite(list(result.test.values())).all()


def test_a_baseline_after_its_deadline_has_no_result(dataset: Dataset, fold: Fold) -> None:
    assert run_baseline(dataset, fold, Method.RIDGE, TrainingSettings(), deadline=Deadline.after(0)) is None


def test_the_table_has_trivial_and_fitted_rows(dataset: Dataset) -> None:
    folds = loso_folds(dataset.subject_names, 0)
    now = datetime.now(UTC)
    common: dict[str, Any] = {
        "fold": "P02",
        "epochs": 0,
        "seconds": 1.0,
        "node": "here",
        "started": now,
        "finished": now,
    }
    scores = dict.fromkeys(METRICS, 0.5)
    records = [
        CellRecord(
            configuration=2,
            method="ridge",
            params={"penalty": 0.1},
            status="completed",
            val=scores,
            test=scores,
            **common,
        ),
        CellRecord(configuration=0, method="mlp", params={}, status="failed", reason="no", **common),
    ]
    table = baselines_table(dataset, folds, records)
    assert len(table) == 3 * len(folds) + 2
    assert not [name for name in baselines_table(replace(dataset, groups=None), folds, records) if "by_group" in name]
    ridge, mlp = (table[table["method"] == name].iloc[0] for name in ("ridge", "mlp"))
    assert json.loads(ridge["params"]) == {"penalty": 0.1}
    assert (ridge["test_kl"], ridge["val_kl"], ridge["status"]) == (0.5, 0.5, "completed")
    assert np.isnan(mlp["test_kl"])
    assert (mlp["status"], mlp["reason"]) == ("failed", "no")


def test_trivial_baselines_have_scores_by_group(dataset: Dataset, fold: Fold) -> None:
    rows = dataset.rows((fold.test,))
    assert dataset.groups is not None
    table = baselines_table(dataset, (fold,)).set_index("method")
    for method, predicted in trivial_predictions(dataset, fold).items():
        both = (
            pd.DataFrame(values).groupby(dataset.groups[rows]).mean() for values in (dataset.labels[rows], predicted)
        )
        for metric, values in window_scores(*both).items():
            assert table.loc[method, f"test_by_group_{metric}"] == pytest.approx(values.mean()), (method, metric)
