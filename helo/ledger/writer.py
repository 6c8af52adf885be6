"""Writing a ledger for hours: parts are packed beside the search as they become many."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

import pyarrow as pa

from helo.ledger.ledger import Ledger, rows_in
from helo.ledger.packs import pack_parts
from helo.ledger.record import CellRecord

PACK: Final = 1000
"""Parts that become one pack. A million of them would be slow to list, to open and, on object storage, to pay."""


class LedgerWriter:
    """The one process that adds to a ledger, in a ``with`` block that waits for a pack in the making.

    - `pack`: parts that become one pack
    - `guard`: called before a part is written; raises `OSError` where this search may no longer do that
    """

    def __init__(self, ledger: Ledger, pack: int = PACK, guard: Callable[[], None] = lambda: None) -> None:
        self.ledger, self.pack, self.guard = ledger, pack, guard
        self._open = sum(rows_in(name) == 1 for name in ledger.files())
        self._packing: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._packing is not None:
            self._packing.join()

    def append(self, record: CellRecord, fold_number: int) -> None:
        """Write one finished cell, whole or not at all; when this returns, it is there."""
        self.guard()
        self.ledger.append(record, fold_number)
        self._open += 1
        if self._open >= self.pack and (self._packing is None or not self._packing.is_alive()):
            self._open = 0
            self._packing = threading.Thread(target=self._pack, name="helo-pack")
            self._packing.start()

    def _pack(self) -> None:
        with contextlib.suppress(OSError, pa.ArrowException):  # the parts are there, and their turn comes again
            pack_parts(self.ledger, self.pack)
