"""A planned search carried out to its end: cells, tables, summary, report, model. Command and Python share it.

The one module of `helo` in which the search and `analysis`, which reads what it leaves, meet.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from rich.console import Console

from helo._cli import print_line
from helo.analysis.report import write_report, write_summary
from helo.analysis.result import RunResult
from helo.analysis.source import read_source
from helo.analysis.terminal import print_summary
from helo.errors import InputError, SearchError
from helo.names import Column, Status, TableName
from helo.run.directory import Run
from helo.search.driver import deliver_model, run_search
from helo.search.setup.inputs import lacks_data
from helo.search.setup.search_setup import SearchSetup
from helo.search.sizing.resources import Resources


@dataclass(frozen=True)
class Ended:
    """How a search ended whose tables are written.

    - `stopped`: what ended it before its last cell, and how to go on; None if it is complete
    - `interrupted`: whether that was its user, not its time budget
    - `failures`: how many cells failed and why the first did; None if none did
    - `failed`: whether all cells did
    """

    run: Run
    stopped: str | None
    interrupted: bool
    failures: str | None
    failed: bool


class StoppedError(SearchError):
    """What ended a search in the middle; its cause is what was raised."""

    def __init__(self, message: str, interrupted: bool) -> None:
        super().__init__(message)
        self.interrupted = interrupted


def carry_out(
    setup: SearchSetup,
    run: Run | None,
    console: Console,
    again: str,
    stopped: Callable[[str], None] = lambda line: None,
    estimates: bool = False,
) -> Ended:
    """Carry a plan out to its end; with `run`, go on with what is there.

    - `again`: how the user goes on, for messages
    - `stopped`: called with one line when the search ends early, before tables and report are made
    - `estimates`: whether the table of estimates is printed

    Raises `StoppedError` where the search or what follows it is interrupted or fails: the finished cells are then in
    the ledger. What goes wrong before the run is there, and every `InputError`, is raised as it is.
    """

    def announce(made: Run, resources: Resources) -> None:
        nonlocal run
        resumed, run = run is not None, made
        _announce(setup, made, resources, resumed, console)

    line = None
    try:
        run, complete = run_search(setup, console, announce, run)
        finished = len(run.ledger)
        in_time = setup.deadline is not None and time.time() >= setup.deadline
        if not complete:
            line = _line("time is up" if in_time else "interrupted", run, again)
            stopped(line)
        if finished:
            source = read_source(run)
            write_summary(source)
            path = write_report(source)  # before anything is printed: whoever reads may be gone
            if estimates:
                print_summary(source, console)
            print_line(console, f"report: {path}")
        if complete and deliver_model(setup, run, console, again):
            write_report(read_source(run))  # which names the model
    except (Exception, KeyboardInterrupt) as error:
        if run is None or isinstance(error, InputError):
            raise
        interrupted = isinstance(error, KeyboardInterrupt)
        if isinstance(error, OSError):
            reason = f"{error.filename or run.folder}: {error.strerror or error}"
        else:
            reason = "interrupted" if interrupted else f"failed with {type(error).__name__} (above)"
        raise StoppedError(_line(reason, run, again), interrupted) from error
    failures, failed = failures_of(run) if finished else (None, False)
    return Ended(run, line, line is not None and not in_time, failures, failed)


def search_from_python(setup: SearchSetup, run: Run | None, progress: bool) -> RunResult:
    """Carry a plan out for whoever called `helo.run_search`, and return what it found; see there."""
    words = ["dataset"] if lacks_data(setup, run) else []
    words += [f"resume={str(run.folder if run else setup.out)!r}"]
    words += [f"address={setup.address!r}"] if setup.address else []
    console = Console(quiet=not progress)
    threads = torch.get_num_threads()
    try:
        ended = carry_out(setup, run, console, f"helo.run_search({', '.join(words)})")
    except StoppedError as error:
        if error.interrupted:  # a notebook shows it as what it is, and a script ends as it should
            raise KeyboardInterrupt(str(error)) from None
        raise
    finally:
        torch.set_num_threads(threads)  # the fit of the model in this process has set those of a cell
    if ended.stopped and not ended.interrupted:
        print_line(console, ended.stopped)
    return conclude(ended)


def conclude(ended: Ended) -> RunResult:
    """What a caller in Python gets of a search that has ended: the run, or what was raised in its place."""
    if ended.interrupted:
        raise KeyboardInterrupt(ended.stopped)
    if ended.failed:
        raise SearchError(f"{ended.run.folder}: {ended.failures}")
    if ended.failures:
        warnings.warn(ended.failures, stacklevel=4)  # at the line that calls helo.run_search
    return RunResult(ended.run, complete=ended.stopped is None)


def _announce(setup: SearchSetup, run: Run, resources: Resources, resumed: bool, console: Console) -> None:
    dataset, space = setup.dataset, setup.space
    racing = "racing" if setup.racing else "no racing"
    share = f", {resources.gpus_per_cell:g} of a GPU each" if resources.gpus_per_cell else ""
    print_line(
        console,
        f"{dataset.schema.name}: {len(dataset.subject_names)} subjects, {len(dataset)} windows, "
        f"{len(dataset.emotions)} emotions; space {space.name}: {space.configurations} configurations × "
        f"{len(dataset.subject_names)} folds, protocol {setup.protocol}, {racing}; "
        f"{resources.concurrency} cells at a time{share}; seed {setup.seed}",
    )
    if dataset.missing:
        print_line(console, f"missing signals: {dataset.missing}")
    there = f", {len(run.ledger)} cells are there" if resumed else ""
    print_line(console, f"run directory: {run.folder}{there}")


def _line(reason: str, run: Run, again: str) -> str:
    return f"{reason}; {len(run.ledger)} cells are finished; go on with: {again}"


def failures_of(run: Run) -> tuple[str | None, bool]:
    """How many cells failed and why the first did, and whether all of them did."""
    cells = run.table(TableName.CELLS)
    failed = cells[cells[Column.STATUS] == Status.FAILED]
    if failed.empty:
        return None, False
    first = failed.iloc[0]
    reason = str(first[Column.REASON]).strip().splitlines()[-1]
    said = (
        f"{len(failed)} of {len(cells)} cells failed, the first (configuration {first[Column.CONFIGURATION]}, "
        f"fold {first[Column.FOLD]}): {reason}"
    )
    return said, len(failed) == len(cells)
