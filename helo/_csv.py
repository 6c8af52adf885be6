"""Writing of CSV files that no spreadsheet program takes for formulas."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import pandas as pd

_ACTS: Final = re.compile(r"[=+\-@\t\r]")
_NUMBER: Final = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[-+]?[0-9]+)?|-?inf", re.IGNORECASE)


def guard_cell(value: Any) -> Any:
    """Return a cell with an apostrophe before a text that a spreadsheet program would compute or run.

    The tables of the report are copied and downloaded by the same rule, see ``web/sortable.js`` of `helo.analysis`.

    >>> guard_cell("=1+1"), guard_cell("-1.5e3"), guard_cell("S1"), guard_cell(-2)
    ("'=1+1", '-1.5e3', 'S1', -2)
    """
    acts = isinstance(value, str) and _ACTS.match(value) and not _NUMBER.fullmatch(value)
    return f"'{value}" if acts else value


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write a table without its index, in UTF-8. Names and texts of users pass `guard_cell`.

    Parameters
    ----------
    table : pandas.DataFrame
        Table whose columns have different names.
    path : pathlib.Path
        Path of the file.
    """
    texts = {name: table[name].map(guard_cell) for name in table.columns if table[name].dtype.kind == "O"}
    table.assign(**texts).rename(columns=guard_cell).to_csv(path, index=False, encoding="utf-8")
