"""`helo.HeLoRegressor`: an estimator that keeps the conventions of scikit-learn."""

from __future__ import annotations

import inspect
import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, GroupKFold, LeaveOneGroupOut, cross_val_predict
from sklearn.utils import check_array, column_or_1d
from sklearn.utils.estimator_checks import parametrize_with_checks

from helo import HeLoRegressor
from helo.configuration import DEFAULTS
from helo.data.dataset import Dataset, Signals
from helo.data.simulated import simulate
from helo.metrics import mean_scores, window_scores
from helo.training.budget import AUTO, AUTOMATIC, STEPS

QUICK: dict[str, Any] = {"width": 8, "epochs": 3, "learning_rate": 1e-2, "batch_size": 16}


def column_groups(dataset: Dataset) -> dict[str, dict[str, Any]]:
    """Return the modalities of a dataset as column groups."""
    return {
        modality.name: {
            "columns": list(range(*dataset.schema.slices[modality.name].indices(dataset.features.shape[1]))),
            "role": modality.role,
            "tokens": modality.tokens,
            "main": modality.main,
        }
        for modality in dataset.schema.modalities
    }


class ScalarTarget(HeLoRegressor):
    """HeLo for one real target, which is scaled to the share of the first of two emotions.

    Targets in scikit-learn's checks are arbitrary numbers. This adapter lets the checks reach `HeLoRegressor`.
    """

    def fit(self, X: Any, y: Any, groups: Any = None) -> Any:
        if y is None:
            raise ValueError("requires y to be passed, but the target y is None")
        target = column_or_1d(check_array(y, ensure_2d=False, dtype="numeric"), warn=True).astype(np.float64)
        self.low_ = target.min(initial=0)
        self.range_ = max(target.max(initial=0) - self.low_, 1e-9)
        share = 0.05 + 0.9 * (target - self.low_) / self.range_
        return super().fit(X, np.stack([share, 1 - share], axis=1), groups)

    def predict(self, X: Any, groups: Any = None, return_disagreement: bool = False) -> Any:
        return (super().predict(X, groups)[:, 0] - 0.05) / 0.9 * self.range_ + self.low_

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.single_output, tags.target_tags.multi_output = True, False
        tags.target_tags.positive_only = False
        return tags


@pytest.mark.slow
@parametrize_with_checks([ScalarTarget(width=16, epochs=12, learning_rate=0.02, batch_size=16, dropout=0.0)])
def test_checks_of_scikit_learn_with_an_adapted_target(estimator: Any, check: Any) -> None:
    check(estimator)


NO_DISTRIBUTIONS = dict.fromkeys(
    [
        "check_fit_score_takes_y",
        "check_estimators_overwrite_params",
        "check_dont_overwrite_parameters",
        "check_estimators_fit_returns_self",
        "check_readonly_memmap_input",
        "check_n_features_in_after_fitting",
        "check_estimators_dtypes",
        "check_dtype_object",
        "check_pipeline_consistency",
        "check_estimators_pickle",
        "check_f_contiguous_array_estimator",
        "check_regressors_train",
        "check_regressor_data_not_an_array",
        "check_regressors_no_decision_function",
        "check_regressors_int",
        "check_methods_sample_order_invariance",
        "check_methods_subset_invariance",
        "check_fit2d_1feature",
        "check_dict_unchanged",
        "check_fit_idempotent",
        "check_fit_check_is_fitted",
        "check_n_features_in",
        "check_fit2d_predict1d",
    ],
    "the targets of this check have one column or do not sum to 1; it runs with `ScalarTarget`",
) | {
    "check_positive_only_tag_during_fit": (
        "the target of this check is one column of class numbers, which is no distribution; with the target that "
        "`ScalarTarget` scales, negative features are accepted"
    ),
    "check_regressor_multioutput": (
        "the five targets of this check are arbitrary real numbers, not distributions; it does not run with "
        "`ScalarTarget`, which has one output"
    ),
}


@parametrize_with_checks([HeLoRegressor(**QUICK)], expected_failed_checks=lambda _: NO_DISTRIBUTIONS)
def test_checks_of_scikit_learn(estimator: Any, check: Any) -> None:
    check(estimator)


