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

import plotly.graph_objects as go

from helo.analysis.dashboard.aligned import Frame, find_frame
from helo.analysis.dashboard.standing import Standing, State, find_standing
from helo.analysis.exhibits import EXHIBITS
from helo.analysis.ledger_tables import LedgerTables, is_behind
from helo.analysis.source import Source
from helo.analysis.web.answer import Answer, Badge, build_answer
from helo.analysis.web.details import details_to_json
from helo.analysis.web.page import figure_to_json
from helo.analysis.web.tables import TABLES, render_note
from helo.analysis.wording import describe_cells
from helo.errors import InputError, StorageError
from helo.names import FileName, TableName
from helo.run.directory import Run
from helo.run.journal import Entry, read_journal
from helo.storage import LockWatch

OnRead = Callable[[int, int], None]
"""Callback with the numbers of ledger records that are read and that exist."""

Shown = dict[str, str]
"""Figure as sent to a page; see `WatchedRun.figure`. The entry ``made`` identifies this version of the figure."""

SOON = "This figure takes a moment and will appear soon."
"""Text in place of a slow figure that has not been drawn yet."""

REST = 20
"""Ratio between the pause after drawing a slow figure and its drawing time, to leave the processor to a search."""


class Drawing(NamedTuple):
    """A figure as sent to a page, and what is needed to align it with those of other runs; None without a figure."""

    shown: Shown
    frame: Frame | None = None


class _Late(NamedTuple):
    """Latest version of a slow figure, the earliest time to draw it again, and the tables that it shows."""

    made: Drawing
    due: float
    source: Source
    announced: bool = False

    def is_due(self, source: Source) -> bool:
        """Return whether the figure may be drawn again, from newer tables."""
        return source is not self.source and time.monotonic() >= self.due


class Overview(NamedTuple):
    """Summary of a run.

    Attributes
    ----------
    standing : Standing or None
        How its search stands; None if the run directory is gone or damaged.
    progress : str
        Finished cells in words, or why there is nothing to show.
    badge : Badge or None
        Badge of its answer, if it has one.
    line : str
        The answer in one sentence.
    cautions : tuple of str
        Sentences without which the answer would mislead.
    """

    standing: Standing | None
    progress: str
    badge: Badge | None = None
    line: str = ""
    cautions: tuple[str, ...] = ()


def draw(plot: Callable[[], go.Figure]) -> Drawing:
    """Return a figure as sent to a page, or the reason for its absence."""
    made = uuid4().hex
    try:
        figure = plot()
        return Drawing({"made": made, "figure": figure_to_json(figure)}, find_frame(figure))
    except Exception as error:  # a fault in one figure must not affect the others
        return Drawing({"made": made, "reason": _why_not("figure", error)})


