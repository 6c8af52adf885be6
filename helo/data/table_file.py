"""CSV and Parquet files written by other programs."""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from helo.data.directory import is_number
from helo.errors import InputError, shorten

SUFFIXES: Final = (".csv", ".csv.gz", ".tsv", ".parquet")
"""Supported suffixes of tables."""

_BLOCK_BYTES: Final = 1 << 24  # maximum size of a row of a CSV file
_COLUMNS_AT_ONCE: Final = 64  # number of columns of a Parquet file that are in memory at a time
_UNREADABLE: Final = (OSError, EOFError, UnicodeError, csv.Error, zlib.error)


class TableFile(Protocol):
    """An opened table whose columns can be read once.

    Attributes
    ----------
    columns
        Names of the columns in the order of the file.
    """

    columns: tuple[str, ...]

    def read(self, texts: dict[str, str], numbers: dict[str, pa.DataType]) -> Iterator[tuple[str, pa.ChunkedArray]]:
        """Yield columns with their names, in any order.

        Parameters
        ----------
        texts
            Name of a text column → meaning of its cells, for messages.
        numbers
            Name of a numeric column → type of the result. Empty cells become null or NaN.

        Yields
        ------
        tuple of str and ChunkedArray
            Name and values of a column.

        Raises
        ------
        InputError
            If a numeric cell is not a number, or a text cell is empty.
        """

    def unfit(self, columns: Sequence[str]) -> dict[str, str]:
        """Return the type of each non-numeric column among `columns`; CSV files have no types."""

    def place(self, row: int) -> str:
        """Return the place of a row (from 0) in the file, for messages."""