def test_hyperparameters_and_defaults_are_those_of_a_configuration() -> None:
    parameters = inspect.signature(HeLoRegressor.__init__).parameters
    expected = DEFAULTS | dict.fromkeys(AUTOMATIC, AUTO)
    assert {name: parameters[name].default for name in DEFAULTS} == expected
    others = set(parameters) - set(DEFAULTS)
    assert others == {"self", "column_groups", "normalise", "inner_folds", "random_state", "threads"}


def test_importing_helo_imports_neither_torch_nor_scikit_learn() -> None:
    code = "import sys, helo; assert not {'torch', 'sklearn', 'numpy'} & set(sys.modules); helo.HeLoRegressor"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("normalise", ["train", "subject"])
def test_it_beats_the_mean_label_of_other_subjects(normalise: str) -> None:
    data = simulate(subjects=6, clips=5, windows=5)
    model = HeLoRegressor(
        column_groups=column_groups(data), width=8, epochs=8, learning_rate=1e-2, batch_size=32, normalise=normalise
    )
    logo = LeaveOneGroupOut()
    groups = {"groups": data.subjects}
    predicted = cross_val_predict(model, data.features, data.labels, cv=logo, params=groups, **groups)
    mean: NDArray[np.float64] = np.empty_like(data.labels)
    for train, test in logo.split(data.features, groups=data.subjects):
        mean[test] = data.labels[train].mean(axis=0)
    np.testing.assert_allclose(predicted.sum(axis=1), 1)
    assert (predicted >= 0).all()
    assert window_scores(data.labels, predicted)["kl"].mean() < window_scores(data.labels, mean)["kl"].mean()


def test_each_member_is_fitted_without_whole_subjects(dataset: Dataset) -> None:
    X, Y, subjects = dataset.features, dataset.labels, dataset.subjects
    model = HeLoRegressor(**QUICK, inner_folds=3).fit(X, Y, subjects)
    assert model.out_of_fold_prediction_ is not None
    assert sorted(np.concatenate(model.left_out_rows_)) == list(range(len(X)))
    for number, left_out in enumerate(model.left_out_rows_):
        assert not set(subjects[left_out]) & set(np.delete(subjects, left_out))
        alone = model.model_.ensemble[0].predict(Signals(model.model_.schema, subjects, X))[number]
        np.testing.assert_allclose(model.out_of_fold_prediction_[left_out], alone[left_out], atol=1e-6)
    assert [sorted(row) for row in model.history_] == model.n_iter_ * [["alignment_loss", "train_loss", "unconverged"]]
    expected = mean_scores(Y, model.out_of_fold_prediction_, subjects)
    assert model.model_.out_of_fold == pytest.approx(expected, abs=1e-9)
    # Features of the left-out subjects influence neither the weights nor the scaling of a member.
    moved = X.copy()
    moved[model.left_out_rows_[0]] *= 1000
    again = clone(model).fit(moved, Y, subjects).model_.ensemble[0]
    here = Signals(model.model_.schema, subjects, X)
    np.testing.assert_array_equal(again.predict(here)[0], model.model_.ensemble[0].predict(here)[0])


def test_without_groups_rows_are_divided(dataset: Dataset) -> None:
    X, Y = dataset.features, dataset.labels
    model = HeLoRegressor(**QUICK).fit(X, Y)
    assert sorted(np.concatenate(model.left_out_rows_)) == list(range(len(X)))
    assert max(map(len, model.left_out_rows_)) - min(map(len, model.left_out_rows_)) <= 1
    assert model.out_of_fold_prediction_ is not None
    assert model.model_.out_of_fold is not None
    expected = window_scores(Y, model.out_of_fold_prediction_)["kl"].mean()
    assert model.model_.out_of_fold["kl"] == pytest.approx(expected, abs=1e-9)
    few = HeLoRegressor(**QUICK).fit(X[:3], Y[:3])
    assert (few.model_.members, [len(rows) for rows in few.left_out_rows_]) == (3, [1, 1, 1])


def test_the_disagreement_is_the_distance_of_members_from_their_mean(dataset: Dataset) -> None:
    X, Y, subjects = dataset.features, dataset.labels, dataset.subjects
    model = HeLoRegressor(**QUICK).fit(X, Y, subjects)
    predicted, disagreement = model.predict(X, return_disagreement=True)
    np.testing.assert_array_equal(predicted, model.predict(X))
    members = model.model_.ensemble[0].predict(Signals(model.model_.schema, subjects, X))
    assert len(members) == len(dataset.subject_names)
    np.testing.assert_allclose(predicted, members.mean(axis=0))
    np.testing.assert_allclose(disagreement, np.abs(members - predicted).sum(axis=2).mean(axis=0) / 2)


