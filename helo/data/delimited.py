"""Delimited text as other programs write it: separators, decimal marks, encodings and superfluous commas."""

from __future__ import annotations

import csv
import gzip
import re
import zlib
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from helo.errors import InputError

_BLOCK_BYTES: Final = 1 << 24  # maximum size of a row
_UNREADABLE: Final = (OSError, EOFError, UnicodeError, csv.Error, zlib.error)
_SAMPLE_ROWS: Final = 20  # rows that tell how the cells are separated

_SEPARATORS: Final = {",": "commas", ";": "semicolons", "\t": "tabs"}

_STATED: Final = re.compile('"?sep=(.)"?', re.DOTALL)
_STATED_LENGTH: Final = 16

_BYTE_ORDER_MARKS: Final = {b"\xff\xfe\x00\x00": "utf-32", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}

EMPTY_CELLS: Final = frozenset(
    ("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA")
) | {"NULL", "NaN", "None", "n/a", "nan", "null"}
"""Cells of a column of numbers that stand for a missing value: those of pandas."""

_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[+-]?(?:inf|infinity|nan)")


def is_plain_number(text: str, decimal: str = ".") -> bool:
    """Return whether a cell is a number in plain characters, with one decimal mark and nothing between digits.

    >>> [is_plain_number(text) for text in ("-1.5e3", " 2 ", "1,5", "1 000", "1_000")]
    [True, True, False, False, False]
    """
    text = text.strip(" \t")
    if decimal != ".":
        if "." in text:
            return False
        text = text.replace(decimal, ".")
    return _NUMBER.fullmatch(text if text[-1:].isdigit() else text.lower()) is not None


