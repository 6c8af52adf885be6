"""Where a cell's training stands, in a folder that every node reaches: read without running code.

A file is the SHA-256 of the state and the state itself, so that damage is seen and not trained on with.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from helo.training.cell import CellTraining

_DIGEST = hashlib.sha256().digest_size


class Store(Protocol):
    """Where checkpoints lie: what a `helo.storage.Folder` has of it. Errors are `OSError`."""

    def read(self, name: str) -> bytes:
        """The content of a file; raise `FileNotFoundError` if there is none."""

    def write(self, name: str, content: bytes) -> None:
        """Write a file, whole or not at all."""

    def delete(self, name: str) -> None:
        """Delete a file, if it is there."""


def stays() -> bool:
    """Of a machine that nobody is about to take away: it does not leave."""
    return False


@dataclass
class CheckpointFile:
    """The last state of one cell: a `helo.training.cell.Keeper`.

    - `folder`, `name`: where it lies
    - `every`: seconds between two states kept; most cells are over before the first
    - `deadline`: when the search has to end (Unix time): then the state is kept and the cell pauses
    - `leaves`: whether this machine is about to go: then likewise
    - `kept`: whether there may be a file
    """

    folder: Store
    name: str
    every: float
    deadline: float | None = None
    leaves: Callable[[], bool] = stays
    kept: bool = field(default=False, init=False)
    _last: float = field(default_factory=time.monotonic, init=False)

    def load(self, device: torch.device) -> Mapping[str, Any] | None:
        """See `helo.training.cell.Keeper`. A damaged file counts as none: the cell starts from the beginning."""
        try:
            content = self.folder.read(self.name)
        except FileNotFoundError:
            return None
        except OSError:
            self.kept = True
            return None
        self.kept = True
        digest, payload = content[:_DIGEST], content[_DIGEST:]
        if hashlib.sha256(payload).digest() != digest:
            return None
        try:
            state: Mapping[str, Any] = torch.load(io.BytesIO(payload), map_location=device, weights_only=True)
        except Exception:  # whatever a file of another version leads the reader to; weights_only admits no code
            return None
        return state

    def after_epoch(self, training: CellTraining) -> bool:
        """See `helo.training.cell.Keeper`."""
        pauses = (self.deadline is not None and time.time() >= self.deadline) or self.leaves()
        if pauses or time.monotonic() - self._last >= self.every:
            self._save(training.state())
            self._last = time.monotonic()
        return pauses

    def _save(self, state: Mapping[str, Any]) -> None:
        buffer = io.BytesIO()
        torch.save(state, buffer)
        payload = buffer.getvalue()
        self.kept = True
        # A checkpoint saves time and is no result: where none can be written, the cell goes on without.
        with contextlib.suppress(OSError):
            self.folder.write(self.name, hashlib.sha256(payload).digest() + payload)