def test_a_single_member_is_fitted_to_all_rows(dataset: Dataset) -> None:
    X, Y = dataset.features, dataset.labels
    for groups in (None, dataset.subjects):
        model = HeLoRegressor(**QUICK, inner_folds=1).fit(X, Y, groups)
        assert (model.model_.members, model.left_out_rows_, model.out_of_fold_prediction_) == (1, [], None)
        mean = model.model_.ensemble[0].scalings[0].mean
        assert mean is not None
        np.testing.assert_allclose(mean, X.mean(axis=0, dtype=float), atol=1e-6)
        assert np.isnan(model.predict(X, return_disagreement=True)[1]).all()


def test_patience_was_removed() -> None:
    with pytest.raises(TypeError, match="patience"):
        HeLoRegressor(patience=3)  # type: ignore[call-arg]


@pytest.mark.parametrize("normalise", ["train", "subject"])
def test_of_one_subject_a_single_member_is_fitted(dataset: Dataset, normalise: str) -> None:
    rows = dataset.subjects == dataset.subject_names[0]
    model = HeLoRegressor(**QUICK, normalise=normalise)
    model.fit(dataset.features[rows], dataset.labels[rows], dataset.subjects[rows])
    assert (model.n_iter_, model.model_.members, model.left_out_rows_) == (3, 1, [])
    assert model.predict(dataset.features).shape == dataset.labels.shape


def test_clone_pickle_and_data_frames(dataset: Dataset) -> None:
    X = pd.DataFrame(dataset.features, columns=list(dataset.schema.features))
    Y = pd.DataFrame(dataset.labels, columns=list(dataset.emotions))
    groups = {m.name: {"columns": list(m.columns), "role": m.role} for m in dataset.schema.modalities}
    model = HeLoRegressor(column_groups=groups, **QUICK).fit(X, Y, dataset.subjects)
    assert list(model.feature_names_in_) == list(X.columns)
    assert model.model_.emotions == dataset.emotions
    predicted = model.predict(X)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(X), predicted)  # noqa: S301
    np.testing.assert_array_equal(clone(model).fit(X, Y, dataset.subjects).predict(X), predicted)
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(X.iloc[:, ::-1])


@pytest.mark.parametrize("kind", [object, "string", "category"])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        (None, "groups must name the subject of each row, but row 1 has none"),
        ("", "subjects: every row must have a name, got an empty one"),
        (" p01", "differ in spaces or case only"),
    ],
)
def test_every_row_needs_the_name_of_a_person(dataset: Dataset, kind: Any, name: str | None, message: str) -> None:
    subjects = pd.Series([dataset.subjects[0], name, *dataset.subjects[2:]], dtype=kind)
    with pytest.raises(ValueError, match=message):
        HeLoRegressor(**QUICK).fit(dataset.features, dataset.labels, subjects)


def test_repeated_columns_are_refused(dataset: Dataset) -> None:
    X = pd.DataFrame(dataset.features, columns=["a", "a", *dataset.schema.features[2:]])
    with pytest.raises(ValueError, match="unique column names"):
        HeLoRegressor(**QUICK).fit(X, dataset.labels)


@pytest.mark.parametrize("role", ["physiological", "behavioural"])
def test_column_groups_of_one_role(role: str) -> None:
    """Signals of one kind need no placeholder: transport is off, and the model can be saved and used elsewhere."""
    dataset = simulate(subjects=4, clips=3, windows=4, modalities=role)
    X, Y, subjects = dataset.features, dataset.labels, dataset.subjects
    model = HeLoRegressor(column_groups=column_groups(dataset), **QUICK).fit(X, Y, subjects)
    assert model.model_.schema.roles == (role,)
    assert [one.columns for one in model.model_.schema.modalities] == [
        tuple(f"x{index}" for index in group["columns"]) for group in column_groups(dataset).values()
    ]
    assert model.model_.configurations[0].modalities == role
    other = HeLoRegressor(column_groups=column_groups(dataset), transport="fused", ot_entropy=1.0, **QUICK)
    np.testing.assert_array_equal(other.fit(X, Y, subjects).predict(X), model.predict(X))


