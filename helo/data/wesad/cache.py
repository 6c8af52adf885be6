"""Features of finished subjects, kept so that an interrupted reading goes on where it was."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from helo.data.wesad.sources import Source
from helo.errors import InputError
from helo.storage.atomic import whole_file

_FORMAT: Final = 1
"""To be raised whenever the features of the same recording change."""


class Part(NamedTuple):
    """One subject's windows."""

    features: NDArray[np.float64]  # (N, F)
    conditions: NDArray[np.str_]  # (N,)
    without_signal: int
    """Windows left out because no sensor had anything."""


def part_path(folder: Path, source: Source, settings: dict[str, object]) -> Path:
    """Where a subject's part is kept: another file for other settings, or when pickle or questionnaire change."""
    state = [_FORMAT, source.subject, source.stamp, source.quest_text(), settings]
    digest = hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()[:16]
    return folder / f"{source.subject}-{digest}.npz"


def read_part(path: Path, columns: int) -> Part | None:
    """A kept part with so many columns, or None if there is none that is whole."""
    try:
        with np.load(path, allow_pickle=False) as kept:
            part = Part(kept["features"], kept["conditions"], int(kept["without_signal"]))
    # A part can only be missing or damaged; it is made again.
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile):
        return None
    return part if part.features.shape == (len(part.conditions), columns) else None


def write_part(path: Path, part: Part) -> None:
    """Keep a part, whole or not at all."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as hidden, hidden.open("wb") as stream:
            np.savez(stream, **part._asdict())
    except OSError as error:
        raise InputError(f"{path.parent}: cannot be written ({error.strerror or error})") from None
