"""Tests of leave-one-subject-out folds and of the scaling of their parts."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from helo.data.dataset import Dataset
from helo.data.simulated import simulate
from helo.errors import InputError, LeakageError
from helo.evaluation.folds import (
    Fold,
    fold_data,
    folds_as_json,
    folds_digest,
    guard,
    held_out_part,
    loso_folds,
)
from helo.evaluation.scaling import Scaling
from helo.names import Normalisation, enum_values


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return simulate(subjects=5, clips=2, windows=3)


@pytest.fixture(scope="module")
def fold(dataset: Dataset) -> Fold:
    return loso_folds(dataset.subject_names, seed=0, validation=2)[0]


def names(count: int) -> tuple[str, ...]:
    return tuple(f"S{number}" for number in range(2, 2 + count))


def changed(dataset: Dataset, subjects: tuple[str, ...]) -> Dataset:
    """Return the dataset with other features for some subjects."""
    features: NDArray[np.float32] = dataset.features.copy()
    features[dataset.rows(subjects)] = 3 * features[dataset.rows(subjects)] + 5
    return replace(dataset, features=features)


@settings(max_examples=60, deadline=None)
@given(st.integers(3, 20), st.integers(0, 1000), st.data())
def test_folds_are_disjoint_cover_everyone_and_validate_all_equally(count: int, seed: int, data: st.DataObject) -> None:
    subjects = names(count)
    validation = data.draw(st.integers(1, count - 2))
    folds = loso_folds(subjects, seed, validation)
    assert tuple(fold.test for fold in folds) == subjects
    for fold in folds:
        parts = (fold.test, *fold.validation, *fold.train)
        assert sorted(parts) == sorted(subjects)
        assert len(fold.validation) == validation
    times = Counter(subject for fold in folds for subject in fold.validation)
    assert times == dict.fromkeys(subjects, validation)


def test_folds_follow_the_seed() -> None:
    assert loso_folds(names(9), seed=1) == loso_folds(names(9), seed=1)
    digests = {folds_digest(loso_folds(names(9), seed)) for seed in range(5)}
    assert len(digests) == 5


@pytest.mark.parametrize(("subjects", "expected"), [(3, 1), (5, 1), (9, 2), (15, 4)])
def test_a_quarter_of_the_others_validates(subjects: int, expected: int) -> None:
    assert all(len(fold.validation) == expected for fold in loso_folds(names(subjects), seed=0))


@pytest.mark.parametrize("count", [0, 1, 2])
def test_too_few_subjects(count: int) -> None:
    with pytest.raises(InputError, match=f"at least 3 subjects .* got {count}"):
        loso_folds(names(count), seed=0)


@pytest.mark.parametrize("validation", [-1, 0, 4])
def test_validation_must_leave_a_training_subject(validation: int) -> None:
    with pytest.raises(InputError, match=f"1 <= validation subjects <= 3 must hold, got {validation}"):
        loso_folds(names(5), seed=0, validation=validation)


def test_a_subject_named_twice_is_a_leak() -> None:
    with pytest.raises(LeakageError, match="'S2'"):
        loso_folds(("S2", "S3", "S4", "S2"), seed=0, validation=1)


@pytest.mark.parametrize(
    ("train", "validation"),
    [(("a", "b"), ("c",)), (("b", "c"), ("a",)), (("b", "c"), ("c",)), (("b", "b"), ("c",))],
)
def test_overlapping_parts_are_a_leak(train: tuple[str, ...], validation: tuple[str, ...]) -> None:
    with pytest.raises(LeakageError, match="both sides of a split"):
        Fold(test="a", validation=validation, train=train)
    with pytest.raises(LeakageError):
        guard(train, validation, ("a",))


def test_a_fold_needs_training_and_validation() -> None:
    with pytest.raises(InputError, match="needs training subjects and inner validation subjects"):
        Fold(test="a", validation=(), train=("b",))
    with pytest.raises(InputError, match="needs training subjects and inner validation subjects"):
        Fold(test="a", validation=("b",), train=())


def test_folds_as_json_are_plain() -> None:
    assert folds_as_json((Fold("a", ("b",), ("c", "d")),)) == [{"test": "a", "validation": ["b"], "train": ["c", "d"]}]


@pytest.mark.parametrize("normalise", enum_values(Normalisation))
def test_parts_hold_the_windows_of_their_subjects(dataset: Dataset, fold: Fold, normalise: str) -> None:
    data = fold_data(dataset, fold, normalise)
    test = held_out_part(dataset, data)
    for part, subjects in (
        (data.train, fold.train),
        (data.validation, fold.validation),
        (test, (fold.test,)),
    ):
        assert set(part.subjects) == set(subjects)
        np.testing.assert_array_equal(part.rows, dataset.rows(subjects))
        np.testing.assert_array_equal(part.labels, dataset.labels[part.rows])
        assert part.features.dtype == np.float32
        assert part.features.shape == (len(part.rows), len(dataset.schema.features))
    everything = np.concatenate([data.train.rows, data.validation.rows, test.rows])
    assert sorted(everything) == list(range(len(dataset)))


def test_statistics_do_not_depend_on_the_size_of_blocks(
    dataset: Dataset, fold: Fold, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Scaling.fit(dataset, fold.train, "train")
    monkeypatch.setattr("helo.data.dataset.BLOCK_VALUES", 3 * dataset.features.shape[1])
    blockwise = Scaling.fit(dataset, fold.train, "train")
    assert whole.mean is not None
    assert whole.std is not None
    assert blockwise.mean is not None
    assert blockwise.std is not None
    np.testing.assert_allclose(blockwise.mean, whole.mean, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(blockwise.std, whole.std, rtol=1e-12)
    np.testing.assert_allclose(whole.mean, dataset.features[dataset.rows(fold.train)].mean(axis=0), rtol=1e-4)


def test_train_scaling_makes_training_windows_standard(dataset: Dataset, fold: Fold) -> None:
    train = fold_data(dataset, fold, "train").train.features
    np.testing.assert_allclose(train.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(train.std(axis=0), 1, atol=1e-5)


def test_train_scaling_sees_training_subjects_only(dataset: Dataset, fold: Fold) -> None:
    before = Scaling.fit(dataset, fold.train, "train")
    after = Scaling.fit(changed(dataset, (*fold.validation, fold.test)), fold.train, "train")
    np.testing.assert_array_equal(after.mean, before.mean)
    np.testing.assert_array_equal(after.std, before.std)
    other = Scaling.fit(changed(dataset, fold.train), fold.train, "train")
    assert before.mean is not None
    assert other.mean is not None
    assert not np.allclose(other.mean, before.mean)


@pytest.mark.parametrize("normalise", enum_values(Normalisation))
def test_training_windows_do_not_depend_on_the_test_subject(dataset: Dataset, fold: Fold, normalise: str) -> None:
    before = fold_data(dataset, fold, normalise)
    after = fold_data(changed(dataset, (fold.test,)), fold, normalise)
    np.testing.assert_array_equal(after.train.features, before.train.features)
    np.testing.assert_array_equal(after.validation.features, before.validation.features)


def test_subject_scaling_makes_each_subject_standard(dataset: Dataset, fold: Fold) -> None:
    data = fold_data(dataset, fold, "subject")
    parts = (data.train, data.validation, held_out_part(dataset, fold_data(dataset, fold, "subject")))
    for part in parts:
        for subject in np.unique(part.subjects):
            values = part.features[part.subjects == subject]
            np.testing.assert_allclose(values.mean(axis=0), 0, atol=1e-5)
            np.testing.assert_allclose(values.std(axis=0), 1, atol=1e-5)


def test_subject_scaling_removes_gains_and_offsets(dataset: Dataset, fold: Fold) -> None:
    before = held_out_part(dataset, fold_data(dataset, fold, "subject"))
    moved = changed(dataset, (fold.test,))
    after = held_out_part(moved, fold_data(moved, fold, "subject"))
    np.testing.assert_allclose(after.features, before.features, atol=1e-4)


@pytest.mark.parametrize("normalise", enum_values(Normalisation))
@pytest.mark.parametrize("value", [0.0, 0.1, -1e6, 1e-8])
def test_a_constant_feature_becomes_zero(dataset: Dataset, fold: Fold, normalise: str, value: float) -> None:
    features = dataset.features.copy()
    features[:, 2] = value
    data = fold_data(replace(dataset, features=features), fold, normalise)
    np.testing.assert_allclose(data.train.features[:, 2], 0, atol=1e-6)
    np.testing.assert_allclose(data.validation.features[:, 2], 0, atol=1e-6)


def test_an_unknown_normalisation_is_refused(dataset: Dataset, fold: Fold) -> None:
    with pytest.raises(InputError, match="must be train or subject, got 'none'"):
        fold_data(dataset, fold, "none")


def test_a_feature_that_is_constant_in_training_becomes_zero_for_all() -> None:
    base = simulate(subjects=4, clips=2, windows=3)
    fold = loso_folds(base.subject_names, 0)[0]
    features = base.features.copy()
    features[:, 0] = np.where(np.isin(base.subjects, fold.train), 0, 5000)
    dataset = replace(base, features=features)
    assert (held_out_part(dataset, fold_data(dataset, fold, "train")).features[:, 0] == 0).all()
    assert (fold_data(dataset, fold, "train").validation.features[:, 0] == 0).all()


# --- missing signals -----------------------------------------------------------------------------


def without(dataset: Dataset, rows: NDArray[np.intp], column: int) -> Dataset:
    features = dataset.features.copy()
    features[rows, column] = np.nan
    return replace(dataset, features=features)


@pytest.mark.parametrize("normalise", ["train", "subject"])
def test_missing_signals_are_ignored_by_the_statistics(dataset: Dataset, fold: Fold, normalise: str) -> None:
    gaps = without(dataset, np.arange(0, len(dataset), 3), 0)
    train = fold_data(gaps, fold, normalise).train
    present = ~np.isnan(train.features[:, 0])
    assert (~present).sum() == np.isin(train.rows, np.arange(0, len(dataset), 3)).sum() > 0
    whole = fold_data(dataset, fold, normalise).train
    np.testing.assert_array_equal(train.features[:, 1:], whole.features[:, 1:])
    groups = [present] if normalise == "train" else [present & (train.subjects == name) for name in fold.train]
    for group in groups:
        assert train.features[group, 0].mean() == pytest.approx(0, abs=1e-5)
        assert train.features[group, 0].std() == pytest.approx(1, abs=1e-5)


def test_a_signal_that_is_missing_in_training_stays_missing(dataset: Dataset, fold: Fold) -> None:
    gaps = without(dataset, dataset.rows(fold.train), 0)
    assert np.isnan(held_out_part(gaps, fold_data(gaps, fold, "train")).features[:, 0]).all()
    assert np.isfinite(held_out_part(gaps, fold_data(gaps, fold, "train")).features[:, 1:]).all()
