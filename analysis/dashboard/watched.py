"""A run whose directory is read repeatedly. Only changes are read, and figures are kept until the run changes."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import uuid4

from helo._text import format_duration
from helo.analysis.exhibits import EXHIBITS
from helo.analysis.ledger_tables import LedgerTables, is_behind
from helo.analysis.source import Source
from helo.analysis.web.page import figure_to_json
from helo.analysis.web.tables import TABLES, render_note
from helo.errors import InputError, StorageError
from helo.names import Column, FileName, Status, TableName
from helo.run.directory import Run

OnRead = Callable[[int, int], None]
"""Callback with the numbers of ledger records that are read and that exist."""

Shown = dict[str, str]
"""Figure as sent to a page; see `WatchedRun.figure`. The entry ``made`` identifies this version of the figure."""

SOON = "This figure takes a moment and will appear soon."
"""Text in place of a slow figure that has not been drawn yet."""

REST = 20
"""Ratio between the pause after drawing a slow figure and its drawing time, to leave the processor to a search."""


class _Late(NamedTuple):
    """Latest version of a slow figure, the earliest time to draw it again, and the tables that it shows."""

    made: Shown
    due: float
    source: Source
    announced: bool = False

    def is_due(self, source: Source) -> bool:
        """Return whether the figure may be drawn again, from newer tables."""
        return source is not self.source and time.monotonic() >= self.due


class Overview(NamedTuple):
    """Summary of a run in sentences."""

    name: str
    progress: str
    verdict: str
    notes: tuple[str, ...]


def _shown(name: str, source: Source) -> Shown:
    found = {"made": uuid4().hex}
    try:
        if not EXHIBITS[name].applies(source):
            return found | {"reason": "Does not apply to a run with listed configurations."}
        return found | {"figure": figure_to_json(EXHIBITS[name].plot(source))}
    except Exception as error:  # a fault in one figure must not affect the others
        return found | {"reason": _why_not("figure", error)}


def _render(name: str, source: Source) -> str:
    try:
        if not TABLES[name].applies(source):
            return render_note("Does not apply to this run.")
        return TABLES[name].render(source)
    except Exception as error:  # a fault in one table must not affect the others
        return render_note(_why_not("table", error))


def _why_not(what: str, error: Exception) -> str:
    """Return the sentence that replaces a figure or a table."""
    if isinstance(error, InputError):
        return f"Nothing to show: {error}."
    return f"This {what} could not be made: {error!r}."


class WatchedRun:
    """Run directory that is read repeatedly, and its figures. The threads of a server may share an instance.

    Parameters
    ----------
    place : path or str
        Run directory.
    on_read : callable, optional
        Called with the numbers of ledger records that are read and that exist.

    Attributes
    ----------
    version : int
        Number that grows with every change.
    gone : bool
        Whether the run directory has disappeared.
    source : Source
        Tables of the run as of the last reading.
    """

    def __init__(self, place: os.PathLike[str] | str, on_read: OnRead = lambda done, of: None) -> None:
        self.place = place
        self.version = 0
        self._lock = threading.RLock()
        self.gone = False
        self._run = Run.open(place)
        self._stamp: tuple[int, ...] = ()
        self._records: LedgerTables | None = None
        self._made: dict[str, Shown] = {}
        self._tables: dict[str, str] = {}
        self._late: dict[str, _Late] = {}
        self.source = Source(self._run)
        self.refresh(on_read)

    def refresh(self, on_read: OnRead = lambda done, of: None) -> int:
        """Read changes of the run directory, and return the version, which grows with every change.

        If the storage does not respond, the last reading stays.
        """
        with self._lock:
            try:
                return self._read_changes(on_read)
            except StorageError:
                self._records = None  # it may hold only a part of the changes
                return self.version

    def _read_changes(self, on_read: OnRead) -> int:
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
                self._records, self._late = None, {}  # another search has replaced the run
            self._run = run
        behind = is_behind(self._run)
        if behind and self._records is None:
            self._records = LedgerTables(self._run)
        grown = self._records.refresh(on_read) if behind and self._records is not None else False
        if grown or (behind, *written) != self._stamp:
            self._stamp = (behind, *written)
            if not behind:
                self._records = None  # the tables hold all records
            self.source = Source(self._run, self._records)
            self._made, self._tables = {}, {}
            self.version += 1
        for name, late in self._late.items():
            if late.is_due(self.source) and not late.announced:
                self._late[name] = late._replace(announced=True)  # only once: possibly no page shows it
                self.version += 1
        return self.version

    def figure(self, name: str) -> Shown:
        """Return a figure as JSON under ``figure``, or the reason for its absence under ``reason``.

        A slow figure is drawn in a thread of its own. Until then its last version is returned, and `version` grows
        afterwards.
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

    def table(self, name: str) -> str:
        """Return a table as HTML, or the reason for its absence."""
        with self._lock:
            if name not in self._tables:
                self._tables[name] = _render(name, self.source)
            return self._tables[name]

    def _make_late(self, name: str, source: Source) -> None:
        begun = time.monotonic()
        made = _shown(name, source)
        over = time.monotonic()
        with self._lock:
            self._late[name] = _Late(made, over + REST * (over - begun), source)
            self.version += 1

    def overview(self) -> Overview:
        """Return the name of the run, its progress, and its results so far."""
        with self._lock:
            name = self._run.folder.name
            if self.gone:
                name += ": the run directory is gone; this is its last reading"
            try:
                return Overview(name, self._progress(), self.source.verdict, tuple(self.source.notes))
            except InputError as error:
                return Overview(name, f"Nothing to show yet: {error}.", "", ())

    def choices(self) -> tuple[list[str], list[int]]:
        """Return the subjects and configurations with cells."""
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
        maximum = f" of at most {drawn * self.source.folds}" if isinstance(drawn, int) else ""
        since = (
            format_duration(max(0.0, (datetime.now(UTC) - cells[Column.FINISHED].max()).total_seconds()))
            if len(cells)
            else ""
        )
        progress = f"{len(cells)}{maximum} cells" + (f" ({', '.join(parts)})" if parts else "")
        return progress + (f"; the last one ended {since} ago" if since else "")

    def _written(self) -> tuple[int, ...]:
        """Return the modification times of the files that figures depend on."""
        tables = (TableName.CELLS, TableName.EPOCHS, TableName.BASELINES, TableName.PREDICTIONS, TableName.EXPLANATIONS)
        names = [
            FileName.MANIFEST,
            *(f"{table}.parquet" for table in tables),
            f"{FileName.MODEL}/{FileName.MODEL_DESCRIPTION}",
        ]
        return self._run.folder.stamps(names)
