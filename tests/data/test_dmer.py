"""DMER, on files written here in its layout: the data themselves may not be passed on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import savemat

from helo.data.__main__ import main
from helo.data.directory import read_dataset
from helo.data.dmer import EMOTIONS, FEATURES, LEFT_OUT, MODALITIES, parse_subjects, read_dmer
from helo.errors import InputError

CLIPS = 32


def variables(number: int, windows: int = 6, **others: Any) -> dict[str, Any]:
    """What a subject's file holds; its clips do not come in order."""
    rng = np.random.default_rng(number)
    return {
        "feas": rng.normal(size=(windows, FEATURES)),
        "vids": (7 * np.arange(windows) % CLIPS)[None, :],
        "dis_label": rng.integers(1, 6, size=(CLIPS, 10)),
    } | others


def write(folder: Path, number: int, *, apart: bool = False, **others: Any) -> dict[str, Any]:
    """Write a subject: the labels in its file, or in one beside it."""
    content = {name: value for name, value in variables(number, **others).items() if value is not None}
    folder.mkdir(parents=True, exist_ok=True)
    if apart:
        (folder / str(number)).mkdir(exist_ok=True)
        savemat(folder / str(number) / "datas.mat", {"dis_label": content["dis_label"], "signals": np.zeros((4, 5))})
    savemat(
        folder / f"{number}.mat",
        {name: value for name, value in content.items() if not (apart and name == "dis_label")},
        do_compression=number % 2 == 0,
    )
    return content


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three subjects, the second's labels beside its file."""
    for number in (1, 2, 10):
        write(tmp_path / "dmer", number, apart=number == 2)
    return tmp_path / "dmer"


def test_features_labels_and_groups_are_those_of_their_windows(folder: Path) -> None:
    lines: list[str] = []
    dataset = read_dmer(folder, log=lines.append)
    assert dataset.subject_names == ("1", "2", "10")
    assert dataset.features.dtype == np.float32
    assert dataset.groups is not None
    for start, number in ((0, 1), (6, 2), (12, 10)):
        content = variables(number)
        np.testing.assert_array_equal(dataset.features[start : start + 6], content["feas"].astype(np.float32))
        for window, clip in enumerate(content["vids"][0]):
            scores = content["dis_label"][clip]
            np.testing.assert_allclose(dataset.labels[start + window], scores / scores.sum(), rtol=1e-14)
            assert dataset.groups[start + window] == f"clip {clip}"
            assert dataset.subjects[start + window] == str(number)
    assert lines == [f"subject {number} ({k} of 3): 6 windows, 6 clips" for k, number in enumerate((1, 2, 10), 1)]


def test_the_layout_of_the_columns() -> None:
    assert [len(modality.columns) for modality in MODALITIES] == [90, 28, 27, 768]
    assert [(modality.tokens, modality.token_features) for modality in MODALITIES] == [
        (18, 5),
        (28, 1),
        (27, 1),
        (3, 256),
    ]
    assert [modality.name for modality in MODALITIES if modality.role == "behavioural"] == ["video"]
    assert [modality.name for modality in MODALITIES if modality.main] == ["eeg"]
    assert EMOTIONS[0] == "Inspired"
    assert EMOTIONS[-1] == "Distressed"


@pytest.mark.parametrize("turn", [lambda v: v, lambda v: v.T, lambda v: v.ravel(), lambda v: v.astype(np.uint8)])
def test_clips_may_lie_either_way(tmp_path: Path, turn: Callable[[np.ndarray], np.ndarray]) -> None:
    for number in (1, 2):
        write(tmp_path, number, vids=turn(variables(number)["vids"]))
    groups = read_dmer(tmp_path).groups
    assert groups is not None
    assert groups[:3].tolist() == ["clip 0", "clip 7", "clip 14"]


def test_the_authors_subjects_are_left_out_unless_asked_for(tmp_path: Path) -> None:
    for number in (1, 2, *LEFT_OUT):
        write(tmp_path, number, windows=2)
    assert read_dmer(tmp_path).subject_names == ("1", "2")
    assert len(read_dmer(tmp_path, leave_out=()).subject_names) == 9
    assert read_dmer(tmp_path, leave_out=parse_subjects("1, 31")).subject_names == (
        "2",
        "3",
        "4",
        "13",
        "16",
        "17",
        "27",
    )


