"""Excel workbooks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, time
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from helo.data.delimited import EMPTY_CELLS, in_one_line, is_plain_number
from helo.errors import InputError

INSTALL: Final = "pip install 'helo-search[excel]'"

MAX_ROWS: Final = 1_048_576
"""Maximum number of rows of a sheet in Excel. In a damaged file, the number of a row may be anything."""


class Workbook:
    """The first sheet of an Excel workbook that has cells; a `helo.data.table_file.TableFile`.

    Numbers in cells of text count as numbers. Rows without any cell are skipped.
    """

    def __init__(self, path: Path) -> None:
        try:
            import openpyxl
        except ImportError:
            raise InputError(f"{path}: reading Excel files needs openpyxl ({INSTALL})") from None
        self.path, self._openpyxl = path, openpyxl
        self._sheet, rows, others = self._load()
        if not rows:
            raise InputError(f"{path}: is empty; the first row of a sheet must name the columns")
        header, self._rows = rows[0][1], rows[1:]
        width = max((number for number, name in enumerate(header, 1) if name is not None), default=0)
        self.columns = tuple(_text(name) for name in header[:width])
        self.notes: tuple[str, ...] = (
            (f"sheet {self._sheet!r} is read, not {', '.join(map(repr, others))}",) if others else ()
        )

    def _load(self) -> tuple[str, list[tuple[int, tuple[Any, ...]]], list[str]]:
        """Return the name and the rows of the first sheet with cells, with their numbers, and the other such sheets."""
        found = [(sheet, rows) for sheet, rows in self._sheets(values=True) if rows]
        if not found:
            return "", [], []
        return *found[0], [sheet for sheet, _ in found[1:]]

    def _sheets(self, values: bool) -> list[tuple[str, list[tuple[int, tuple[Any, ...]]]]]:
        """Return the rows of each sheet, with the values of formulas or the formulas themselves."""
        try:
            book = self._openpyxl.load_workbook(self.path, read_only=True, data_only=values)
            try:
                return [(sheet.title, _filled_rows(sheet)) for sheet in book.worksheets]
            finally:
                book.close()
        except Exception as error:  # a damaged file makes openpyxl raise whatever comes
            raise InputError(f"{self.path}: is not a readable Excel file ({in_one_line(error)})") from None

    def unfit(self, columns: Sequence[str]) -> dict[str, str]:
        """Return nothing, because cells have no types."""
        return {}

    def place(self, row: int) -> str:
        """Return the place of a row (from 0) in the file."""
        return f"row {self._rows[row][0]}"

    def read(self, texts: Sequence[str], numbers: dict[str, pa.DataType]) -> Iterator[tuple[str, pa.ChunkedArray]]:
        """Yield columns with their names; see `TableFile.read`."""
        empty: list[tuple[int, str]] = []
        for column in (*texts, *numbers):
            position = self.columns.index(column)
            cells = [row[position] if position < len(row) else None for _, row in self._rows]
            empty += [(self._rows[row][0], column) for row, cell in enumerate(cells) if cell is None]
            if column in texts:
                yield column, pa.chunked_array([pa.array([_text(cell) for cell in cells], pa.string())])
            else:
                values = np.array([self._number(cell, row, column) for row, cell in enumerate(cells)], np.float64)
                with np.errstate(over="ignore"):  # infinite numbers are refused by those who read
                    yield column, pa.chunked_array([pa.array(values).cast(numbers[column], safe=False)])
        self._require_values(empty)

    def _number(self, cell: Any, row: int, column: str) -> float:
        if cell is None:
            return np.nan
        if isinstance(cell, bool | int | float):
            return float(cell)
        if isinstance(cell, str):
            text = cell.strip(" \t")
            if text in EMPTY_CELLS:
                return np.nan
            if is_plain_number(text):
                return float(text)
        got = "a date or time" if isinstance(cell, date | time) else repr(cell)
        raise InputError(f"{self.path}: {self.place(row)}, column {column!r}: must be a number, got {got}")

    def _require_values(self, empty: list[tuple[int, str]]) -> None:
        """Raise `InputError` if an empty cell holds a formula: the program that wrote it has not computed it."""
        if not empty:
            return
        formulas = dict(dict(self._sheets(values=False))[self._sheet])
        for row, column in empty:
            cells, position = formulas.get(row, ()), self.columns.index(column)
            cell = cells[position] if position < len(cells) else None
            if isinstance(cell, str) and cell.startswith("="):
                raise InputError(
                    f"{self.path}: row {row}, column {column!r}: holds the formula {cell!r} without its value; open "
                    "the file in a spreadsheet program and save it"
                )


def _filled_rows(sheet: Any) -> list[tuple[int, tuple[Any, ...]]]:
    """Return the rows with cells, and their numbers."""
    # The size that a sheet states would pad each row: to 16,384 cells if there is a single one in the last column.
    sheet.reset_dimensions()
    found = []
    for number, cells in enumerate(sheet.iter_rows(values_only=True), 1):
        if number > MAX_ROWS:
            raise ValueError(f"more than {MAX_ROWS:,} rows")
        if any(cell is not None for cell in cells):
            found.append((number, cells))
    return found


def _text(cell: Any) -> str:
    """Return a cell as text; whole numbers have no decimal point."""
    if cell is None:
        return ""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell)
