"""The context of a search under way: its setup, its run, its console, and how the user resumes it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any, TypeVar

from rich.console import Console

from helo._cli import print_command, print_line, print_text, with_command
from helo.errors import InputError, describe_error
from helo.run.directory import Run
from helo.run.journal import Journal
from helo.run.manifest import Manifest
from helo.search.setup.search_setup import SearchSetup
from helo.storage import END_S, SEARCH_S, FolderLock, Patience

Made = TypeVar("Made")


class SearchContext:
    """Everything that the stages of a search share.

    Parameters
    ----------
    setup : SearchSetup
        Inputs and settings of the search.
    console : Console
        Console for the progress of the search.
    resume_command : str
        Command or call by which the user resumes the search, for messages.
    run : Run or None
        The run that is resumed; None starts a new one.
    """

    def __init__(self, setup: SearchSetup, console: Console, resume_command: str = "", run: Run | None = None) -> None:
        self.setup = setup
        self.console = console
        self.resume_command = resume_command
        self._run = run
        self._journal: Journal | None = None
        self._lock: FolderLock | None = None
        self._held = ExitStack()

    @property
    def has_run(self) -> bool:
        """Whether the run directory exists."""
        return self._run is not None

    @property
    def run(self) -> Run:
        """The run. Raises `RuntimeError` before its directory exists."""
        if self._run is None:
            raise RuntimeError("the run directory does not exist yet")
        return self._run

    def create_run(self, manifest: Manifest, folds: list[dict[str, Any]]) -> Run:
        """Create the run directory."""
        self._run = Run.create(self.setup.out, manifest, folds)
        return self._run

    def lock_run(self) -> FolderLock:
        """Lock the run until `release_run`, and return the lock; a second call returns the same lock.

        While the run is locked, the search waits for its storage for `SEARCH_S` seconds.

        Raises
        ------
        InputError
            If another search has locked the run.
        """
        if self._lock is None:
            self._lock = self._held.enter_context(self.run.lock(self.print))
            self._journal = Journal(self.run.folder.with_patience(Patience(0)))
            self._run = self.run.with_patience(Patience(SEARCH_S, self.print, self._lock.check))
        return self._lock

    def check_hold(self) -> None:
        """Raise `OSError` if the run is locked, but not the locked one any more."""
        if self._lock is not None:
            self._lock.check()

    def cause_of(self, error: BaseException) -> BaseException:
        """Return the error that the user needs to know.

        Bad input of a run that is locked, but not the locked one any more, follows from that: files are missing.
        """
        if isinstance(error, InputError):
            try:
                self.check_hold()
            except OSError as cause:
                return cause
        return error

    def stop_waiting(self) -> None:
        """Give up soon on storage that does not answer, because the search ends anyway."""
        if self._run is not None:
            self._run = self._run.with_patience(Patience(END_S, guard=self.check_hold))
        if self._lock is not None:
            self._lock.patience = Patience(END_S)

    def release_run(self) -> None:
        """Release the lock, so that another search can resume the run."""
        self._lock = self._journal = None
        self._held.close()

    def print(self, line: str) -> None:
        """Print one line with a path or command on the console, and write it to the journal."""
        print_line(self.console, line)
        self.note(line)

    def print_text(self, text: str) -> None:
        """Print sentences on the console, and write them to the journal."""
        print_text(self.console, text)
        self.note(text)

    def note(self, text: str = "", phase: str | None = None, **known: Any) -> None:
        """Write an entry to the journal of a locked run, see `helo.run.journal.Journal.write`."""
        if self._journal is not None:
            self._journal.write(text, phase, **known)

    def make_extra(self, name: str, make: Callable[[], Made]) -> Made | None:
        """Make a part of the run that tables and model do not need, such as the report.

        Parameters
        ----------
        name : str
            Name of the part in messages.
        make : callable
            Function that makes it.

        Returns
        -------
        object or None
            What `make` returns. None if it fails: the reason is printed, and the search goes on.
        """
        try:
            return make()
        except Exception as error:
            reason = f"{name} is not written ({describe_error(error)}); make it later with"
            print_command(self.console, reason, self.resume_command)
            self.note(reason)
            return None

    def with_resume_command(self, reason: str) -> str:
        """Return a message with the reason why the search ended, what is finished, and how to resume."""
        finished = ""
        with suppress(OSError):  # the storage may be what has failed
            if not self.run.folder.is_new():  # it may have been moved
                finished = f"{len(self.run.ledger)} cells are finished; "
        return with_command(f"{reason}; {finished}resume with", self.resume_command)
