"""Exclusive use of a folder: a lock of the operating system, or a lease where the storage has no locks."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

from helo.errors import InputError
from helo.storage.folder import Folder
from helo.storage.lease import PATIENCE_S, FolderLock, has_ended, held_lease, in_use_error, process_label, read_lease

HELD_BY_ANOTHER: Final = frozenset({errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES})
"""Error numbers of `fcntl.flock` that mean that another process holds the lock. The others mean that there are none."""

LOOK_S: Final = 0.1
"""Seconds after which a lock that seemed to be held is tried a second time."""


def lock_folder(
    folder: Folder, name: str, waiting: Callable[[str], None] = lambda line: None
) -> contextlib.AbstractContextManager[FolderLock]:
    """Return a context manager that gives this process the exclusive use of a folder.

    A local folder is locked by the operating system. That lock ends with its process, even if the process is killed. On
    object storage, and on file systems without locks, a lease is written every `RENEW_S` seconds. A lease of a process
    that is known to have ended is taken over at once. Any other lease counts as abandoned if it is not renewed within
    `PATIENCE_S` seconds. The clocks of different machines are not compared.

    Parameters
    ----------
    folder : Folder
        Folder to lock.
    name : str
        Name of the lock file, or of the object with the lease.
    waiting : callable, optional
        Function that gets one line of text if the file system has no locks, and before this process waits for a lease
        to be renewed.

    Returns
    -------
    context manager of FolderLock
        The lock, held for the length of the ``with`` block.

    Raises
    ------
    InputError
        On entry, if another process uses the folder, or the lease cannot be written.
    StorageError
        On entry, if the storage does not answer.
    """
    if folder.here is None:
        return held_lease(folder, name, waiting)
    return _local_lock(folder.here / name, folder, waiting)


class LockWatch:
    """Look whether a process holds the lock of a folder, again and again, without a claim to it.

    Parameters
    ----------
    folder : Folder
        Folder that may be locked.
    name : str
        Name of the lock file, or of the object with the lease.
    clock : callable
        Returns the time in seconds.
    """

    def __init__(self, folder: Folder, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder, self._name, self._clock = folder, name, clock
        self._lease: dict[str, Any] = {}
        self._seen, self._is_renewed = 0.0, False

    def is_held(self) -> bool | None:
        """Return whether the lock is held; None while it is unknown, because a lease may still be renewed."""
        if self._folder.here is not None:
            try:
                with (self._folder.here / self._name).open("rb") as file:
                    # Shared and for a moment. A search that starts in this moment tries again.
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except FileNotFoundError:
                return False
            except OSError as error:
                if error.errno in HELD_BY_ANOTHER:
                    return True
            else:
                if not read_lease(self._folder, self._name):
                    return False
        return self._is_lease_held()

    def _is_lease_held(self) -> bool | None:
        lease = read_lease(self._folder, self._name)
        if not lease or has_ended(lease):
            self._lease = {}
            return False
        now = self._clock()
        if lease != self._lease:
            self._is_renewed = bool(self._lease)
            self._lease, self._seen = lease, now
        if now - self._seen > PATIENCE_S:
            return False
        return True if self._is_renewed else None


def _try_lock(file: IO[str]) -> None:
    """Lock a file, or raise `OSError`. A second attempt allows for a `LockWatch` that looks at the first."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in HELD_BY_ANOTHER:
            raise
        time.sleep(LOOK_S)
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _open_lock(path: Path) -> IO[str]:
    """Open the lock file, or create it; raise `InputError` for anything else that has its name.

    The file is emptied and written, so a link that somebody has put there is not followed.
    """
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK  # or a FIFO could wait forever
    try:
        descriptor = os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
            raise InputError(f"{path}: must be a file, but is a {_kind_of(path)}; remove it") from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InputError(f"{path}: must be a file, but is a {_kind_of(path)}; remove it")
    return os.fdopen(descriptor, "a+", encoding="utf-8")


def _kind_of(path: Path) -> str:
    return "link" if path.is_symlink() else "folder" if path.is_dir() else "FIFO, socket or device"


@contextmanager
def _local_lock(path: Path, folder: Folder, waiting: Callable[[str], None]) -> Iterator[FolderLock]:
    """Lock a local folder: by the operating system, or by a lease if its file system has no locks."""
    with _open_lock(path) as file:
        try:
            _try_lock(file)
        except OSError as error:
            if error.errno in HELD_BY_ANOTHER:
                file.seek(0)
                raise in_use_error(folder, file.read().strip() or "another process") from None
            reason = error.strerror or str(error)
        else:
            file.truncate(0)
            file.write(process_label())
            file.flush()
            yield _LocalLock(folder, path, os.fstat(file.fileno()))
            return
    waiting(
        f"{path}: this file system has no locks ({reason}); the search marks the folder as in use in this file "
        f"instead, which counts until {PATIENCE_S:.0f} s after the search has been killed"
    )
    with held_lease(folder, path.name, waiting) as lease:
        yield lease


class _LocalLock(FolderLock):
    """Lock of the operating system on a file. It holds for the folder as long as the file is in it."""

    def __init__(self, folder: Folder, path: Path, locked: os.stat_result) -> None:
        self._folder, self._path, self._locked = folder, path, locked

    def check(self) -> None:
        """Raise `OSError` if the folder is not the locked one any more."""
        try:
            if os.path.samestat(self._path.stat(), self._locked):
                return
        except FileNotFoundError:
            pass
        raise OSError(errno.ESTALE, "has been moved, removed or replaced while it was in use", str(self._folder))
