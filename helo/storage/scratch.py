"""Private folders for temporary files, deleted at their end, or by a later process if theirs is killed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

KEPT_S: Final = 86400.0
"""Age in seconds from which a folder that was kept is deleted."""

TRIES: Final = 50
"""Attempts to delete a folder into which ending processes still write."""

INSIDE: Final = "s"
"""Name of the folder in the private one. Whatever its own permissions become, others cannot reach it."""

_LOCK = "lock"


class Scratch:
    """Folder for temporary files of this process.

    Attributes
    ----------
    path : Path
        The folder. Only this user can reach it.
    kept : bool
        Whether it stays for `KEPT_S` seconds, as for the logs of a program that did not start.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.kept = path, False

    def keep(self) -> None:
        """Keep the folder for `KEPT_S` seconds."""
        self.kept = True


@contextmanager
def scratch_folder(kind: str, place: Path | None = None) -> Iterator[Scratch]:
    """Open a context with a new private folder, which is deleted at the end.

    Folders of the same kind that killed processes have left are deleted, too.

    Parameters
    ----------
    kind : str
        Word in the name of the folder, the same for each use.
    place : Path, optional
        Folder in which it is made. By default that of the system for temporary files.

    Yields
    ------
    Scratch
    """
    place = Path(tempfile.gettempdir()) if place is None else place
    _delete_abandoned(place, kind)
    private = Path(tempfile.mkdtemp(prefix=f"helo-{kind}-", dir=place))
    scratch = Scratch(private / INSIDE)
    try:
        with contextlib.ExitStack() as stack:
            scratch.path.mkdir()
            with contextlib.suppress(OSError):  # no locks: the folder then counts as kept if its process is killed
                hidden = private / f"{_LOCK}-new"  # another process that looks finds it locked, or not at all
                _lock(stack.enter_context(hidden.open("w", encoding="utf-8")))
                hidden.rename(private / _LOCK)
            yield scratch
    finally:
        if scratch.kept:
            (private / _LOCK).unlink(missing_ok=True)
        else:
            _delete(private)


def _lock(file: IO[str]) -> None:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _delete_abandoned(place: Path, kind: str) -> None:
    for folder in place.glob(f"helo-{kind}-*"):
        with contextlib.suppress(OSError):  # it is in use, or belongs to another user
            if folder.is_symlink() or folder.lstat().st_uid != os.getuid():
                continue
            try:
                with (folder / _LOCK).open("r+", encoding="utf-8") as file:
                    _lock(file)
            except FileNotFoundError:  # kept, or just made
                if time.time() - folder.lstat().st_mtime < KEPT_S:
                    continue
            _delete(folder)


def _delete(folder: Path) -> None:
    for _ in range(TRIES):
        shutil.rmtree(folder / INSIDE, ignore_errors=True)
        if not (folder / INSIDE).exists():  # else the lock stays, by which a later process knows that it is abandoned
            shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.1)
