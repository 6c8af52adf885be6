"""Dataset directories, which hold ``windows.parquet`` and ``dataset.yaml``."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from helo._paths import local_path
from helo._yaml import read_yaml, to_yaml
from helo.data.arrow import as_numbers, as_text, is_number
from helo.data.dataset import Dataset, row_blocks
from helo.data.raw import reader_of
from helo.data.schema import Modality, Schema
from helo.data.spelling import names_array
from helo.errors import InputError, StorageError, as_input_error, did_you_mean, shorten
from helo.names import Column, FileName
from helo.storage import names_in, open_folder
from helo.storage.atomic import whole_folder

_SCHEMA_KEYS = ("name", "modalities", "emotions", "source", "licence", "notes", "best_possible", "table_columns")
_MODALITY_KEYS = ("role", "main", "tokens", "columns")


def read_dataset(place: os.PathLike[str] | str) -> Dataset:
    """Read and validate a dataset directory.

    Parameters
    ----------
    place
        Path or URI of the directory.

    Returns
    -------
    Dataset
        The windows, with features in single and labels in double precision.

    Raises
    ------
    InputError
        If the directory or one of its two files is missing or malformed. The message names the file, and the column or
        key.
    """
    folder = open_folder(place)
    if folder.here is not None and folder.here.is_file():
        raise InputError(f"{folder}: is a file, not a dataset directory; {reader_of(folder.here)}")
    names = names_in(folder, f"no such dataset directory (it needs {FileName.WINDOWS} and {FileName.SCHEMA})")
    for name in (FileName.SCHEMA, FileName.WINDOWS):
        if name not in names:
            hint = "" if folder.here is None else reader_of(folder.here)
            raise InputError(f"{folder}: file {name} is missing from the dataset directory{hint and f'; {hint}'}")
    with (
        as_input_error(folder.where(FileName.SCHEMA), "cannot be read"),
        folder.at_hand(FileName.SCHEMA) as path,
    ):
        try:
            schema = read_schema(path, folder.name)
        except InputError as error:
            raise InputError(str(error).replace(str(path), folder.where(FileName.SCHEMA))) from None
    with as_input_error(folder.where(FileName.WINDOWS), "cannot be read"):
        source = folder.open(FileName.WINDOWS)
    try:
        return _read_windows(source, schema)
    except InputError as error:
        raise InputError(f"{folder.where(FileName.WINDOWS)}: {error}") from None


def _read_windows(source: Any, schema: Schema) -> Dataset:
    """Read the columns of a schema in blocks, so that table and arrays are never both in memory."""
    required = [str(Column.SUBJECT), *schema.features, *schema.emotions.values(), *schema.best_possible.values()]
    with _open_windows(source) as file:
        groups = [Column.GROUP] if Column.GROUP in file.schema_arrow.names else []
        _require_columns(file.schema_arrow.names, [*required, *groups])
        rows = file.metadata.num_rows
        names = _read_text(file, [Column.SUBJECT, *groups])
        labels = np.empty((rows, len(schema.emotions)), np.float64)
        best_possible = np.empty((rows, len(schema.best_possible)), np.float64)
        features = np.empty((rows, len(schema.features)), np.float32)
        _read_numbers(file, schema.features, features)
        _read_numbers(file, tuple(schema.emotions.values()), labels)
        _read_numbers(file, tuple(schema.best_possible.values()), best_possible)
    return Dataset(
        schema=schema,
        subjects=names[Column.SUBJECT],
        features=features,
        labels=labels,
        groups=names.get(Column.GROUP),
        best_possible=best_possible if schema.best_possible else None,
    )


def read_schema(path: Path, name: str | None = None) -> Schema:
    """Read ``dataset.yaml``.

    Parameters
    ----------
    path
        The file.
    name
        Name of the dataset if the file has no key ``name``. None stands for the name of the folder.

    Returns
    -------
    Schema
        The modalities, emotions and descriptions of the dataset.

    Raises
    ------
    InputError
        If the file cannot be read, or a key is unknown, missing or of the wrong type.
    """
    content = read_yaml(path)
    try:
        return parse_schema(content, path.parent.name if name is None else name)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def parse_schema(content: dict[str, Any], default_name: str) -> Schema:
    """Build a schema from the content of a ``dataset.yaml``.

    Parameters
    ----------
    content
        Keys and values of the file.
    default_name
        Name of the dataset if `content` has no key ``name``.

    Returns
    -------
    Schema
        The schema that `content` describes.

    Raises
    ------
    InputError
        If a key is unknown, missing or of the wrong type.
    """
    _reject_unknown_keys(content, _SCHEMA_KEYS, "dataset")
    for key in ("modalities", "emotions"):
        if not isinstance(content.get(key), dict):
            raise InputError(f"'{key}' must be a mapping from names, got {content.get(key)!r}")
    names = {key: content.get(key) or {} for key in ("best_possible", "table_columns")}
    for key, value in names.items():
        if not isinstance(value, dict):
            raise InputError(f"{key!r} must be a mapping from names to columns, got {value!r}")
    modalities = []
    for name, entry in content["modalities"].items():
        where = f"modality {_text(name, 'a modality')!r}"
        if not isinstance(entry, dict):
            raise InputError(f"{where} must be a mapping with role and columns, got {entry!r}")
        _reject_unknown_keys(entry, _MODALITY_KEYS, where)
        columns = entry.get("columns")
        if not isinstance(columns, list) or not all(isinstance(column, str) for column in columns):
            raise InputError(f"{where}: 'columns' must be a list of column names, got {columns!r}")
        tokens, main = entry.get("tokens", 1), entry.get("main", False)
        if not isinstance(tokens, int) or isinstance(tokens, bool):
            raise InputError(f"{where}: 'tokens' must be a whole number, got {tokens!r}")
        if not isinstance(main, bool):
            raise InputError(f"{where}: 'main' must be true or false, got {main!r}")
        modalities.append(Modality(name, str(entry.get("role")), tuple(columns), tokens, main))
    return Schema(
        name=_text(content.get("name", default_name), "'name'"),
        modalities=tuple(modalities),
        emotions=_texts(content["emotions"], "an emotion"),
        source=str(content.get("source", "")),
        licence=str(content.get("licence", "")),
        notes=str(content.get("notes", "")),
        best_possible=_texts(names["best_possible"], "an emotion"),
        table_columns=_texts(names["table_columns"], "a name"),
    )


def _text(value: Any, what: str) -> str:
    """Return a name; raise `InputError` for numbers, whose spelling is lost: 1e3 is read as 1000.0."""
    if not isinstance(value, str):
        raise InputError(f"{what} must be text, got {value!r}; write it in quotes")
    return value


def _texts(entries: dict[Any, Any], what: str) -> dict[str, str]:
    """Return names with their columns; raise `InputError` for names and columns that are not text."""
    return {_text(name, what): _text(column, f"column of {name!r}") for name, column in entries.items()}


def _reject_unknown_keys(content: dict[str, Any], known: tuple[str, ...], where: str) -> None:
    """Raise `InputError` if `content` has a key that is not in `known`."""
    for key in content:
        if key not in known:
            raise InputError(
                f"{where}: unknown key {key!r}{did_you_mean(str(key), known)}; known are {', '.join(known)}"
            )


@contextmanager
def _open_windows(source: Any) -> Iterator[pq.ParquetFile]:
    """Open a Parquet file; raise `InputError` if opening or reading it fails."""
    try:
        with pq.ParquetFile(source, pre_buffer=False) as file:
            yield file
    except StorageError:
        raise
    except (OSError, pa.ArrowException, UnicodeError) as error:  # UnicodeError: a name of a column
        raise InputError(f"is not a readable Parquet file ({' '.join(str(error).split())})") from None
    except MemoryError:
        raise InputError("does not fit into memory, or is damaged and names too many rows") from None


def _require_columns(present: Sequence[str], required: Sequence[str]) -> None:
    """Raise `InputError` unless each required column is present exactly once."""
    missing = [column for column in required if column not in present]
    if missing:
        hint = did_you_mean(missing[0], present)
        raise InputError(f"column {shorten(map(repr, missing))} is missing{hint}; {FileName.SCHEMA} names it")
    repeated = [column for column in required if present.count(column) > 1]
    if repeated:
        raise InputError(f"column {shorten(map(repr, repeated))} must appear once, but appears several times")


def _read_text(file: pq.ParquetFile, columns: Sequence[str]) -> dict[str, NDArray[np.str_]]:
    """Return columns of text (N,); raise `InputError` for empty cells and for other types."""
    parts: dict[str, list[NDArray[np.str_]]] = {column: [np.empty(0, np.str_)] for column in columns}
    for _, table in _blocks(file, columns):
        for column in table.column_names:
            try:
                values = as_text(table[column])
            except pa.ArrowException:
                raise InputError(f"column {column!r} must hold text, got {table[column].type}") from None
            except UnicodeError:
                raise InputError(f"column {column!r} must hold text in UTF-8; the file may be damaged") from None
            if values.null_count:
                raise InputError(
                    f"column {column!r} must name a {column} in every row; {values.null_count} rows are empty"
                )
            parts[column].append(names_array(column, values.to_pylist()))
    return {column: np.concatenate(blocks) for column, blocks in parts.items()}


def _read_numbers(file: pq.ParquetFile, columns: Sequence[str], into: NDArray[Any]) -> None:
    """Read columns of numbers `into` an array (N, C); empty cells become NaN, which `Signals` checks."""
    place = {column: position for position, column in enumerate(columns)}
    for block, table in _blocks(file, columns):
        for column in table.column_names:
            values = table[column]
            # A column of nothing but nulls is a sensor that was never connected.
            if not (is_number(values.type) or pa.types.is_null(values.type)):
                raise InputError(f"column {column!r} must hold numbers, got {values.type}")
            with np.errstate(over="ignore"):  # values beyond float32 become inf, which `Signals` reports
                into[block, place[column]] = as_numbers(values, pa.float64()).to_numpy(zero_copy_only=False)


def _blocks(file: pq.ParquetFile, columns: Sequence[str]) -> Iterator[tuple[slice, pa.Table]]:
    """Yield a few columns of a table at a time, with the rows that they fill.

    Splitting by columns bounds the memory even where all rows of the file form one row group.
    """
    start = 0
    for group in range(file.num_row_groups):
        rows = file.metadata.row_group(group).num_rows
        for chunk in row_blocks(len(columns), rows):
            yield slice(start, start + rows), file.read_row_group(group, columns=list(columns[chunk]))
        start += rows


def write_dataset(dataset: Dataset, folder: Path | str) -> None:
    """Write a dataset directory.

    The directory appears only once it is complete.

    Parameters
    ----------
    dataset
        The dataset.
    folder
        Path of the directory, which must not exist yet.

    Raises
    ------
    InputError
        If `folder` exists or cannot be written.
    """
    folder = local_path(folder)
    if folder.exists():
        raise InputError(f"{folder}: is already there; choose another directory or remove it")
    with as_input_error(folder, "cannot be written"), whole_folder(folder) as staging:
        _write_windows(dataset, staging / FileName.WINDOWS)
        text = to_yaml(dataset.schema.as_dict())
        (staging / FileName.SCHEMA).write_text(text, encoding="utf-8")


def _write_windows(dataset: Dataset, path: Path) -> None:
    """Write ``windows.parquet`` in blocks of rows."""
    writer: pq.ParquetWriter | None = None
    try:
        for block in row_blocks(len(dataset), len(dataset.schema.features)):
            table = _table(dataset, block)
            writer = writer or pq.ParquetWriter(path, table.schema)
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()


def _table(dataset: Dataset, block: slice) -> pa.Table:
    """Return some rows of a dataset as a table."""
    columns: dict[str, Any] = {Column.SUBJECT: pa.array(dataset.subjects[block].tolist(), pa.string())}
    if dataset.groups is not None:
        columns[Column.GROUP] = pa.array(dataset.groups[block].tolist(), pa.string())
    columns |= {name: dataset.features[block, i] for i, name in enumerate(dataset.schema.features)}
    columns |= {name: dataset.labels[block, i] for i, name in enumerate(dataset.schema.emotions.values())}
    if dataset.best_possible is not None:
        best = dataset.schema.best_possible.values()
        columns |= {name: dataset.best_possible[block, i] for i, name in enumerate(best)}
    return pa.table(columns)