def open_table(path: Path) -> TableFile:
    """Open a table.

    Parameters
    ----------
    path
        File whose suffix is one of `SUFFIXES`.

    Returns
    -------
    TableFile
        The opened table.

    Raises
    ------
    InputError
        If the file does not exist, cannot be read, has another suffix, or has two columns of the same name.
    """
    name = path.name.lower()
    if not name.endswith(SUFFIXES):
        raise InputError(f"{path}: must end in {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise InputError(f"{path}: {'is not a file' if path.exists() else 'no such file'}")
    table: TableFile = (
        _Parquet(path) if name.endswith(".parquet") else _Delimited(path, "\t" if name.endswith(".tsv") else ",")
    )
    repeated = sorted({column for column in table.columns if table.columns.count(column) > 1})
    if repeated:
        raise InputError(f"{path}: columns must have different names, but {shorten(map(repr, repeated))} is repeated")
    return table


def _texts(path: Path, column: str, meaning: str, values: pa.ChunkedArray, table: TableFile) -> pa.ChunkedArray:
    """Return a column as text; raise `InputError` for empty cells and for other types."""
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if pa.types.is_nested(values.type) or pa.types.is_null(values.type):
        raise InputError(f"{path}: column {column!r} must name the {meaning} of each row, got {values.type}")
    values = values.cast(pa.string())
    for row, value in enumerate(values.to_pylist()):
        if value is None or not value.strip():
            raise InputError(f"{path}: {table.place(row)}, column {column!r}: must name the {meaning}, but is empty")
    return values


class _Parquet:
    """A Parquet file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._schema = pq.read_schema(path)
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"{path}: is not a readable Parquet file ({_line(error)})") from None
        self.columns = tuple(name for name in self._schema.names if not name.startswith("__index_level_"))

    def unfit(self, columns: Sequence[str]) -> dict[str, str]:
        kinds = {column: self._schema.field(column).type for column in columns if column in self.columns}
        return {column: str(kind) for column, kind in kinds.items() if not (is_number(kind) or pa.types.is_null(kind))}

    def place(self, row: int) -> str:
        return f"row {row} (counted from 0)"

    def read(self, texts: dict[str, str], numbers: dict[str, pa.DataType]) -> Iterator[tuple[str, pa.ChunkedArray]]:
        for column, kind in self.unfit(tuple(numbers)).items():
            raise InputError(f"{self.path}: column {column!r} must hold numbers, got {kind}")
        names = [*texts, *numbers]
        for start in range(0, len(names), _COLUMNS_AT_ONCE):
            try:
                table = pq.read_table(self.path, columns=names[start : start + _COLUMNS_AT_ONCE])
                for column in table.column_names:
                    values = table[column]
                    if column in texts:
                        yield column, _texts(self.path, column, texts[column], values, self)
                    else:
                        if pa.types.is_boolean(values.type):  # Arrow has no cast from bool to float32
                            values = values.cast(pa.int8())
                        yield column, values.cast(numbers[column], safe=False)
            except (OSError, pa.ArrowException) as error:
                raise InputError(f"{self.path}: is not a readable Parquet file ({_line(error)})") from None


class _Delimited:
    """A file of delimited text."""

    def __init__(self, path: Path, delimiter: str) -> None:
        self.path, self.delimiter = path, delimiter
        header = next(self._records(), (1, []))[1]
        if not header:
            raise InputError(f"{path}: is empty; its first line must name the columns")
        if len(header) == 1 and (other := next((mark for mark in ";\t," if mark in header[0]), None)):
            names = {";": "semicolons", "\t": "tabs", ",": "commas"}
            raise InputError(
                f"{path}: line 1: columns must be separated by {names[delimiter]}, these seem to be by {names[other]}"
            )
        self.columns = tuple(header)

    def unfit(self, columns: Sequence[str]) -> dict[str, str]:
        return {}

    def place(self, row: int) -> str:
        """Return the line of a row, which differs from its number after line breaks in cells and empty lines."""
        for position, (line, _) in enumerate(self._records()):
            if position == row + 1:
                return f"line {line}"
        return f"row {row} (counted from 0)"

    def read(self, texts: dict[str, str], numbers: dict[str, pa.DataType]) -> Iterator[tuple[str, pa.ChunkedArray]]:
        import pyarrow.csv

        types = dict.fromkeys(texts, pa.string()) | numbers
        try:
            table = pyarrow.csv.read_csv(
                self.path,
                read_options=pyarrow.csv.ReadOptions(block_size=_BLOCK_BYTES),
                parse_options=pyarrow.csv.ParseOptions(delimiter=self.delimiter, newlines_in_values=True),
                # A subject may be called NA, so only an empty cell counts as missing.
                convert_options=pyarrow.csv.ConvertOptions(
                    column_types=types, include_columns=list(types), strings_can_be_null=False
                ),
            )
        except (*_UNREADABLE, pa.ArrowException) as error:
            raise InputError(f"{self.path}: {self._fault(tuple(numbers)) or _csv(error)}") from None
        while table.num_columns:  # columns are removed once used, which frees their memory
            column, values = table.column_names[0], table.column(0)
            table = table.remove_column(0)
            yield column, _texts(self.path, column, texts[column], values, self) if column in texts else values

    def _fault(self, numbers: tuple[str, ...]) -> str:
        """Return a message about the first malformed row, or an empty string; messages of Arrow name no line."""
        from pyarrow.csv import ConvertOptions

        empty = set(ConvertOptions().null_values)
        places = [(self.columns.index(column), column) for column in numbers]
        for line, cells in self._records():
            if len(cells) != len(self.columns):
                return f"line {line}: must have {len(self.columns)} cells, like the first line, got {len(cells)}"
            if line == 1:
                continue
            for place, column in places:
                if cells[place] not in empty and not _is_number(cells[place]):
                    return f"line {line}, column {column!r}: must be a number, got {cells[place]!r}"
        return ""

    def _records(self) -> Iterator[tuple[int, list[str]]]:
        """Yield the first line number and the cells of each row, including the header."""
        begin = 1
        try:
            with self._open() as file:
                reader = csv.reader(file, delimiter=self.delimiter)
                for cells in reader:
                    if cells:
                        yield begin, cells
                    begin = reader.line_num + 1
        except _UNREADABLE as error:
            raise InputError(f"{self.path}: {_csv(error)}") from None

    def _open(self) -> Any:
        # Spreadsheet programs write a byte order mark, which utf-8-sig removes.
        if self.path.suffix.lower() == ".gz":
            return gzip.open(self.path, "rt", encoding="utf-8-sig", newline="")
        return self.path.open(encoding="utf-8-sig", newline="")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _csv(error: BaseException) -> str:
    return f"cannot be read as a table of UTF-8 text ({_line(error)})"


def _line(error: BaseException) -> str:
    """Return the message of a library's error in one line of at most 160 characters."""
    text = " ".join(str(error).split())
    return text if len(text) <= 160 else text[:159] + "…"
