"""Exclusive use of a folder: a lock of the operating system, or a lease where the storage has no locks."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import platform
import secrets
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

from helo.errors import InputError, StorageError
from helo.storage.folder import Folder
from helo.storage.patience import SEARCH_S, Patience

RENEW_S: Final = 10.0
"""Seconds between two renewals of a lease."""

FRESH_S: Final = 40.0
"""Maximum age in seconds of a lease that counts as valid without another look at the storage."""

PATIENCE_S: Final = 60.0
"""Seconds without a renewal after which a lease counts as abandoned."""

HELD_BY_ANOTHER: Final = frozenset({errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES})
"""Error numbers of `fcntl.flock` that mean that another process holds the lock. The others mean that there are none."""

SETTLE_S: Final = 2.0
"""Seconds between writing a new lease and reading it back. If two processes write at once, the last write wins."""


LOOK_S: Final = 0.1
"""Seconds after which a lock that seemed to be held is tried a second time."""


class FolderLock:
    """Exclusive right to write to a folder.

    Attributes
    ----------
    patience : Patience
        How long `check` tries to reach storage that does not answer.
    """

    patience = Patience(SEARCH_S)

    def check(self) -> None:
        """Raise `OSError` if this process may no longer write to the folder, so that files of two do not mix."""


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
        return _lease(folder, name, waiting)
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
                if not _read(self._folder, self._name):
                    return False
        return self._is_lease_held()

    def _is_lease_held(self) -> bool | None:
        lease = _read(self._folder, self._name)
        if not lease or _has_ended(lease):
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
                raise _in_use_error(folder, file.read().strip() or "another process") from None
            reason = error.strerror or str(error)
        else:
            file.truncate(0)
            file.write(_process_label())
            file.flush()
            yield _LocalLock(folder, path, os.fstat(file.fileno()))
            return
    waiting(
        f"{path}: this file system has no locks ({reason}); the search marks the folder as in use in this file "
        f"instead, which counts until {PATIENCE_S:.0f} s after the search has been killed"
    )
    with _lease(folder, path.name, waiting) as lease:
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


class _Lease(FolderLock):
    """Lease: a file or an object that names the process, written again every `RENEW_S` seconds."""

    def __init__(self, folder: Folder, name: str, waiting: Callable[[str], None]) -> None:
        # A single attempt at a time: a write that waited might replace the lease of a process that has come meanwhile.
        self.folder = folder.with_patience(Patience(0))
        self.name, self.token, self.patience = name, secrets.token_hex(8), Patience(SEARCH_S, waiting)
        self.lost = False
        self._renewing, self._renewed, self._renewals = threading.Lock(), -FRESH_S, 0

    def check(self) -> None:
        """Raise `OSError` if another process has taken over the folder."""
        # A lease may be old although a thread renews it: the machine slept, or the network was down.
        if not self.lost and time.monotonic() - self._renewed > FRESH_S:
            self.patience.keep_trying(self.renew)
        if self.lost:
            raise OSError(errno.ESTALE, "another search has taken it over", str(self.folder))

    def renew(self) -> None:
        """Write the lease again unless another process has replaced it; raise `OSError` if the storage fails."""
        with self._renewing:
            started = time.monotonic()
            if self._renewals and _read(self.folder, self.name).get("token") not in (self.token, None):
                self.lost = True
                return
            content = {
                "holder": _process_label(),
                **_process_identity(),
                "token": self.token,
                "renewed": self._renewals,
            }
            self.folder.write(self.name, json.dumps(content).encode())
            self._renewed, self._renewals = started, self._renewals + 1

    def keep_renewing(self, released: threading.Event) -> None:
        """Renew the lease regularly until it is lost or `released` is set."""
        while not self.lost and not released.wait(RENEW_S):
            with contextlib.suppress(OSError):  # the network may be down for a while; `check` tries again
                self.renew()


@contextmanager
def _lease(folder: Folder, name: str, waiting: Callable[[str], None]) -> Iterator[FolderLock]:
    lease = _Lease(folder, name, waiting)
    try:
        _wait_until_free(folder, name, waiting)
        Patience().keep_trying(lease.renew)
        time.sleep(SETTLE_S)
        found = _read(folder, name)
    except StorageError:
        raise
    except OSError as error:
        raise InputError(f"{folder.where(name)}: cannot be written ({error})") from None
    if found.get("token") != lease.token:
        raise _in_use_error(folder, str(found.get("holder", "another process")))
    released = threading.Event()
    thread = threading.Thread(target=lease.keep_renewing, args=(released,), daemon=True, name="helo-lease")
    thread.start()
    try:
        yield lease
    finally:
        released.set()
        thread.join()
        if not lease.lost:
            with contextlib.suppress(OSError):  # a lease that stays counts as abandoned later
                lease.folder.delete(name)


def _wait_until_free(folder: Folder, name: str, waiting: Callable[[str], None]) -> None:
    """Return once there is no lease or it is abandoned; raise `InputError` if its process renews it."""
    lease = _read(folder, name)
    holder = str(lease.get("holder", "another process"))
    if not lease or _has_ended(lease):
        return
    waiting(f"{folder}: is in use by {holder}; waiting {PATIENCE_S:.0f} s to see whether that process still runs")
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        time.sleep(min(1.0, PATIENCE_S))
        current = _read(folder, name)
        if not current:
            return
        if current != lease:
            raise _in_use_error(folder, holder)


def _read(folder: Folder, name: str) -> dict[str, Any]:
    """Return the content of a lease, or an empty dictionary if there is no valid lease."""
    try:
        found = json.loads(folder.read(name))
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _process_identity() -> dict[str, Any]:
    """Return fields that identify this process among those of all machines and containers.

    The process number alone is ambiguous: containers and machines number their processes independently.
    """
    identity: dict[str, Any] = {"process": os.getpid(), "node": platform.node()}
    with contextlib.suppress(OSError):  # these files exist on Linux only
        identity["boot"] = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        identity["space"] = os.stat("/proc/self/ns/pid").st_ino
    return identity


def _has_ended(lease: dict[str, Any]) -> bool:
    """Return whether the process of a lease ran on this machine and has ended."""
    this = _process_identity()
    process = lease.get("process")
    is_local = "boot" in this and all(lease.get(key) == this.get(key) for key in ("node", "boot", "space"))
    if not is_local or not isinstance(process, int) or process <= 0:
        return False
    try:
        os.kill(process, 0)
    except OSError as error:
        return isinstance(error, ProcessLookupError)
    return False


def _in_use_error(folder: Folder, holder: str) -> InputError:
    return InputError(f"{folder}: is in use by {holder}; wait for that process or end it")


def _process_label() -> str:
    return f"process {os.getpid()} on {platform.node()}"
