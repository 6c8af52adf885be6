"""A run that is looked at again and again: what is new is read, what is the same is kept."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import uuid4

from helo.analysis.exhibits import EXHIBITS
from helo.analysis.ledger_tables import LedgerTables, is_behind
from helo.analysis.source import Source
from helo.analysis.web.page import figure_to_json

from helo._text import format_duration
from helo.errors import InputError, StorageError
from helo.names import Column, FileName, Status, TableName
from helo.run.directory import Run

TOLD = Callable[[int, int], None]

Shown = dict[str, str]
"""A figure as a page gets it: see `WatchedRun.figure`. Under ``made`` it has a name of its own."""

SOON = "This figure takes a moment: it will be here soon."

REST = 20
"""After a slow figure was made it rests for so many times as long: a search beside it needs the processor."""


class _Late(NamedTuple):
    """A slow figure as it was made last, when it may be made again, and of what it is."""

    made: Shown
    due: float
    source: Source
    announced: bool = False

    def is_due(self, source: Source) -> bool:
        return source is not self.source and time.monotonic() >= self.due


class Overview(NamedTuple):
    """What a run is at a glance, in sentences."""

    name: str
    progress: str
    verdict: str
    notes: tuple[str, ...]


def _shown(name: str, source: Source) -> Shown:
    found = {"made": uuid4().hex}
    try:
        if not EXHIBITS[name].applies(source):
            return found | {"reason": "Does not apply to a run that lists its configurations."}
        return found | {"figure": figure_to_json(EXHIBITS[name].plot(source))}
    except InputError as error:
        return found | {"reason": f"Nothing to show: {error}."}
    except Exception as error:  # one figure's fault must not take the others away
        return found | {"reason": f"This figure could not be made: {error!r}."}


class WatchedRun:
    """A run and what has been made of it; `look` brings it up to date. Threads of a server may share it."""

    def __init__(self, place: os.PathLike[str] | str, told: TOLD = lambda done, of: None) -> None:
        self.place = place
        self.version = 0
        self._lock = threading.RLock()
        self.gone = False
        self._run = Run.open(place)
        self._stamp: tuple[int, ...] = ()
        self._records: LedgerTables | None = None
        self._made: dict[str, Shown] = {}
        self._late: dict[str, _Late] = {}
        self.source = Source(self._run)
        self.refresh(told)

    def refresh(self, told: TOLD = lambda done, of: None) -> int:
        """Read what is new; the number that is returned has grown if there was anything.

        Where the storage does not answer, what was read stays until it does.
        """
        with self._lock:
            try:
                return self._read_changes(told)
            except StorageError:
                self._records = None  # perhaps half of what is new is in it
                return self.version

    def _read_changes(self, told: TOLD) -> int:
        written = self._written()
        if written != self._stamp[1:]:
            try:
                run = Run.open(self.place)
            except InputError:
                if not self.gone:
                    self.gone, self.version = True, self.version + 1
                return self.version
            self.gone = False
            if (run.manifest.identity, run.manifest.started) != (
                self._run.manifest.identity,
                self._run.manifest.started,
            ):
                self._records, self._late = None, {}  # another search has taken its place
            self._run = run
        behind = is_behind(self._run)
        if behind and self._records is None:
            self._records = LedgerTables(self._run)
        grown = self._records.refresh(told) if behind and self._records is not None else False
        if grown or (behind, *written) != self._stamp:
            self._stamp = (behind, *written)
            if not behind:
                self._records = None  # the files have it all
            self.source = Source(self._run, self._records)
            self._made = {}
            self.version += 1
        for name, late in self._late.items():
            if late.is_due(self.source) and not late.announced:
                self._late[name] = late._replace(announced=True)  # once: perhaps nobody shows it
                self.version += 1
        return self.version

    def figure(self, name: str) -> Shown:
        """A figure as JSON under ``figure``, or why there is none under ``reason``.

        One that is slow is made beside; until then it is the last that was made, and `version` grows once it is there.
        """
        with self._lock:
            if name in self._made:
                return self._made[name]
            if not EXHIBITS[name].slow:
                self._made[name] = _shown(name, self.source)
                return self._made[name]
            late = self._late.get(name)
            if late is None or late.is_due(self.source):
                made = late.made if late else {"made": "", "reason": SOON}
                late = self._late[name] = _Late(made, math.inf, self.source)
                threading.Thread(target=self._make_late, args=(name, self.source), daemon=True).start()
            return late.made

    def _make_late(self, name: str, source: Source) -> None:
        begun = time.monotonic()
        made = _shown(name, source)
        over = time.monotonic()
        with self._lock:
            self._late[name] = _Late(made, over + REST * (over - begun), source)
            self.version += 1

    def overview(self) -> Overview:
        """Name, how far the search is, and what it says so far."""
        with self._lock:
            name = self._run.folder.name
            if self.gone:
                name += ": the run directory is gone, this is what was read of it"
            try:
                return Overview(name, self._progress(), self.source.verdict, tuple(self.source.notes))
            except InputError as error:
                return Overview(name, f"Nothing to show yet: {error}.", "", ())

    def choices(self) -> tuple[list[str], list[int]]:
        """Subjects and configurations that there are cells of."""
        with self._lock:
            try:
                return self.source.choices
            except InputError:
                return [], []

    def _progress(self) -> str:
        cells = self.source.cells
        counts = cells[Column.STATUS].value_counts()
        parts = [f"{counts[status]} {status}" for status in (Status.STOPPED, Status.FAILED) if counts.get(status)]
        drawn = self.source.space.get("configurations")
        most = f" of at most {drawn * self.source.folds}" if isinstance(drawn, int) else ""
        since = (
            format_duration(max(0.0, (datetime.now(UTC) - cells[Column.FINISHED].max()).total_seconds()))
            if len(cells)
            else ""
        )
        said = f"{len(cells)}{most} cells" + (f" ({', '.join(parts)})" if parts else "")
        return said + (f"; the last one ended {since} ago" if since else "")

    def _written(self) -> tuple[int, ...]:
        """When the files that figures are made of were written."""
        tables = (TableName.CELLS, TableName.EPOCHS, TableName.BASELINES, TableName.PREDICTIONS, TableName.EXPLANATIONS)
        names = [
            FileName.MANIFEST,
            *(f"{table}.parquet" for table in tables),
            f"{FileName.MODEL}/{FileName.MODEL_DESCRIPTION}",
        ]
        return self._run.folder.stamps(names)
