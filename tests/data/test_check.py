"""Each warning and note of the dataset check, and no findings on valid data."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helo.data.__main__ import main
from helo.data.check import check
from helo.data.dataset import Dataset
from helo.data.directory import read_dataset, write_dataset
from helo.data.simulated import simulate
from helo.data.wesad import read_feature_table
from helo.evaluation.baselines import baselines_table
from helo.evaluation.folds import loso_folds
from helo.metrics import METRICS

DATASET = simulate(subjects=5, clips=4, windows=6)
PEOPLE = np.repeat(np.arange(5), 24)
CLIPS = np.tile(np.repeat(np.arange(4), 6), 5)


def kinds(dataset: Dataset) -> list[str]:
    """Return the kinds of all findings, with notes in brackets."""
    return [finding.kind if finding.warning else f"({finding.kind})" for finding in check(dataset).findings]


def only_text(dataset: Dataset) -> str:
    """Return the text of the only finding."""
    (finding,) = check(dataset).findings
    return finding.text


def with_feature(values: Any, name: str = "ecg_1") -> Dataset:
    features = DATASET.features.copy()
    features[:, DATASET.schema.features.index(name)] = values
    return replace(DATASET, features=features)


def select(keep: np.ndarray) -> Dataset:
    groups, best = DATASET.groups, DATASET.best_possible
    assert groups is not None
    assert best is not None
    return Dataset(
        DATASET.schema,
        DATASET.subjects[keep],
        DATASET.features[keep],
        DATASET.labels[keep],
        groups=groups[keep],
        best_possible=best[keep],
    )


# --- valid data -------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_simulated_data_have_no_findings(seed: int) -> None:
    assert kinds(simulate(seed=seed)) == []
    assert kinds(simulate(subjects=3, clips=2, windows=3, emotions=3, seed=seed)) == []


def test_wesad_has_no_findings(wesad_folder: Path) -> None:
    found = check(read_feature_table(wesad_folder))
    assert found.findings == ()
    assert found.labels == (5, 5, 5)  # one report after each condition
    assert found.groups == (5, 5, 5)
    assert found.subject_windows == (185, 191, 196)
    np.testing.assert_allclose(
        [found.scores["train_mean"][m] for m in ("chebyshev", "kl")], [0.0387, 0.0703], atol=5e-5
    )


def test_a_distinct_label_per_window_has_no_findings() -> None:
    """A feature without repeated values then determines the label, which is not a leak."""
    labels = np.random.default_rng(1).dirichlet(np.ones(6), size=len(DATASET))
    assert kinds(replace(DATASET, labels=labels)) == []
    assert kinds(replace(DATASET, labels=labels, groups=np.arange(len(DATASET)).astype(str))) == []


def test_rounded_features_have_no_findings() -> None:
    features = DATASET.features.copy()
    features[:, ::2] = np.round(features[:, ::2], 1)
    features[:, 1::4] = features[:, 1::4] > 0
    assert kinds(replace(DATASET, features=features)) == []


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 0.6))
def test_gaps_have_no_findings_and_are_counted(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    features = DATASET.features.copy()
    features[rng.random(features.shape) < share] = np.nan
    features[rng.random(len(features)) < share, :8] = np.nan
    features[PEOPLE == 2, :8] = np.nan
    features[:, -1] = rng.normal(size=len(features))
    dataset = replace(DATASET, features=features)
    found = check(dataset)
    assert found.findings == ()
    assert found.missing == dataset.missing
    ecg = found.modalities[0]
    assert ecg.missing == np.isnan(features[:, :8]).mean()
    assert ecg.absent == np.isnan(features[:, :8]).all(axis=1).sum() >= 24


# --- counts and scores ----------------------------------------------------------------------------


def test_counts() -> None:
    found = check(select(~((PEOPLE == 1) & (CLIPS == 0))))
    assert (found.subjects, found.windows, found.group_names) == (5, 114, 4)
    assert found.subject_windows == (18, 24, 24)
    assert found.groups == found.labels == (3, 4, 4)
    assert [(m.name, m.tokens, m.token_features, m.main) for m in found.modalities][:2] == [
        ("ecg", 4, 2, True),
        ("eda", 3, 1, False),
    ]
    assert sum(emotion.mean for emotion in found.emotions) == pytest.approx(1)


def test_entropy() -> None:
    uniform = np.full(DATASET.labels.shape, 1 / 6)
    found = check(replace(DATASET, labels=uniform))
    assert found.entropy == pytest.approx(np.log(6))
    assert found.entropy_share == pytest.approx(1)
    assert check(replace(DATASET, labels=np.eye(6)[CLIPS])).entropy == 0


def test_scores_equal_those_of_a_search() -> None:
    uneven = select(~((PEOPLE == 1) & (CLIPS > 0)))
    table = baselines_table(uneven, loso_folds(uneven.subject_names, seed=0)).groupby("method")
    for method, scores in check(uneven).scores.items():
        expected = table.get_group(method)[[f"test_{metric}" for metric in METRICS]].mean()
        np.testing.assert_allclose([scores[metric] for metric in METRICS], expected, rtol=1e-12)


def test_scores_where_an_emotion_is_zero_for_all_other_subjects() -> None:
    """The mean label of the other subjects, computed by a difference of sums, must not be negative."""
    labels = np.where(PEOPLE[:, None] == 0, [[0.1, 0.2, 0.7, 0, 0, 0]], [[0.3, 0, 0, 0, 0.3, 0.4]])
    scores = check(replace(DATASET, labels=labels)).scores["train_mean"]
    assert all(np.isfinite(list(scores.values())))


# --- findings --------------------------------------------------------------------------


def test_few_subjects() -> None:
    assert "2 subjects; at least 3 are needed, to test, to validate and to train on" in only_text(select(PEOPLE < 2))
    assert kinds(select(PEOPLE < 3)) == []


@pytest.mark.parametrize("role", ["physiological", "behavioural"])
def test_one_kind_of_signal_is_a_note(role: str) -> None:
    one = simulate(subjects=5, clips=4, windows=6, modalities=role)
    assert kinds(one) == ["(one kind of signal)"]
    assert only_text(one) == f"all modalities are {role}, so transport is off"


def test_few_windows() -> None:
    text = only_text(select((PEOPLE != 3) | (np.arange(120) % 6 == 0)))
    assert text.startswith("very few windows in P04 (4)")
    big = simulate(subjects=3, clips=2, windows=100)
    keep = (big.subjects != "P02") | (np.arange(600) % 200 < 15)
    small = Dataset(replace(big.schema, best_possible={}), big.subjects[keep], big.features[keep], big.labels[keep])
    assert "few windows" in kinds(small)


def test_no_groups() -> None:
    assert "no column group" in only_text(replace(DATASET, groups=None))
    assert "24 windows have an empty group" in only_text(replace(DATASET, groups=np.where(PEOPLE == 1, " ", "clip")))


def test_one_label_per_subject() -> None:
    alone = replace(DATASET, labels=DATASET.labels[24 * PEOPLE])
    assert "all windows of every subject have one label" in only_text(alone)
    one = np.where((PEOPLE == 2)[:, None], DATASET.labels[0], DATASET.labels)
    assert "all windows of subject P03 have one label" in only_text(replace(DATASET, labels=one))


def test_one_label() -> None:
    assert "the same label" in only_text(replace(DATASET, labels=np.repeat(DATASET.labels[:1], 120, axis=0)))


def test_a_constant_emotion() -> None:
    labels = DATASET.labels.copy()
    labels[:, 2] = 0
    labels /= labels.sum(axis=1, keepdims=True)
    assert kinds(replace(DATASET, labels=labels)) == ["(constant emotions)"]


def test_a_window_repeated_across_subjects() -> None:
    features = DATASET.features.copy()
    features[30, 3] = np.nan
    features[50:53] = features[[30, 30, 100]]  # P03 has two windows of P02 and one of P05
    text = only_text(replace(DATASET, features=features))
    assert text.startswith("5 windows have exactly the features of a window of another subject (such as P0")


def test_a_window_repeated_within_a_subject() -> None:
    features = DATASET.features.copy()
    features[5:7] = features[4]
    dataset = replace(DATASET, features=features)
    assert kinds(dataset) == ["(repeated within subjects)"]
    assert only_text(dataset).startswith("2 windows have exactly")


def test_negative_zero_equals_zero() -> None:
    features = DATASET.features.copy()
    features[0, :3], features[50] = 0.0, features[0]
    features[50, :3] = -0.0
    features[0, :3] = 0.0
    features[50, 3:] = features[0, 3:]
    assert kinds(replace(DATASET, features=features)) == ["repeated across subjects"]


def test_constant_features() -> None:
    assert only_text(with_feature(3.0)) == "features with one value: ecg_1"
    assert only_text(with_feature(np.where(CLIPS == 1, np.nan, 3.0))) == "features with one value: ecg_1"
    assert only_text(with_feature(np.nan)) == "features with one value: ecg_1"


@pytest.mark.parametrize("values", [PEOPLE, PEOPLE > 2, np.where(CLIPS == 0, np.nan, PEOPLE)])
def test_personal_features(values: np.ndarray) -> None:
    text = only_text(with_feature(values))
    assert text == "features with one value in each subject: ecg_1; they identify the subject"


@pytest.mark.parametrize(
    "values",
    [
        DATASET.labels[:, 3],
        -5 * DATASET.labels[:, 3] ** 3,
        np.where(PEOPLE == 2, np.nan, np.exp(DATASET.labels[:, 3])),
    ],
    ids=["the share itself", "falls with it", "with gaps"],
)
def test_features_monotonic_in_an_emotion(values: np.ndarray) -> None:
    assert "give the label away: ecg_1 (" in only_text(with_feature(values))


def test_a_revealed_emotion_is_named() -> None:
    """Distinct labels for all windows, and labels that windows share."""
    labels = np.random.default_rng(1).dirichlet(np.ones(6), size=120)
    own = replace(with_feature(np.log(labels[:, 3])), labels=labels)
    assert "ecg_1 (fear)" in only_text(own)
    coarse = np.round(labels, 1) + 0.1
    coarse /= coarse.sum(axis=1, keepdims=True)
    assert "ecg_1 (fear)" in only_text(replace(with_feature(-coarse[:, 3]), labels=coarse))


@pytest.mark.parametrize("values", [np.random.default_rng(0).permutation(20)[4 * PEOPLE + CLIPS], DATASET.labels[:, 0]])
def test_a_code_of_the_label(values: np.ndarray) -> None:
    assert "give the label away: ecg_1 (all emotions)" in only_text(with_feature(values))


@pytest.mark.parametrize(
    "values",
    [CLIPS, CLIPS == 2, np.round(5 * DATASET.labels[:, 1])],
    ids=["the clip", "one clip", "the rating"],
)
def test_features_fixed_in_groups(values: np.ndarray) -> None:
    assert only_text(with_feature(values)).startswith("features with one value in each group of a subject: ecg_1;")
    assert kinds(replace(with_feature(values), groups=None)) == ["no groups", "features fixed in groups"]


@pytest.mark.parametrize("code", ["label", "emotion", "clip", "person"])
def test_large_data_have_the_findings_of_small_data(code: str) -> None:
    """Test a sample first where there are more windows than its size, in any order."""
    rng = np.random.default_rng(3)
    base = simulate(subjects=6, clips=20, windows=250)
    order = rng.permutation(len(base))
    features = base.features[order]
    people, clips = np.repeat(np.arange(6), 5000)[order], np.tile(np.repeat(np.arange(20), 250), 6)[order]
    labels = base.labels[order]
    features[:, 7] = {"label": 20.0 * people + clips, "emotion": labels[:, 0], "clip": clips, "person": people}[code]
    if code == "emotion":
        labels = rng.dirichlet(np.ones(6), size=len(base))
        features[:, 7] = np.sqrt(labels[:, 0])
    assert base.groups is not None
    schema = replace(base.schema, best_possible={})
    dataset = Dataset(schema, base.subjects[order], features, labels, groups=base.groups[order])
    expected = {"clip": "features fixed in groups", "person": "personal features"}.get(code, "revealing features")
    assert kinds(dataset) == [expected]


# --- the command --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("check") / "mine"
    write_dataset(with_feature(3.0), folder)
    return folder


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "mine"))


def test_the_command(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(folder)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.splitlines()[0] == "simulated: 5 subjects, 120 windows, 4 groups"
    assert out.splitlines()[-1] == "warning: constant features: features with one value: ecg_1"
    for word in ("ecg", "physiological, main", "joy", "train_mean", "uniform", "best_possible", "mean entropy"):
        assert word in out
    assert main(["check", str(folder), "--strict"]) == 1
    write_dataset(DATASET, tmp_path / "clean")
    capsys.readouterr()
    assert main(["check", str(tmp_path / "clean"), "--strict"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("no warnings")


def test_names_are_printed_verbatim(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    emotions = {f"[red]{name}": column for name, column in DATASET.schema.emotions.items()}
    schema = replace(DATASET.schema, name="[b]mine", emotions=emotions, best_possible={})
    write_dataset(Dataset(schema, DATASET.subjects, DATASET.features, DATASET.labels), tmp_path / "mine")
    assert main(["check", str(tmp_path / "mine")]) == 0
    out = capsys.readouterr().out
    assert "[red]joy" in out
    assert "[b]mine" in out


def edit(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        path = folder / "windows.parquet"
        change(pd.read_parquet(path)).to_parquet(path, index=False)

    return spoil


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (shutil.rmtree, "mine: no such dataset directory"),
        (lambda f: (f / "dataset.yaml").unlink(), "file dataset.yaml is missing"),
        (lambda f: (f / "dataset.yaml").write_text("name: [x"), "dataset.yaml: "),
        (lambda f: (f / "windows.parquet").write_text("x"), "windows.parquet: is not a readable Parquet file"),
        (edit(lambda t: t.drop(columns="eda_1")), "windows.parquet: column 'eda_1' is missing"),
        (edit(lambda t: t.assign(eda_1="x")), "windows.parquet: column 'eda_1' must hold numbers"),
        (edit(lambda t: t.assign(subject="x")), "needs at least 2 subjects, got 1"),
        (edit(lambda t: t.assign(label_joy=2.0)), "labels must sum to 1"),
    ],
)
def test_malformed(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], spoil: Callable[[Path], Any], message: str
) -> None:
    spoil(folder)
    before = sorted(tmp_path.rglob("*"))
    assert main(["check", str(folder)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith("helo-data: error: ")
    assert str(folder) in line
    assert message in line
    assert sorted(tmp_path.rglob("*")) == before


def test_what_is_written_is_what_is_checked(folder: Path) -> None:
    assert check(read_dataset(folder)) == check(with_feature(3.0))


@pytest.mark.parametrize("code", ["clip", "emotion", "time"])
def test_codes_with_noise_on_them_are_seen(code: str) -> None:
    """All values of a feature differ, and yet it explains nearly all variance of the labels."""
    base = simulate(subjects=12, clips=6, windows=10)
    assert base.groups is not None
    draw = np.random.default_rng(0)
    clips = np.unique(base.groups, return_inverse=True)[1]
    labels = base.labels if code == "emotion" else np.stack([base.labels[clips == k][0] for k in range(6)])[clips]
    features = base.features.copy()
    features[:, 3] = {
        "clip": clips + 0.05 * draw.normal(size=len(base)),
        "emotion": labels[:, 1] + 0.01 * draw.normal(size=len(base)),
        "time": np.tile(np.arange(60), 12) + 0.1 * draw.normal(size=len(base)),
    }[code]
    schema = replace(base.schema, best_possible={})
    leaky = replace(base, schema=schema, features=features, labels=labels, best_possible=None)
    (warning,) = (found for found in check(leaky).warnings if found.kind == "nearly revealing features")
    assert base.schema.features[3] in warning.text
    assert not [found for found in check(base).warnings if found.kind == "nearly revealing features"]


def test_one_hot_labels_are_a_note() -> None:
    found = check(replace(DATASET, labels=np.eye(6)[CLIPS]))
    assert str(found.entropy) == "0.0"
    assert ("one-hot labels", False) in {(finding.kind, finding.warning) for finding in found.findings}


def test_codes_for_missing_values_dimensions_and_names_of_one_person_are_warnings() -> None:
    features = DATASET.features.copy()
    features[:3, 1] = -9999
    names = dict(zip(("valence", "arousal", *DATASET.emotions[2:]), DATASET.schema.emotions.values(), strict=True))
    subjects = np.where(DATASET.subjects == DATASET.subject_names[1], "P1", DATASET.subjects)
    subjects = np.where(DATASET.subjects == DATASET.subject_names[0], "P001", subjects)
    schema = replace(DATASET.schema, emotions=names, best_possible={})
    spoilt = replace(DATASET, features=features, subjects=subjects, schema=schema, best_possible=None)
    texts = {finding.kind: finding.text for finding in check(spoilt).warnings}
    assert texts["codes for missing values"].endswith(
        f"{DATASET.schema.features[1]} (-9999 in 3 windows); leave such cells empty"
    )
    assert texts["dimensions"].startswith("valence, arousal: scales with two ends are no parts of a whole")
    assert "P001 and P1" in texts["several names of a person"] or "P1 and P001" in texts["several names of a person"]
