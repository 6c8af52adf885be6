"""Run a search to its end: cells, tables, summary, report and model. The command and Python share it.

Besides the package itself, this is the only module of `helo` in which the search and `helo.analysis` meet.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from rich.console import Console

from helo.analysis.report import write_report, write_summary
from helo.analysis.result import RunResult
from helo.analysis.source import read_source
from helo.analysis.terminal import print_summary
from helo.errors import InputError, SearchError
from helo.names import Column, Status, TableName
from helo.run.directory import Run
from helo.search.context import SearchContext
from helo.search.deliver import deliver_model
from helo.search.driver import run_remaining_cells
from helo.search.setup.inputs import needs_dataset
from helo.search.setup.search_setup import SearchSetup


@dataclass(frozen=True)
class SearchEnd:
    """Outcome of a search with written tables.

    Attributes
    ----------
    run : Run
        The run.
    early_stop : str or None
        Why the search ended before its last cell, and how to resume it; None if it is complete.
    interrupted : bool
        Whether the user interrupted it, as opposed to its time budget.
    failures : str or None
        Number of failed cells and the reason of the first; None if no cell failed.
    failed : bool
        Whether all cells failed.
    """

    run: Run
    early_stop: str | None
    interrupted: bool
    failures: str | None
    failed: bool


class StoppedError(SearchError):
    """An error or an interruption that ended a search. Its cause is the original exception."""

    def __init__(self, message: str, interrupted: bool) -> None:
        super().__init__(message)
        self.interrupted = interrupted


def complete_search(
    context: SearchContext,
    on_early_stop: Callable[[str], None] = lambda line: None,
    show_estimates: bool = False,
) -> SearchEnd:
    """Run a search to its end and write its tables, report and model.

    Parameters
    ----------
    context : SearchContext
        Context of the search. With a run, that run is resumed.
    on_early_stop : callable
        Called with one line if the search ends early, before its report is written.
    show_estimates : bool
        Whether the table of estimates is printed.

    Returns
    -------
    SearchEnd

    Raises
    ------
    StoppedError
        If the search is interrupted or fails after its run directory exists. The ledger has the finished cells.
    InputError
        If an input is wrong. Errors before the run directory exists are raised unchanged.
    """
    line = None
    try:
        complete = run_remaining_cells(context)
        run = context.run
        finished = len(run.ledger)
        is_out_of_time = context.setup.deadline is not None and time.time() >= context.setup.deadline
        if not complete:
            line = context.with_resume_command("time is up" if is_out_of_time else "interrupted")
            on_early_stop(line)
        if finished:
            source = read_source(run)
            write_summary(source)
            path = write_report(source)  # before anything is printed: the reader of a pipe may have ended
            if show_estimates:
                print_summary(source, context.console)
            context.print(f"report: {path}")
        if complete and deliver_model(context):
            write_report(read_source(run))  # again, because the report names the model
    except (Exception, KeyboardInterrupt) as error:
        if not context.has_run or isinstance(error, InputError):
            raise
        interrupted = isinstance(error, KeyboardInterrupt)
        if isinstance(error, OSError):
            reason = f"{error.filename or context.run.folder}: {error.strerror or error}"
        else:
            reason = "interrupted" if interrupted else f"failed with {type(error).__name__} (above)"
        raise StoppedError(context.with_resume_command(reason), interrupted) from error
    failures, failed = describe_failures(run) if finished else (None, False)
    return SearchEnd(run, line, line is not None and not is_out_of_time, failures, failed)


def search_from_python(setup: SearchSetup, run: Run | None, progress: bool) -> RunResult:
    """Run a search for `helo.run_search` and return its result."""
    arguments = ["dataset"] if needs_dataset(setup, run) else []
    arguments += [f"resume={str(run.folder if run else setup.out)!r}"]
    arguments += [f"address={setup.address!r}"] if setup.address else []
    context = SearchContext(setup, Console(quiet=not progress), f"helo.run_search({', '.join(arguments)})", run)
    threads = torch.get_num_threads()
    try:
        end = complete_search(context)
    except StoppedError as error:
        if error.interrupted:  # so that a notebook and a script treat it as an interruption
            raise KeyboardInterrupt(str(error)) from None
        raise
    finally:
        torch.set_num_threads(threads)  # fitting the model in this process has set the threads of a cell
    if end.early_stop and not end.interrupted:
        context.print(end.early_stop)
    return result_of(end)


def result_of(end: SearchEnd) -> RunResult:
    """Return the run of a search that has ended.

    Raises
    ------
    KeyboardInterrupt
        If the user interrupted it.
    SearchError
        If all cells failed.
    """
    if end.interrupted:
        raise KeyboardInterrupt(end.early_stop)
    if end.failed:
        raise SearchError(f"{end.run.folder}: {end.failures}")
    if end.failures:
        warnings.warn(end.failures, stacklevel=4)  # at the line that calls helo.run_search
    return RunResult(end.run, complete=end.early_stop is None)


def describe_failures(run: Run) -> tuple[str | None, bool]:
    """Return a description of the failed cells (None if no cell failed), and whether all cells failed."""
    cells = run.table(TableName.CELLS)
    failed = cells[cells[Column.STATUS] == Status.FAILED]
    if failed.empty:
        return None, False
    first = failed.iloc[0]
    reason = str(first[Column.REASON]).strip().splitlines()[-1]
    message = (
        f"{len(failed)} of {len(cells)} cells failed, the first (configuration {first[Column.CONFIGURATION]}, "
        f"fold {first[Column.FOLD]}): {reason}"
    )
    return message, len(failed) == len(cells)
