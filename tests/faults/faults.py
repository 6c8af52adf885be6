"""The faults: how each one is caused and undone."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import storage_proxy
from faults.schedule import Fault, Kind
from faults.search import Search
from limits import GROUPS, memory_group
from searches import parts

Undo = Callable[[], object]

LONGEST_STOP_S = 4.0
"""Longest time in seconds for which a process is stopped."""

REQUESTS = 40
"""Maximum number of requests that object storage spoils."""


class NoTargetError(Exception):
    """What a fault would hit does not exist at this point."""


def missing_for(kind: Kind) -> str | None:
    """Return why a kind of fault cannot be caused on this machine, or None."""
    if kind in (Kind.FULL_DISK, Kind.FULL_TEMPORARY) and os.geteuid():
        return "a small disk can only be made by root"
    if kind == Kind.MEMORY_GROUP and not os.access(GROUPS, os.W_OK):
        return "control groups of version 1 cannot be made here"
    return None


def cause(fault: Fault, search: Search) -> Undo:
    """Cause a fault now, and return what undoes it after the command has ended.

    Raises
    ------
    NoTargetError
        If there is nothing that it could hit.
    """
    return _CAUSES[fault.kind](fault, search)


def _nothing() -> None:
    """Undo nothing."""


def _one_of(fault: Fault, found: list[psutil.Process]) -> psutil.Process:
    if not found:
        raise NoTargetError
    return found[int(fault.amount * len(found))]


def _is_worker(name: str) -> bool:
    return name.startswith("ray::") and not name.endswith("Agent")


def _kill(is_meant: Callable[[str], bool]) -> Callable[[Fault, Search], Undo]:
    def kill(fault: Fault, search: Search) -> Undo:
        with contextlib.suppress(psutil.NoSuchProcess):
            _one_of(fault, search.programs(is_meant)).kill()
        return _nothing

    return kill


def _signal(number: signal.Signals, most: int = 1) -> Callable[[Fault, Search], Undo]:
    def send(fault: Fault, search: Search) -> Undo:
        for _ in range(1 + int(fault.amount * most)):
            search.process.send_signal(number)
        return _nothing

    return send


def _stop_driver(fault: Fault, search: Search) -> Undo:
    return _stop(psutil.Process(search.process.pid), fault.amount)


def _stop_worker(fault: Fault, search: Search) -> Undo:
    return _stop(_one_of(fault, search.programs(_is_worker)), fault.amount)


def _stop(process: psutil.Process, amount: float) -> Undo:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.suspend()
        time.sleep(amount * LONGEST_STOP_S)  # the length of the fault
        process.resume()
    return _nothing


def _limit(process: psutil.Process, name: int, value: int) -> Undo:
    former = process.rlimit(name)
    process.rlimit(name, (value, former[1]))

    def undo() -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.rlimit(name, former)

    return undo


def _few_files(fault: Fault, search: Search) -> Undo:
    process = psutil.Process(search.process.pid)
    return _limit(process, psutil.RLIMIT_NOFILE, process.num_fds() + int(10 * fault.amount))


def _small_files(fault: Fault, search: Search) -> Undo:
    return _limit(psutil.Process(search.process.pid), psutil.RLIMIT_FSIZE, int(100_000 * fault.amount))


def _worker_memory(fault: Fault, search: Search) -> Undo:
    process = _one_of(fault, search.programs(_is_worker))
    with contextlib.suppress(psutil.NoSuchProcess):
        return _limit(process, psutil.RLIMIT_AS, process.memory_info().vms + int(2**26 * fault.amount))
    return _nothing


def _memory_group(fault: Fault, search: Search) -> Undo:
    """Charge what the processes of the search allocate from now on to a group with a limit of some megabytes."""
    stack = contextlib.ExitStack()
    group = stack.enter_context(memory_group(f"helo-{search.temporary.name}"))
    (group / "memory.limit_in_bytes").write_text(str(2**22 + int(2**26 * fault.amount)))
    for process in search.processes():
        with contextlib.suppress(OSError):
            (group / "cgroup.procs").write_text(str(process.pid))
    return stack.close


def _fill(place: Path, amount: float) -> Undo:
    """Fill the disk of a folder but for a few kilobytes."""
    ballast = place / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    os.truncate(ballast, max(0, ballast.stat().st_size - int(100_000 * amount)))
    return ballast.unlink


def _fill_disk(fault: Fault, search: Search) -> Undo:
    return _fill(search.folder, fault.amount)


def _fill_temporary(fault: Fault, search: Search) -> Undo:
    return _fill(search.temporary, fault.amount)


def _place_for(path: Path, search: Search) -> Path:
    """Return a new place for what a fault moves."""
    return Path(tempfile.mkdtemp(prefix="moved-", dir=search.folder)) / path.name


def _move_run(fault: Fault, search: Search) -> Undo:
    path = search.folder / search.place
    if not path.exists():
        raise NoTargetError
    moved = path.rename(_place_for(path, search))

    def undo() -> None:
        assert not path.exists(), f"made again: {sorted(path.rglob('*'))}"
        moved.rename(path)

    return undo


def _remove_run(fault: Fault, search: Search) -> Undo:
    path = search.folder / search.place
    if not path.exists():
        raise NoTargetError
    while path.exists():  # a file may be added while it is removed
        shutil.rmtree(path, ignore_errors=True)

    def undo() -> None:
        assert not path.exists(), f"made again: {sorted(path.rglob('*'))}"

    return undo


def _move_file(fault: Fault, search: Search) -> Undo:
    """Move a file of the run, its ledger, or the data."""
    run = search.folder / search.place
    found = [search.folder / "data", *sorted(path for path in run.rglob("*") if path.name[0] != ".")]
    path = found[int(fault.amount * len(found))]
    moved = path.rename(_place_for(path, search))

    def undo() -> None:
        if not path.exists():  # else it is made anew, as a table is
            moved.rename(path)
        elif path.is_dir():
            for file in moved.iterdir():
                if not (path / file.name).exists():
                    file.rename(path / file.name)
            shutil.rmtree(moved)
        else:
            moved.unlink()

    return undo


def _remove_part(fault: Fault, search: Search) -> Undo:
    names = sorted(parts(search.run)) if search.has_run() else []
    if not names:
        raise NoTargetError
    (search.folder / search.place / "ledger" / names[int(fault.amount * len(names))]).unlink()
    return _nothing


def _spoil(status: int) -> Callable[[Fault, Search], Undo]:
    """Let object storage spoil some requests, most of them in a row."""

    def spoil(fault: Fault, search: Search) -> Undo:
        left = 1 + int(REQUESTS * fault.amount)

        def refuse(command: str, path: str) -> int | None:
            nonlocal left
            left -= 1
            return status if left >= 0 else None

        return _refuse_with(search, refuse)

    return spoil


def _close(fault: Fault, search: Search) -> Undo:
    return _refuse_with(search, lambda command, path: 403)


def _delay(fault: Fault, search: Search) -> Undo:
    left = 1 + int(REQUESTS * fault.amount)

    def wait(command: str, path: str) -> None:
        nonlocal left
        left -= 1
        if left >= 0:
            time.sleep(2 * fault.amount)  # the length of the fault

    return _refuse_with(search, wait)


def _refuse_with(search: Search, refuse: Callable[[str, str], int | None]) -> Undo:
    former, search.proxy.refuse = search.proxy.refuse, refuse

    def undo() -> None:
        search.proxy.refuse = former

    return undo


_CAUSES: dict[Kind, Callable[[Fault, Search], Undo]] = {
    Kind.KILL_DRIVER: _signal(signal.SIGKILL),
    Kind.KILL_WORKER: _kill(_is_worker),
    Kind.KILL_RAYLET: _kill("raylet".__eq__),
    Kind.KILL_GCS: _kill("gcs_server".__eq__),
    Kind.KILL_AGENT: _kill(lambda name: name.startswith("ray::") and name.endswith("Agent")),
    Kind.TERMINATE: _signal(signal.SIGTERM),
    Kind.HANG_UP: _signal(signal.SIGHUP),
    Kind.INTERRUPT: _signal(signal.SIGINT, 10),
    Kind.STOP_DRIVER: _stop_driver,
    Kind.STOP_WORKER: _stop_worker,
    Kind.FEW_FILES: _few_files,
    Kind.SMALL_FILES: _small_files,
    Kind.WORKER_MEMORY: _worker_memory,
    Kind.MEMORY_GROUP: _memory_group,
    Kind.FULL_TEMPORARY: _fill_temporary,
    Kind.FULL_DISK: _fill_disk,
    Kind.MOVE_RUN: _move_run,
    Kind.REMOVE_RUN: _remove_run,
    Kind.MOVE_FILE: _move_file,
    Kind.REMOVE_PART: _remove_part,
    Kind.REFUSE: _spoil(503),
    Kind.CLOSE: _close,
    Kind.DROP: _spoil(storage_proxy.DROPPED),
    Kind.LOSE_ANSWERS: _spoil(storage_proxy.UNANSWERED),
    Kind.DELAY: _delay,
}
