"""Recognition of downloads and tables that are not datasets yet."""

from __future__ import annotations

import re
import shlex
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from helo.data.archives import READ_ERRORS

_TABLES: Final = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".txt", ".parquet", ".xlsx", ".sav", ".dta")
_LEVELS: Final = 3  # folders below a path in which a download is looked for
_MOST_NAMES: Final = 2000

# The command that reads a folder or an archive with a file of such a name, as far as it is known.
_WESAD: Final = re.compile(r"(?:^|/)S[0-9]+/S[0-9]+(?:\.pkl|_quest\.csv)$")
_E4: Final = re.compile(r"(?:^|/)BVP\.csv$|_E4_Data\.zip$")
_DMER: Final = re.compile(r"(?:^|/)[0-9]+\.mat$|(?:^|/)[0-9]+/datas\.mat$")


def reader_of(path: Path) -> str:
    """Return the command that makes a dataset of a download or table, as the end of a message.

    Parameters
    ----------
    path
        A file, or a folder that is no dataset directory.

    Returns
    -------
    str
        Words such as "make one with python -m helo.data wesad …". Empty for a folder in which nothing is recognised.
    """
    name = path.name.lower()
    quoted = shlex.quote(str(path))
    if path.is_file() and name.endswith(_TABLES):
        return _table_command(quoted)
    names = list(_names(path))
    for pattern, kind in ((_WESAD, "wesad"), (_DMER, "dmer"), (_E4, "e4")):
        if any(pattern.search(name) for name in names):
            ratings = " --ratings FILE --emotions COLUMNS" if kind == "e4" else ""
            return f"make one with python -m helo.data {kind} {quoted}{ratings} --out DIR"
    tables = [name for name in names if name.lower().endswith(_TABLES) and "/" not in name]
    if path.is_dir() and tables:
        return _table_command(shlex.quote(str(path / min(tables))))
    return "" if path.is_dir() else "make one from a table with python -m helo.data table"


def _table_command(quoted: str) -> str:
    return (
        f"make one with python -m helo.data table {quoted} --subject COLUMN --emotions COLUMNS --modality "
        "NAME=ROLE:COLUMNS --out DIR"
    )


def _names(path: Path) -> Iterable[str]:
    """Return names of files in a folder or an archive, relative to it."""
    if path.is_dir():
        found: list[str] = []
        for level in range(1, _LEVELS + 1):
            for file in path.glob("/".join("*" * level)):
                found.append(file.relative_to(path).as_posix())
                if len(found) >= _MOST_NAMES:
                    return found
        return found
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()[:_MOST_NAMES]
    except READ_ERRORS:
        return []
