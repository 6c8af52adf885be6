"""Readers of unlabelled windows for prediction, which select the columns of a model's schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from helo.data.dataset import Signals
from helo.data.directory import read_schema
from helo.data.schema import Schema
from helo.data.table_file import open_table
from helo.errors import InputError, did_you_mean
from helo.names import Column, FileName

if TYPE_CHECKING:
    import pandas as pd


def read_signals(path: Path | str, schema: Schema) -> Signals:
    """Read windows from a dataset directory or a table.

    Parameters
    ----------
    path
        Dataset directory, or a CSV or Parquet file with a column ``subject`` and the features of `schema`.
    schema
        Schema of the model.

    Returns
    -------
    Signals
        N windows with features (N, F) in the order of `schema`.

    Raises
    ------
    InputError
        If the file cannot be read or does not fit the model. The message names every column that is missing or not
        numeric, and every modality that differs in a ``dataset.yaml`` beside the windows.
    """
    path = Path(path)
    problems = []
    if path.is_dir():
        folder, path = path, path / FileName.WINDOWS
        if (folder / FileName.SCHEMA).is_file():
            problems = _differences(read_schema(folder / FileName.SCHEMA), schema)
    table = open_table(path)
    problems += _problems(table.columns, table.unfit(schema.features), schema)
    if problems:
        raise InputError(f"{path}: does not fit the model: {'; '.join(problems)}")
    names: dict[str, str] = {name: name for name in (Column.SUBJECT, Column.GROUP) if name in table.columns}
    found: dict[str, NDArray[np.str_]] = {}
    features: NDArray[np.float32] | None = None
    place = {column: position for position, column in enumerate(schema.features)}
    for column, values in table.read(names, dict.fromkeys(schema.features, pa.float32())):
        if features is None:
            features = np.empty((len(values), len(place)), np.float32)
        if column in names:
            found[column] = np.asarray(values.to_pylist(), dtype=np.str_)
        else:
            features[:, place[column]] = values.to_numpy(zero_copy_only=False)
    assert features is not None
    try:
        return Signals(schema, found[Column.SUBJECT], features, groups=found.get(Column.GROUP))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def signals_from_frame(frame: pd.DataFrame, schema: Schema) -> Signals:
    """Return the windows of a DataFrame.

    Parameters
    ----------
    frame
        Table with a column ``subject`` and the features of `schema`.
    schema
        Schema of the model.

    Returns
    -------
    Signals
        N windows with features (N, F) in the order of `schema`.

    Raises
    ------
    InputError
        If columns are missing or not numeric, or the windows are invalid.
    """
    columns = [str(name) for name in frame.columns]
    wrong = {
        name: str(frame[name].dtype)
        for name in schema.features
        if name in columns and frame[name].dtype.kind not in "iufb"
    }
    problems = _problems(columns, wrong, schema)
    if problems:
        raise InputError(f"the table does not fit the model: {'; '.join(problems)}")
    features = np.column_stack([frame[name].to_numpy(np.float32) for name in schema.features])
    words = {
        name: frame[name].astype(str).to_numpy(np.str_) for name in (Column.SUBJECT, Column.GROUP) if name in columns
    }
    return Signals(schema, words[Column.SUBJECT], features, groups=words.get(Column.GROUP))


def _problems(columns: Sequence[str], wrong: Mapping[str, str], schema: Schema) -> list[str]:
    """Return a message per missing or non-numeric column; `wrong` maps non-numeric columns to their types."""
    present = set(columns)
    found = [] if Column.SUBJECT in present else [f"column '{Column.SUBJECT}' is missing"]
    for modality in schema.modalities:
        for column in modality.columns:
            where = f"column {column!r} (modality {modality.name})"
            if column not in present:
                found.append(f"{where} is missing{did_you_mean(column, present - set(schema.features))}")
            elif column in wrong:
                found.append(f"{where} must hold numbers, got {wrong[column]}")
    return found


def _differences(found: Schema, schema: Schema) -> list[str]:
    """Return a message per difference between the modalities that the dataset and the model have in common."""
    problems = []
    modality_of = {found_modality.name: found_modality for found_modality in found.modalities}
    for modality in schema.modalities:
        other = modality_of.get(modality.name)
        if other is None:
            continue
        problems += [
            f"modality {modality.name!r} has {name} {getattr(other, name)} in {FileName.SCHEMA}, in the model "
            f"{getattr(modality, name)}"
            for name in ("role", "main", "tokens")
            if getattr(other, name) != getattr(modality, name)
        ]
        if other.columns != modality.columns and set(other.columns) == set(modality.columns):
            problems.append(f"modality {modality.name!r} has its columns in another order in {FileName.SCHEMA}")
        problems += [
            f"column {column!r} belongs to modality {modality.name!r} in {FileName.SCHEMA}, but not in the model"
            for column in other.columns
            if column not in modality.columns
        ]
    return problems
