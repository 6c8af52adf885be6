"""Progress of a search on the screen: finished baselines and cells, the time left, the best configuration."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from types import TracebackType
from typing import NamedTuple

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.text import Text

from helo._cli import print_line
from helo._machine import free_memory, memory_limit
from helo._text import format_duration
from helo.names import SearchPhase, Status

LINE_EVERY_S = 10.0
"""Minimum seconds between two printed lines where the output is not a terminal."""

NOTE_EVERY_S = 30.0
"""Minimum seconds between two entries of the journal."""

MIN_BAR, USUAL_BAR, MAX_BAR = 5, 10, 40
"""Length of the bar in columns: at least, before other parts get space, and at most."""

ECHO = len("^C")
"""Columns that stay free at the end of a line, because a terminal shows there what the user presses. An echo that wraps
would move the cursor, and the line would be drawn a second time below."""

PIPE_BAR = 20
"""Length of the bar where the output is not a terminal."""

_DONE, _OPEN = "━", "─"


class Phase:
    """Cells of one kind, the baselines' or HeLo's, with a clock of their own.

    Parameters
    ----------
    name : str
        Name of the cells.
    total : int
        Number of cells, finished ones included.
    finished : int
        Number of cells that earlier parts of the same search have finished.
    is_bound : bool
        Whether the total is an upper bound, and the time left therefore too.
    clock : callable
        Returns the time in seconds.
    """

    def __init__(self, name: str, total: int, finished: int, is_bound: bool, clock: Callable[[], float]) -> None:
        self.name, self.total, self.finished, self.is_bound = name, total, finished, is_bound
        self.counts: dict[str, int] = {Status.FAILED: 0, Status.STOPPED: 0}
        self._clock = clock
        self._finished_before = finished
        self._started: float | None = None
        self._last = 0.0

    @property
    def has_started(self) -> bool:
        """Whether a cell has started in this part of the search."""
        return self._started is not None

    @property
    def is_finished(self) -> bool:
        """Whether all cells are finished."""
        return self.finished >= self.total

    @property
    def seconds(self) -> float | None:
        """Seconds since the start of the first cell, until now or until the end of the last cell."""
        if self._started is None:
            return None
        return (self._last if self.is_finished else self._clock()) - self._started

    @property
    def seconds_left(self) -> float | None:
        """Seconds left at the present pace; None if it is unknown or no cell is left."""
        done = self.finished - self._finished_before
        if self._started is None or not done or self.is_finished:
            return None
        return (self._last - self._started) / done * (self.total - self.finished)

    def start(self) -> None:
        """Start the clock, once. It excludes the start of the workers."""
        if self._started is None:
            self._started = self._last = self._clock()

    def update(self, status: str, finished: int, total: int) -> None:
        """Count a finished cell."""
        self.start()
        self.finished, self.total, self._last = finished, total, self._clock()
        if status in self.counts:
            self.counts[status] += 1


class Parts(NamedTuple):
    """Parts of a progress line in the order in which they are shown. An empty text is left out."""

    name: str = ""
    bar: str = ""
    number: str = ""
    left: str = ""
    failed: str = ""
    best: str = ""
    stopped: str = ""
    clock: str = ""

    @property
    def text(self) -> str:
        """The line."""
        first = " ".join(filter(None, (self.name, self.bar, self.number)))
        return ", ".join([first, *filter(None, self[3:])])


def compose_line(phase: Phase, best: tuple[str, str] = ("", ""), width: int | None = None) -> Parts:
    """Return the parts of a progress line that fit. Bar, count and time left stay, and the least important part drops.

    Parameters
    ----------
    phase : Phase
        The cells.
    best : tuple of str
        The best configuration in few words and in more.
    width : int or None
        Number of columns. None: every part is shown.

    Returns
    -------
    Parts
    """
    failed, stopped = (f"{count} {status}" if count else "" for status, count in phase.counts.items())
    short, longer, longest = _time_left(phase)
    shown = Parts(bar=_bar(phase, MIN_BAR), number=f"{phase.finished}/{phase.total}", left=short)
    seconds = phase.seconds
    clock = "" if seconds is None or phase.is_finished else str(timedelta(seconds=int(seconds)))
    # From the most important change to the least important one.
    changes = [
        {"name": phase.name},
        {"failed": failed},
        {"left": longer},
        {"best": best[0]},
        {"bar": _bar(phase, USUAL_BAR)},
        {"left": longest},
        {"clock": clock},
        {"best": best[1]},
        {"stopped": stopped},
    ]
    for change in changes:
        candidate = shown._replace(**change)
        if width is None or cell_len(candidate.text) <= width:
            shown = candidate
    free = PIPE_BAR - USUAL_BAR if width is None else width - cell_len(shown.text)
    return shown._replace(bar=_bar(phase, min(MAX_BAR, len(shown.bar) + max(0, free))))


def _bar(phase: Phase, length: int) -> str:
    done = length if phase.is_finished else length * phase.finished // phase.total
    return done * _DONE + (length - done) * _OPEN


def _time_left(phase: Phase) -> tuple[str, str, str]:
    """Return the time left, or what is known instead, in three forms from the shortest to the longest."""
    if not phase.has_started:
        return "", "starting", "starting workers"
    if phase.is_finished:
        took = format_duration(phase.seconds or 0)
        return took, f"took {took}", f"took {took}"
    if phase.seconds_left is None:
        return "", "", ""
    left = format_duration(phase.seconds_left)
    about, words = ("≤", "at most") if phase.is_bound else ("~", "about")
    return f"{about} {left}", f"{about} {left} left", f"{words} {left} left"


class SearchProgress:
    """A line per phase on a terminal, kept up to date; elsewhere, a printed line every `LINE_EVERY_S` seconds.

    Parameters
    ----------
    total : int
        Number of HeLo's cells in the whole search, finished ones included.
    objective : str
        Name of the metric that is shown of the best configuration.
    console : rich.console.Console or None
        Console to print on. None makes one for the standard output.
    finished : int
        Number of HeLo's cells that earlier parts of the same search have finished.
    baselines : tuple of (int, int)
        Number of finished cells of baselines, and of all of them.
    clock : callable
        Returns the time in seconds.
    note : callable
        Writes an entry to the journal of the run, see `helo.run.journal.Journal.write`.
    """

    def __init__(
        self,
        total: int,
        objective: str,
        console: Console | None = None,
        finished: int = 0,
        baselines: tuple[int, int] = (0, 0),
        clock: Callable[[], float] = time.monotonic,
        note: Callable[..., None] = lambda text="", phase=None, **known: None,
    ) -> None:
        self.objective = objective
        self.console = console or Console()
        self.cells = Phase("cells", total, finished, True, clock)
        self.baselines = Phase("baselines", baselines[1], baselines[0], False, clock)
        self._clock = clock
        self._best = ("", "")
        self._last_line = clock()
        self._note, self._last_note = note, -math.inf
        self._noted: Phase | None = None
        self._live = Live(self, console=self.console, refresh_per_second=4) if self.console.is_terminal else None

    def __enter__(self) -> SearchProgress:
        if self._live is not None:
            self._live.start(refresh=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Compose the lines for the width of the terminal at this moment."""
        for phase in self._phases():
            line = self._line(phase, options.max_width - ECHO)
            text = Text(line.text, no_wrap=True, overflow="crop")
            start = len(line.name) + bool(line.name)
            done = line.bar.count(_DONE)
            text.stylize("bar.finished" if phase.is_finished else "bar.complete", start, start + done)
            text.stylize("bar.back", start + done, start + len(line.bar))
            yield text

    def start_cells(self) -> None:
        """Note that a cell of HeLo has started."""
        self.cells.start()
        self._write_note(self.cells, "")

    def start_baselines(self) -> None:
        """Note that a cell of a baseline has started."""
        self.baselines.start()
        self._write_note(self.baselines, "")

    def cell_finished(self, status: str, total: int, best: tuple[int, float] | None) -> None:
        """Count a finished cell of HeLo.

        Parameters
        ----------
        status : str
            A `helo.names.Status`.
        total : int
            Number of cells in the whole search as known by now. Racing reduces it.
        best : tuple of (int, float) or None
            Best configuration so far and its mean validation loss.
        """
        if best is not None:
            number, loss = best
            score = f"{self.objective} {abs(loss):.4f}"
            self._best = (f"best {score}", f"best validation {score} (configuration {number})")
        self.cells.update(status, self.cells.finished + 1, total)
        self._print(self.cells)

    def baseline_finished(self, status: str, finished: int, total: int) -> None:
        """Count a finished cell of a baseline.

        Parameters
        ----------
        status : str
            A `helo.names.Status`.
        finished : int
            Number of finished cells of baselines.
        total : int
            Number of all cells of baselines.
        """
        self.baselines.update(status, finished, total)
        self._print(self.baselines)

    def say(self, line: str) -> None:
        """Print a line, and write it to the journal."""
        print_line(self.console, line)
        self._note(line)

    def _phases(self) -> Iterator[Phase]:
        """Yield the phases to show: those that have started in this part of the search, or else the next one."""
        if self.baselines.has_started or not (self.cells.has_started or self.baselines.is_finished):
            yield self.baselines
        if self.cells.has_started or self.baselines.is_finished:
            yield self.cells

    def _line(self, phase: Phase, width: int | None = None) -> Parts:
        return compose_line(phase, self._best if phase is self.cells else ("", ""), width)

    def _print(self, phase: Phase) -> None:
        """Print a line where the output is not a terminal, and note one, unless the last ones are too recent."""
        now = self._clock()
        self._write_note(phase, self._line(phase).text)
        if self._live is None and (phase.is_finished or now - self._last_line >= LINE_EVERY_S):
            self._last_line = now
            print_line(self.console, self._line(phase).text)

    def _write_note(self, phase: Phase, text: str) -> None:
        """Write the numbers of cells and the memory in use to the journal, unless the last entry is too recent."""
        now = self._clock()
        pause = NOTE_EVERY_S if phase is self._noted else 1.0
        if not phase.is_finished and now - self._last_note < pause:
            return
        self._noted, self._last_note = phase, now
        limit, free = memory_limit(), free_memory()
        self._note(
            text,
            SearchPhase.CELLS if phase is self.cells else SearchPhase.BASELINES,
            cells=(self.cells.finished, self.cells.total),
            baselines=(self.baselines.finished, self.baselines.total),
            memory=None if limit is None or free is None else (limit - free, limit),
        )
