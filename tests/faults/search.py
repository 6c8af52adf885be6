"""A search that meets faults: its processes, its folders, and how far it has come."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from faults.schedule import Point, Stage
from searches import parts
from storage_proxy import StorageProxy

from helo.names import FileName, SearchPhase
from helo.run.journal import read_journal
from helo.storage import open_folder

STAGES = {
    SearchPhase.CELLS: Stage.CELLS,
    SearchPhase.TABLES: Stage.TABLES,
    SearchPhase.REPORT: Stage.REPORT,
    SearchPhase.MODEL: Stage.MODEL,
}


@dataclass
class Search:
    """A search, as the harness and the faults see it.

    Attributes
    ----------
    folder : Path
        Working directory of its commands.
    temporary : Path
        Folder of its temporary files.
    place : str
        Run as its commands name it.
    proxy : StorageProxy or None
        Proxy of its object storage.
    process : subprocess.Popen
        The command that runs now.
    entries : int
        Number of journal entries that are older than the command.
    sessions : set of int
        Sessions of all commands so far.
    """

    folder: Path
    temporary: Path
    place: str
    proxy: StorageProxy | None = None
    process: subprocess.Popen[str] | None = None
    entries: int = 0
    sessions: set[int] = field(default_factory=set)

    @property
    def run(self) -> Path | str:
        """The run, from any working directory."""
        return self.place if "://" in self.place else self.folder / self.place

    def has_run(self) -> bool:
        """Return whether the run exists."""
        return open_folder(self.run).exists(FileName.MANIFEST)

    def journal(self) -> list[str]:
        """Return the phases of the entries of the journal."""
        return [entry.phase for entry in read_journal(open_folder(self.run))]

    def has_reached(self, point: Point) -> bool:
        """Return whether the command that runs now has reached a point."""
        if point.stage == Stage.RAY:
            return any(self.temporary.glob("helo-ray-*"))
        if not self.has_run():
            return False
        phases = self.journal()[self.entries :]
        if point.stage == Stage.CREATED:
            return bool(phases)
        stage = max((STAGES.get(SearchPhase(phase), Stage.RAY) for phase in phases), default=Stage.RAY)
        return stage >= point.stage and len(parts(self.run)) >= point.cells

    def processes(self) -> list[psutil.Process]:
        """Return the running processes of the commands of this search. Ray's stay in the session of their command."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, ProcessLookupError):
                if os.getsid(process.pid) in self.sessions and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def programs(self, is_meant: Callable[[str], bool]) -> list[psutil.Process]:
        """Return the processes with some names, such as ``gcs_server`` or ``ray::IDLE``."""
        found = []
        for process in self.processes():
            with contextlib.suppress(psutil.Error, IndexError):
                if is_meant(process.cmdline()[0].rpartition("/")[2]):
                    found.append(process)
        return sorted(found, key=lambda process: process.pid)
