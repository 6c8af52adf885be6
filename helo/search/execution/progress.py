"""What a search shows while it runs: cells done of all, the best so far, the time left."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from helo._cli import print_line
from helo._text import format_duration
from helo.names import Status

LINE_EVERY_S = 10.0
"""Where the output is no terminal, a line is printed this often at most."""


class SearchProgress:
    """A bar on a terminal, a line now and then in a log."""

    def __init__(self, total: int, objective: str, console: Console | None = None, done: int = 0) -> None:
        self.total, self.objective, self.before = total, objective, done
        self.console = console or Console()
        self.done = done
        self.counts: dict[str, int] = {Status.STOPPED: 0, Status.FAILED: 0}
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
        self._task = self._bar.add_task("cells", total=total, completed=done, note="starting workers")

    def __enter__(self) -> SearchProgress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def begin(self) -> None:
        """The first cell starts: time left is reckoned from here, not from the start of the workers."""
        if self._started is None:
            self._started = time.monotonic()

    def cell_done(self, status: str, most: int, best: tuple[int, float] | None) -> None:
        """Count a finished cell; `best` is the leading configuration and its mean validation loss.

        `most`: cells of the whole search, as far as is known by now: racing makes them fewer.
        """
        self.done += 1
        self.total = most
        if status in self.counts:
            self.counts[status] += 1
        note = self._note(best)
        self._bar.update(self._task, completed=self.done, total=most, note=note)
        now = time.monotonic()
        if not self.console.is_terminal and (now - self._last_line >= LINE_EVERY_S or self.done == self.total):
            self._last_line = now
            print_line(self.console, f"cells {self.done}/{self.total}  {note}")

    def baseline_done(self, status: str, done: int, of: int) -> None:
        """Count a finished cell of a baseline: they come first, and are not among the cells that are counted."""
        if status in self.counts:
            self.counts[status] += 1
        note = f"baselines {done}/{of}"
        self._bar.update(self._task, note=note)
        now = time.monotonic()
        if not self.console.is_terminal and (now - self._last_line >= LINE_EVERY_S or done == of):
            self._last_line = now
            print_line(self.console, note)

    def _note(self, best: tuple[int, float] | None) -> str:
        parts = []
        if best is not None:
            parts.append(f"best validation {self.objective} {abs(best[1]):.4f} (configuration {best[0]})")
        parts += [f"{count} {status}" for status, count in self.counts.items() if count]
        if self._started is not None and self.done < self.total:
            each = (time.monotonic() - self._started) / (self.done - self.before)
            parts.append(f"at most {format_duration(each * (self.total - self.done))} left")
        return ", ".join(parts)
