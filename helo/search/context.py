"""The context of a search under way: its setup, its run, its console, and how the user resumes it."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from helo._cli import print_line
from helo.run.directory import Run
from helo.run.manifest import Manifest
from helo.search.setup.search_setup import SearchSetup


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

    def print(self, line: str) -> None:
        """Print one line on the console."""
        print_line(self.console, line)

    def with_resume_command(self, reason: str) -> str:
        """Return a message with the reason why the search ended, what is finished, and how to resume."""
        return f"{reason}; {len(self.run.ledger)} cells are finished; resume with: {self.resume_command}"