class DelimitedFile:
    """A file of delimited text; a `helo.data.table_file.TableFile`.

    The separator is the one that divides the first rows alike. If it is not a comma, numbers may have decimal commas.
    """

    def __init__(self, path: Path, usual: str) -> None:
        self.path = path
        self.notes: tuple[str, ...] = ()
        self._encoding = self._find_encoding()
        stated = self._stated_delimiter()
        self._skipped = 1 if stated else 0  # lines before the names of the columns
        self._delimiter = stated or self._find_delimiter(usual)
        first = list(islice(self._records(), 2))
        if not first:
            raise InputError(f"{path}: is empty; its first line must name the columns")
        self._begin, header = first[0]
        row = first[1][1] if len(first) > 1 else header
        self._width = self._find_width(header, row)
        self.columns = tuple(header[: self._width])
        self._has_rows = len(first) > 1
        if self._delimiter != usual:
            self.notes = (f"columns are separated by {_SEPARATORS[self._delimiter]}",)

    def unfit(self, columns: Sequence[str]) -> dict[str, str]:
        """Return nothing, because cells have no types."""
        return {}

    def place(self, row: int) -> str:
        """Return the line of a row, which differs from its number after line breaks in cells and empty lines."""
        for position, (line, _) in enumerate(self._records()):
            if position == row + 1:
                return f"line {line}"
        return f"row {row} (counted from 0)"

    def read(self, texts: Sequence[str], numbers: dict[str, pa.DataType]) -> Iterator[tuple[str, pa.ChunkedArray]]:
        """Yield columns with their names; see `TableFile.read`."""
        if not self._has_rows:
            for column, kind in (dict.fromkeys(texts, pa.string()) | numbers).items():
                yield column, pa.chunked_array([pa.array([], kind)])
            return
        # Columns are read by position, because names may be repeated or empty.
        column_of = {str(self.columns.index(column)): column for column in (*texts, *numbers)}
        extra = [str(position) for position in range(len(self.columns), self._width)]
        table = self._table(
            {place: numbers.get(column, pa.string()) for place, column in column_of.items()}
            | dict.fromkeys(extra, pa.string()),
            tuple(numbers),
        )
        for position in extra:
            if any(cell.strip() for cell in table.column(position).to_pylist()):
                raise InputError(f"{self.path}: {self._fault(tuple(numbers), '.')[1]}")
            table = table.drop_columns([position])
        while table.num_columns:  # columns are removed once used, which frees their memory
            place, values = table.column_names[0], table.column(0)
            table = table.remove_column(0)
            yield column_of[place], values

    def _table(self, types: dict[str, pa.DataType], numbers: tuple[str, ...]) -> pa.Table:
        """Read columns by position, with decimal points, or else with decimal commas."""
        faults: list[tuple[int, str]] = []
        for decimal in "." if self._delimiter == "," else ".,":
            try:
                table = self._arrow_table(types, decimal)
            except (*_UNREADABLE, pa.ArrowException) as error:
                faults.append(self._fault(numbers, decimal))
                if not faults[-1][1]:
                    raise InputError(f"{self.path}: {_unreadable(error)}") from None
                continue
            if decimal == ",":
                self.notes += ("numbers have decimal commas",)
            return table
        # The decimal mark that got further is that of the file.
        raise InputError(f"{self.path}: {max(faults)[1]}")

    def _arrow_table(self, types: dict[str, pa.DataType], decimal: str) -> pa.Table:
        from pyarrow.csv import ConvertOptions, ParseOptions, ReadOptions, read_csv

        compression = "gzip" if self._is_compressed else None
        with pa.input_stream(str(self.path), compression=compression) as stream:
            return read_csv(
                stream,
                read_options=ReadOptions(
                    block_size=_BLOCK_BYTES,
                    encoding=self._encoding,
                    column_names=[str(position) for position in range(self._width)],
                    skip_rows=self._begin - 1,
                    skip_rows_after_names=1,
                ),
                parse_options=ParseOptions(delimiter=self._delimiter, newlines_in_values=True),
                # A subject may be called NA, so only an empty cell counts as missing.
                convert_options=ConvertOptions(
                    column_types=types,
                    include_columns=list(types),
                    strings_can_be_null=False,
                    null_values=sorted(EMPTY_CELLS),
                    decimal_point=decimal,
                ),
            )

    def _fault(self, numbers: tuple[str, ...], decimal: str) -> tuple[int, str]:
        """Return line and message of the first malformed row, or an empty message; messages of Arrow name no line."""
        places = [(self.columns.index(column), column) for column in numbers]
        for line, cells in self._records():
            if line != self._begin and (len(cells) != self._width or _text_beyond(list(self.columns), cells)):
                return line, (
                    f"line {line}: must have {len(self.columns)} cells, like the first line, got {len(cells)}"
                )
            if line == self._begin:
                continue
            for place, column in places:
                if cells[place] not in EMPTY_CELLS and not is_plain_number(cells[place], decimal):
                    hint = self._hint(cells[place])
                    return line, f"line {line}, column {column!r}: must be a number, got {cells[place]!r}{hint}"
        return 0, ""

    def _hint(self, cell: str) -> str:
        """Return what is wrong with a cell that looks like a number."""
        if any(not character.isascii() and character.isspace() for character in cell):
            return ", which holds a no-break space; remove it"
        if re.fullmatch(r"\s*[+-]?[0-9]*,[0-9]+\s*", cell) and self._delimiter == ",":
            return "; with decimal commas, columns must be separated by semicolons or tabs"
        if re.fullmatch(r"\s*[+-]?[0-9.,' ]*[0-9]\s*", cell):
            return "; all numbers must have the same decimal mark, and nothing between thousands"
        return ""

    def _find_width(self, header: list[str], row: list[str]) -> int:
        """Return the number of cells per row; a row may end in separators without a cell behind."""
        if len(row) < len(header) and not any(name.strip() for name in header[len(row) :]):
            return len(row)
        if len(row) > len(header) and not _text_beyond(header, row):
            return len(row)
        return len(header)

    def _find_delimiter(self, usual: str) -> str:
        """Return the separator that gives the most columns, if possible one for which the first rows fit the header."""
        scores: dict[str, tuple[int, int, bool]] = {}
        for delimiter in _SEPARATORS:
            self._delimiter = delimiter
            header, *rows = [cells for _, cells in islice(self._records(), _SAMPLE_ROWS)] or [[]]
            named, is_usual = len(_without_trailing_blanks(header)), delimiter == usual
            if named > 1 and all(len(row) >= named and not _text_beyond(header, row) for row in rows):
                scores[delimiter] = 2, named, is_usual
            else:
                scores[delimiter] = int(named > 1 and is_usual), named, is_usual
        return max(scores, key=scores.__getitem__)

    def _stated_delimiter(self) -> str:
        """Return the separator that a first line such as ``sep=;`` names for Excel, or an empty text."""
        try:
            with self._open() as file:
                found = _STATED.fullmatch(file.readline(_STATED_LENGTH).strip("\r\n"))
        except _UNREADABLE as error:
            raise InputError(f"{self.path}: {_unreadable(error)}") from None
        return found[1] if found and found[1] in _SEPARATORS else ""

    def _find_encoding(self) -> str:
        try:
            with gzip.open(self.path) if self._is_compressed else self.path.open("rb") as file:
                start: bytes = file.read(4)
        except _UNREADABLE as error:
            raise InputError(f"{self.path}: {_unreadable(error)}") from None
        for mark, encoding in _BYTE_ORDER_MARKS.items():
            if start.startswith(mark):
                return encoding
        if len(start) == 4 and start[1] == 0 and start[3] == 0:
            return "utf-16-le"
        if len(start) == 4 and start[0] == 0 and start[2] == 0:
            return "utf-16-be"
        # Spreadsheet programs write a byte order mark, which utf-8-sig removes. Arrow removes it by itself.
        return "utf-8"

    @property
    def _is_compressed(self) -> bool:
        return self.path.suffix.lower() == ".gz"

    def _records(self) -> Iterator[tuple[int, list[str]]]:
        """Yield the first line number and the cells of each row, including the header."""
        begin = 1 + self._skipped
        try:
            with self._open() as file:
                for _ in range(self._skipped):
                    file.readline()
                reader = csv.reader(file, delimiter=self._delimiter)
                for cells in reader:
                    if cells:
                        yield begin, cells
                    begin = reader.line_num + 1 + self._skipped
        except _UNREADABLE as error:
            raise InputError(f"{self.path}: {_unreadable(error)}") from None

    def _open(self) -> Any:
        encoding = "utf-8-sig" if self._encoding == "utf-8" else self._encoding
        if self._is_compressed:
            return gzip.open(self.path, "rt", encoding=encoding, newline="")
        return self.path.open(encoding=encoding, newline="")


def _text_beyond(header: list[str], row: list[str]) -> bool:
    """Return whether a row has text behind its last named column."""
    return any(cell.strip() for cell in row[len(header) :])


def _without_trailing_blanks(cells: list[str]) -> list[str]:
    while cells and not cells[-1].strip():
        cells = cells[:-1]
    return cells


def _unreadable(error: BaseException) -> str:
    return f"cannot be read as a table of UTF-8 or UTF-16 text ({in_one_line(error)})"


def in_one_line(error: BaseException) -> str:
    """Return the message of a library's error in one line of at most 160 characters."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 160 else text[:159] + "…"
