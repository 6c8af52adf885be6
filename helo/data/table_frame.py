"""DataFrames as tables, with the checks of tables in files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from helo.data.arrow import converted, is_number
from helo.errors import InputError, shorten

if TYPE_CHECKING:
    import pandas as pd

WHERE: Final = "the table"
"""Name of a DataFrame in messages."""


class FrameTable:
    """A DataFrame as a `helo.data.table_file.TableFile`.

    Missing cells and types are recognised by Arrow, alike for every dtype of pandas 2 and 3.

    Parameters
    ----------
    frame
        The table. Its index is ignored.

    Raises
    ------
    InputError
        If two columns have the same name.
    """

    notes: tuple[str, ...] = ()

    def __init__(self, frame: pd.DataFrame) -> None:
        self._frame = frame
        self.columns = tuple(str(name) for name in frame.columns)
        repeated = sorted({column for column in self.columns if self.columns.count(column) > 1})
        if repeated:
            raise InputError(
                f"{WHERE}: columns must have different names, but {shorten(map(repr, repeated))} is repeated"
            )

    def unfit(self, columns: Sequence[str]) -> dict[str, str]:
        """Return the type of each non-numeric column among `columns`."""
        found: dict[str, str] = {}
        for column in columns:
            if column not in self.columns:
                continue
            try:
                kind = self._values(column).type
            except InputError:
                found[column] = "values of several types"
            else:
                if not (is_number(kind) or pa.types.is_null(kind)):
                    found[column] = str(kind)
        return found

    def place(self, row: int) -> str:
        """Return the place of a row (from 0), for messages."""
        return f"row {row} (counted from 0)"

    def read(self, texts: Sequence[str], numbers: dict[str, pa.DataType]) -> Iterator[tuple[str, pa.ChunkedArray]]:
        """Yield columns with their names, as `helo.data.table_file.TableFile.read` does."""
        for column, kind in self.unfit(tuple(numbers)).items():
            raise InputError(f"{WHERE}: column {column!r} must hold numbers, got {kind}")
        for column in (*texts, *numbers):
            yield from converted(WHERE, pa.table({column: self._values(column)}), texts, numbers)

    def _values(self, column: str) -> pa.ChunkedArray:
        """Return a column, with missing cells as null."""
        try:
            values = pa.array(self._frame.iloc[:, self.columns.index(column)], from_pandas=True)
        except pa.ArrowException:
            raise InputError(f"{WHERE}: column {column!r} must hold values of one type, text or numbers") from None
        return values if isinstance(values, pa.ChunkedArray) else pa.chunked_array([values])
