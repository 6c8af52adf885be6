"""Packs: many parts of a ledger in one file."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath

import pyarrow as pa

from helo.run.ledger.ledger import READERS, DamagedError, Ledger, is_pack, pack_name
from helo.run.ledger.record import ROW, part_name


def pack_parts(ledger: Ledger, size: int, guard: Callable[[], None] = lambda: None) -> None:
    """Put the parts of a ledger into packs of `size` cells, and leave the rest that makes none.

    A pack is there before its parts go, so a cell is never missing; until they are gone it is there twice (see `tidy`).
    Parts that cannot be read stay. `guard` raises `OSError` where this process may no longer change the ledger. Raises
    `OSError` where the storage fails; nothing is lost then.
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
        # Two who believe that the ledger is theirs must not write one over the other's.
        made = pack_name(number, len(whole), secrets.token_hex(4))
        content = ledger.encode(pa.concat_tables(whole.values()), ROW, made)
        guard()
        ledger.folder.write(made, content)
        guard()
        _delete(ledger, list(whole))


def tidy(ledger: Ledger) -> None:
    """Delete the parts of cells that are in a pack: a packing was cut short. Raises `OSError` as `pack_parts` does."""
    files = ledger.files()
    left = {name for name in files if not is_pack(name)}
    packs = [name for name in files if is_pack(name)]
    if not left or not packs:
        return

    def cells(pack: str) -> list[tuple[int, int]]:
        try:
            return ledger.cells_of(pack)
        except DamagedError:  # found and told by whoever reads it
            return []

    with ThreadPoolExecutor(READERS) as pool:
        packed = {f"{part_name(*cell)}.parquet" for found in pool.map(cells, packs) for cell in found}
    _delete(ledger, sorted(left & packed))


def _delete(ledger: Ledger, names: list[str]) -> None:
    with ThreadPoolExecutor(READERS) as pool:
        list(pool.map(ledger.folder.delete, names))  # which raises what they raise
