"""Where a cell's training stands, on disk: written whole or not at all, and read without running code.

A file is the SHA-256 of the state and the state itself, so that damage is seen and not trained on with.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from helo.files import whole_file
from helo.training import CellTraining

_DIGEST = hashlib.sha256().digest_size


@dataclass
class CheckpointFile:
    """The last state of one cell: a `helo.training.Keeper`.

    - `every`: seconds between two states kept; most cells are over before the first
    - `deadline`: when the search has to end (Unix time): then the state is kept and the cell pauses
    """

    path: Path
    every: float
    deadline: float | None = None
    _last: float = field(default_factory=time.monotonic)

    def load(self, device: torch.device) -> Mapping[str, Any] | None:
        """See `helo.training.Keeper`. A damaged file counts as none: the cell starts from the beginning."""
        try:
            content = self.path.read_bytes()
        except OSError:
            return None
        digest, payload = content[:_DIGEST], content[_DIGEST:]
        if hashlib.sha256(payload).digest() != digest:
            return None
        try:
            state: Mapping[str, Any] = torch.load(io.BytesIO(payload), map_location=device, weights_only=True)
        except Exception:  # whatever a file of another version leads the reader to; weights_only admits no code
            return None
        return state

    def after_epoch(self, training: CellTraining) -> bool:
        """See `helo.training.Keeper`."""
        late = self.deadline is not None and time.time() >= self.deadline
        if late or time.monotonic() - self._last >= self.every:
            self._save(training.state())
            self._last = time.monotonic()
        return late

    def _save(self, state: Mapping[str, Any]) -> None:
        buffer = io.BytesIO()
        torch.save(state, buffer)
        payload = buffer.getvalue()
        # A checkpoint saves time and is no result: where none can be written, the cell goes on without.
        with contextlib.suppress(OSError), whole_file(self.path) as hidden:
            hidden.write_bytes(hashlib.sha256(payload).digest() + payload)
