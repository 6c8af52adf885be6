"""Schema and dataset in memory: what is refused, and the digest."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helo.data.dataset import Dataset, natural_key
from helo.data.schema import Modality, Schema
from helo.data.simulated import simulate
from helo.errors import InputError

DATASET = simulate(subjects=3, clips=2, windows=2)
SCHEMA = DATASET.schema
ECG = Modality("ecg", "physiological", ("a", "b", "c", "d"), tokens=2, main=True)
FACE = Modality("face", "behavioural", ("e",), tokens=1)
EMOTIONS = {"joy": "l1", "fear": "l2"}


def labels_with(row: int, *values: float) -> Dataset:
    labels = DATASET.labels.copy()
    labels[row, : len(values)] = values
    return replace(DATASET, labels=labels)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"role": "other"}, "role must be one of physiological, behavioural, got 'other'"),
        ({"columns": ()}, "at least one column"),
        ({"tokens": 3}, "tokens must divide its 4 columns, got 3"),
        ({"tokens": 0}, "tokens must divide"),
        ({"role": "behavioural"}, "only a physiological modality can be main"),
    ],
)
def test_a_modality_that_cannot_be(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(ECG, **change)


def test_modalities_may_all_have_one_role() -> None:
    eda = replace(ECG, name="eda", columns=("x", "y"), main=False)
    schema = Schema("s", (eda, ECG), EMOTIONS)
    assert (schema.main, schema.roles) == (ECG, ("physiological",))
    assert ([one.name for one in schema.physiological], schema.behavioural) == (["ecg", "eda"], ())
    schema = Schema("s", (FACE,), EMOTIONS)
    assert (schema.main, schema.roles, schema.physiological) == (None, ("behavioural",), ())
    assert "main" not in schema.as_dict()["modalities"]["face"]
    assert Schema("s", (FACE, ECG), EMOTIONS).roles == ("physiological", "behavioural")


@pytest.mark.parametrize(
    ("modalities", "emotions", "message"),
    [
        ((), EMOTIONS, "modalities: at least one is needed"),
        ((replace(ECG, main=False),), EMOTIONS, "exactly one .* got none"),
        ((replace(ECG, main=False), FACE), EMOTIONS, "exactly one .* got none"),
        ((ECG, replace(ECG, name="b", columns=("x", "y")), FACE), EMOTIONS, "exactly one .* got ecg, b"),
        ((ECG, replace(FACE, name="ecg")), EMOTIONS, "different names"),
        ((ECG, FACE), {"joy": "l1"}, "at least two"),
        ((ECG, replace(FACE, columns=("a",))), EMOTIONS, "a is used again"),
        ((ECG, FACE), {"joy": "l1", "fear": "a"}, "a is used again"),
        ((ECG, replace(FACE, columns=("subject",))), EMOTIONS, "'subject' must not be"),
        ((ECG, replace(FACE, columns=("group",))), EMOTIONS, "'group' must not be"),
    ],
)
def test_a_schema_that_cannot_be(modalities: tuple[Modality, ...], emotions: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Schema("x", modalities, emotions)


def test_the_main_modality_is_first_and_slices_follow_the_columns() -> None:
    other = Modality("eda", "physiological", ("x",), tokens=1)
    schema = Schema("x", (FACE, other, ECG), EMOTIONS)
    assert [modality.name for modality in schema.physiological] == ["ecg", "eda"]
    assert schema.features == ("e", "x", "a", "b", "c", "d")
    assert schema.slices == {"face": slice(0, 1), "eda": slice(1, 2), "ecg": slice(2, 6)}


def with_gaps(*gaps: tuple[int, str | slice]) -> Dataset:
    """The dataset without some features: (row, modality or slice of columns)."""
    features = DATASET.features.copy()
    for row, where in gaps:
        features[row, DATASET.schema.slices[where] if isinstance(where, str) else where] = np.nan
    return replace(DATASET, features=features)


def test_missing_signals_are_counted() -> None:
    assert not DATASET.missing
    assert str(DATASET.missing) == "nothing"
    ecg = DATASET.schema.slices["ecg"]
    missing = with_gaps((5, "ecg"), (6, "ecg"), (6, "eda"), (7, slice(ecg.start, ecg.start + 1))).missing
    assert missing.windows == {"ecg": 2, "eda": 1}
    assert missing.features == 1
    total = len(DATASET)
    assert str(missing) == f"ecg in 2 of {total} windows, eda in 1 of {total} windows, 1 single features"


def test_a_subject_without_a_signal_is_named() -> None:
    gaps = with_gaps(*((int(row), "ecg") for row in DATASET.rows(("P02",))))
    assert gaps.missing.subjects == {"ecg": ("P02",)}
    assert "(all of P02)" in str(gaps.missing)


def test_a_modality_that_is_never_there_is_refused() -> None:
    with pytest.raises(InputError, match="modality 'ecg' is missing in all windows; leave it out"):
        with_gaps(*((row, "ecg") for row in range(len(DATASET))))


def test_a_missing_signal_changes_the_digest() -> None:
    assert with_gaps((5, "ecg")).digest != DATASET.digest


def test_a_window_without_any_signal_is_refused() -> None:
    with pytest.raises(InputError, match=r"at least one signal; 2 rows .* the first is row 5 \(subject P02"):
        with_gaps((5, slice(None)), (9, slice(None)))


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_features_must_be_finite(value: float) -> None:
    features = DATASET.features.copy()
    features[5, 2] = value
    with pytest.raises(InputError, match=r"1 are not, the first in row 5 of column 'ecg_2' \(subject P02"):
        replace(DATASET, features=features)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((np.nan,), "must be finite numbers"),
        ((-0.1,), "must not be negative"),
        ((0.0,) * 6, "must sum to 1, not to 0"),
        ((2.0,), "must sum to 1"),
    ],
)
def test_labels_must_be_distributions(values: tuple[float, ...], message: str) -> None:
    with pytest.raises(InputError, match=f"labels {message}.* first is row 4 .subject P02"):
        labels_with(4, *values)


def test_nearly_one_becomes_one() -> None:
    labels = DATASET.labels * 1.0005
    np.testing.assert_allclose(replace(DATASET, labels=labels).labels.sum(axis=1), 1, atol=1e-14)


@pytest.mark.parametrize("name", ["features", "labels", "groups", "best_possible"])
def test_shapes_must_agree(name: str) -> None:
    with pytest.raises(InputError, match=f"{name}: shape must be"):
        replace(DATASET, **{name: getattr(DATASET, name)[:-1]})


def test_one_subject_is_too_few() -> None:
    with pytest.raises(InputError, match=r"at least 2 subjects, got 1 \(P\)"):
        replace(DATASET, subjects=np.full(len(DATASET), "P"))


def test_no_window_is_too_few() -> None:
    with pytest.raises(InputError, match="there must be at least one, got none"):
        Dataset(SCHEMA, DATASET.subjects[:0], DATASET.features[:0], DATASET.labels[:0])


def test_the_digest_sees_everything_a_result_depends_on() -> None:
    features, subjects = DATASET.features.copy(), DATASET.subjects[::-1].copy()
    features[0, 0] += 1
    others = [
        replace(DATASET, features=features),
        replace(DATASET, subjects=subjects),
        replace(DATASET, labels=np.roll(DATASET.labels, 1, axis=1)),
        replace(DATASET, schema=replace(SCHEMA, name="other")),
    ]
    assert len({DATASET.digest, *(other.digest for other in others)}) == 5


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 40))
def test_dividing_twice_changes_nothing(seed: int, emotions: int) -> None:
    """Or the digest of a dataset would change when it is written and read."""
    labels = np.random.default_rng(seed).dirichlet(np.ones(emotions), size=len(DATASET)).astype(np.float32)
    schema = Schema("x", SCHEMA.modalities, {f"e{i}": f"l{i}" for i in range(emotions)})
    once = Dataset(schema, DATASET.subjects, DATASET.features, labels.astype(np.float64))
    twice = replace(once, labels=once.labels.copy())
    assert twice.digest == once.digest


def test_rows_and_names() -> None:
    assert DATASET.subject_names == ("P01", "P02", "P03")
    np.testing.assert_array_equal(DATASET.rows(("P03", "P01")), [0, 1, 2, 3, 8, 9, 10, 11])


@settings(max_examples=30, deadline=None)
@given(st.sets(st.text("S10٣²a", max_size=6), max_size=6))
def test_any_names_have_one_order(names: set[str]) -> None:
    forth = sorted(names, key=natural_key)
    back = forth[::-1]
    back.sort(key=natural_key)
    assert back == forth


@pytest.mark.parametrize(
    ("name", "output"),
    [("P01 ", "give one person one name"), ("p01", "give one person one name"), (" ", "must have a name")],
)
def test_one_person_under_two_names_is_refused(name: str, output: str) -> None:
    base = simulate(subjects=3, clips=1, windows=2)
    subjects = base.subjects.astype("<U8")
    subjects[-1] = name
    with pytest.raises(InputError, match=output):
        replace(base, subjects=subjects)


def test_groups_are_averaged_if_one_of_them_has_two_windows_of_a_subject() -> None:
    assert DATASET.averaged_groups is DATASET.groups
    assert replace(DATASET, groups=None).averaged_groups is None
    assert replace(DATASET, groups=np.array(list("abcd") * 3)).averaged_groups is None  # shared by subjects only
    assert replace(DATASET, groups=np.array([*"abcd" * 2, *"abca"])).averaged_groups is not None
