"""Packs: many parts of a ledger in one file."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath

import pyarrow as pa

from helo.run.ledger.fetching import DamagedError
from helo.run.ledger.file_names import cell_of, is_pack, pack_name
from helo.run.ledger.ledger import READERS, Ledger, cells_in
from helo.run.ledger.record import PART, ROW, part_name


def pack_parts(ledger: Ledger, size: int, guard: Callable[[], None] = lambda: None) -> None:
    """Pack the parts of a ledger, `size` cells at a time. Remaining parts stay as they are.

    A pack is written before its parts are deleted, so no cell is ever missing. If the deletion is interrupted, cells
    exist twice, see `tidy`. Unreadable parts are not packed.

    Parameters
    ----------
    ledger : Ledger
        Ledger to pack.
    size : int
        Number of cells in a pack.
    guard : callable
        Function that raises `OSError` if this process may no longer change the ledger.

    Raises
    ------
    OSError
        If the storage fails. No cell is lost.
    """
    files = ledger.files()
    parts = [name for name in files if not is_pack(name)]
    packs = [name for name in files if is_pack(name)]
    number = max((int(PurePosixPath(name).stem.split("-")[1]) for name in packs), default=0)
    while len(parts) >= size:
        chosen, parts = parts[:size], parts[size:]
        read = dict(zip(chosen, ledger.each(chosen, ROW.names), strict=True))
        whole = {name: rows for name, rows in read.items() if isinstance(rows, pa.Table)}
        if len(whole) < 2:
            continue
        number += 1
        # The random suffix keeps two writers from overwriting each other's packs.
        name = pack_name(number, len(whole), secrets.token_hex(4))
        content = ledger.encode(pa.concat_tables(whole.values()), ROW, name)
        guard()
        ledger.folder.write(name, content)
        guard()
        _delete(ledger, list(whole))


def drop_cells(ledger: Ledger, cells: Collection[tuple[int, int]]) -> None:
    """Delete the records of cells of HeLo that are to run again.

    All other cells stay in the ledger at every moment. An interrupted call is completed by the next one.

    Parameters
    ----------
    ledger : Ledger
        Ledger to change.
    cells : collection of (int, int)
        Configuration and fold number of each cell.

    Raises
    ------
    OSError
        If the storage fails.
    """
    dropped = set(cells)
    files = ledger.files()
    packed = {name: set(ledger.cells_of(name)) for name in files if is_pack(name)}
    for name in [name for name, found in packed.items() if found & dropped]:
        left = packed.pop(name) - dropped
        if not left <= set().union(*packed.values()):  # otherwise a call that was interrupted has written them
            rows = ledger.each([name], ROW.names)[0]
            rows = rows.filter(pa.array([cell in left for cell in cells_in(rows)]))
            if len(rows) > 1:
                number = int(PurePosixPath(name).stem.split("-")[1])
                new = pack_name(number, len(rows), secrets.token_hex(4))
                ledger.folder.write(new, ledger.encode(rows, ROW, new))
                packed[new] = left
            else:
                new = f"{part_name(*cells_in(rows)[0])}.parquet"
                ledger.folder.write(new, ledger.encode(rows.select(PART.names), PART, new))
        ledger.folder.delete(name)
    _delete(ledger, [name for name in files if cell_of(name) in dropped])


def tidy(ledger: Ledger) -> None:
    """Delete the parts of cells that are in a pack, after an interrupted packing. Raise `OSError` if that fails."""
    files = ledger.files()
    left = {name for name in files if not is_pack(name)}
    packs = [name for name in files if is_pack(name)]
    if not left or not packs:
        return

    def cells(pack: str) -> list[tuple[int, int]]:
        try:
            return ledger.cells_of(pack)
        except DamagedError:  # reported when the pack is read
            return []

    with ThreadPoolExecutor(READERS) as pool:
        packed = {f"{part_name(*cell)}.parquet" for found in pool.map(cells, packs) for cell in found}
    _delete(ledger, sorted(left & packed))


def _delete(ledger: Ledger, names: list[str]) -> None:
    with ThreadPoolExecutor(READERS) as pool:
        list(pool.map(ledger.folder.delete, names))  # list() raises the errors of the threads
