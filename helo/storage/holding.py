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
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from helo.errors import InputError
from helo.storage.folder import Folder

RENEW_S: Final = 10.0
"""Seconds between two renewals of a lease."""

PATIENCE_S: Final = 35.0
"""A lease that has not been renewed for so long has been left behind. More than three renewals: networks have moods."""

SETTLE_S: Final = 2.0
"""Of two who take a lease at the same time, the later one has it: so long an earlier one waits to find out."""


@dataclass
class Hold:
    """A folder that is kept from others. `lost`: whether another one has taken it over."""

    place: str
    lost: bool = False

    def check(self) -> None:
        """Raise `OSError` if the folder is not ours any more: what is written now would mix with the other's."""
        if self.lost:
            raise OSError(f"{self.place}: another process has taken it over")


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
        yield Hold(str(folder))


@contextmanager
def _lease(folder: Folder, name: str, waiting: Callable[[str], None]) -> Iterator[Hold]:
    mine = secrets.token_hex(8)
    try:
        _wait_for(folder, name, waiting)
        _write(folder, name, mine, 0)
        time.sleep(SETTLE_S)
        if _read(folder, name).get("token") != mine:
            raise _busy(folder, str(_read(folder, name).get("holder", "another process")))
    except OSError as error:
        raise InputError(f"{folder.where(name)}: cannot be written ({error})") from None
    found, over = Hold(str(folder)), threading.Event()
    renewing = threading.Thread(target=_renew, args=(folder, name, mine, found, over), daemon=True, name="helo-lease")
    renewing.start()
    try:
        yield found
    finally:
        over.set()
        renewing.join()
        if not found.lost:
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


def _renew(folder: Folder, name: str, mine: str, found: Hold, over: threading.Event) -> None:
    count = 0
    while not over.wait(RENEW_S):
        count += 1
        with contextlib.suppress(OSError):  # a network that is away for a while; whoever waits is told by the others
            if _read(folder, name).get("token") not in (mine, None):
                found.lost = True
                return
            _write(folder, name, mine, count)


def _write(folder: Folder, name: str, token: str, renewed: int) -> None:
    content = {"holder": _me(), "process": os.getpid(), "node": platform.node(), "token": token, "renewed": renewed}
    folder.write(name, json.dumps(content).encode())


def _read(folder: Folder, name: str) -> dict[str, Any]:
    """The lease; empty if there is none."""
    try:
        found = json.loads(folder.read(name))
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _is_dead(lease: dict[str, Any]) -> bool:
    """Whether its process was one of this machine, and is no more."""
    process = lease.get("process")
    if lease.get("node") != platform.node() or not isinstance(process, int) or process <= 0:
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
