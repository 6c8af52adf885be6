"""Lease of a folder on storage without locks: renewed by its holder, or abandoned."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import platform
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from helo._deadline import seconds_since_boot
from helo.errors import InputError, StorageError
from helo.storage.folder import Folder
from helo.storage.patience import SEARCH_S, Patience

RENEW_S: Final = 10.0
"""Seconds between two renewals of a lease."""

FRESH_S: Final = 40.0
"""Maximum age in seconds of a lease that counts as valid without another look at the storage."""

PATIENCE_S: Final = 60.0
"""Seconds without a renewal after which a lease counts as abandoned."""

SETTLE_S: Final = 2.0
"""Seconds between writing a new lease and reading it back. If two processes write at once, the last write wins."""


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


class Lease(FolderLock):
    """Lease: a file or an object that names the process, written again every `RENEW_S` seconds.

    Object storage has no conditional writes in pyarrow. A process that is paused between reading a lease and writing it
    replaces the lease of whoever has come meanwhile. Therefore

    - a holder writes to the folder only while its lease is younger than `FRESH_S`. Nobody else has it before
      `PATIENCE_S`, so a write has the time between them to arrive;
    - who claims a lease leaves a mark before, a file that nobody replaces. A holder that renews its lease late looks
      for marks of others, and has lost it if there are any;
    - a claim counts if it is still there after `SETTLE_S`, so of two at a time the last one does. A claim that took
      long waits until a holder whose lease it may have replaced stops writing.

    A process that is paused after it has asked, and before its request leaves, still makes that one request.
    """

    def __init__(self, folder: Folder, name: str, waiting: Callable[[str], None]) -> None:
        # A single attempt at a time: a write that waited might replace the lease of a process that has come meanwhile.
        self.folder = folder.with_patience(Patience(0))
        self.name, self.token, self.patience = name, secrets.token_hex(8), Patience(SEARCH_S, waiting)
        self.lost = False
        self._mark, self._left_marks = f"{name}-{self.token}", frozenset[str]()
        self._renewing, self._renewed, self._renewals = threading.Lock(), -math.inf, 0

    @property
    def is_fresh(self) -> bool:
        """Whether no other process can have taken over the folder since the last renewal."""
        return not self.lost and seconds_since_boot() - self._renewed <= FRESH_S

    def check(self) -> None:
        """Raise `OSError` if another process has taken over the folder."""
        # A lease may be old although a thread renews it: the machine slept, or the network was down.
        while not self.lost and not self.is_fresh:
            self.patience.keep_trying(self.renew)
        if self.lost:
            raise OSError(errno.ESTALE, "another search has taken it over", str(self.folder))

    def claim(self, free: Mapping[str, Any]) -> None:
        """Write the lease of a folder instead of one that counts no more, and find out whether this process has it."""
        with self._renewing:
            self._left_marks = self._marks() - {self._mark}
            self.folder.write(self._mark, b"")
            started = seconds_since_boot()
            found = read_lease(self.folder, self.name)
            self.lost = found != free and found.get("token") != self.token
            if not self.lost:
                self._renewed = self._write()
                is_late = seconds_since_boot() - started > SETTLE_S / 2
                time.sleep(FRESH_S + SETTLE_S if is_late else SETTLE_S)
                self.lost = self._token() != self.token

    def renew(self) -> None:
        """Write the lease again unless another process has replaced it; raise `OSError` if the storage fails."""
        with self._renewing:
            started = seconds_since_boot()
            found = self._token()
            if self.lost or not (found == self.token or (found is None and self.is_fresh)):
                self.lost = True
                return
            written = self._write()
            took = seconds_since_boot() - started
            # Somebody may have deleted the lease. Then another process need not have waited for `PATIENCE_S`.
            if found is None or not self.is_fresh:
                time.sleep(SETTLE_S)
                others = self._marks() - self._left_marks - {self._mark}
                self.lost = bool(others) or took > PATIENCE_S or self._token() != self.token
            self._renewed = written

    def release(self) -> None:
        """Delete the lease unless it may be that of another process by now. One that stays counts as abandoned."""
        with contextlib.suppress(OSError):
            if self._renewals and not self.lost and not self.is_fresh:
                self.renew()
            is_mine = self.is_fresh
            for name in (self._mark, *self._left_marks, self.name) if is_mine else (self._mark,):
                self.folder.delete(name)

    def _token(self) -> str | None:
        token = read_lease(self.folder, self.name).get("token")
        return None if token is None else str(token)

    def _marks(self) -> frozenset[str]:
        return frozenset(name for name in self.folder.names() if name.startswith(f"{self.name}-"))

    def _write(self) -> float:
        """Write the lease; return when that began."""
        content = {
            "holder": process_label(),
            **_process_identity(),
            "token": self.token,
            "renewed": self._renewals,
        }
        started = seconds_since_boot()
        self.folder.write(self.name, json.dumps(content).encode())
        self._renewals += 1
        return started

    def keep_renewing(self, released: threading.Event) -> None:
        """Renew the lease regularly until it is lost or `released` is set."""
        while not self.lost and not released.wait(RENEW_S):
            with contextlib.suppress(OSError):  # the network may be down for a while; `check` tries again
                self.renew()


@contextmanager
def held_lease(folder: Folder, name: str, waiting: Callable[[str], None]) -> Iterator[FolderLock]:
    """Hold the lease of a folder for the length of a ``with`` block, see `helo.storage.lock_folder`."""
    lease = Lease(folder, name, waiting)
    try:
        free = _wait_until_free(folder, name, waiting)
        Patience().keep_trying(lambda: lease.claim(free))
        if lease.lost:
            raise in_use_error(folder, str(read_lease(folder, name).get("holder", "another process")))
    except (OSError, InputError) as error:
        lease.release()
        if isinstance(error, StorageError | InputError):
            raise
        raise InputError(f"{folder.where(name)}: cannot be written ({error})") from None
    released = threading.Event()
    thread = threading.Thread(target=lease.keep_renewing, args=(released,), daemon=True, name="helo-lease")
    thread.start()
    try:
        yield lease
    finally:
        released.set()
        thread.join()
        lease.release()


def _wait_until_free(folder: Folder, name: str, waiting: Callable[[str], None]) -> dict[str, Any]:
    """Wait until there is no lease or it is abandoned, and return it; raise `InputError` if its process renews it."""
    lease = read_lease(folder, name)
    holder = str(lease.get("holder", "another process"))
    if not lease or has_ended(lease):
        return lease
    waiting(f"{folder}: is in use by {holder}; waiting {PATIENCE_S:.0f} s to see whether that process still runs")
    until = seconds_since_boot() + PATIENCE_S
    while seconds_since_boot() < until:
        time.sleep(min(1.0, PATIENCE_S))
        current = read_lease(folder, name)
        if current and current != lease:
            raise in_use_error(folder, holder)
        lease = current
        if not lease:
            break
    return lease


def read_lease(folder: Folder, name: str) -> dict[str, Any]:
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


def has_ended(lease: dict[str, Any]) -> bool:
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


def in_use_error(folder: Folder, holder: str) -> InputError:
    """Return the error of a folder that another process uses."""
    return InputError(f"{folder}: is in use by {holder}; wait for that process or end it")


def process_label() -> str:
    """Return the number of this process and the name of its machine, for messages."""
    return f"process {os.getpid()} on {platform.node()}"
