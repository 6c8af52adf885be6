"""Data of a search that are a download or a table name the command that reads them."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from helo.data.__main__ import main
from helo.data.directory import read_dataset
from helo.errors import InputError


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("WESAD/S2/S2.pkl", "wesad"),
        ("S2/S2_quest.csv", "wesad"),
        ("P1/BVP.csv", "e4"),
        ("P1/session/BVP.csv", "e4"),
        ("Features/1.mat", "dmer"),
        ("t.csv", "table"),
        ("my table.xlsx", "table"),
    ],
)
def test_folders(tmp_path: Path, name: str, command: str) -> None:
    file = tmp_path / "raw" / name
    file.parent.mkdir(parents=True)
    file.touch()
    with pytest.raises(InputError) as caught:
        read_dataset(tmp_path / "raw")
    read = f"'{file}'" if " " in name else file if command == "table" else tmp_path / "raw"
    assert f"; make one with python -m helo.data {command} {read} --" in str(caught.value)


def test_an_archive(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "WESAD.zip", "w") as archive:
        archive.writestr("WESAD/S3/S3.pkl", "")
    with pytest.raises(
        InputError, match=r"is a file, not a dataset directory; make one with python -m helo.data wesad"
    ):
        read_dataset(tmp_path / "WESAD.zip")


def test_other_places(tmp_path: Path) -> None:
    (tmp_path / "notes.md").touch()
    with pytest.raises(InputError, match=r"file dataset.yaml is missing from the dataset directory$"):
        read_dataset(tmp_path)
    with pytest.raises(InputError, match=r"is a file, not a dataset directory; make one from a table"):
        read_dataset(tmp_path / "notes.md")


def test_the_check_names_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.csv").touch()
    assert main(["check", str(tmp_path / "x.csv")]) == 2
    assert f"make one with python -m helo.data table {tmp_path / 'x.csv'} --subject COLUMN" in capsys.readouterr().err
