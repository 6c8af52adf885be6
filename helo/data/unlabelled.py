"""Windows to predict: the columns that a model's schema asks for, from wherever they lie; labels are not needed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from helo.data.dataset import Signals
from helo.data.schema import Schema
from helo.data.store import read_schema, read_words
from helo.errors import InputError, did_you_mean
from helo.names import GROUP, SCHEMA_FILE, SUBJECT, WINDOWS_FILE


def read_signals(path: Path | str, schema: Schema) -> Signals:
    """Read windows from a dataset directory, a Parquet or a CSV file, by the names of a model's columns.

    Raises `InputError` that names every column that is missing or holds no numbers, and every modality that a
    ``dataset.yaml`` beside the windows lays out otherwise.
    """
    path = Path(path)
    problems = []
    if path.is_dir():
        folder, path = path, path / WINDOWS_FILE
        if (folder / SCHEMA_FILE).is_file():
            problems = _differences(read_schema(folder / SCHEMA_FILE), schema)
    if not path.is_file():
        raise InputError(f"{path}: no such file (give a dataset directory, a Parquet or a CSV file)")
    try:
        table = _read(path, schema)
        problems += _problems(table, schema)
        if problems:
            raise InputError(f"does not fit the model: {'; '.join(problems)}")
        features: NDArray[np.float32] = np.empty((len(table), len(schema.features)), np.float32)
        with np.errstate(over="ignore"):  # beyond float32 it becomes inf, for `Signals` to name
            for position, column in enumerate(schema.features):
                features[:, position] = table[column].to_numpy(np.float64, na_value=np.nan)
        words = pa.Table.from_pandas(table[[SUBJECT, *([GROUP] if GROUP in table else [])]], preserve_index=False)
        groups = read_words(words, GROUP) if GROUP in table else None
        return Signals(schema, read_words(words, SUBJECT), features, groups=groups)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _read(path: Path, schema: Schema) -> pd.DataFrame:
    """The columns of the schema that are there."""
    wanted = [SUBJECT, GROUP, *schema.features]
    try:
        if path.suffix == ".csv":
            return pd.read_csv(
                path, usecols=lambda name: name in wanted, dtype={SUBJECT: "string", GROUP: "string"}, low_memory=False
            )
        present = pq.read_schema(path).names
        return pq.read_table(path, columns=[name for name in wanted if name in present]).to_pandas()
    except (OSError, ValueError, pa.ArrowException) as error:  # what pandas raises for a bad table is a ValueError
        kind = "CSV table" if path.suffix == ".csv" else "Parquet file"
        raise InputError(f"is not a readable {kind} ({' '.join(str(error).split())})") from None


def _problems(table: pd.DataFrame, schema: Schema) -> list[str]:
    """What is wrong with the columns, one by one."""
    present = [str(name) for name in table.columns]
    found = [] if SUBJECT in present else [f"column {SUBJECT!r} is missing"]
    for modality in schema.modalities:
        for column in modality.columns:
            where = f"column {column!r} (modality {modality.name})"
            if column not in present:
                found.append(f"{where} is missing{did_you_mean(column, set(present) - set(schema.features))}")
            elif table[column].dtype.kind not in "iufb" and table[column].notna().any():
                found.append(f"{where} must hold numbers, got {table[column].dtype}")
    return found


def _differences(found: Schema, schema: Schema) -> list[str]:
    """How modalities of a dataset differ from the model's; those that only one of them has are not compared."""
    problems = []
    theirs = {modality.name: modality for modality in found.modalities}
    for mine in schema.modalities:
        other = theirs.get(mine.name)
        if other is None:
            continue
        problems += [
            f"modality {mine.name!r} has {name} {getattr(other, name)} in {SCHEMA_FILE}, in the model "
            f"{getattr(mine, name)}"
            for name in ("role", "main", "tokens")
            if getattr(other, name) != getattr(mine, name)
        ]
        if other.columns != mine.columns and set(other.columns) == set(mine.columns):
            problems.append(f"modality {mine.name!r} has its columns in another order in {SCHEMA_FILE}")
        problems += [
            f"column {column!r} is of modality {mine.name!r} in {SCHEMA_FILE}, not in the model"
            for column in other.columns
            if column not in mine.columns
        ]
    return problems
