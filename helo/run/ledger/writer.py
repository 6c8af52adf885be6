"""Writer of a ledger, which packs parts in the background."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

import pyarrow as pa

from helo._machine import release_memory
from helo.run.ledger.file_names import is_pack
from helo.run.ledger.ledger import Ledger
from helo.run.ledger.packs import pack_parts, tidy
from helo.run.ledger.record import CellRecord

PACK: Final = 1000
"""Number of parts in a pack. A million single parts would be slow to list and, on object storage, expensive."""


class LedgerWriter:
    """The only writer of a ledger, as a context that waits for running packing at its end.

    Parameters
    ----------
    ledger : Ledger
        Ledger to write.
    pack : int
        Number of parts in a pack.
    guard : callable
        Function that raises `OSError` if this process may no longer change the ledger. It is called before each change.
    tell : callable
        Function that prints, once, why parts are not packed. Such parts are only slower to read.
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
        """Write a finished cell, whole or not at all. It is stored when this returns."""
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
        except (OSError, ValueError, pa.ArrowException) as error:  # the parts are kept and packed later
            if not self._told:
                self._told = True
                self.tell(f"parts of the ledger are not packed: {error}")
        release_memory()  # of parts and packs, and of the cells before