def test_files_may_lie_in_folders(tmp_path: Path) -> None:
    for number in (1, 2):
        content = write(tmp_path / "Features", number, dis_label=None)
        (tmp_path / "Aligned_data" / str(number)).mkdir(parents=True)
        labels = variables(number)["dis_label"]
        savemat(tmp_path / "Aligned_data" / str(number) / "datas.mat", {"dis_label": labels})
        assert "dis_label" not in content
    here = read_dmer(tmp_path)
    (tmp_path / "Aligned_data").rename(tmp_path / "moved")
    (tmp_path / "Features").rename(tmp_path / "features only")
    there = read_dmer(tmp_path / "features only", labels=tmp_path / "moved")
    assert there.digest == here.digest


def test_labels_named_are_labels_taken(folder: Path, tmp_path: Path) -> None:
    """--labels wins over what a feature file has merged in."""
    for number in (1, 2, 10):
        (tmp_path / "other" / str(number)).mkdir(parents=True)
        scores = np.ones((CLIPS, 10))
        savemat(tmp_path / "other" / str(number) / "datas.mat", {"dis_label": scores})
    np.testing.assert_array_equal(read_dmer(folder, labels=tmp_path / "other").labels, 0.1)


def test_missing_signals_stay_missing(tmp_path: Path) -> None:
    features = variables(1)["feas"]
    features[2, 90:118] = np.nan
    write(tmp_path, 1, feas=features)
    write(tmp_path, 2)
    assert read_dmer(tmp_path).missing.windows == {"gsr": 1}


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, CLIPS - 1), min_size=1, max_size=40), st.integers(0, 1000))
def test_any_order_of_clips(tmp_path_factory: pytest.TempPathFactory, clips: list[int], seed: int) -> None:
    folder = tmp_path_factory.mktemp("dmer")
    scores = np.random.default_rng(seed).integers(0, 6, size=(CLIPS, 10)) + np.eye(CLIPS, 10)
    scores[:, 0] += 1
    for number in (1, 2):
        write(folder, number, windows=len(clips), vids=np.array(clips)[:, None], dis_label=scores)
    expected = scores[clips] / scores[clips].sum(axis=1, keepdims=True)
    np.testing.assert_allclose(read_dmer(folder).labels, np.tile(expected, (2, 1)), rtol=1e-14)


def test_the_command(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["dmer", str(folder), "--out", str(out)]) == 0
    message = capsys.readouterr().out
    assert "subject 10 (3 of 3): 6 windows" in message
    assert "dmer, 3 subjects, 18 windows, 913 features (eeg, gsr, ppg, video), 10 emotions" in message
    assert message.splitlines()[-1] == f"next: python -m helo.data check {out}"
    assert read_dataset(out).digest == read_dmer(folder).digest
    assert main(["dmer", str(folder), "--leave-out", "2", "--out", str(tmp_path / "two")]) == 0
    assert read_dataset(tmp_path / "two").subject_names == ("1", "10")


def test_numbers_of_subjects() -> None:
    with pytest.raises(InputError, match=r"such as 3,4,13, got 'x'"):
        parse_subjects("3,x")


# --- what is refused, through the command -------------------------------------------------------


def cell(change: Callable[[dict[str, Any]], object], number: int = 2) -> Callable[[Path], None]:
    """Write a subject again with its variables changed."""

    def spoil(folder: Path) -> None:
        content = variables(number)
        change(content)
        savemat(folder / f"{number}.mat", content)

    return spoil


def hdf5(folder: Path) -> None:
    header = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM"
    (folder / "2.mat").write_bytes(header + b"\x89HDF\r\n\x1a\n" + bytes(400))


def cut_short(folder: Path) -> None:
    savemat(folder / "2.mat", variables(2))
    (folder / "2.mat").write_bytes((folder / "2.mat").read_bytes()[:20_000])


def twice(folder: Path) -> None:
    (folder / "more").mkdir()
    (folder / "more" / "2.mat").write_bytes((folder / "2.mat").read_bytes())


