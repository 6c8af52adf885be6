"""Columns of Arrow as numbers and as text, whatever type another program gave them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from helo.errors import InputError


def is_number(kind: pa.DataType) -> bool:
    """Return whether a column of this type can be a feature: integers, floats, decimals, booleans, or codes for them.

    >>> [is_number(kind) for kind in (pa.float16(), pa.decimal128(5, 2), pa.string())]
    [True, True, False]
    """
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    tests = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_decimal)
    return any(test(kind) for test in tests)


def as_numbers(values: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """Return a column of numbers, or of nothing but empty cells, as floating-point numbers.

    Parameters
    ----------
    values
        Column whose type is one for `is_number`, or null.
    kind
        Floating-point type of the result.

    Returns
    -------
    ChunkedArray
        The numbers. Empty cells are null or NaN. Numbers beyond the range of `kind` are infinite.
    """
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if pa.types.is_boolean(values.type):  # Arrow has no cast from bool to float32
        values = values.cast(pa.int8())
    elif pa.types.is_decimal(values.type):
        values = values.cast(pa.float64())
    return values.cast(kind, safe=False)


def as_text(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column as text, in which whole numbers have no decimal point.

    Parameters
    ----------
    values
        Column of single values.

    Returns
    -------
    ChunkedArray
        The texts. Empty cells and NaN are null.

    Raises
    ------
    ArrowException
        If the column has a nested type, holds nothing but nulls, or has no text form.
    UnicodeError
        If a text is not valid UTF-8, as in a damaged file. Python could not read it.
    """
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if pa.types.is_nested(values.type) or (pa.types.is_null(values.type) and len(values)):
        raise pa.ArrowNotImplementedError(f"no text form of {values.type}")
    if pa.types.is_decimal(values.type):
        values = values.cast(pa.float64())
    if pa.types.is_floating(values.type):
        # NaN is what pandas writes for an empty cell of a column of numbers.
        numbers = values.cast(pa.float64()).to_numpy(zero_copy_only=False)
        values = pa.chunked_array([pa.array(numbers, from_pandas=True)])
    texts = values.cast(pa.string())
    try:
        texts.validate(full=True)
    except pa.ArrowInvalid as error:
        raise UnicodeError(str(error)) from None
    return texts


def converted(
    where: Path | str, table: pa.Table, texts: Sequence[str], numbers: dict[str, pa.DataType]
) -> Iterator[tuple[str, pa.ChunkedArray]]:
    """Yield the columns of a table as text and numbers.

    Parameters
    ----------
    where
        Path or name of the table, for messages.
    table
        Columns that are all among `texts` and `numbers`.
    texts
        Names of columns of text.
    numbers
        Name of a column of numbers → type of the result.

    Yields
    ------
    tuple of str and ChunkedArray
        Name and values of a column.

    Raises
    ------
    InputError
        If a column has no text form.
    """
    for column in table.column_names:
        values = table[column]
        if column not in texts:
            yield column, as_numbers(values, numbers[column])
            continue
        try:
            yield column, as_text(values)
        except pa.ArrowException:
            raise InputError(f"{where}: column {column!r} must hold names, got {values.type}") from None
        except UnicodeError:
            raise InputError(f"{where}: column {column!r} must hold text in UTF-8; the file may be damaged") from None


def unfit_types(schema: pa.Schema, columns: Sequence[str]) -> dict[str, str]:
    """Return the type of each column of a schema, among `columns`, that does not hold numbers."""
    kinds = {column: schema.field(column).type for column in columns if column in schema.names}
    return {column: str(kind) for column, kind in kinds.items() if not (is_number(kind) or pa.types.is_null(kind))}
