"""Run a search to its end: cells, tables, model, report and verdict. The command and Python share it.

Besides the package itself, this is the only module of `helo` in which the search and `helo.analysis` meet.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Final

import pandas as pd
import torch
from rich.console import Console

from helo._cli import allow_any_letter, print_command, print_line, with_command
from helo._text import hide_credentials
from helo.analysis.report import write_report, write_summary
from helo.analysis.result import RunResult
from helo.analysis.seeds import read_seeds
from helo.analysis.seeds_report import write_seeds_report
from helo.analysis.seeds_text import print_seeds
from helo.analysis.source import Source, read_source
from helo.analysis.terminal import print_estimates, print_verdict
from helo.analysis.wording import next_step
from helo.errors import InputError, SearchError, StorageError
from helo.names import Column, Fault, FileName, SearchPhase, Status
from helo.run.directory import Run
from helo.run.seeds import SeedRuns
from helo.search.context import SearchContext
from helo.search.deliver import Fit, deliver_model
from helo.search.driver import run_remaining_cells
from helo.search.execution.signals import end_like_ctrl_c
from helo.search.setup.inputs import needs_dataset, options_to_repeat
from helo.search.setup.search_setup import SearchSetup


class Ending(Enum):
    """How a search has ended that did not fail."""

    COMPLETE = auto()
    OUT_OF_TIME = auto()
    INTERRUPTED = auto()


_PHASES: Final = {
    Ending.COMPLETE: SearchPhase.COMPLETE,
    Ending.OUT_OF_TIME: SearchPhase.OUT_OF_TIME,
    Ending.INTERRUPTED: SearchPhase.INTERRUPTED,
}


@dataclass(frozen=True)
class SearchEnd:
    """Outcome of a search with written tables.

    Attributes
    ----------
    run : Run
        The run.
    ending : Ending
        How it has ended.
    stop : str or None
        Why the search ended early, and how to resume it; None if it is complete.
    failures : str or None
        Number of failed cells and the reason of the first; None if no cell failed.
    failed : bool
        Whether all cells failed.
    """

    run: Run
    ending: Ending = Ending.COMPLETE
    stop: str | None = None
    failures: str | None = None
    failed: bool = False


class StoppedError(SearchError):
    """An error or an interruption that ended a search. Its cause is the original exception."""

    def __init__(self, message: str, interrupted: bool) -> None:
        super().__init__(message)
        self.interrupted = interrupted


@dataclass(frozen=True)
class Screen:
    """What the command shows at the end of a search. `helo.run_search` prints paths only.

    Attributes
    ----------
    on_error : callable
        Called with an error that ends the search, before anything else is shown.
    on_failures : callable
        Called with one line if cells have failed, likewise.
    verbose : bool
        Whether the estimates are explained.
    brief : bool
        Whether the estimates and the next command are left out, because they follow for several searches together.
    """

    on_error: Callable[[BaseException], None]
    on_failures: Callable[[str], None]
    verbose: bool = False
    brief: bool = False


def complete_search(context: SearchContext, screen: Screen | None = None) -> SearchEnd:
    """Run a search to its end, write its tables, report and model, and show its result.

    The order is the same for every ending: failures, tables, model, verdict, paths, and the next command, which the
    caller shows if the search did not end by itself.

    Parameters
    ----------
    context : SearchContext
        Context of the search. With a run, that run is resumed.
    screen : Screen, optional
        What is shown of the result. By default only the paths of report and model.

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
    with end_like_ctrl_c():
        return _complete(context, screen)


def _complete(context: SearchContext, screen: Screen | None) -> SearchEnd:
    try:
        return _complete_locked(context, screen)
    finally:
        context.release_run()


def _complete_locked(context: SearchContext, screen: Screen | None) -> SearchEnd:
    """Run a search to its end; the run stays locked, so that no other search resumes it before it has ended."""
    try:
        complete = run_remaining_cells(context)
    except (Exception, KeyboardInterrupt) as first:
        context.stop_waiting()
        error = context.cause_of(first)
        if not context.has_run or isinstance(error, InputError):
            raise
        if screen is not None:
            screen.on_error(error)
        # The user needs to know the first error, not one that follows from it.
        with contextlib.suppress(Exception, KeyboardInterrupt):
            write_results(context, screen, complete=False, after_error=True)
        raise _stopped(context, error) from error
    try:
        end = _end(context, screen, complete)
    except (Exception, KeyboardInterrupt) as first:
        context.stop_waiting()
        error = context.cause_of(first)
        if screen is not None:
            screen.on_error(error)
        raise _stopped(context, error) from error
    context.note(phase=_PHASES[end.ending])
    return end


def _end(context: SearchContext, screen: Screen | None, complete: bool) -> SearchEnd:
    """Conclude a search that did not fail; return its end."""
    deadline = context.setup.deadline
    is_out_of_time = not complete and deadline is not None and deadline.passed
    failures, failed, fit = write_results(context, screen, complete)
    run = context.run
    if not complete:
        ending = Ending.OUT_OF_TIME if is_out_of_time else Ending.INTERRUPTED
        stop = context.with_resume_command("time is up" if is_out_of_time else "interrupted")
        return SearchEnd(run, ending, stop, failures, failed)
    if fit is Fit.OUT_OF_TIME:
        stop = with_command("time is up before the model is fitted; resume with", context.resume_command)
        return SearchEnd(run, Ending.OUT_OF_TIME, stop, failures, failed)
    if screen is not None and not screen.brief:
        print_command(context.console, *next_step(run, complete=True))
    return SearchEnd(run, failures=failures, failed=failed)


