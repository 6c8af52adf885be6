"""Checkpoints of cells in training, in a folder that every node can reach.

A file holds the SHA-256 digest of a checkpoint, then the checkpoint itself. A damaged file is therefore detected and
never resumed from. Reading a checkpoint runs no code.
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

from helo._deadline import Deadline
from helo.training.cell import CellTraining

_DIGEST_SIZE = hashlib.sha256().digest_size


class CheckpointStore(Protocol):
    """Storage of checkpoints: the part of `helo.storage.Folder` that they need. Its errors are `OSError`."""

    def read(self, name: str) -> bytes:
        """Return the content of a file; raise `FileNotFoundError` if it does not exist."""

    def write(self, name: str, content: bytes) -> None:
        """Write a file atomically."""

    def delete(self, name: str) -> None:
        """Delete a file if it exists."""


def never_draining() -> bool:
    """Return False: this node is not about to be taken away."""
    return False


@dataclass
class CheckpointFile:
    """The latest checkpoint of one cell: a `helo.training.cell.Checkpointer`.

    Attributes
    ----------
    store : CheckpointStore
        Folder of the file.
    name : str
        Name of the file in `store`.
    interval : float
        Seconds between two checkpoints. Most cells finish before the first one is due.
    deadline : Deadline or None
        Time at which the search has to end. The cell then saves a checkpoint and pauses.
    is_draining : callable
        Whether this node is about to be taken away. The cell then saves a checkpoint and pauses.
    may_exist : bool
        Whether the file may exist, so that it has to be deleted when the cell has finished.
    """

    store: CheckpointStore
    name: str
    interval: float
    deadline: Deadline | None = None
    is_draining: Callable[[], bool] = never_draining
    may_exist: bool = field(default=False, init=False)
    _last_saved: float = field(default_factory=time.monotonic, init=False)

    def load(self, device: torch.device) -> Mapping[str, Any] | None:
        """Return the latest checkpoint, or None if it is missing, unreadable or damaged.

        Parameters
        ----------
        device : torch.device
            Device of the tensors that are returned.

        Returns
        -------
        mapping or None
            A `CellTraining.state`. Without one the cell starts from the beginning.
        """
        try:
            content = self.store.read(self.name)
        except FileNotFoundError:
            return None
        except OSError:
            self.may_exist = True
            return None
        self.may_exist = True
        digest, payload = content[:_DIGEST_SIZE], content[_DIGEST_SIZE:]
        if hashlib.sha256(payload).digest() != digest:
            return None
        try:
            state: Mapping[str, Any] = torch.load(io.BytesIO(payload), map_location=device, weights_only=True)
        except Exception:  # A file of another version may raise anything; `weights_only` runs no code.
            return None
        return state

    def after_epoch(self, training: CellTraining) -> bool:
        """Save a checkpoint if one is due, and return whether the cell has to pause."""
        must_pause = (self.deadline is not None and self.deadline.passed) or self.is_draining()
        if must_pause or time.monotonic() - self._last_saved >= self.interval:
            self._save(training.state())
            self._last_saved = time.monotonic()
        return must_pause

    def _save(self, state: Mapping[str, Any]) -> None:
        buffer = io.BytesIO()
        torch.save(state, buffer)
        payload = buffer.getvalue()
        self.may_exist = True
        # A checkpoint saves time but is not a result: if it cannot be written, training continues without it.
        with contextlib.suppress(OSError):
            self.store.write(self.name, hashlib.sha256(payload).digest() + payload)
