"""The ledger: the append-only record of the finished cells of a run, from which its tables are made.

Each finished cell is first written as a **part**, a Parquet file with one row. When there are many parts, they are
packed: a **pack** is a Parquet file with the rows of many cells. A reader sees each file whole or not at all, even if
the writing process is killed. Files carry the identity of their search, so that files of another search are recognised.
"""

from helo.run.ledger.file_names import cell_of, is_pack, rows_in
from helo.run.ledger.ledger import Ledger, cells_in
from helo.run.ledger.packs import drop_cells
from helo.run.ledger.record import (
    HISTORY_COLUMNS,
    RECORD_COLUMNS,
    ROW,
    SET_ASIDE,
    CellRecord,
    matrix_of,
    part_name,
    records_of,
    rows_of,
    runs_again,
)
from helo.run.ledger.writer import PACK, LedgerWriter

__all__ = [
    "HISTORY_COLUMNS",
    "PACK",
    "RECORD_COLUMNS",
    "ROW",
    "SET_ASIDE",
    "CellRecord",
    "Ledger",
    "LedgerWriter",
    "cell_of",
    "cells_in",
    "drop_cells",
    "is_pack",
    "matrix_of",
    "part_name",
    "records_of",
    "rows_in",
    "rows_of",
    "runs_again",
]
