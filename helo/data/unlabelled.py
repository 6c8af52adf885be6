"""Windows to predict: the columns that a model's schema asks for, from wherever they lie; labels are not needed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from helo.data.dataset import Signals
from helo.data.schema import Schema
from helo.data.store import is_number, open_windows, read_numbers, read_schema, read_words, words
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
        return _read_csv(path, schema, problems) if path.suffix == ".csv" else _read_parquet(path, schema, problems)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _read_parquet(path: Path, schema: Schema, problems: list[str]) -> Signals:
    with open_windows(path) as file:
        kinds = dict(zip(file.schema_arrow.names, file.schema_arrow.types, strict=True))
        wrong = {name: str(kind) for name, kind in kinds.items() if not (is_number(kind) or pa.types.is_null(kind))}
        _require(problems + _problems(list(kinds), wrong, schema))
        names = read_words(file, [name for name in (SUBJECT, GROUP) if name in kinds])
        features = np.empty((file.metadata.num_rows, len(schema.features)), np.float32)
        read_numbers(file, schema.features, features)
    return Signals(schema, names[SUBJECT], features, groups=names.get(GROUP))


def _read_csv(path: Path, schema: Schema, problems: list[str]) -> Signals:
    wanted = [SUBJECT, GROUP, *schema.features]
    strings = {SUBJECT: "string", GROUP: "string"}
    try:
        table = pd.read_csv(path, usecols=lambda name: name in wanted, dtype=strings, low_memory=False)
    except (OSError, ValueError) as error:  # what pandas raises for a bad table is a ValueError
        raise InputError(f"is not a readable CSV table ({' '.join(str(error).split())})") from None
    wrong = {
        str(name): str(column.dtype)
        for name, column in table.items()
        if column.dtype.kind not in "iufb" and column.notna().any()
    }
    _require(problems + _problems([str(name) for name in table.columns], wrong, schema))
    features: NDArray[np.float32] = np.empty((len(table), len(schema.features)), np.float32)
    with np.errstate(over="ignore"):  # beyond float32 it becomes inf, for `Signals` to name
        for position, column in enumerate(schema.features):
            features[:, position] = table[column].to_numpy(np.float64, na_value=np.nan)
    names = {name: words(pa.array(table[name]), name) for name in (SUBJECT, GROUP) if name in table}
    return Signals(schema, names[SUBJECT], features, groups=names.get(GROUP))


def _require(problems: list[str]) -> None:
    if problems:
        raise InputError(f"does not fit the model: {'; '.join(problems)}")


def _problems(present: list[str], wrong: Mapping[str, str], schema: Schema) -> list[str]:
    """What is wrong with the columns, one by one; `wrong` has the types of those that hold no numbers."""
    found = [] if SUBJECT in present else [f"column {SUBJECT!r} is missing"]
    for modality in schema.modalities:
        for column in modality.columns:
            where = f"column {column!r} (modality {modality.name})"
            if column not in present:
                found.append(f"{where} is missing{did_you_mean(column, set(present) - set(schema.features))}")
            elif column in wrong:
                found.append(f"{where} must hold numbers, got {wrong[column]}")
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
