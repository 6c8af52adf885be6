"""Packs: many parts of a ledger in one file."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath

import pyarrow as pa

from helo.ledger.ledger import READERS, Ledger, pack_name, rows_in
from helo.ledger.record import ROW, part_name


def pack_parts(ledger: Ledger, size: int) -> None:
    """Put the parts of a ledger into packs of `size` cells, and leave the rest that makes none.

    A pack is there before its parts go, so a cell is never missing; until they are gone it is there twice. What another
    packing left when it was cut short goes first. Parts that cannot be read stay. Raises `OSError` where the storage
    fails; nothing is lost then.
    """
    files = ledger.files()
    packs = [name for name in files if rows_in(name) > 1]
    parts = [name for name in files if rows_in(name) == 1]
    if packs:
        packed = {f"{part_name(*cell)}.parquet" for cell in ledger.cells_of(packs[-1])}
        _delete(ledger, [name for name in parts if name in packed])
        parts = [name for name in parts if name not in packed]
    number = max((int(PurePosixPath(name).stem.split("-")[1]) for name in packs), default=0)
    while len(parts) >= size:
        chosen, parts = parts[:size], parts[size:]
        tables, names = [], []
        for name, found in zip(chosen, ledger.each(chosen, ROW.names), strict=True):
            if isinstance(found, pa.Table):
                tables.append(found)
                names.append(name)
        if len(names) < 2:
            continue
        number += 1
        rows = pa.concat_tables(tables)
        made = pack_name(number, len(names))
        ledger.folder.write(made, ledger.encode(rows, ROW, made))
        _delete(ledger, names)


def _delete(ledger: Ledger, names: list[str]) -> None:
    with ThreadPoolExecutor(READERS) as pool:
        list(pool.map(ledger.folder.delete, names))  # which raises what they raise
