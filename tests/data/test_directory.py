"""The dataset directory: a round trip, and every way in which one can be wrong."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml

from helo.data.directory import read_dataset, write_dataset
from helo.data.simulated import simulate
from helo.errors import InputError

DATASET = simulate(subjects=3, clips=2, windows=2)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store") / "original"
    write_dataset(DATASET, folder)
    return folder


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    """A dataset directory to spoil."""
    return Path(shutil.copytree(original, tmp_path / "data"))


def change_schema(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = yaml.safe_load((folder / "dataset.yaml").read_text())
    change(content)
    (folder / "dataset.yaml").write_text(yaml.safe_dump(content, sort_keys=False))


def change_table(folder: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    change(pd.read_parquet(folder / "windows.parquet")).to_parquet(folder / "windows.parquet")


def set_cell(column: str, value: float) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def change(table: pd.DataFrame) -> pd.DataFrame:
        table.loc[3, column] = value
        return table

    return change


def test_round_trip(original: Path) -> None:
    back = read_dataset(original)
    assert back.schema == DATASET.schema
    for name in ("subjects", "groups", "features", "labels", "best_possible"):
        np.testing.assert_array_equal(getattr(back, name), getattr(DATASET, name))
    assert back.digest == DATASET.digest


def test_groups_and_extra_columns_are_optional(folder: Path) -> None:
    change_table(folder, lambda table: table.drop(columns="group").assign(extra="x"))
    assert read_dataset(folder).groups is None


def test_numbered_and_categorical_subjects_are_words(folder: Path) -> None:
    change_table(folder, lambda table: table.assign(subject=[1, 10, 2] * 4))
    assert read_dataset(folder).subject_names == ("1", "2", "10")
    change_table(folder, lambda table: table.assign(subject=table["subject"].astype(str).astype("category")))
    assert read_dataset(folder).subject_names == ("1", "2", "10")


def test_a_missing_directory(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such dataset directory"):
        read_dataset(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["windows.parquet", "dataset.yaml"])
def test_a_missing_file(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(InputError, match=f"file {name} is missing"):
        read_dataset(folder)


def test_a_file_that_is_no_parquet(folder: Path) -> None:
    (folder / "windows.parquet").write_text("subject,ecg_0\n")
    with pytest.raises(InputError, match="not a readable Parquet file"):
        read_dataset(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.rename(columns={"ecg_0": "ecg0"}), r"'ecg_0' is missing \(did you mean 'ecg0'\?\)"),
        (lambda t: t.drop(columns="subject"), "'subject' is missing"),
        (set_cell("eda_1", np.inf), "the first in row 3 of column 'eda_1'"),
        (lambda t: t.assign(eda_1=1e300), "the first in row 0 of column 'eda_1'"),
        (lambda t: t.assign(eda_1="x"), "column 'eda_1' must hold numbers"),
        (set_cell("label_joy", -0.1), "labels must not be negative"),
        (set_cell("label_joy", np.nan), "labels must be finite"),
        (lambda t: t.assign(**dict.fromkeys([c for c in t if c.startswith("label_")], 0.0)), "not to 0"),
        (set_cell("label_joy", 5.0), "labels must sum to 1"),
        (lambda t: t.assign(subject="P1"), "at least 2 subjects, got 1"),
        (lambda t: t.assign(subject=[None, *t["subject"][1:]]), "must name a subject in every row; 1 rows are"),
        (lambda t: t.assign(subject=[["a"]] * len(t)), "column 'subject' must hold text"),
        (lambda t: t.iloc[:0], "there must be at least one"),
    ],
)
def test_a_wrong_table(folder: Path, change: Callable[[pd.DataFrame], pd.DataFrame], message: str) -> None:
    change_table(folder, change)
    with pytest.raises(InputError, match=message) as caught:
        read_dataset(folder)
    assert str(folder / "windows.parquet") in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.update(emotion=1), r"unknown key 'emotion' \(did you mean 'emotions'\?\)"),
        (lambda s: s["modalities"]["ecg"].update(token=1), r"'token' \(did you mean 'tokens'\?\)"),
        (lambda s: s.pop("emotions"), "'emotions' must be a mapping"),
        (lambda s: s.update(modalities=["ecg"]), "'modalities' must be a mapping"),
        (lambda s: s.update(best_possible=["ecg"]), "'best_possible' must be a mapping"),
        (lambda s: s["modalities"].update(ecg=3), "modality 'ecg' must be a mapping"),
        (lambda s: s["modalities"]["ecg"].update(columns="ecg_0"), "'columns' must be a list"),
        (lambda s: s["modalities"]["ecg"].update(tokens=2.0), "'tokens' must be a whole number"),
        (lambda s: s["modalities"]["ecg"].update(tokens=True), "'tokens' must be a whole number"),
        (lambda s: s["modalities"]["ecg"].update(tokens=3), "tokens must divide"),
        (lambda s: s["modalities"]["ecg"].update(main="yes please"), "'main' must be true or false"),
        (lambda s: s["modalities"]["ecg"].pop("role"), "role must be one of"),
        (lambda s: s["modalities"]["ecg"].pop("main"), "exactly one"),
        (lambda s: s["modalities"].update({1000.0: {}}), "a modality must be text, got 1000.0; write it in quotes"),
        (lambda s: s["emotions"].update({1000.0: "x"}), "an emotion must be text, got 1000.0; write it in quotes"),
        (lambda s: s["emotions"].update(joy=7), "column of 'joy' must be text, got 7; write it in quotes"),
        (lambda s: s.update(name=7), "'name' must be text, got 7; write it in quotes"),
    ],
)
def test_a_wrong_schema(folder: Path, change: Callable[[dict[str, Any]], object], message: str) -> None:
    change_schema(folder, change)
    with pytest.raises(InputError, match=message) as caught:
        read_dataset(folder)
    assert str(folder / "dataset.yaml") in str(caught.value)


@pytest.mark.parametrize("text", ["a: [1", "- a", "name: x\nname: y"])
def test_a_schema_that_is_no_mapping(folder: Path, text: str) -> None:
    (folder / "dataset.yaml").write_text(text)
    with pytest.raises(InputError, match=r"dataset\.yaml"):
        read_dataset(folder)


def test_a_schema_cannot_run_anything(folder: Path, tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    (folder / "dataset.yaml").write_text(f"name: !!python/object/apply:os.system ['touch {witness}']\n")
    with pytest.raises(InputError, match="not valid YAML"):
        read_dataset(folder)
    assert not witness.exists()


def test_nothing_is_overwritten(original: Path, tmp_path: Path) -> None:
    before = (original / "windows.parquet").read_bytes()
    with pytest.raises(InputError, match="already there"):
        write_dataset(DATASET, original)
    assert (original / "windows.parquet").read_bytes() == before
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="already there"):
        write_dataset(DATASET, tmp_path / "file")


@pytest.mark.parametrize("column", ["subject", "group"])
@pytest.mark.parametrize("name", ["A\0", "\x1b[31mA", "A\u200b", "9" * 5000])
def test_names_with_letters_that_act_or_hide(folder: Path, column: str, name: str) -> None:
    change_table(folder, lambda table: table.assign(**{column: [name, *table[column][1:]]}))
    with pytest.raises(InputError, match=rf"windows\.parquet: {column} '") as caught:
        read_dataset(folder)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("column", ["subject", "group", "ecg_0"])
def test_a_column_that_appears_twice(folder: Path, column: str) -> None:
    path = folder / "windows.parquet"
    table = pq.read_table(path)
    pq.write_table(table.append_column(column, table[column]), path)
    with pytest.raises(InputError, match=f"column '{column}' must appear once"):
        read_dataset(folder)


@pytest.mark.parametrize("name", ["windows.parquet", "dataset.yaml"])
@pytest.mark.parametrize("kind", ["FIFO", "device", "circle"])
def test_what_is_no_file_is_not_opened(folder: Path, name: str, kind: str) -> None:
    """Reading a FIFO waits for its writer, and /dev/zero has no end."""
    (folder / name).unlink()
    if kind == "FIFO":
        os.mkfifo(folder / name)
    else:
        (folder / name).symlink_to("/dev/zero" if kind == "device" else folder / name)
    with pytest.raises(
        InputError, match=rf"{re.escape(name)}: cannot be read \((is not a regular file|Too many levels)"
    ):
        read_dataset(folder)


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for target in (tmp_path / "file" / "data", tmp_path / ("x" * 300)):
        with pytest.raises((InputError, OSError)):
            write_dataset(DATASET, target)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_parents_are_made_and_nothing_is_left_beside(tmp_path: Path) -> None:
    write_dataset(DATASET, tmp_path / "a" / "b")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]
    assert sorted(path.name for path in (tmp_path / "a" / "b").iterdir()) == [
        "dataset.yaml",
        "windows.parquet",
    ]


def test_a_table_in_place_of_a_directory_is_refused_with_the_command_to_use(tmp_path: Path) -> None:
    (tmp_path / "windows.csv").write_text("a,b", encoding="utf-8")
    with pytest.raises(InputError, match=r"windows\.csv: is a file, not a dataset directory; .*helo\.data table"):
        read_dataset(tmp_path / "windows.csv")


def test_text_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    """A damaged Parquet file may have it, although the format forbids it."""
    write_dataset(simulate(subjects=2, clips=1, windows=2), tmp_path / "data")
    path = tmp_path / "data" / "windows.parquet"
    table = pd.read_parquet(path)
    table["subject"] = table["subject"] + "ä"
    table.to_parquet(path, compression=None)
    path.write_bytes(path.read_bytes().replace("ä".encode(), b"\xa4\xa4"))
    with pytest.raises(InputError, match="column 'subject' must hold text in UTF-8; the file may be damaged"):
        read_dataset(tmp_path / "data")
