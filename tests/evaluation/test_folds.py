"""Tests of leave-one-subject-out folds and of the scaling of their parts."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from typing import Any

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
    Split,
    folds_as_json,
    folds_digest,
    held_out_part,
    loso_folds,
    member_seed,
    split_data,
)
from helo.evaluation.scaling import Scaling
from helo.names import Normalisation, enum_values


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return simulate(subjects=5, clips=2, windows=3)


@pytest.fixture(scope="module")
def fold(dataset: Dataset) -> Fold:
    return loso_folds(dataset.subject_names, seed=0, inner_folds=2)[0]


@pytest.fixture(scope="module")
def split(fold: Fold) -> Split:
    return fold.splits[0]


def names(count: int) -> tuple[str, ...]:
    return tuple(f"S{number}" for number in range(2, 2 + count))


def changed(dataset: Dataset, subjects: tuple[str, ...]) -> Dataset:
    """Return the dataset with other features for some subjects."""
    features: NDArray[np.float32] = dataset.features.copy()
    features[dataset.rows(subjects)] = 3 * features[dataset.rows(subjects)] + 5
    return replace(dataset, features=features)


@settings(max_examples=60, deadline=None)
@given(st.integers(3, 20), st.integers(0, 1000), st.data())
def test_each_other_subject_validates_exactly_once(count: int, seed: int, data: st.DataObject) -> None:
    subjects = names(count)
    inner = data.draw(st.integers(2, count - 1))
    folds = loso_folds(subjects, seed, inner)
    assert tuple(fold.test for fold in folds) == subjects
    for fold in folds:
        assert len(fold.splits) == inner
        assert sorted((fold.test, *fold.others)) == sorted(subjects)
        assert sorted(fold.validation) == sorted(fold.others)
        for split in fold.splits:
            assert sorted((*split.validation, *split.train)) == sorted(fold.others)
        sizes = [len(split.validation) for split in fold.splits]
        assert max(sizes) - min(sizes) <= 1


@settings(max_examples=60, deadline=None)
@given(st.integers(3, 20), st.integers(0, 1000))
def test_one_split_lets_a_quarter_validate_and_everyone_equally_often(count: int, seed: int) -> None:
    subjects = names(count)
    folds = loso_folds(subjects, seed, inner_folds=1)
    for fold in folds:
        (split,) = fold.splits
        assert sorted((fold.test, *split.validation, *split.train)) == sorted(subjects)
    times = Counter(subject for fold in folds for subject in fold.validation)
    assert times == dict.fromkeys(subjects, max(1, round((count - 1) / 4)))


def test_folds_follow_the_seed() -> None:
    assert loso_folds(names(9), seed=1) == loso_folds(names(9), seed=1)
    digests = {folds_digest(loso_folds(names(9), seed)) for seed in range(5)}
    assert len(digests) == 5
    assert folds_digest(loso_folds(names(9), 0)) != folds_digest(loso_folds(names(9), 0, inner_folds=4))


@pytest.mark.parametrize(("subjects", "expected"), [(3, 2), (5, 4), (6, 5), (15, 5), (73, 5)])
def test_default_number_of_inner_splits(subjects: int, expected: int) -> None:
    assert {len(fold.splits) for fold in loso_folds(names(subjects), seed=0)} == {expected}


@pytest.mark.parametrize("count", [0, 1, 2])
def test_too_few_subjects(count: int) -> None:
    with pytest.raises(InputError, match=f"at least 3 subjects .* got {count}"):
        loso_folds(names(count), seed=0)


@pytest.mark.parametrize("inner", [-1, 0, 5])
def test_inner_splits_need_a_subject_each(inner: int) -> None:
    with pytest.raises(InputError, match=rf"1 <= inner folds <= 4 \(subjects other than .* must hold, got {inner}"):
        loso_folds(names(5), seed=0, inner_folds=inner)


def test_a_subject_named_twice_is_a_leak() -> None:
    with pytest.raises(LeakageError, match="'S2'"):
        loso_folds(("S2", "S3", "S4", "S2"), seed=0, inner_folds=1)


@pytest.mark.parametrize(("train", "validation"), [(("b", "c"), ("c",)), (("b", "b"), ("c",)), (("b",), ("c", "c"))])
def test_overlapping_sets_of_a_split_are_a_leak(train: tuple[str, ...], validation: tuple[str, ...]) -> None:
    with pytest.raises(LeakageError, match="both sides of a split"):
        Split(validation, train)


@pytest.mark.parametrize(
    "splits",
    [
        [(("c",), ("a", "b"))],
        [(("a",), ("b", "c"))],
        [(("b",), ("c", "d")), (("b",), ("c", "d"))],
        [(("b",), ("c",)), (("c",), ("a",))],
    ],
)
def test_a_test_subject_in_a_split_or_a_subject_that_validates_twice_is_a_leak(splits: list[Any]) -> None:
    with pytest.raises(LeakageError, match="both sides of a split"):
        Fold("a", tuple(Split(*split) for split in splits))


def test_a_split_needs_training_and_validation_and_a_fold_needs_splits() -> None:
    for validation, train in (((), ("b",)), (("b",), ())):
        with pytest.raises(InputError, match="needs training subjects and inner validation subjects"):
            Split(validation, train)
    with pytest.raises(InputError, match="fold 'a': needs at least one inner split"):
        Fold("a", ())
    with pytest.raises(InputError, match="fold 'a': its inner splits divide different subjects"):
        Fold("a", (Split(("b",), ("c",)), Split(("c",), ("d",))))


def test_folds_as_json_are_plain() -> None:
    fold = Fold("a", (Split(("b",), ("c", "d")), Split(("c", "d"), ("b",))))
    plain = folds_as_json((fold,))
    splits = [{"validation": ["b"], "train": ["c", "d"]}, {"validation": ["c", "d"], "train": ["b"]}]
    assert plain == [{"test": "a", "splits": splits}]
    folds = (fold, *loso_folds(names(8), seed=3))
    assert json.loads(json.dumps(folds_as_json(folds))) == folds_as_json(folds)


def test_members_have_seeds_of_their_own() -> None:
    seeds = [member_seed(seed, fold, member) for seed in (0, 1) for fold in ("S2", "S3") for member in range(5)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**56 for seed in seeds)


@pytest.mark.parametrize("normalise", enum_values(Normalisation))
def test_parts_hold_the_windows_of_their_subjects(dataset: Dataset, fold: Fold, split: Split, normalise: str) -> None:
    data = split_data(dataset, fold, split, normalise)
    test = held_out_part(dataset, data)
    for part, subjects in (
        (data.train, split.train),
        (data.validation, split.validation),
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
    dataset: Dataset, fold: Fold, split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Scaling.fit(dataset, split.train, "train")
    monkeypatch.setattr("helo.data.dataset.BLOCK_VALUES", 3 * dataset.features.shape[1])
    blockwise = Scaling.fit(dataset, split.train, "train")
    assert whole.mean is not None
    assert whole.std is not None
    assert blockwise.mean is not None
    assert blockwise.std is not None
    np.testing.assert_allclose(blockwise.mean, whole.mean, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(blockwise.std, whole.std, rtol=1e-12)
    np.testing.assert_allclose(whole.mean, dataset.features[dataset.rows(split.train)].mean(axis=0), rtol=1e-4)


def test_train_scaling_makes_training_windows_standard(dataset: Dataset, fold: Fold, split: Split) -> None:
    train = split_data(dataset, fold, split, "train").train.features
    np.testing.assert_allclose(train.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(train.std(axis=0), 1, atol=1e-5)


def test_train_scaling_sees_training_subjects_only(dataset: Dataset, fold: Fold, split: Split) -> None:
    before = Scaling.fit(dataset, split.train, "train")
    after = Scaling.fit(changed(dataset, (*split.validation, fold.test)), split.train, "train")
    np.testing.assert_array_equal(after.mean, before.mean)
    np.testing.assert_array_equal(after.std, before.std)
    other = Scaling.fit(changed(dataset, split.train), split.train, "train")
    assert before.mean is not None
    assert other.mean is not None
    assert not np.allclose(other.mean, before.mean)


@pytest.mark.parametrize("normalise", enum_values(Normalisation))
def test_training_windows_do_not_depend_on_the_test_subject(
    dataset: Dataset, fold: Fold, split: Split, normalise: str
) -> None:
    before = split_data(dataset, fold, split, normalise)
    after = split_data(changed(dataset, (fold.test,)), fold, split, normalise)
    np.testing.assert_array_equal(after.train.features, before.train.features)
    np.testing.assert_array_equal(after.validation.features, before.validation.features)


def test_subject_scaling_makes_each_subject_standard(dataset: Dataset, fold: Fold, split: Split) -> None:
    data = split_data(dataset, fold, split, "subject")
    parts = (data.train, data.validation, held_out_part(dataset, split_data(dataset, fold, split, "subject")))
    for part in parts:
        for subject in np.unique(part.subjects):
            values = part.features[part.subjects == subject]
            np.testing.assert_allclose(values.mean(axis=0), 0, atol=1e-5)
            np.testing.assert_allclose(values.std(axis=0), 1, atol=1e-5)


def test_subject_scaling_removes_gains_and_offsets(dataset: Dataset, fold: Fold, split: Split) -> None:
    before = held_out_part(dataset, split_data(dataset, fold, split, "subject"))
    moved = changed(dataset, (fold.test,))
    after = held_out_part(moved, split_data(moved, fold, split, "subject"))
    np.testing.assert_allclose(after.features, before.features, atol=1e-4)


@pytest.mark.parametrize("normalise", enum_values(Normalisation))
@pytest.mark.parametrize("value", [0.0, 0.1, -1e6, 1e-8])
def test_a_constant_feature_becomes_zero(
    dataset: Dataset, fold: Fold, split: Split, normalise: str, value: float
) -> None:
    features = dataset.features.copy()
    features[:, 2] = value
    data = split_data(replace(dataset, features=features), fold, split, normalise)
    np.testing.assert_allclose(data.train.features[:, 2], 0, atol=1e-6)
    np.testing.assert_allclose(data.validation.features[:, 2], 0, atol=1e-6)


def test_an_unknown_normalisation_is_refused(dataset: Dataset, fold: Fold, split: Split) -> None:
    with pytest.raises(InputError, match="must be train or subject, got 'none'"):
        split_data(dataset, fold, split, "none")


def test_a_feature_that_is_constant_in_training_becomes_zero_for_all() -> None:
    base = simulate(subjects=4, clips=2, windows=3)
    fold = loso_folds(base.subject_names, 0)[0]
    split = fold.splits[0]
    features = base.features.copy()
    features[:, 0] = np.where(np.isin(base.subjects, split.train), 0, 5000)
    dataset = replace(base, features=features)
    assert (held_out_part(dataset, split_data(dataset, fold, split, "train")).features[:, 0] == 0).all()
    assert (split_data(dataset, fold, split, "train").validation.features[:, 0] == 0).all()


# --- missing signals -----------------------------------------------------------------------------


def without(dataset: Dataset, rows: NDArray[np.intp], column: int) -> Dataset:
    features = dataset.features.copy()
    features[rows, column] = np.nan
    return replace(dataset, features=features)


@pytest.mark.parametrize("normalise", ["train", "subject"])
def test_missing_signals_are_ignored_by_the_statistics(
    dataset: Dataset, fold: Fold, split: Split, normalise: str
) -> None:
    gaps = without(dataset, np.arange(0, len(dataset), 3), 0)
    train = split_data(gaps, fold, split, normalise).train
    present = ~np.isnan(train.features[:, 0])
    assert (~present).sum() == np.isin(train.rows, np.arange(0, len(dataset), 3)).sum() > 0
    whole = split_data(dataset, fold, split, normalise).train
    np.testing.assert_array_equal(train.features[:, 1:], whole.features[:, 1:])
    groups = [present] if normalise == "train" else [present & (train.subjects == name) for name in split.train]
    for group in groups:
        assert train.features[group, 0].mean() == pytest.approx(0, abs=1e-5)
        assert train.features[group, 0].std() == pytest.approx(1, abs=1e-5)


def test_a_signal_that_is_missing_in_training_stays_missing(dataset: Dataset, fold: Fold, split: Split) -> None:
    gaps = without(dataset, dataset.rows(split.train), 0)
    assert np.isnan(held_out_part(gaps, split_data(gaps, fold, split, "train")).features[:, 0]).all()
    assert np.isfinite(held_out_part(gaps, split_data(gaps, fold, split, "train")).features[:, 1:]).all()
