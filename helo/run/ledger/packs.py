"""Packs: many parts of a ledger in one file."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath

import pyarrow as pa

from helo.run.ledger.file_names import is_pack, pack_name
from helo.run.ledger.ledger import READERS, DamagedError, Ledger
from helo.run.ledger.record import ROW, part_name


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
        # A random part in the name: two writers must not overwrite each other's packs.
        made = pack_name(number, len(whole), secrets.token_hex(4))
        content = ledger.encode(pa.concat_tables(whole.values()), ROW, made)
        guard()
        ledger.folder.write(made, content)
        guard()
        _delete(ledger, list(whole))


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
