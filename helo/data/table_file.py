"""Tables written by other programs: delimited text, Parquet, Excel, SPSS and Stata."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from helo.data.arrow import converted, unfit_types
from helo.data.delimited import DelimitedFile, in_one_line
from helo.data.spelling import name_problem, short_repr
from helo.errors import InputError, shorten

DELIMITED: Final = {".csv": ",", ".csv.gz": ",", ".tsv": "\t", ".tsv.gz": "\t", ".txt": "\t"}
"""Suffixes of delimited text, with their usual separator."""

SUFFIXES: Final = (*DELIMITED, ".parquet", ".xlsx", ".sav", ".dta")
"""Supported suffixes of tables."""

_COLUMNS_AT_ONCE: Final = 64  # number of columns of a Parquet file that are in memory at a time


class TableFile(Protocol):
    """An opened table whose columns can be read once.

    Attributes
    ----------
    columns
        Names of the columns in the order of the file. Columns without a name have an empty one.
    notes
        What was found out about the form of the file. It is complete once the columns are read.
    """

    columns: tuple[str, ...]
    notes: tuple[str, ...]

    def read(self, texts: Sequence[str], numbers: dict[str, pa.DataType]) -> Iterator[tuple[str, pa.ChunkedArray]]:
        """Yield columns with their names, in any order.

        Parameters
        ----------
        texts
            Names of text columns. Empty cells become null or an empty text.
        numbers
            Name of a numeric column → type of the result. Empty cells become null or NaN.

        Yields
        ------
        tuple of str and ChunkedArray
            Name and values of a column.

        Raises
        ------
        InputError
            If a numeric cell is not a number, or a text column has no text form.
        """

    def unfit(self, columns: Sequence[str]) -> dict[str, str]:
        """Return the type of each non-numeric column among `columns`; text and Excel files have no such types."""

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
    suffix = next((suffix for suffix in sorted(SUFFIXES, key=len, reverse=True) if name.endswith(suffix)), None)
    if suffix is None:
        hint = "; save the workbook as .xlsx" if name.endswith((".xls", ".xlsb", ".ods")) else ""
        raise InputError(f"{path}: must end in {', '.join(SUFFIXES)}{hint}")
    if not path.is_file():
        raise InputError(f"{path}: {'is not a file' if path.exists() else 'no such file'}")
    table = _open(path, suffix)
    repeated = sorted({column for column in table.columns if column and table.columns.count(column) > 1})
    if repeated:
        raise InputError(f"{path}: columns must have different names, but {shorten(map(repr, repeated))} is repeated")
    return table


def _open(path: Path, suffix: str) -> TableFile:
    if suffix in DELIMITED:
        return DelimitedFile(path, DELIMITED[suffix])
    if suffix == ".parquet":
        return _Parquet(path)
    if suffix == ".xlsx":
        from helo.data.workbook import Workbook

        return Workbook(path)
    from helo.data.statistics_file import StatisticsFile

    return StatisticsFile(path)


def require_names(where: Path | str, table: TableFile, column: str, meaning: str, values: pa.ChunkedArray) -> list[str]:
    """Return the cells of a text column; raise `InputError` for an empty one.

    Parameters
    ----------
    where
        Path or name of the table, for the message.
    table
        The table.
    column, meaning
        Name of the column, and what its cells name.
    values
        Cells of the column.

    Returns
    -------
    list of str
        The cells.

    Raises
    ------
    InputError
        If a cell is empty or holds nothing but spaces, or a name has letters that are refused.
    """
    cells: list[str] = values.to_pylist()
    seen: set[str] = set()
    for row, value in enumerate(cells):
        if value in seen:
            continue
        if value is None or not value.strip():
            raise InputError(f"{where}: {table.place(row)}, column {column!r}: must name the {meaning}, but is empty")
        if problem := name_problem(value):
            raise InputError(
                f"{where}: {table.place(row)}, column {column!r}: a name {problem}, got {short_repr(value)}"
            )
        seen.add(value)
    return cells


class _Parquet:
    """A Parquet file."""

    notes: tuple[str, ...] = ()

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._schema = pq.read_schema(path)
            self.columns = tuple(name for name in self._schema.names if not name.startswith("__index_level_"))
        except (OSError, pa.ArrowException, UnicodeError) as error:  # UnicodeError: a name of a column
            raise InputError(f"{path}: is not a readable Parquet file ({in_one_line(error)})") from None

    def unfit(self, columns: Sequence[str]) -> dict[str, str]:
        return unfit_types(self._schema, columns)

    def place(self, row: int) -> str:
        return f"row {row} (counted from 0)"

    def read(self, texts: Sequence[str], numbers: dict[str, pa.DataType]) -> Iterator[tuple[str, pa.ChunkedArray]]:
        for column, kind in self.unfit(tuple(numbers)).items():
            raise InputError(f"{self.path}: column {column!r} must hold numbers, got {kind}")
        names = [*texts, *numbers]
        for start in range(0, len(names), _COLUMNS_AT_ONCE):
            try:
                table = pq.read_table(self.path, columns=names[start : start + _COLUMNS_AT_ONCE])
                yield from converted(self.path, table, texts, numbers)
            except (OSError, pa.ArrowException) as error:
                raise InputError(f"{self.path}: is not a readable Parquet file ({in_one_line(error)})") from None
