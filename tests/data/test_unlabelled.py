"""Windows to predict: under the names of the dataset, or under those of the table that it was made from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from helo.data.directory import read_dataset, read_schema, write_dataset
from helo.data.schema import Schema
from helo.data.table import TableColumns, parse_modality, read_table
from helo.data.unlabelled import read_signals, signals_from_frame
from helo.errors import InputError

TABLE = pd.DataFrame(
    {
        "participant": ["001", "002", "003"] * 4,
        "clip": ["a", "a", "a", "b"] * 3,
        "subject": np.arange(12) / 7,  # a feature that is called as the dataset calls its persons
        "hr": np.arange(12) ** 1.5,
        "joy": 1,
        "fear": np.arange(12),
    }
)
COLUMNS = TableColumns(
    subject="participant",
    group="clip",
    emotions=["joy", "fear"],
    modalities=[parse_modality("a=physiological:subject,hr")],
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    TABLE.to_csv(tmp_path / "t.csv", index=False)
    write_dataset(read_table(tmp_path / "t.csv", COLUMNS), tmp_path / "dataset")
    return tmp_path


@pytest.fixture
def schema(folder: Path) -> Schema:
    return read_schema(folder / "dataset" / "dataset.yaml")


def test_a_dataset_remembers_the_columns_of_its_table(schema: Schema) -> None:
    assert schema.table_columns == {"subject": "participant", "group": "clip", "feature_subject": "subject"}
    assert schema.features == ("feature_subject", "hr")


def test_the_table_itself_is_read(folder: Path, schema: Schema) -> None:
    dataset = read_dataset(folder / "dataset")
    for signals in (
        read_signals(folder / "t.csv", schema),
        read_signals(folder / "dataset", schema),
        read_signals(folder / "dataset" / "windows.parquet", schema),
        signals_from_frame(TABLE.assign(participant=TABLE["participant"]), schema),
    ):
        assert signals.subjects.tolist() == TABLE["participant"].tolist()
        assert signals.groups.tolist() == TABLE["clip"].tolist()
        np.testing.assert_array_equal(signals.features, dataset.features)


def test_another_column_of_the_subject(folder: Path, schema: Schema) -> None:
    TABLE.rename(columns={"participant": "id"}).to_csv(folder / "new.csv", index=False)
    assert read_signals(folder / "new.csv", schema, "id").subject_names == ("001", "002", "003")
    with pytest.raises(InputError, match="--subject names another column"):
        read_signals(folder / "new.csv", schema)
    with pytest.raises(InputError, match="column 'person' is missing"):
        read_signals(folder / "new.csv", schema, "person")


def test_a_frame_with_a_column_twice(schema: Schema) -> None:
    twice = pd.concat([TABLE, TABLE[["hr"]]], axis=1)
    with pytest.raises(InputError, match="columns must have different names, but 'hr' is repeated"):
        signals_from_frame(twice, schema)


@pytest.mark.parametrize("suffix", [".xlsx", ".tsv"])
def test_other_formats(folder: Path, schema: Schema, suffix: str) -> None:
    path = folder / f"new{suffix}"
    TABLE.to_excel(path, index=False) if suffix == ".xlsx" else TABLE.to_csv(path, index=False, sep="\t")
    assert read_signals(path, schema).subject_names == ("001", "002", "003")
