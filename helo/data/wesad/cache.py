"""Cache of the features of finished subjects, which lets an interrupted reading resume."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from helo.data.archives import READ_ERRORS
from helo.data.wesad.sources import Source
from helo.errors import InputError
from helo.storage.atomic import whole_file

_FORMAT: Final = 2
"""Version of the cache. Increase it whenever the features of the same recording change."""

_DAMAGED: Final[tuple[type[Exception], ...]] = (ValueError, KeyError, TypeError, *READ_ERRORS)
"""Errors of reading a damaged file."""


class SubjectWindows(NamedTuple):
    """Windows of one subject."""

    features: NDArray[np.float64]  # (N, F)
    conditions: NDArray[np.str_]  # (N,)
    without_signal: int
    """Number of windows left out because no sensor recorded anything."""
    gaps: NDArray[np.float64]  # (M,)
    """Share of the samples in all windows that are missing, by modality."""


def cache_path(folder: Path, source: Source, settings: dict[str, object]) -> Path:
    """Return the file of a subject, which depends on the settings, the pickle and the questionnaire."""
    state = [_FORMAT, source.subject, source.stamp, source.quest_text(), settings]
    digest = hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()[:16]
    return folder / f"{source.subject}-{digest}.npz"


def read_cached(path: Path, columns: int) -> SubjectWindows | None:
    """Return cached windows with `columns` features, or None if the file is missing or damaged."""
    try:
        with np.load(path, allow_pickle=False) as kept:
            windows = SubjectWindows(kept["features"], kept["conditions"], int(kept["without_signal"]), kept["gaps"])
    # A missing or damaged file is written again.
    except _DAMAGED:
        return None
    return windows if windows.features.shape == (len(windows.conditions), columns) else None


def write_cached(path: Path, windows: SubjectWindows) -> None:
    """Write the windows of a subject, completely or not at all."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as hidden, hidden.open("wb") as stream:
            np.savez(stream, **windows._asdict())
    except OSError as error:
        raise InputError(f"{path.parent}: cannot be written ({error.strerror or error})") from None
