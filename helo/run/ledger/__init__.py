"""The append-only record of finished cells: the only truth about a run.

A finished cell is a **part**, one Parquet file with one row. Where parts become many they are packed: a **pack** is one
file with the rows of many. A reader sees each file whole or not at all, whatever ends the process that writes. Files
carry the identity of their search, so that those of another one are told from its own. The tables of a run are views of
the ledger and can be made again.
"""

from helo.run.ledger.ledger import Ledger, cell_of, cells_in, is_pack, rows_in
from helo.run.ledger.record import HISTORY_COLUMNS, ROW, SET_ASIDE, CellRecord, part_name, records_of, rows_of
from helo.run.ledger.writer import PACK, LedgerWriter

__all__ = [
    "HISTORY_COLUMNS",
    "PACK",
    "ROW",
    "SET_ASIDE",
    "CellRecord",
    "Ledger",
    "LedgerWriter",
    "cell_of",
    "cells_in",
    "is_pack",
    "part_name",
    "records_of",
    "rows_in",
    "rows_of",
]