def test_a_grid_search_over_groups(dataset: Dataset) -> None:
    search = GridSearchCV(
        HeLoRegressor(**QUICK),
        {"width": np.array([4, 8])},
        cv=GroupKFold(2),
        scoring=HeLoRegressor.negative_kl,
        error_score="raise",
    )
    search.fit(dataset.features, dataset.labels, groups=dataset.subjects)
    assert search.best_params_["width"] in (4, 8)
    assert search.best_score_ < 0


def test_the_score_scales_the_windows_of_each_subject(dataset: Dataset) -> None:
    X, Y, subjects = dataset.features, dataset.labels, dataset.subjects
    model = HeLoRegressor(**QUICK, normalise="subject").fit(X, Y, subjects)
    expected = -window_scores(Y, model.predict(X, subjects))["kl"].mean()
    assert model.negative_kl(X, Y, subjects) == pytest.approx(expected, abs=1e-12)
    assert model.negative_kl(X, Y, subjects) != model.negative_kl(X, Y)


def test_missing_signals_are_allowed(dataset: Dataset) -> None:
    gaps = dataset.features.copy()
    gaps[::3, 0] = np.nan
    model = HeLoRegressor(**QUICK).fit(gaps, dataset.labels, dataset.subjects)
    assert np.isfinite(model.predict(gaps)).all()
    gaps[4] = np.nan
    with pytest.raises(ValueError, match="row 4 has none"):
        model.predict(gaps)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"width": 30, "heads": 4}, "heads must divide width"),
        ({"transport": "fuzed"}, "did you mean 'fused'"),
        ({"normalise": "all"}, "normalise must be train or subject, got 'all'"),
        ({"normalise": "subject"}, "groups must name the subject"),
        ({"inner_folds": 0}, "inner_folds must be a whole number of at least 1, got 0"),
        ({"inner_folds": 2.5}, "inner_folds must be a whole number of at least 1, got 2.5"),
        ({"threads": 0}, "threads >= 1 must hold"),
        ({"modalities": "behavioural"}, "modalities must be both or physiological, because all"),
        ({"column_groups": {"eda": {"columns": [99]}}}, r"0 <= column < \d+ must hold, got 99"),
        ({"column_groups": {"eda": {"columns": ["eda"]}}}, "X has no column 'eda'"),
        ({"column_groups": {"eda": {"column": [0]}}}, "did you mean 'columns'"),
        ({"column_groups": {"eda": {"role": "physiological"}}}, "columns are missing"),
    ],
)
def test_wrong_parameters_are_refused(dataset: Dataset, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HeLoRegressor(**{**QUICK, **settings}).fit(dataset.features, dataset.labels)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda labels: labels[:, 0], "Y must have shape"),
        (lambda labels: labels[:, :1], "Y must have shape"),
        (lambda labels: 2 * labels, "row 0 has the minimum .* and the sum 2"),
        (lambda labels: labels - np.eye(*labels.shape), "row 0 has the minimum -"),
    ],
)
def test_targets_must_be_distributions(dataset: Dataset, change: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HeLoRegressor(**QUICK).fit(dataset.features, change(dataset.labels))


def test_groups_must_match_the_rows(dataset: Dataset) -> None:
    with pytest.raises(ValueError, match="groups must have one entry for each of the"):
        HeLoRegressor(**QUICK).fit(dataset.features, dataset.labels, dataset.subjects[:-1])


def test_batch_and_epochs_follow_from_the_training_rows() -> None:
    """A small table is trained for as many steps as a large one."""
    data = simulate(subjects=5, clips=2, windows=8)
    model = HeLoRegressor(width=8).fit(data.features, data.labels, data.subjects)
    assert (model.model_.configurations[0].batch_size, model.n_iter_) == (16, STEPS // 4)  # 64 of 80 rows train
    quick = HeLoRegressor(width=8, epochs=2).fit(data.features, data.labels)
    assert quick.n_iter_ == 2


def test_a_wrong_word_for_the_epochs_is_refused() -> None:
    data = simulate(subjects=3, clips=2, windows=2)
    with pytest.raises(ValueError, match="epochs must be a whole number from 1 to 10000, got 'many'"):
        HeLoRegressor(epochs="many").fit(data.features, data.labels)
