"""Datasets of E4 recordings: which windows there are, their features and their labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from helo.data.__main__ import main
from helo.data.directory import read_dataset
from helo.data.e4 import RatedColumns, read_e4
from helo.data.labels import Answers, Bounds
from helo.data.wesad.schema import COLUMNS, WRIST
from helo.errors import InputError

pytest.importorskip("neurokit2")

START = 1_600_000_000
SECONDS = 150
RATES = {"ACC.csv": 32, "BVP.csv": 64, "EDA.csv": 4, "TEMP.csv": 4}
HEADER = "subject,start,end,clip,joy,fear"
EMOTIONS = RatedColumns(emotions=("joy", "fear"), group="clip")


def signal(name: str, pulse: float) -> np.ndarray:
    """A pulse of a known rate per second, a slow rise of temperature, a still hand, and a constant conductance."""
    clock = np.arange(SECONDS * RATES[name]) / RATES[name]
    if name == "BVP.csv":
        return 80 * np.exp(-(((((clock * pulse) % 1) - 0.3) / 0.12) ** 2))
    if name == "TEMP.csv":
        return 33 + 0.01 * clock
    return np.full((len(clock), 3), 64.0 / np.sqrt(3)) if name == "ACC.csv" else np.full(len(clock), 0.5)


def write_recording(folder: Path, pulse: float, start: int = START) -> None:
    folder.mkdir(parents=True)
    for name, rate in RATES.items():
        values = signal(name, pulse)
        head = np.array([[start], [rate]]) * np.ones((1, 3 if values.ndim == 2 else 1))
        np.savetxt(folder / name, np.vstack([head, values.reshape(len(values), -1)]), delimiter=", ", fmt="%.6f")


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    write_recording(tmp_path / "study" / "P1", pulse=1.0)
    write_recording(tmp_path / "study" / "P2", pulse=1.5)
    return tmp_path / "study"


def write_ratings(folder: Path, *rows: str, header: str = HEADER) -> Path:
    path = folder.parent / "ratings.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def test_windows_have_the_label_of_their_span(recordings: Path) -> None:
    ratings = write_ratings(
        recordings,
        "P1,0,60,film,3,1",
        f"P2,{START + 20},{START + 50},film,0,2",
        "P2,60,121,talk,1,1",
    )
    dataset = read_e4(recordings, ratings, EMOTIONS)
    assert dataset.subjects.tolist() == ["P1"] * 3 + ["P2"] * 4
    assert dataset.groups is not None
    assert dataset.groups.tolist() == ["film"] * 4 + ["talk"] * 3
    np.testing.assert_allclose(dataset.labels[:, 0], [0.75] * 3 + [0] + [0.5] * 3)
    assert dataset.schema.features == tuple(column for name in WRIST for column in COLUMNS[name])
    assert dataset.schema.main.name == "bvp"
    found = dict(zip(dataset.schema.features, dataset.features.T, strict=True))
    np.testing.assert_allclose(found["Pulse_Rate"], [60] * 3 + [90] * 4, rtol=0.02)
    np.testing.assert_allclose(found["Wrist_TEMP_Slope"], 0.01, rtol=0.01)
    np.testing.assert_allclose(found["ACC_Mag_Mean"], 1, rtol=1e-4)  # in g
    # A window of P1 starts at 15 s: its mean temperature is that of 15 to 45 s.
    assert found["Wrist_TEMP_Mean"][1] == pytest.approx(33.3, abs=0.01)


def test_the_command_makes_a_dataset(recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (recordings / "P1" / "tags.csv").write_text(f"{START + 12}.25\n")
    write_recording(recordings / "P3", pulse=1.0)
    rows = ["P1,0,60,film,9,1", "P2,0,60,film,1,5", "P2,60,70,film,1,5"]
    words = ["e4", str(recordings), "--ratings", str(write_ratings(recordings, *rows)), "--emotions", "joy", "fear"]
    assert main([*words, "--scale", "1:9", "--group", "clip", "--step", "30", "--out", str(tmp_path / "made")]) == 0
    out = capsys.readouterr().out
    assert "P1: tags at 12.2 s" in out
    assert "P3: has no rating, and is left out" in out
    assert "1 rated spans are shorter than a window of 30 s" in out
    dataset = read_dataset(tmp_path / "made")
    assert len(dataset) == 4
    np.testing.assert_allclose(dataset.labels, [[1, 0]] * 2 + [[0, 1]] * 2)


def test_several_recordings_of_a_subject_need_unix_times(recordings: Path) -> None:
    later = START + 10_000
    write_recording(recordings / "P1" / "second", pulse=1.25, start=later)
    with pytest.raises(InputError, match="P1 has several recordings, so times must be Unix times, got 0"):
        read_e4(recordings, write_ratings(recordings, "P1,0,60,film,1,1"), EMOTIONS)
    rows = [f"P1,{START},{START + 45},film,3,1", f"P1,{later},{later + 30},film,1,3", "P2,0,30,film,1,0"]
    dataset = read_e4(recordings, write_ratings(recordings, *rows), EMOTIONS)
    np.testing.assert_allclose(dataset.labels[:, 0], [0.75, 0.75, 0.25, 1])
    rate = dataset.features[:, dataset.schema.features.index("Pulse_Rate")]
    np.testing.assert_allclose(rate, [60, 60, 75, 90], rtol=0.02)


def test_rows_without_ratings_can_be_left_out(recordings: Path) -> None:
    ratings = write_ratings(recordings, "P1,0,60,film,3,1", "P2,0,60,film,,", "P2,60,90,talk,1,1")
    with pytest.raises(InputError, match="must have a label, is empty"):
        read_e4(recordings, ratings, EMOTIONS)
    columns = RatedColumns(emotions=("joy", "fear"), answers=Answers(drop_unrated=True))
    assert read_e4(recordings, ratings, columns).subjects.tolist() == ["P1"] * 3 + ["P2"]
    classes = read_e4(recordings, ratings, RatedColumns(one_hot="clip"))
    assert classes.emotions == ("film", "talk")
    assert classes.labels[:, 1].tolist() == [0] * 6 + [1]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("P9,0,60,film,1,1", "there is no recording of 'P9'"),
        ("P1,60,0,film,1,1", "the end after the start, got 60 and 0"),
        ("P1,-5,60,film,1,1", "must be times in seconds"),
        ("P1,100,200,film,1,1", "lasts from 100 to 200 s of the recording .*, which has 150 s"),
        (f"P1,{START - 50},{START},film,1,1", "lasts from -50 to 0 s"),
        ("P1,0,5,film,1,1", "no span holds a window of 30 s"),
        (",0,60,film,1,1", "must name the subject"),
        ("P1,0,60,film,-1,1", "must not be negative"),
    ],
)
def test_wrong_ratings_are_refused(recordings: Path, row: str, message: str) -> None:
    ratings = write_ratings(recordings, row)
    with pytest.raises(InputError, match=message):
        read_e4(recordings, ratings, EMOTIONS)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (RatedColumns(emotions=("joy", "anger")), "no column 'anger'"),
        (RatedColumns(emotions=("joy",)), "at least two columns"),
        (RatedColumns(emotions=("joy", "fear"), start="begin"), "--start: there is no column 'begin'"),
        (RatedColumns(emotions=("joy", "start")), "must have one use"),
        (RatedColumns(emotions=("joy", "fear"), answers=Answers(scale=Bounds(2, 5))), "must be within --scale 2:5"),
    ],
)
def test_wrong_columns_are_refused(recordings: Path, columns: RatedColumns, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_e4(recordings, write_ratings(recordings, "P1,0,60,film,3,1"), columns)


@pytest.mark.parametrize(("window", "step"), [(5, 15), (float("nan"), 15), (30, 0), (30, float("inf"))])
def test_wrong_windows_are_refused(recordings: Path, window: float, step: float) -> None:
    with pytest.raises(InputError, match="must be"):
        read_e4(recordings, write_ratings(recordings, "P1,0,60,film,3,1"), EMOTIONS, window=window, step=step)
