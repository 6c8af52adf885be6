"""Tables that a reader can sort, filter, copy and download: the HTML on which ``sortable.js`` acts."""

from __future__ import annotations

import html
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd

from helo.analysis.web.page import escape_html
from helo.metrics import METRICS

Value = str | int | float | None
"""What a cell is sorted by and exports. None is a missing value."""

MISSING: Final = "–"
"""Text of a cell without a value."""

_NUMBER: Final = re.compile(r"[<>]? ?[+\-−]?\d+(?P<tail>\.\d+)?(?P<exponent>e[+-]?\d+)?")
_INFINITE: Final = ("inf", "-inf")
_POINT: Final = 0.5  # width of a decimal point as a share of the width of a digit, about the same in common fonts


class Head(NamedTuple):
    """Head of a column.

    Attributes
    ----------
    label : str
        Title of the column.
    names : tuple of str
        Names of the exported columns, one for each value of a cell.
    unit : str
        Unit of the numbers, or the arrow of a metric.
    remark : str
        Small print below the label.
    """

    label: str
    names: tuple[str, ...]
    unit: str = ""
    remark: str = ""


class Cell(NamedTuple):
    """Cell of a table.

    Attributes
    ----------
    shown : str
        Text of the cell, such as a rounded number.
    values : tuple
        Exported values in full precision. The table is sorted by the first one.
    small : tuple of str
        Lines of small print below the text.
    """

    shown: str
    values: tuple[Value, ...]
    small: tuple[str, ...] = ()


class Row(NamedTuple):
    """Row of a table: cells, of which the first one is the head of the row, and attributes of the element."""

    cells: Sequence[Cell]
    attributes: Mapping[str, str] = {}


def text_cell(value: object, *small: str) -> Cell:
    """Return a cell that shows and exports a text.

    >>> text_cell("P03")
    Cell(shown='P03', values=('P03',), small=())
    """
    return Cell(str(value), (str(value),), small)


def value_cell(value: Any, to_text: Callable[[Any], str] = str, others: Sequence[object] = (), *small: str) -> Cell:
    """Return a cell that shows a formatted value, and exports it and `others` in full precision.

    >>> value_cell(0.123456, "{:.2f}".format, [0.1, float("nan")])
    Cell(shown='0.12', values=(0.123456, 0.1, None), small=())
    """
    values = tuple(as_value(one) for one in (value, *others))
    return Cell(MISSING if values[0] is None else to_text(value), values, small)


def as_value(value: object) -> Value:
    """Return a value of a table that JSON can hold. An infinite number becomes a text.

    >>> as_value(np.float64(0.25)), as_value(np.int64(3)), as_value(float("nan")), as_value(float("inf"))
    (0.25, 3, None, 'inf')
    """
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, bool | np.bool_):
        return str(bool(value))
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return None if math.isnan(value) else float(value) if math.isfinite(value) else str(float(value))
    return str(value)


def metric_head(metric: str, *others: str, before: str = "", remark: str = "") -> Head:
    """Return the head of a column with scores on a metric; `others` are the endings of further exported names.

    >>> metric_head("kl", "ci_low", before="Validation")
    Head(label='Validation KL', names=('validation_kl', 'validation_kl_ci_low'), unit='↓', remark='')
    """
    name = f"{before.lower()}_{metric}" if before else metric
    label = f"{before} {METRICS[metric].label}" if before else METRICS[metric].label
    return Head(label, (name, *(f"{name}_{one}" for one in others)), METRICS[metric].arrow, remark)


def render_table(caption: str, file: str, heads: Sequence[Head], rows: Sequence[Row]) -> str:
    """Return the HTML of a table.

    It can be read and printed without scripts. ``sortable.js`` adds the tools.

    Parameters
    ----------
    caption : str
        Title of the table, which also names it for screen readers.
    file : str
        Name of the downloaded file, without its ending. Letters that are unusual in file names are replaced.
    heads : sequence of Head
        Heads of the columns.
    rows : sequence of Row
        Rows, with as many cells as there are columns.

    Returns
    -------
    str
    """
    texts = [any(_is_text(row.cells[column].values[0]) for row in rows) for column in range(len(heads))]
    tails = [[_tail(row.cells[column].shown) for row in rows] for column in range(len(heads))]
    widest = [max(tail, default=0.0) for tail in tails]
    body = []
    for place, row in enumerate(rows):
        cells = [
            _render_cell(cell, column, texts[column], 0.0 if texts[column] else widest[column] - tails[column][place])
            for column, cell in enumerate(row.cells)
        ]
        given = "".join(f' {name}="{html.escape(value)}"' for name, value in row.attributes.items())
        body.append(f"<tr{given}>{''.join(cells)}</tr>")
    head = "".join(_render_head(one, is_text) for one, is_text in zip(heads, texts, strict=True))
    file = re.sub(r"[^\w.-]+", "-", file).strip("-.") or "table"
    return (
        f'<div class="table" data-file="{html.escape(file)}"><div class="view">'
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape_html(caption)}">'
        f"<table><caption><span>{escape_html(caption)}</span></caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(body)}</tbody></table></div></div></div>"
    )


def _is_text(value: Value) -> bool:
    return isinstance(value, str) and value not in _INFINITE


def _render_head(head: Head, is_text: bool) -> str:
    label = _breakable(escape_html(head.label))
    unit = f"&nbsp;{escape_html(head.unit)}" if head.unit else ""
    remark = f"<small>{escape_html(head.remark)}</small>" if head.remark else ""
    kind = ' class="text"' if is_text else ""
    names = html.escape(json.dumps(head.names))
    return f'<th scope="col"{kind} data-names="{names}"><span>{label}{unit}</span>{remark}</th>'


def _render_cell(cell: Cell, column: int, is_text: bool, pad: float) -> str:
    attributes = ' class="text"' if is_text else ""
    if cell.values != (cell.shown,) or cell.small:
        # Quotes of JSON are the only letters that need an escape in most values, so single quotes keep pages small.
        values = json.dumps(cell.values, separators=(",", ":"))
        attributes += f" data-values='{html.escape(values, quote=False).replace(chr(39), '&#x27;')}'"
    if pad:
        attributes += f' style="--pad:{pad:g}"'
    small = f"<small>{'<br>'.join(map(escape_html, cell.small))}</small>" if cell.small else ""
    shown = escape_html(cell.shown)
    if column:
        return f"<td{attributes}>{shown}{small}</td>"
    return f'<th scope="row"{attributes}>{_breakable(shown)}{small}</th>'


def _breakable(label: str) -> str:
    """Let a long name break after an underscore."""
    return label.replace("_", "_<wbr>")


def _tail(shown: str) -> float:
    """Return the width of what follows the integer part of a number, in digits."""
    found = _NUMBER.fullmatch(shown)
    if found is None:
        return 0.0
    tail, exponent = found["tail"] or "", found["exponent"] or ""
    return (len(tail) - 1 + _POINT if tail else 0.0) + len(exponent)
