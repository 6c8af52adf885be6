"""Files of SPSS and Stata."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from helo.data.arrow import converted, unfit_types
from helo.data.delimited import in_one_line
from helo.errors import InputError

INSTALL: Final = "pip install 'helo-search[stats]'"

_DENSEST: Final = 1100
"""Maximum number of cells per byte of a file: zlib makes at most 1032 bytes of one."""


class StatisticsFile:
    """A ``.sav`` file of SPSS or a ``.dta`` file of Stata; a `helo.data.table_file.TableFile`.

    Columns of text hold the labels of values that have one. Columns of numbers hold the values themselves. Missing
    values that the user has defined in SPSS are missing.
    """

    notes: tuple[str, ...] = ()

    def __init__(self, path: Path) -> None:
        try:
            import pyreadstat
        except ImportError:
            raise InputError(f"{path}: reading SPSS and Stata files needs pyreadstat ({INSTALL})") from None
        self.path = path
        read = pyreadstat.read_sav if path.suffix.lower() == ".sav" else pyreadstat.read_dta
        try:
            _, header = read(str(path), metadataonly=True)
            _require_room(path, header)
            frame, described = read(str(path), apply_value_formats=False)
            self._table = pa.Table.from_pandas(frame, preserve_index=False)
        except InputError:
            raise
        except Exception as error:  # a damaged file makes pyreadstat raise whatever comes
            raise InputError(f"{path}: is not a readable SPSS or Stata file ({in_one_line(error)})") from None
        self._labels: Mapping[str, Mapping[Any, str]] = described.variable_value_labels
        self.columns = tuple(self._table.column_names)

    def unfit(self, columns: Sequence[str]) -> dict[str, str]:
        """Return the type of each non-numeric column; see `TableFile.unfit`."""
        return unfit_types(self._table.schema, columns)

    def place(self, row: int) -> str:
        """Return the place of a row (from 0) in the file."""
        return f"row {row + 1}"

    def read(self, texts: Sequence[str], numbers: dict[str, pa.DataType]) -> Iterator[tuple[str, pa.ChunkedArray]]:
        """Yield columns with their names; see `TableFile.read`."""
        for column, kind in self.unfit(tuple(numbers)).items():
            raise InputError(f"{self.path}: column {column!r} must hold numbers, got {kind}")
        for column, values in converted(self.path, self._table.select([*texts, *numbers]), texts, numbers):
            yield column, self._labelled(column, values) if column in texts else values

    def _labelled(self, column: str, values: pa.ChunkedArray) -> pa.ChunkedArray:
        """Return the labels of values; values stay as they are if two of them would become the same text."""
        label_of = {_plain(value): label for value, label in self._labels.get(column, {}).items()}
        cells = values.to_pylist()
        labelled = [label_of.get(cell, cell) for cell in cells]
        if len(set(labelled)) < len(set(cells)):
            return values
        return pa.chunked_array([pa.array(labelled, pa.string())])


def _plain(value: float | str) -> str:
    """Return a value as `helo.data.arrow.as_text` writes it."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _require_room(path: Path, header: Any) -> None:
    """Raise `InputError` for more rows than the file can hold. Reading a damaged header would fill the memory."""
    rows, columns = header.number_rows or 0, max(1, header.number_columns or 0)
    if rows * columns > path.stat().st_size * _DENSEST:
        raise InputError(f"{path}: is damaged: its header says {rows:,} rows, more than a file of its size can hold")
