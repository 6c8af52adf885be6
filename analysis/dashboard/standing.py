"""How a search stands: its state, its phase, its pace, the time left, and its failures. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Final, NamedTuple

import pandas as pd

from helo._text import format_duration, format_size
from helo.analysis.source import Source
from helo.analysis.wording import count, next_step
from helo.names import ENDINGS, Column, SearchPhase, Status
from helo.run.journal import Entry

PACE_CELLS: Final = 50
"""Number of the latest cells that the pace is measured on."""

SHOWN_LINES: Final = 8
"""Number of the latest lines of the journal that are shown."""

SHOWN_REASONS: Final = 5
"""Number of reasons of failures that are shown, the most frequent first."""


class State(StrEnum):
    """Whether a search still works."""

    RUNNING = "running"
    FINISHED = "finished"
    STOPPED = "stopped"
    UNKNOWN = "unknown"


PHASES: Final[dict[str, str]] = {
    SearchPhase.STARTING: "starting",
    SearchPhase.BASELINES: "baselines",
    SearchPhase.CELLS: "search",
    SearchPhase.TABLES: "writing the tables",
    SearchPhase.REPORT: "writing the report",
    SearchPhase.MODEL: "fitting the model",
}
"""Phases of a running search in words."""


class Failure(NamedTuple):
    """Failed cells with the same reason: the reason, their number, and the first of them."""

    reason: str
    cells: int
    first: str


class Standing(NamedTuple):
    """How a search stands.

    Attributes
    ----------
    state : State
        Whether it still works.
    phase : str
        What it does, or why it does not.
    counted : str
        What `done` and `total` count.
    done, total : int
        Finished units of the phase, and all of them.
    facts : tuple of (str, str)
        Names and values: time left, pace, time since the last cell, memory.
    command : tuple of (str, str) or None
        What the user may do next, in words and as a command.
    failures : tuple of Failure
        Failed cells by reason.
    more_reasons : int
        Number of reasons that are not in `failures`.
    lines : tuple of (datetime, str)
        Latest lines of the journal, the latest last.
    """

    state: State
    phase: str
    counted: str
    done: int
    total: int
    facts: tuple[tuple[str, str], ...]
    command: tuple[str, str] | None
    failures: tuple[Failure, ...]
    more_reasons: int
    lines: tuple[tuple[datetime, str], ...]


def find_standing(source: Source, journal: Sequence[Entry], is_held: bool | None, now: datetime) -> Standing:
    """Find how a search stands.

    Parameters
    ----------
    source : Source
        Its run.
    journal : sequence of Entry
        Its journal; empty for runs of earlier versions.
    is_held : bool or None
        Whether a process holds the lock of the run; None while that is unknown.
    now : datetime
        The present time.

    Returns
    -------
    Standing

    Raises
    ------
    InputError
        If the run has no table of cells, and no ledger.
    """
    state = _find_state(source, journal, is_held)
    last = journal[-1] if journal else None
    known = next((entry for entry in reversed(journal) if entry.cells), None)
    finished = len(source.cells)
    total = source.counts.most if source.counts.ended or not (known and known.cells) else max(finished, known.cells[1])
    counted, done = "cells", finished
    if state is State.RUNNING and last and last.phase == SearchPhase.BASELINES and known and known.baselines:
        counted, (done, total) = "cells of baselines", known.baselines
    failures = group_failures(source.cells)
    return Standing(
        state,
        _describe(state, source, last),
        counted,
        done,
        max(done, total),
        tuple(_find_facts(state, source, journal, (done, total) if counted == "cells" else (0, 0), now)),
        _find_command(state, source),
        failures[:SHOWN_REASONS],
        len(failures[SHOWN_REASONS:]),
        tuple((entry.at, entry.text) for entry in journal if entry.text)[-SHOWN_LINES:],
    )


def _find_state(source: Source, journal: Sequence[Entry], is_held: bool | None) -> State:
    if is_held:
        return State.RUNNING
    last = journal[-1].phase if journal else None
    if last == SearchPhase.COMPLETE and source.counts.ended is not False:
        return State.FINISHED
    if last is None and source.counts.ended and not source.awaits_model:
        return State.FINISHED
    if is_held is None and last not in ENDINGS:
        return State.UNKNOWN
    return State.STOPPED


def _find_command(state: State, source: Source) -> tuple[str, str] | None:
    if state is State.STOPPED:
        return next_step(source.run, complete=False)
    return next_step(source.run, complete=True) if state is State.FINISHED and source.run.has_model else None


def _describe(state: State, source: Source, last: Entry | None) -> str:
    """Return the phase of a running search, or why a stopped one has stopped."""
    if state is State.RUNNING:
        return PHASES.get(last.phase, PHASES[SearchPhase.STARTING]) if last else PHASES[SearchPhase.CELLS]
    if state is State.UNKNOWN:
        return "whether the search still runs shows within a minute"
    if state is State.FINISHED:
        return "with its model" if source.run.has_model else "no model was fitted"
    reasons: dict[str, str] = {
        SearchPhase.OUT_OF_TIME: "its time was up",
        SearchPhase.INTERRUPTED: "it was interrupted",
        SearchPhase.FAILED: last.text if last and last.text else "it failed",
    }
    why = reasons.get(last.phase, "its process has ended") if last else "no process works on it"
    lacks = "; all cells are finished, the model is not fitted yet" if source.awaits_model else ""
    return f"{why}{lacks}"


def _find_facts(
    state: State, source: Source, journal: Sequence[Entry], cells: tuple[int, int], now: datetime
) -> list[tuple[str, str]]:
    facts = []
    last = journal[-1] if journal else None
    finished = source.cells[Column.FINISHED]
    started = next((entry.at for entry in reversed(journal) if entry.phase == SearchPhase.STARTING), None)
    pace = measure_pace(finished, started, now) if state is State.RUNNING else None
    if state is State.RUNNING:
        left = None
        if last and last.phase == SearchPhase.MODEL and last.seconds is None:
            last = next((entry for entry in reversed(journal) if entry.seconds is not None), last)
        if last and last.phase == SearchPhase.MODEL and last.seconds is not None:
            left = max(0.0, last.seconds - (now - last.at).total_seconds())
        elif pace and cells[1] > cells[0]:
            left = (cells[1] - cells[0]) / pace
        bound = "at most " if source.counts.racing and not (last and last.phase == SearchPhase.MODEL) else "about "
        facts.append(("Time left", "not known yet" if left is None else bound + format_duration(left)))
        facts.append(("Cells a minute", "not known yet" if pace is None else f"{60 * pace:.3g}"))
    if len(finished):
        ago = max(0.0, (now - finished.max()).total_seconds())
        facts.append(("Last cell", f"{format_duration(ago)} ago"))
    memory = next((entry.memory for entry in reversed(journal) if entry.memory), None)
    if memory and state is State.RUNNING:
        facts.append(("Memory of its machine", f"{format_size(memory[0])} of {format_size(memory[1])} in use"))
    return facts


def measure_pace(finished: pd.Series, started: datetime | None, now: datetime) -> float | None:
    """Return the cells per second of the latest cells, until now, or None if too few have finished.

    Parameters
    ----------
    finished : Series of datetime
        When each cell has finished.
    started : datetime or None
        When the search was last started. Earlier cells do not count.
    now : datetime
        The present time.

    Examples
    --------
    >>> times = pd.Series(pd.date_range("2026-11-21", periods=5, freq="10s", tz="UTC"))
    >>> measure_pace(times, None, times.iloc[-1])
    0.1
    >>> measure_pace(times, times.iloc[-1], times.iloc[-1]) is None
    True
    """
    times = finished[finished > started] if started is not None else finished
    latest = times.sort_values().tail(PACE_CELLS + 1)
    if len(latest) == 0 or (started is None and len(latest) == 1):
        return None
    if len(latest) <= PACE_CELLS and started is not None:
        first, cells = started, len(latest)
    else:
        first, cells = latest.iloc[0], len(latest) - 1
    seconds = max((now - first).total_seconds(), (latest.iloc[-1] - first).total_seconds())
    return cells / seconds if seconds > 0 else None


def group_failures(cells: pd.DataFrame) -> tuple[Failure, ...]:
    """Return the failed cells by reason, the most frequent reason first.

    Parameters
    ----------
    cells : DataFrame
        Columns of ``cells.parquet``.
    """
    failed = cells[cells[Column.STATUS] == Status.FAILED]
    reasons = failed[Column.REASON].fillna("no reason is recorded").astype(str)
    last_lines = reasons.map(lambda reason: (reason.strip().splitlines() or ["no reason is recorded"])[-1])
    groups = [
        Failure(
            str(reason),
            len(rows),
            f"configuration {rows[Column.CONFIGURATION].iloc[0]}, fold {rows[Column.FOLD].iloc[0]}",
        )
        for reason, rows in failed.groupby(last_lines, sort=False)
    ]
    return tuple(sorted(groups, key=lambda group: -group.cells))


def _name_first(cells: pd.DataFrame) -> str:
    first = cells.iloc[0]
    return f"configuration {first[Column.CONFIGURATION]}, fold {first[Column.FOLD]}"


def failure_text(failure: Failure) -> str:
    """Return a group of failed cells in words.

    >>> failure_text(Failure("loss is not finite", 3, "configuration 4, fold S7"))
    '3 cells: loss is not finite (first: configuration 4, fold S7)'
    """
    return f"{count(failure.cells, 'cell')}: {failure.reason} (first: {failure.first})"
