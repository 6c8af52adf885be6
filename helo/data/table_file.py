"""Tables of other programs, CSV or Parquet: their columns, and where in the file a row is."""

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

_BLOCK_BYTES: Final = 1 << 24  # a row of a CSV file must fit in a block
_COLUMNS_AT_ONCE: Final = 64  # of a Parquet file: memory beside the result
_UNREADABLE: Final = (OSError, EOFError, UnicodeError, csv.Error, zlib.error)


class TableFile(Protocol):
    """A table: its columns by name, read once."""

    columns: tuple[str, ...]

    def read(self, words: dict[str, str], numbers: dict[str, pa.DataType]) -> Iterator[tuple[str, pa.ChunkedArray]]:
        """Yield the columns `words` (column → what it holds) as strings and `numbers` as their types, in any order.

        A cell without a number is null or NaN. Raises `InputError` where a cell holds no number, or no word.
        """

    def unfit(self, columns: Sequence[str]) -> dict[str, str]:
        """Those of some columns whose type says that they hold no numbers, with that type; a CSV file says none."""

    def place(self, row: int) -> str:
        """Where a row (counted from 0) is, as people find it in the file."""


def open_table(path: Path) -> TableFile:
    """Open a table by its suffix; raise `InputError` if it is none, or two columns have one name."""
    name = path.name.lower()
    if not name.endswith(SUFFIXES):
        raise InputError(f"{path}: must end in {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise InputError(f"{path}: {'is no file' if path.exists() else 'no such file'}")
    table: TableFile = (
        _Parquet(path) if name.endswith(".parquet") else _Delimited(path, "\t" if name.endswith(".tsv") else ",")
    )
    twice = sorted({column for column in table.columns if table.columns.count(column) > 1})
    if twice:
        raise InputError(f"{path}: columns must have different names, but {shorten(map(repr, twice))} is there again")
    return table


def _words(path: Path, column: str, what: str, values: pa.ChunkedArray, table: TableFile) -> pa.ChunkedArray:
    """A column of words without an empty cell."""
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if pa.types.is_nested(values.type) or pa.types.is_null(values.type):
        raise InputError(f"{path}: column {column!r} must name the {what} of each row, got {values.type}")
    values = values.cast(pa.string())
    for row, value in enumerate(values.to_pylist()):
        if value is None or not value.strip():
            raise InputError(f"{path}: {table.place(row)}, column {column!r}: must name the {what}, is empty")
    return values


class _Parquet:
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

    def read(self, words: dict[str, str], numbers: dict[str, pa.DataType]) -> Iterator[tuple[str, pa.ChunkedArray]]:
        for column, kind in self.unfit(tuple(numbers)).items():
            raise InputError(f"{self.path}: column {column!r} must hold numbers, got {kind}")
        wanted = [*words, *numbers]
        for start in range(0, len(wanted), _COLUMNS_AT_ONCE):
            try:
                table = pq.read_table(self.path, columns=wanted[start : start + _COLUMNS_AT_ONCE])
                for column in table.column_names:
                    values = table[column]
                    if column in words:
                        yield column, _words(self.path, column, words[column], values, self)
                    else:
                        if pa.types.is_boolean(values.type):  # Arrow has no cast from bool to float32
                            values = values.cast(pa.int8())
                        yield column, values.cast(numbers[column], safe=False)
            except (OSError, pa.ArrowException) as error:
                raise InputError(f"{self.path}: is not a readable Parquet file ({_line(error)})") from None


class _Delimited:
    def __init__(self, path: Path, delimiter: str) -> None:
        self.path, self.delimiter = path, delimiter
        header = next(self._records(), (1, []))[1]
        if not header:
            raise InputError(f"{path}: is empty; its first line must name the columns")
        if len(header) == 1 and (other := next((mark for mark in ";\t," if mark in header[0]), None)):
            names = {";": "semicolons", "\t": "tabs", ",": "commas"}
            raise InputError(
                f"{path}: line 1: columns must be parted by {names[delimiter]}, these seem to be by {names[other]}"
            )
        self.columns = tuple(header)

    def unfit(self, columns: Sequence[str]) -> dict[str, str]:
        return {}

    def place(self, row: int) -> str:
        """The line: rows are not lines where a cell has a line break, or lines are empty."""
        for position, (line, _) in enumerate(self._records()):
            if position == row + 1:
                return f"line {line}"
        return f"row {row} (counted from 0)"

    def read(self, words: dict[str, str], numbers: dict[str, pa.DataType]) -> Iterator[tuple[str, pa.ChunkedArray]]:
        import pyarrow.csv

        types = dict.fromkeys(words, pa.string()) | numbers
        try:
            table = pyarrow.csv.read_csv(
                self.path,
                read_options=pyarrow.csv.ReadOptions(block_size=_BLOCK_BYTES),
                parse_options=pyarrow.csv.ParseOptions(delimiter=self.delimiter, newlines_in_values=True),
                # A subject may be called NA: an empty cell alone says that there is none.
                convert_options=pyarrow.csv.ConvertOptions(
                    column_types=types, include_columns=list(types), strings_can_be_null=False
                ),
            )
        except (*_UNREADABLE, pa.ArrowException) as error:
            raise InputError(f"{self.path}: {self._fault(tuple(numbers)) or _csv(error)}") from None
        while table.num_columns:  # each is let go once it is used: memory beside the result
            column, values = table.column_names[0], table.column(0)
            table = table.remove_column(0)
            yield column, _words(self.path, column, words[column], values, self) if column in words else values

    def _fault(self, numbers: tuple[str, ...]) -> str:
        """The first row that is no row of numbers where it must be one, or an empty string: Arrow names no line."""
        from pyarrow.csv import ConvertOptions

        empty = set(ConvertOptions().null_values)
        places = [(self.columns.index(column), column) for column in numbers]
        for line, cells in self._records():
            if len(cells) != len(self.columns):
                return f"line {line}: must have {len(self.columns)} cells, as the first line, got {len(cells)}"
            if line == 1:
                continue
            for place, column in places:
                if cells[place] not in empty and not _is_number(cells[place]):
                    return f"line {line}, column {column!r}: must be a number, got {cells[place]!r}"
        return ""

    def _records(self) -> Iterator[tuple[int, list[str]]]:
        """Line on which it begins, and cells of each row, the header first."""
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
        # Spreadsheet programs put a byte order mark in front; utf-8-sig takes it off.
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
    """The first sentence of a library's error: the rest may run over many lines."""
    text = " ".join(str(error).split())
    return text if len(text) <= 160 else text[:159] + "…"
