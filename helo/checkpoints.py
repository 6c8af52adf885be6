"""Where a cell's training stands, on disk: written whole or not at all, and read without running code."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from helo.training import CellTraining


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
            state: Mapping[str, Any] = torch.load(self.path, map_location=device, weights_only=True)
        except FileNotFoundError:
            return None
        except Exception:  # whatever a damaged file leads the reader to; weights_only admits no code
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
        hidden = self.path.with_name(f".{self.path.name}")
        try:
            torch.save(state, hidden)
            os.replace(hidden, self.path)
        except (OSError, RuntimeError):  # torch's word for a full disk
            # A checkpoint saves time and is no result: where none can be written, the cell goes on without.
            hidden.unlink(missing_ok=True)