def _draw_exhibit(name: str, source: Source) -> Drawing:
    def plot() -> go.Figure:
        if not EXHIBITS[name].applies(source):
            raise InputError("a run with listed configurations has no such figure")
        return EXHIBITS[name].plot(source)

    return draw(plot)


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
        self._watch = LockWatch(self._run.folder, FileName.LOCK)
        self._is_held: bool | None = None
        self._journal: list[Entry] = []
        self._journal_stamp: tuple[int, ...] = ()
        self._stamp: tuple[int, ...] = ()
        self._records: LedgerTables | None = None
        self._made: dict[str, Drawing] = {}
        self._tables: dict[str, str] = {}
        self._details: dict[tuple[str, str], str] = {}
        self._answer: Answer | None = None
        self._late: dict[str, _Late] = {}
        self.source = Source(self._run)
        self.refresh(on_read)

    @property
    def address(self) -> str:
        """Full path or URI of the run directory."""
        here = self._run.folder.here
        return str(self._run.folder if here is None else here.resolve())

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
        # The journal last: a search that has ended since then would seem to have stopped without a word.
        self._is_held = self._watch.is_held()
        stamp = self._run.folder.stamps([FileName.JOURNAL])
        if stamp != self._journal_stamp:
            self._journal_stamp, self._journal = stamp, read_journal(self._run.folder)
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
            self._made, self._tables, self._details, self._answer = {}, {}, {}, None
            self.version += 1
        for name, late in self._late.items():
            if late.is_due(self.source) and not late.announced:
                self._late[name] = late._replace(announced=True)  # only once: possibly no page shows it
                self.version += 1
        return self.version

    def figure(self, name: str) -> Shown:
        """Return a figure as JSON under ``figure``, or the reason for its absence under ``reason``; see `drawing`."""
        return self.drawing(name).shown

    def drawing(self, name: str) -> Drawing:
        """Return a figure.

        A slow figure is drawn in a thread of its own. Until then its last version is returned, and `version` grows
        afterwards.
        """
        with self._lock:
            if name in self._made:
                return self._made[name]
            if not EXHIBITS[name].slow:
                self._made[name] = _draw_exhibit(name, self.source)
                return self._made[name]
            late = self._late.get(name)
            if late is None or late.is_due(self.source):
                made = late.made if late else Drawing({"made": "", "reason": SOON, "busy": "true"})
                late = self._late[name] = _Late(made, math.inf, self.source)
                threading.Thread(target=self._make_late, args=(name, self.source), daemon=True).start()
            return late.made

    def table(self, name: str) -> str:
        """Return a table as HTML, or the reason for its absence."""
        with self._lock:
            if name not in self._tables:
                self._tables[name] = _render(name, self.source)
            return self._tables[name]

    def details(self, subject: str, configuration: str) -> str:
        """Return the details of a subject and a configuration as JSON; an empty name, or an unknown one, has none."""
        with self._lock:
            chosen = subject, configuration
            if chosen not in self._details:
                subjects, numbers = self.choices()
                known = (
                    [one for one in subjects if one == subject],
                    [one for one in numbers if str(one) == configuration],
                )
                self._details[chosen] = details_to_json(self.source, *known) if any(known) else "{}"
            return self._details[chosen]

    def _make_late(self, name: str, source: Source) -> None:
        begun = time.monotonic()
        made = _draw_exhibit(name, source)
        over = time.monotonic()
        with self._lock:
            self._late[name] = _Late(made, over + REST * (over - begun), source)
            self.version += 1

    def overview(self) -> Overview:
        """Return how the search of the run stands, and its results so far."""
        with self._lock:
            if self.gone:
                return Overview(None, "The run directory is gone; this is its last reading.", *self._result())
            try:
                standing = find_standing(self._standing_source(), self._journal, self._is_held, datetime.now(UTC))
            except InputError as error:
                return Overview(None, f"Nothing to show yet: {error}.")
            try:
                counts = self.source.counts
            except InputError:  # it has no cells yet
                return Overview(standing, "No cell has finished yet.")
            progress = describe_cells(counts._replace(ended=counts.ended and standing.state is State.FINISHED))
            return Overview(standing, f"{progress}.", *self._result())

    def _result(self) -> tuple[Badge | None, str, tuple[str, ...]]:
        """Return badge, line and cautions of the answer so far."""
        try:
            answer = self._answer = self._answer or build_answer(self.source)
        except InputError:
            return None, "", ()
        return answer.badge, answer.line, answer.cautions

    def _standing_source(self) -> Source:
        """Return the tables of the run, without rows as long as no cell has finished."""
        try:
            _ = self.source.cells
        except InputError:
            if len(self._run.ledger):
                raise
            return Source(self._run, LedgerTables(self._run))
        return self.source

    def choices(self) -> tuple[list[str], list[int]]:
        """Return the subjects and configurations with cells."""
        with self._lock:
            try:
                return self.source.choices
            except InputError:
                return [], []

    def _written(self) -> tuple[int, ...]:
        """Return the modification times of the files that figures depend on."""
        tables = (TableName.CELLS, TableName.EPOCHS, TableName.BASELINES, TableName.PREDICTIONS, TableName.EXPLANATIONS)
        names = [
            FileName.MANIFEST,
            *(f"{table}.parquet" for table in tables),
            f"{FileName.MODEL}/{FileName.MODEL_DESCRIPTION}",
        ]
        return self._run.folder.stamps(names)
