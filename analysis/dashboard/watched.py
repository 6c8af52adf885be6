"""A run that is looked at again and again: what is new is read, what is the same is kept."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from analysis.exhibits import EXHIBITS
from analysis.records import Records, is_behind
from analysis.source import Source
from analysis.web.page import figure_json
from helo.errors import InputError
from helo.names import CELLS, FAILED, FINISHED, FOLD, MANIFEST_FILE, STATUS, STOPPED
from helo.run import Run
from helo.text import duration

TOLD = Callable[[int, int], None]

Shown = dict[str, str]
"""A figure as a page gets it: see `Watched.figure`."""

REST = 20
"""After a slow figure was made it rests for so many times as long: a search beside it needs the processor."""


class _Late(NamedTuple):
    """A slow figure as it was made last, when it may be made again, and of what it is."""

    made: Shown
    due: float
    source: Source

    def is_due(self, source: Source) -> bool:
        return source is not self.source and time.monotonic() >= self.due


class Glance(NamedTuple):
    """What a run is at a glance, in sentences."""

    name: str
    progress: str
    verdict: str
    notes: tuple[str, ...]


def _shown(name: str, source: Source) -> Shown:
    try:
        return {"figure": figure_json(EXHIBITS[name].plot(source))}
    except InputError as error:
        return {"reason": f"Nothing to show: {error}."}


class Watched:
    """A run and what has been made of it; `look` brings it up to date. Threads of a server may share it."""

    def __init__(self, path: Path, told: TOLD = lambda done, of: None) -> None:
        self.path = path
        self.version = 0
        self._lock = threading.RLock()
        self._stamp: tuple[int, ...] = ()
        self._records: Records | None = None
        self._made: dict[str, Shown] = {}
        self._late: dict[str, _Late] = {}
        self.source = Source(Run.open(path))
        self.look(told)

    def look(self, told: TOLD = lambda done, of: None) -> int:
        """Read what is new; the number that is returned has grown if there was anything."""
        with self._lock:
            run = Run(self.path, self.source.manifest)
            behind = is_behind(run)
            if behind and self._records is None:
                self._records = Records(run)
            grown = self._records.refresh(told) if behind and self._records is not None else False
            stamp = (int(behind), *self._written())
            if grown or stamp != self._stamp:
                self._stamp = stamp
                if not behind:
                    self._records = None  # the files have it all
                with contextlib.suppress(InputError):  # it went: what was read of it stays
                    run = Run.open(self.path)
                self.source = Source(run, self._records)
                self._made = {}
                self.version += 1
            elif any(late.is_due(self.source) for late in self._late.values()):
                self.version += 1  # so that whoever shows it asks
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
                made = late.made if late else {"reason": "This figure takes a moment: it will be here soon."}
                late = self._late[name] = _Late(made, math.inf, self.source)
                threading.Thread(target=self._make_late, args=(name, self.source), daemon=True).start()
            return late.made

    def _make_late(self, name: str, source: Source) -> None:
        begun = time.monotonic()
        try:
            made = _shown(name, source)
        except Exception as error:  # nobody else would see it
            made = {"reason": f"This figure could not be made: {error!r}."}
        over = time.monotonic()
        with self._lock:
            self._late[name] = _Late(made, over + REST * (over - begun), source)
            self.version += 1

    def glance(self) -> Glance:
        """Name, how far the search is, and what it says so far."""
        with self._lock:
            name = self.path.resolve().name
            try:
                return Glance(name, self._progress(), self.source.verdict, tuple(self.source.notes))
            except InputError as error:
                return Glance(name, f"Nothing to show yet: {error}.", "", ())

    def names(self) -> tuple[list[str], list[int]]:
        """Subjects and configurations that there are cells of."""
        with self._lock:
            try:
                cells = self.source.cells
            except InputError:
                return [], []
            return [str(fold) for fold in cells[FOLD].unique()], sorted(map(int, cells["configuration"].unique()))

    def _progress(self) -> str:
        cells = self.source.cells
        counts = cells[STATUS].value_counts()
        parts = [f"{counts[status]} {status}" for status in (STOPPED, FAILED) if counts.get(status)]
        drawn = self.source.section("space").get("configurations")
        most = f" of at most {drawn * self.source.folds}" if isinstance(drawn, int) else ""
        since = duration(max(0.0, (datetime.now(UTC) - cells[FINISHED].max()).total_seconds())) if len(cells) else ""
        said = f"{len(cells)}{most} cells" + (f" ({', '.join(parts)})" if parts else "")
        return said + (f"; the last one ended {since} ago" if since else "")

    def _written(self) -> list[int]:
        """When the files that figures are made of were written."""
        names = [MANIFEST_FILE, *(f"{table}.parquet" for table in (CELLS, "baselines", "predictions")), "model"]
        found = []
        for name in names:
            try:
                found.append((self.path / name).stat().st_mtime_ns)
            except OSError:
                found.append(0)
        return found
