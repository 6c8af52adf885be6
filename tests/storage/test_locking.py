"""Locks that allow one search at a time: local locks, and leases on object storage that are renewed or abandoned."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from helo.errors import InputError
from helo.storage import Folder, lock_folder, open_folder


@pytest.fixture
def folder(object_storage: str, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """A folder whose leases are renewed quickly."""
    for name, seconds in (("RENEW_S", 0.05), ("FRESH_S", 0.2), ("PATIENCE_S", 0.4), ("SETTLE_S", 0.05)):
        monkeypatch.setattr(f"helo.storage.locking.{name}", seconds)
    return open_folder(object_storage)


def write_lease(folder: Folder, **changed: object) -> None:
    """Write the lease of another process."""
    content = {"holder": "process 1 on elsewhere", "process": 1, "node": "elsewhere", "token": "theirs", "renewed": 3}
    folder.write("lock", json.dumps(content | changed).encode())


def test_a_folder_is_locked_by_one_process_at_a_time(folder: Folder) -> None:
    with lock_folder(folder, "lock") as mine:
        with pytest.raises(InputError) as caught, lock_folder(folder, "lock"):
            pytest.fail("two processes hold the lock")
        assert f"{folder}: is in use by process {os.getpid()} on {platform.node()}" in str(caught.value)
        mine.check()
    assert folder.names() == []
    with lock_folder(folder, "lock"):
        pass


def test_an_abandoned_lease_of_another_machine_is_taken_over_after_a_wait(folder: Folder) -> None:
    write_lease(folder)
    messages: list[str] = []
    with lock_folder(folder, "lock", messages.append):
        assert json.loads(folder.read("lock"))["process"] == os.getpid()
    assert len(messages) == 1
    assert messages[0].startswith(f"{folder}: is in use by process 1 on elsewhere; waiting ")


def test_the_lease_of_an_ended_local_process_is_taken_over_at_once(folder: Folder) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    with lock_folder(folder, "lock"):
        mine = json.loads(folder.read("lock"))
    write_lease(folder, **mine | {"process": ended.pid, "token": "theirs"})
    messages: list[str] = []
    with lock_folder(folder, "lock", messages.append):
        pass
    assert messages == []


@pytest.mark.parametrize("key", ["node", "boot", "space"])
def test_the_process_number_of_another_machine_is_not_looked_up_here(folder: Folder, key: str) -> None:
    """Another container or machine may use the same process number for a process that still runs."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    with lock_folder(folder, "lock"):
        mine = json.loads(folder.read("lock"))
    write_lease(folder, **mine | {"process": ended.pid, "token": "theirs", key: "another"})
    messages: list[str] = []
    with lock_folder(folder, "lock", messages.append):
        pass
    assert len(messages) == 1


def test_a_search_detects_that_its_lease_was_taken_over(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """It detects this before it writes, even if the renewing thread has not run since, because the machine slept."""
    monkeypatch.setattr("helo.storage.locking.RENEW_S", 1000.0)
    with lock_folder(folder, "lock") as mine:
        mine.check()
        write_lease(folder)
        monkeypatch.setattr("helo.storage.locking.FRESH_S", 0.0)
        for _ in range(2):
            with pytest.raises(OSError, match="another search has taken it over"):
                mine.check()
    assert json.loads(folder.read("lock"))["token"] == "theirs", "the lease of the other process was overwritten"


def test_a_lease_is_renewed_repeatedly(folder: Folder) -> None:
    renewed = threading.Event()

    class Counting(type(folder)):  # type: ignore[misc]
        def write(self, name: str, content: bytes) -> None:
            super().write(name, content)
            if json.loads(content)["renewed"] >= 2:
                renewed.set()

    with lock_folder(Counting(**vars(folder)), "lock"):
        assert renewed.wait(20)


@pytest.mark.parametrize("content", [b"", b"{half", b"[]", b'{"process": "many"}'])
def test_a_malformed_lease_is_ignored(folder: Folder, content: bytes) -> None:
    folder.write("lock", content)
    with lock_folder(folder, "lock") as mine:
        mine.check()


def test_a_local_folder_is_locked_by_the_operating_system(tmp_path: Path) -> None:
    folder = open_folder(tmp_path)
    with lock_folder(folder, "lock"), pytest.raises(InputError, match="is in use by"), lock_folder(folder, "lock"):
        pytest.fail("two processes hold the lock")
