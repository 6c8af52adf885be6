"""Readers of unlabelled windows for prediction, which select the columns of a model's schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from helo._paths import local_path
from helo.data.dataset import Signals
from helo.data.directory import read_schema
from helo.data.schema import Schema
from helo.data.table_file import TableFile, open_table, require_names
from helo.data.table_frame import WHERE, FrameTable
from helo.errors import InputError, did_you_mean
from helo.names import Column, FileName

if TYPE_CHECKING:
    import pandas as pd


def read_signals(path: Path | str, schema: Schema, subject: str | None = None) -> Signals:
    """Read windows from a dataset directory or a table.

    Parameters
    ----------
    path
        Dataset directory, or a table (see `helo.data.table_file`) with the subject and the features of `schema`, under
        the names of the dataset or those of the table that the dataset was made from.
    schema
        Schema of the model.
    subject
        Column of the subject. None for ``subject`` or the one of that table.

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
    path = local_path(path)
    problems = []
    if path.is_dir():
        folder, path = path, path / FileName.WINDOWS
        if (folder / FileName.SCHEMA).is_file():
            problems = _differences(read_schema(folder / FileName.SCHEMA), schema)
    return _read(open_table(path), str(path), schema, problems, subject)


def signals_from_frame(frame: pd.DataFrame, schema: Schema) -> Signals:
    """Return the windows of a DataFrame.

    Parameters
    ----------
    frame
        Table with the subject and the features of `schema`, under the names of the dataset or those of the table that
        the dataset was made from.
    schema
        Schema of the model.

    Returns
    -------
    Signals
        N windows with features (N, F) in the order of `schema`.

    Raises
    ------
    InputError
        If columns are missing, repeated or not numeric, a row has no subject, or the windows are invalid.
    """
    return _read(FrameTable(frame), WHERE, schema, [])


def _read(table: TableFile, where: str, schema: Schema, problems: list[str], subject: str | None = None) -> Signals:
    """Return the windows of a table; `problems` are those found before."""
    origin = _origins(table.columns, schema, subject)
    unfit = table.unfit([origin[column] for column in schema.features])
    problems = problems + _problems(table.columns, unfit, schema, origin)
    if problems:
        raise InputError(f"{where}: does not fit the model: {'; '.join(problems)}")
    names = {origin[name]: name for name in (Column.SUBJECT, Column.GROUP) if origin[name] in table.columns}
    place = {origin[column]: position for position, column in enumerate(schema.features)}
    found: dict[str, NDArray[np.str_]] = {}
    features: NDArray[np.float32] | None = None
    for column, values in table.read(list(names), dict.fromkeys(place, pa.float32())):
        if features is None:
            features = np.empty((len(values), len(place)), np.float32)
        if column in names:
            cells = require_names(where, table, column, names[column], values)
            found[names[column]] = np.asarray(cells, dtype=np.str_)
        else:
            features[:, place[column]] = values.to_numpy(zero_copy_only=False)
    assert features is not None
    try:
        return Signals(schema, found[Column.SUBJECT], features, groups=found.get(Column.GROUP))
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _origins(present: Sequence[str], schema: Schema, subject: str | None) -> dict[str, str]:
    """Return the column of a table for each column of a dataset.

    These are the names of the dataset, unless all those of the table that it was made from are there, or features are
    missing under the names of the dataset.
    """
    own = {str(column): str(column) for column in (Column.SUBJECT, Column.GROUP, *schema.features)}
    recorded = own | schema.table_columns
    given = {} if subject is None else {str(Column.SUBJECT): subject}
    required = [column for column in own if column != Column.GROUP and column not in given]
    is_recorded = all(recorded[column] in present for column in required)
    has_own = all(column in present for column in schema.features)
    return (recorded if is_recorded or not has_own else own) | given


def _problems(columns: Sequence[str], wrong: Mapping[str, str], schema: Schema, origin: Mapping[str, str]) -> list[str]:
    """Return a message per missing or non-numeric column.

    `wrong` maps non-numeric columns to their types, and `origin` columns of the dataset to those of the table.
    """
    present = set(columns)
    subject = origin[Column.SUBJECT]
    found = []
    if subject not in present:
        other = schema.table_columns.get(Column.SUBJECT)
        hint = f" (or {other!r}, as in the table of the model)" if other not in (None, subject) else ""
        found.append(f"column {subject!r} is missing{hint}; --subject names another column")
    for modality in schema.modalities:
        for feature in modality.columns:
            column = origin[feature]
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
