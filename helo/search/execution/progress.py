"""Progress of a search on the screen: finished cells, the best configuration, the time left."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from helo._cli import print_line
from helo._text import format_duration
from helo.names import Status

LINE_EVERY_S = 10.0
"""Minimum seconds between two printed lines where the output is not a terminal."""


class SearchProgress:
    """Progress bar on a terminal; elsewhere, a line every `LINE_EVERY_S` seconds.

    Parameters
    ----------
    total : int
        Number of HeLo's cells in the whole search, finished ones included.
    objective : str
        Name of the metric that is shown of the best configuration.
    console : rich.console.Console or None
        Console to print on. None makes one for the standard output.
    finished : int
        Number of cells that earlier parts of the same search have finished.
    """

    def __init__(self, total: int, objective: str, console: Console | None = None, finished: int = 0) -> None:
        self.total, self.objective = total, objective
        self.console = console or Console()
        self.finished = finished
        self.counts: dict[str, int] = {Status.STOPPED: 0, Status.FAILED: 0}
        self._finished_before = finished
        self._started: float | None = None
        self._last_line = time.monotonic()
        self._bar = Progress(
            TextColumn("[bold]cells"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self._task = self._bar.add_task("cells", total=total, completed=finished, note="starting workers")

    def __enter__(self) -> SearchProgress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def start_clock(self) -> None:
        """Start the clock for the time left, once. It excludes the start of the workers and the baselines."""
        if self._started is None:
            self._started = time.monotonic()

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
        self.finished += 1
        self.total = total
        if status in self.counts:
            self.counts[status] += 1
        note = self._note(best)
        self._bar.update(self._task, completed=self.finished, total=total, note=note)
        self._print(f"cells {self.finished}/{total}  {note}", last=self.finished == total)

    def baseline_finished(self, status: str, finished: int, total: int) -> None:
        """Count a finished cell of a baseline. These come first and are not part of the bar.

        Parameters
        ----------
        status : str
            A `helo.names.Status`.
        finished : int
            Number of finished cells of baselines.
        total : int
            Number of all cells of baselines.
        """
        if status in self.counts:
            self.counts[status] += 1
        note = f"baselines {finished}/{total}"
        self._bar.update(self._task, note=note)
        self._print(note, last=finished == total)

    def _print(self, line: str, last: bool) -> None:
        """Print a line where the output is not a terminal, unless the last one is too recent."""
        now = time.monotonic()
        if not self.console.is_terminal and (last or now - self._last_line >= LINE_EVERY_S):
            self._last_line = now
            print_line(self.console, line)

    def _note(self, best: tuple[int, float] | None) -> str:
        parts = []
        if best is not None:
            number, loss = best
            parts.append(f"best validation {self.objective} {abs(loss):.4f} (configuration {number})")
        parts += [f"{count} {status}" for status, count in self.counts.items() if count]
        if self._started is not None and self.finished < self.total:
            seconds_per_cell = (time.monotonic() - self._started) / (self.finished - self._finished_before)
            parts.append(f"at most {format_duration(seconds_per_cell * (self.total - self.finished))} left")
        return ", ".join(parts)