def write_results(
    context: SearchContext, screen: Screen | None, complete: bool, after_error: bool = False
) -> tuple[str | None, bool, Fit]:
    """Show failures and tables, write the report, fit the model of a complete search, show the verdict and the paths.

    A report that cannot be written does not keep the model from being fitted.

    Parameters
    ----------
    context : SearchContext
        Context of the search, with a run.
    screen : Screen or None
        What is shown of the result.
    complete : bool
        Whether every cell is finished.
    after_error : bool
        Whether an error has ended the search. A summary that cannot be written is no further error then.

    Returns
    -------
    tuple
        Failed cells in words, or None; whether all cells failed; what became of the model.
    """
    run = context.run
    context.check_hold()  # first: a run that was removed has no cells either
    if not len(run.ledger):
        return None, False, Fit.NONE
    context.note(phase=SearchPhase.REPORT)
    source = read_source(run)
    failures, failed = describe_failures(source.cells, context.resume_command)
    if screen is not None:
        if failures:
            screen.on_failures(failures)
        context.print_text("writing the report")
    # Before results are printed: the reader of a pipe may have ended.
    report = _write_report(context, source, after_error)
    if screen is not None and not screen.brief:
        print_estimates(source, context.console, screen.verbose)
    fit = Fit.NONE
    try:
        if complete:
            fit = deliver_model(context)
        if fit is Fit.DONE:  # again, because the report names the model
            report = context.make_extra(FileName.REPORT, lambda: write_report(read_source(run)))
    finally:  # also if the model cannot be fitted
        if screen is not None:
            print_verdict(source, context.console)
        if report is not None:
            context.print(f"report: {report}")
        if run.has_model:
            context.print(f"model: {run.model}")
    return failures, failed, fit


def _write_report(context: SearchContext, source: Source, after_error: bool) -> Path | str | None:
    """Write summary and report; return the path of the report, or None if it cannot be written."""
    if after_error and source.run.folder.here is None:
        return None  # another search may have taken over the run
    with contextlib.suppress(*((InputError, OSError) if after_error else ())):
        write_summary(source)
    return context.make_extra(FileName.REPORT, lambda: write_report(source))


def _stopped(context: SearchContext, error: BaseException) -> StoppedError:
    """Return the error that tells the user why the search ended and how to resume it."""
    interrupted = isinstance(error, KeyboardInterrupt)
    if isinstance(error, InputError | SearchError | StorageError):
        reason = str(error)
    elif isinstance(error, OSError):
        reason = f"{error.filename or context.run.folder}: {error.strerror or error}"
    else:
        said = str(error).strip().splitlines()
        reason = "interrupted" if interrupted else ": ".join([f"failed with {type(error).__name__}", *said[:1]])
    reason = hide_credentials(reason)
    context.note(reason, SearchPhase.INTERRUPTED if interrupted else SearchPhase.FAILED)
    return StoppedError(context.with_resume_command(reason), interrupted)


def conclude_seeds(runs: SeedRuns, console: Console) -> None:
    """Show the result of several seeds and write their report, as far as they have one.

    Parameters
    ----------
    runs : SeedRuns
        Directory of the runs.
    console : Console
        Console for the result.
    """
    with contextlib.suppress(InputError):  # no seed has a result, or the directory cannot be written
        result = read_seeds(runs)
        print_seeds(result, console)
        print_line(console, f"report: {write_seeds_report(result)}")


def search_from_python(setup: SearchSetup, run: Run | None, progress: bool) -> RunResult:
    """Run a search for `helo.run_search` and return its result."""
    allow_any_letter()
    options = options_to_repeat(setup, run)
    data = options.pop("data", None)
    arguments = [repr(data)] if data is not None else ["dataset"] if needs_dataset(setup, run) else []
    arguments += [f"resume={str(run.folder if run else setup.out)!r}"]
    arguments += [f"{name}={value!r}" for name, value in options.items()]
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
    if end.stop and end.ending is Ending.OUT_OF_TIME:
        for line in end.stop.splitlines():
            context.print(line)
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
    if end.ending is Ending.INTERRUPTED:
        raise KeyboardInterrupt(end.stop)
    if end.failed:
        raise SearchError(f"{end.run.folder}: {end.failures}")
    if end.failures:
        warnings.warn(end.failures, stacklevel=4)  # at the line that calls helo.run_search
    return RunResult(end.run)


def describe_failures(cells: pd.DataFrame, resume_command: str) -> tuple[str | None, bool]:
    """Return a description of the failed cells (None if no cell failed), and whether all cells failed.

    Parameters
    ----------
    cells : pandas.DataFrame
        Columns of ``cells.parquet``.
    resume_command : str
        Command or call that runs again the cells that failed because of the machine.
    """
    failed = cells[cells[Column.STATUS] == Status.FAILED]
    if failed.empty:
        return None, False
    first = failed.iloc[0]
    reason = str(first[Column.REASON]).strip().splitlines()[-1]
    message = (
        f"{len(failed)} of {len(cells)} cells failed, the first (configuration {first[Column.CONFIGURATION]}, "
        f"fold {first[Column.FOLD]}): {reason}"
    )
    # A table of an earlier version has no faults.
    lost = int((failed[Column.FAULT] == Fault.MACHINE).sum()) if Column.FAULT in failed else 0
    if lost:
        message = with_command(f"{message}; {lost} failed because of the machine, to run them again", resume_command)
    return message, len(failed) == len(cells)
