"""Writing a ledger for hours: parts are packed beside the search as they become many."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

import pyarrow as pa

from helo.run.ledger.ledger import Ledger, is_pack
from helo.run.ledger.packs import pack_parts, tidy
from helo.run.ledger.record import CellRecord

PACK: Final = 1000
"""Parts that become one pack. A million of them would be slow to list, to open and, on object storage, to pay."""


class LedgerWriter:
    """The one process that adds to a ledger, in a ``with`` block that waits for a pack in the making.

    - `pack`: parts that become one pack
    - `guard`: called before the ledger is changed; raises `OSError` where this search may no longer do that
    - `tell`: hears, once, why parts are not packed; they are as good, and only slower to read
    """

    def __init__(
        self,
        ledger: Ledger,
        pack: int = PACK,
        guard: Callable[[], None] = lambda: None,
        tell: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.ledger, self.pack, self.guard, self.tell = ledger, pack, guard, tell
        self._open = 0
        self._packing: threading.Thread | None = None
        self._told = False

    def __enter__(self) -> Self:
        tidy(self.ledger)
        self._open = sum(not is_pack(name) for name in self.ledger.files())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._packing is not None:
            self._packing.join()
            with contextlib.suppress(OSError):  # the next search tries again
                self.guard()
                tidy(self.ledger)

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
        try:
            pack_parts(self.ledger, self.pack, self.guard)
        except (OSError, ValueError, pa.ArrowException) as error:  # the parts are there, and their turn comes again
            if not self._told:
                self._told = True
                self.tell(f"parts of the ledger are not packed: {error}")
