"""Exclusive use of a folder: an operating-system lock on this machine, a lease on object storage."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import platform
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from helo.errors import InputError
from helo.storage.folder import Folder

RENEW_S: Final = 10.0
"""Seconds between two renewals of a lease."""

FRESH_S: Final = 40.0
"""Maximum age in seconds of a lease that counts as valid without another look at the storage."""

PATIENCE_S: Final = 60.0
"""Seconds without a renewal after which a lease counts as abandoned."""

SETTLE_S: Final = 2.0
"""Seconds between writing a new lease and reading it back. If two processes write at once, the last write wins."""


class FolderLock:
    """Exclusive right to write to a folder. This base class serves local folders, whose lock cannot be lost."""

    def check(self) -> None:
        """Raise `OSError` if another process has taken over the folder, so that the files of both do not mix."""


def lock_folder(
    folder: Folder, name: str, waiting: Callable[[str], None] = lambda line: None
) -> contextlib.AbstractContextManager[FolderLock]:
    """Return a context manager that gives this process the exclusive use of a folder.

    A local folder is locked by the operating system. That lock ends with its process, even if the process is killed. On
    object storage, a lease is written every `RENEW_S` seconds. A lease of a process that is known to have ended is
    taken over at once. Any other lease counts as abandoned if it is not renewed within `PATIENCE_S` seconds. The clocks
    of different machines are not compared.

    Parameters
    ----------
    folder : Folder
        Folder to lock.
    name : str
        Name of the lock file, or of the object with the lease.
    waiting : callable, optional
        Function that gets one line of text before this process waits for a lease to be renewed.

    Returns
    -------
    context manager of FolderLock
        The lock, held for the length of the ``with`` block.

    Raises
    ------
    InputError
        On entry, if another process uses the folder, or the lease cannot be written.
    """
    return _lock(folder.here / name, folder) if folder.here is not None else _lease(folder, name, waiting)


@contextmanager
def _lock(path: Path, folder: Folder) -> Iterator[FolderLock]:
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            raise _in_use_error(folder, file.read().strip() or "another process") from None
        file.truncate(0)
        file.write(_process_label())
        file.flush()
        yield FolderLock()


class _Lease(FolderLock):
    """Lease on object storage: an object that names the process, written again every `RENEW_S` seconds."""

    def __init__(self, folder: Folder, name: str) -> None:
        self.folder, self.name, self.token = folder, name, secrets.token_hex(8)
        self.lost = False
        self._renewing, self._renewed, self._renewals = threading.Lock(), -FRESH_S, 0

    def check(self) -> None:
        """Raise `OSError` if another process has taken over the folder."""
        # A lease may be old although a thread renews it: the machine slept, or the network was down.
        if not self.lost and time.monotonic() - self._renewed > FRESH_S:
            self.renew()
        if self.lost:
            raise OSError(f"{self.folder}: another search has taken it over")

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
    lease = _Lease(folder, name)
    try:
        _wait_until_free(folder, name, waiting)
        lease.renew()
        time.sleep(SETTLE_S)
        found = _read(folder, name)
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
                folder.delete(name)


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
