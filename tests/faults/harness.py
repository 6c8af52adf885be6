"""Run a search through the faults of a schedule, and check it after each command."""

from __future__ import annotations

import contextlib
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from faults import invariants
from faults.faults import NoTargetError, Undo, cause, missing_for
from faults.schedule import Fault, Kind, Schedule
from faults.search import Search
from limits import small_disk
from searches import LONGEST_S, command, wait_for
from storage_proxy import StorageProxy

from helo.data import simulate
from helo.data.directory import write_dataset

SPACE = """
configurations: 2
parameters: {width: 8, heads: 2, epochs: 60, dropout: {low: 0.1, high: 0.5}}
"""
WORDS = ("--data", "data", "--space", "space.yaml", "--baselines", "none", "--inner-folds", "2", "--no-racing")
MOST_COMMANDS = 8
"""Number of commands after which a search counts as never complete."""

KILLED = frozenset({Kind.KILL_DRIVER, Kind.MEMORY_GROUP})
"""Faults that may end the command by SIGKILL."""

UNNOTICED = frozenset({Kind.MOVE_FILE, Kind.REMOVE_PART})
"""Faults after which a command may end well, but without what is missing."""


def write_inputs(folder: Path) -> None:
    """Write data and space of the search."""
    write_dataset(simulate(subjects=3, clips=2, windows=4, emotions=3), folder / "data")
    (folder / "space.yaml").write_text(SPACE, encoding="utf-8")


@contextmanager
def prepared(schedule: Schedule, folder: Path, storage: str, proxy: StorageProxy) -> Iterator[Search]:
    """Prepare the folders of a search, and end all its processes in the end."""
    kinds = {fault.kind for fault in schedule.faults}
    # Sockets of Ray need a short path.
    search = Search(folder / "work", Path(tempfile.mkdtemp(prefix="hf", dir="/tmp")), "run")
    if schedule.on_storage:
        search.place, search.proxy = f"{storage}/run", proxy
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, search.temporary, ignore_errors=True)
        search.folder.mkdir()
        if Kind.FULL_DISK in kinds:
            stack.enter_context(small_disk(search.folder, "30m"))
        if Kind.FULL_TEMPORARY in kinds:
            stack.enter_context(small_disk(search.temporary, "60m"))
        write_inputs(search.folder)
        try:
            yield search
        finally:
            for process in search.processes():
                with contextlib.suppress(Exception):
                    process.kill()


def undergo(schedule: Schedule, search: Search, undisturbed: Path) -> None:
    """Run the search through its faults until it is complete, and compare it with an undisturbed one."""
    faults = [fault for fault in schedule.faults if missing_for(fault.kind) is None]
    first = [*WORDS, "--concurrency", str(schedule.concurrency), "--out", search.place]
    words, seen, kept = first, dict[str, str](), set[str]()
    for _ in range(MOST_COMMANDS):
        _start(search, words)
        undoings, caused = _meet(faults, search)
        output, errors = search.process.communicate(timeout=LONGEST_S)
        code = search.process.returncode
        print(f"$ {shlex.join(words)}\n{[str(kind) for kind in caused]}\n{output}{errors}-> {code}", flush=True)
        invariants.assert_all_gone(search)
        for undo in reversed(undoings):
            undo()
        codes = {0, 1, 130} | ({-9} if caused & KILLED else set()) | ({2} if Kind.MOVE_FILE in caused else set())
        invariants.assert_ended_well(code, output, errors, codes, search.has_run())
        invariants.assert_no_secret(search.folder, search.temporary)
        kept |= invariants.kept_logs(errors, search.temporary)
        if caused & {Kind.REMOVE_RUN, Kind.REMOVE_PART}:
            seen = {}
        seen = invariants.assert_nothing_lost(seen, search)
        follow = invariants.command_in(output + errors)
        if code == 0 and follow is None and not caused & UNNOTICED:
            break
        words = shlex.split(follow) if follow else ["--resume", search.place]
        if not search.has_run():
            words = first
    else:
        pytest.fail("the search never ends")
    invariants.assert_same_results(search, undisturbed)
    invariants.assert_nothing_temporary(search.temporary, kept)


def _start(search: Search, words: list[str]) -> None:
    env = {"TMPDIR": str(search.temporary), "AWS_SECRET_ACCESS_KEY": invariants.SECRET, "AWS_ACCESS_KEY_ID": "a"}
    if search.proxy is not None:
        env["AWS_ENDPOINT_URL_S3"] = search.proxy.address
    search.entries = len(search.journal())
    search.process = command(*words, cwd=search.folder, env=env)
    search.sessions.add(search.process.pid)


def _meet(faults: list[Fault], search: Search) -> tuple[list[Undo], set[Kind]]:
    """Cause the next faults at their points while the command runs; return what undoes them, and their kinds."""
    undoings, caused = list[Undo](), set[Kind]()
    while faults and wait_for(lambda: search.has_reached(faults[0].point), search.process):
        invariants.assert_no_secret(search.folder, search.temporary)
        if search.process.poll() is not None:
            break
        try:
            undoings.append(cause(faults[0], search))
        except NoTargetError:  # as for a worker of a search that ends; the next command has one
            break
        caused.add(faults.pop(0).kind)
    return undoings, caused
