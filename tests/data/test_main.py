"""The command line of ``python -m helo.data``: what is refused before anything is read, and how a command ends."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from helo.data.__main__ import build_parser, main
from helo.data.directory import read_dataset


def refusal(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    return line.removeprefix("helo-data: error: ")


def test_a_dataset_is_made_and_the_next_command_works(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "a name with spaces"
    assert main(["simulate", "--subjects", "3", "--out", str(out)]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("next: python -m helo.data check ")
    assert main(shlex.split(last)[4:]) == 0
    assert len(read_dataset(out).subject_names) == 3


def test_simulated_data_of_one_kind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "face"
    assert main(["simulate", "--subjects", "3", "--modalities", "behavioural", "--out", str(out)]) == 0
    assert "6 features (motion)" in capsys.readouterr().out
    assert read_dataset(out).schema.main is None


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--device", "wrist"], "--device"),
        (["--window", "60", "--step", "30"], "--window, --step"),
        (["--jobs", "2"], "--jobs"),
    ],
)
def test_options_of_the_download_are_refused_where_they_do_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], named: str
) -> None:
    (tmp_path / "windows.csv").write_text("Subject_ID\n")
    message = refusal(["wesad", str(tmp_path), *words, "--out", str(tmp_path / "out")], capsys)
    assert message.startswith(f"{tmp_path}: {named}: these apply to the official download only")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--window", "0"], "--window must be above 0, got 0"),
        (["--step", "-1", "--jobs", "0"], "--step must be above 0, got -1; --jobs must be above 0, got 0"),
        (["--window", "nan"], "--window must be above 0, got nan"),
        (["--window", "inf"], "--window must be above 0, got inf"),
    ],
)
def test_times_and_jobs_that_cannot_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    (tmp_path / "S2").mkdir()
    (tmp_path / "S2" / "S2.pkl").touch()
    assert refusal(["wesad", str(tmp_path), *words, "--out", str(tmp_path / "out")], capsys) == message
    assert [path.name for path in tmp_path.iterdir()] == ["S2"]


@pytest.mark.parametrize(
    "words",
    [
        ["wesad", "x", "--device", "ankle", "--out", "y"],
        ["dmer", "x", "--keep-all", "--leave-out", "3", "--out", "y"],
        ["dmer", "x"],
        ["table", "x.csv", "--out", "y"],
        ["check"],
    ],
)
def test_wrong_arguments_are_one_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        build_parser().parse_args(words)
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("helo-data")
    assert ": error: " in line
