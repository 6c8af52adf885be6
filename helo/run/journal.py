"""Journal of a run: what its search does and says, for readers that follow it. Cells and results do not depend on it.

``journal.jsonl`` has one JSON object per line. Keys whose value is unknown are left out.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from helo.names import FileName, SearchPhase
from helo.storage import Folder

MOST_ENTRIES: Final = 500
"""Number of entries that are kept when the journal is rewritten: at every start, and on object storage."""

Count = tuple[int, int]
"""Number of finished cells, and of all cells."""


@dataclass(frozen=True)
class Entry:
    """One entry of a journal.

    Attributes
    ----------
    at : datetime
        Time in UTC.
    phase : str
        A `helo.names.SearchPhase`.
    text : str
        What the search said, or an empty text.
    cells, baselines : (int, int) or None
        Number of finished cells, and of all cells that the search will have.
    seconds : float or None
        Expected duration of the phase.
    memory : (int, int) or None
        Bytes in use on the machine that drives the search, and their limit.
    """

    at: datetime
    phase: str
    text: str = ""
    cells: Count | None = None
    baselines: Count | None = None
    seconds: float | None = None
    memory: Count | None = None

    def to_line(self) -> str:
        """Return the entry as a line of the file."""
        found = {name: value for name, value in vars(self).items() if value not in (None, "")}
        return json.dumps(found | {"at": self.at.isoformat(timespec="seconds")})

    @classmethod
    def from_line(cls, line: str) -> Entry | None:
        """Read a line of the file; None for a line that is damaged or not written whole yet.

        >>> Entry.from_line('{"at": "2026-11-21T03:00:00+00:00", "phase": "cells", "cells": [3, 9]}').cells
        (3, 9)
        >>> Entry.from_line('{"at": "2026-11-2') is None
        True
        """
        try:
            found = json.loads(line)
            at, seconds = datetime.fromisoformat(found["at"]), found.get("seconds")
            return cls(
                at if at.tzinfo else at.replace(tzinfo=UTC),
                SearchPhase(found["phase"]),
                str(found.get("text", "")),
                _count(found.get("cells")),
                _count(found.get("baselines")),
                None if seconds is None else float(seconds),
                _count(found.get("memory")),
            )
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return None


def _count(value: Any) -> Count | None:
    if value is None:
        return None
    finished, total = map(int, value)
    return finished, total


def read_journal(folder: Folder) -> list[Entry]:
    """Return the entries of the journal of a run; none if it has no journal, as runs of earlier versions.

    Parameters
    ----------
    folder : Folder
        Folder of the run.

    Raises
    ------
    OSError
        If the storage fails.
    """
    try:
        content = folder.read(FileName.JOURNAL)
    except FileNotFoundError:
        return []
    entries = map(Entry.from_line, content.decode("utf-8", "replace").splitlines())
    return [entry for entry in entries if entry is not None]


def _append(path: Path, line: str) -> None:
    """Add a line to an existing file. A link that somebody has put in its place is not followed."""
    with open(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK), "a", encoding="ascii") as file:
        file.write(f"{line}\n")


class Journal:
    """Writer of a journal. A journal that cannot be written does not end a search: its entries are lost.

    Parameters
    ----------
    folder : Folder
        Folder of the run.
    clock : callable
        Returns the time in UTC.
    """

    def __init__(self, folder: Folder, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._folder, self._clock = folder, clock
        self._phase: str = SearchPhase.STARTING
        self._lines: list[str] = []
        self._has_written = False
        with contextlib.suppress(OSError):
            self._lines = [entry.to_line() for entry in read_journal(folder)]

    def write(self, text: str = "", phase: str | None = None, **known: Any) -> None:
        """Write an entry.

        Parameters
        ----------
        text : str
            What the search says.
        phase : str, optional
            Phase that begins. By default the search is in the same phase as before.
        **known
            Further attributes of `Entry`.
        """
        self._phase = phase or self._phase
        line = Entry(self._clock(), self._phase, text, **known).to_line()
        self._lines = [*self._lines, line][-MOST_ENTRIES:]
        with contextlib.suppress(OSError):
            if self._has_written and self._folder.here is not None:
                _append(self._folder.here / FileName.JOURNAL, line)
            else:
                self._folder.write(FileName.JOURNAL, "".join(f"{one}\n" for one in self._lines).encode("ascii"))
                self._has_written = True
