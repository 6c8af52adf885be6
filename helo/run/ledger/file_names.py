"""File names of the ledger, and what they tell about the cells in a file."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Final

PACKS: Final = "pack-*-*-*.parquet"
"""Pattern of the names of packs."""

PARTS: Final = "c*-f*.parquet"
"""Pattern of the names of the parts of HeLo's cells."""

BASELINE_PARTS: Final = "b-*-f*.parquet"
"""Pattern of the names of the parts of the baselines' cells."""


def pack_name(number: int, rows: int, mark: str) -> str:
    """Return the name of a pack from its running number, its number of rows and the mark of its process.

    The mark, of letters and digits, keeps packs of different processes apart.

    >>> pack_name(3, 1000, "a1b2"), rows_in(pack_name(3, 1000, "a1b2")), rows_in("c00007-f0003.parquet")
    ('pack-00000003-1000-a1b2.parquet', 1000, 1)
    """
    return f"pack-{number:08d}-{rows}-{mark}.parquet"


def rows_in(name: str) -> int:
    """Return the number of cells in a file, from its name."""
    found = re.fullmatch(r"pack-\d+-(\d+)-\w+\.parquet", name)
    return int(found[1]) if found else 1


def is_pack(name: str) -> bool:
    """Return whether a file is a pack, from its name."""
    return rows_in(name) > 1


def cell_of(name: str) -> tuple[int, int] | None:
    """Return the cell (configuration, fold number) of a part from its name; None for other files.

    >>> cell_of("c00007-f0003.parquet"), cell_of("b-ridge-f0003.parquet")
    ((7, 3), None)
    """
    found = re.fullmatch(r"c(\d+)-f(\d+)\.parquet", name)
    return (int(found[1]), int(found[2])) if found else None


def fold_number_of(name: str) -> int | None:
    """Return the fold number of a part from its name; None for a pack, which has a column of fold numbers."""
    return None if is_pack(name) else int(PurePosixPath(name).stem.rpartition("-f")[2])