def put(name: str, where: Any, value: object) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        content[name] = content[name].astype(np.float64)
        content[name][where] = value

    return change


@pytest.mark.parametrize(
    ("spoil", "place", "message"),
    [
        (lambda f: (f / "2.mat").write_text("no MATLAB " * 40), "2.mat", "cannot be read as a MATLAB file"),
        (lambda f: (f / "2.mat").write_bytes(b""), "2.mat", "cannot be read as a MATLAB file"),
        (hdf5, "2.mat", "v7.3 (HDF5) file; save it with save(FILE, '-v7', ...)"),
        (cut_short, "2.mat", "(truncated?)"),
        (twice, "more/2.mat", "subject 2 is also in"),
        (lambda f: (f / "2" / "datas.mat").unlink(), "2/datas.mat", "the labels (dis_label) of subject 2 must be"),
        (lambda f: savemat(f / "2" / "datas.mat", {"x": 1}), "2/datas.mat", "'dis_label' is missing; the file holds x"),
        (cell(lambda v: v.pop("vids")), "2.mat", "variable 'vids' is missing; the file holds feas, dis_label"),
        (cell(lambda v: v.update(feas=v["feas"].T)), "2.mat", "must be windows × 913, got 913 × 6; it is transposed"),
        (cell(lambda v: v.update(feas=v["feas"][:, 1:])), "2.mat", "must be windows × 913, got 6 × 912"),
        (cell(lambda v: v.update(feas=np.full((6, 913), "x", object))), "2.mat", "matrix of real numbers, got cell"),
        (cell(lambda v: v.update(feas=v["feas"] + 1j)), "2.mat", "matrix of real numbers, got complex"),
        (cell(put("dis_label", 7, 1.7e308)), "2.mat", "dis_label, clip 7: scores must be finite"),
        (cell(put("feas", (3, 5), np.inf)), "2.mat", "feas, window 3, column 5: must be a finite number"),
        (cell(put("feas", (3, 5), 1e300)), "2.mat", "window 3, column 5: must be a finite number"),
        (cell(put("feas", 4, np.nan)), "2.mat", "feas, window 4: a window must have at least one signal"),
        (cell(lambda v: v.update(vids=v["vids"][:, 1:])), "2.mat", "the clip of each of the 6 windows, got 1 × 5"),
        (cell(put("vids", (0, 2), 32)), "2.mat", "from 0 to 31, the rows of dis_label, got 32 in window 2 (clips are"),
        (cell(put("vids", (0, 2), 1.5)), "2.mat", "whole numbers from 0 to 31, the rows of dis_label, got 1.5"),
        (cell(put("vids", (0, 2), np.nan)), "2.mat", "got nan in window 2"),
        (cell(lambda v: v.update(dis_label=v["dis_label"].T)), "2.mat", "clips × 10 emotions, got 10 × 32"),
        (cell(put("dis_label", (7, slice(None)), 0)), "2.mat", "dis_label, clip 7: scores must be finite"),
        (cell(put("dis_label", (7, 1), -1)), "2.mat", "dis_label, clip 7"),
        (cell(put("dis_label", (7, 1), np.nan)), "2.mat", "dis_label, clip 7"),
    ],
)
def test_malformed(
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    spoil: Callable[[Path], Any],
    place: str,
    message: str,
) -> None:
    spoil(folder)
    before = sorted(tmp_path.rglob("*"))
    assert main(["dmer", str(folder), "--out", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("helo-data: error: ")
    assert str(folder / place) in line
    assert message in line
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--leave-out", "2,99"], "subject 99 cannot be left out: there is no 99.mat"),
        (["--leave-out", "1,2"], "needs at least 2 subjects, got 10 (left out: 1, 2)"),
        (["--leave-out", "two"], "--leave-out must be numbers"),
        (["--labels", "nowhere"], "nowhere/1/datas.mat: is missing"),
    ],
)
def test_wrong_options(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert main(["dmer", str(folder), *words, "--out", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["nowhere", "empty"])
def test_a_folder_without_subjects(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["dmer", str(tmp_path / name), "--out", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{tmp_path / name}: no " in line
    assert "1.mat, 2.mat ..., or Features/1.mat" in line
