"""Keeping a folder to one writer: a lock of the operating system here, a lease on object storage."""

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
"""A lease that was renewed so lately is ours; an older one is looked at before anything is written."""

PATIENCE_S: Final = 60.0
"""A lease that has not been renewed for so long has been left behind."""

SETTLE_S: Final = 2.0
"""Of two who take a lease at the same time, the later one has it: so long an earlier one waits to find out."""


class Hold:
    """A folder that is kept from others."""

    def check(self) -> None:
        """Raise `OSError` if the folder is not ours any more: what is written now would mix with the other's."""


def hold(
    folder: Folder, name: str, waiting: Callable[[str], None] = lambda line: None
) -> contextlib.AbstractContextManager[Hold]:
    """Keep every other `hold` from this folder, for the length of a ``with`` block; `name`: the file that says so.

    Raise `InputError` if somebody has it. On this machine that shows at once, and ends with the process that holds it,
    however that ends. On object storage a lease is renewed every `RENEW_S` seconds; where one is found whose process
    cannot be asked, `waiting` is told, and it counts as left behind if nothing renews it for `PATIENCE_S`. Clocks of
    different machines are not compared.
    """
    return _lock(folder.here / name, folder) if folder.here is not None else _lease(folder, name, waiting)


@contextmanager
def _lock(path: Path, folder: Folder) -> Iterator[Hold]:
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            raise _busy(folder, file.read().strip() or "another process") from None
        file.truncate(0)
        file.write(_me())
        file.flush()
        yield Hold()


class _Lease(Hold):
    """A lease on object storage: an object that says who has the folder, written anew every `RENEW_S` seconds."""

    def __init__(self, folder: Folder, name: str) -> None:
        self.folder, self.name, self.token = folder, name, secrets.token_hex(8)
        self.lost = False
        self._turn, self._renewed, self._count = threading.Lock(), -FRESH_S, 0

    def check(self) -> None:
        """See `Hold`."""
        if not self.lost and time.monotonic() - self._renewed > FRESH_S:  # this machine slept, or the network was away
            self.renew()
        if self.lost:
            raise OSError(f"{self.folder}: another search has taken it over")

    def renew(self) -> None:
        """Write it again, unless it is somebody else's by now. Raises `OSError` where the storage fails."""
        with self._turn:
            asked = time.monotonic()
            if self._count and _read(self.folder, self.name).get("token") not in (self.token, None):
                self.lost = True
                return
            content = {"holder": _me(), **_here(), "token": self.token, "renewed": self._count}
            self.folder.write(self.name, json.dumps(content).encode())
            self._renewed, self._count = asked, self._count + 1

    def keep(self, over: threading.Event) -> None:
        """Renew it until it is lost or `over`."""
        while not self.lost and not over.wait(RENEW_S):
            with contextlib.suppress(OSError):  # a network that is away for a while: `check` asks again
                self.renew()


@contextmanager
def _lease(folder: Folder, name: str, waiting: Callable[[str], None]) -> Iterator[Hold]:
    mine = _Lease(folder, name)
    try:
        _wait_for(folder, name, waiting)
        mine.renew()
        time.sleep(SETTLE_S)
        found = _read(folder, name)
    except OSError as error:
        raise InputError(f"{folder.where(name)}: cannot be written ({error})") from None
    if found.get("token") != mine.token:
        raise _busy(folder, str(found.get("holder", "another process")))
    over = threading.Event()
    renewing = threading.Thread(target=mine.keep, args=(over,), daemon=True, name="helo-lease")
    renewing.start()
    try:
        yield mine
    finally:
        over.set()
        renewing.join()
        if not mine.lost:
            with contextlib.suppress(OSError):  # it will be found to be left behind
                folder.delete(name)


def _wait_for(folder: Folder, name: str, waiting: Callable[[str], None]) -> None:
    """Return once nobody has the lease; raise `InputError` if somebody renews it."""
    seen = _read(folder, name)
    holder = str(seen.get("holder", "another process"))
    if not seen or _is_dead(seen):
        return
    waiting(f"{folder}: was left to {holder}; waiting {PATIENCE_S:.0f} s to see whether that still works on it")
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        time.sleep(min(1.0, PATIENCE_S))
        now = _read(folder, name)
        if not now:
            return
        if now != seen:
            raise _busy(folder, holder)


def _read(folder: Folder, name: str) -> dict[str, Any]:
    """The lease; empty if there is none."""
    try:
        found = json.loads(folder.read(name))
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _here() -> dict[str, Any]:
    """What tells this process from all others: its number alone does not, in a container or on another machine."""
    told: dict[str, Any] = {"process": os.getpid(), "node": platform.node()}
    with contextlib.suppress(OSError):  # of Linux
        told["boot"] = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        told["space"] = os.stat("/proc/self/ns/pid").st_ino
    return told


def _is_dead(lease: dict[str, Any]) -> bool:
    """Whether its process was one of this machine, and is no more."""
    here = _here()
    process = lease.get("process")
    same = all(lease.get(key) == here.get(key) for key in ("node", "boot", "space")) and "boot" in here
    if not same or not isinstance(process, int) or process <= 0:
        return False
    try:
        os.kill(process, 0)
    except OSError as error:
        return isinstance(error, ProcessLookupError)
    return False


def _busy(folder: Folder, holder: str) -> InputError:
    return InputError(f"{folder}: is being worked on by {holder}; wait for it or end it")


def _me() -> str:
    return f"process {os.getpid()} on {platform.node()}"
