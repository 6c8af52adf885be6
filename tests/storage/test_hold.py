"""One search at a time, on object storage too: leases, left behind and taken over."""

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
from helo.storage import Folder, hold, open_folder


@pytest.fixture
def folder(object_storage: str, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """A folder whose leases are renewed quickly."""
    for name, seconds in (("RENEW_S", 0.05), ("FRESH_S", 0.2), ("PATIENCE_S", 0.4), ("SETTLE_S", 0.05)):
        monkeypatch.setattr(f"helo.storage.holding.{name}", seconds)
    return open_folder(object_storage)


def lease(folder: Folder, **changed: object) -> None:
    """What another process has left."""
    content = {"holder": "process 1 on elsewhere", "process": 1, "node": "elsewhere", "token": "theirs", "renewed": 3}
    folder.write("lock", json.dumps(content | changed).encode())


def test_nobody_else_has_it_at_the_same_time(folder: Folder) -> None:
    with hold(folder, "lock") as mine:
        with pytest.raises(InputError) as caught, hold(folder, "lock"):
            pytest.fail("two holders at a time")
        assert f"{folder}: is being worked on by process {os.getpid()} on {platform.node()}" in str(caught.value)
        mine.check()
    assert folder.names() == []
    with hold(folder, "lock"):
        pass


def test_a_lease_of_another_machine_is_taken_once_nobody_renews_it(folder: Folder) -> None:
    lease(folder)
    said: list[str] = []
    with hold(folder, "lock", said.append):
        assert json.loads(folder.read("lock"))["process"] == os.getpid()
    assert len(said) == 1
    assert said[0].startswith(f"{folder}: was left to process 1 on elsewhere; waiting ")


def test_a_lease_of_a_process_that_has_ended_here_is_taken_at_once(folder: Folder) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    with hold(folder, "lock"):
        mine = json.loads(folder.read("lock"))
    lease(folder, **mine | {"process": ended.pid, "token": "theirs"})
    said: list[str] = []
    with hold(folder, "lock", said.append):
        pass
    assert said == []


@pytest.mark.parametrize("key", ["node", "boot", "space"])
def test_a_process_number_of_elsewhere_says_nothing(folder: Folder, key: str) -> None:
    """Another container or machine may be called the same and have no such process of its own."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    with hold(folder, "lock"):
        mine = json.loads(folder.read("lock"))
    lease(folder, **mine | {"process": ended.pid, "token": "theirs", key: "another"})
    said: list[str] = []
    with hold(folder, "lock", said.append):
        pass
    assert len(said) == 1


def test_who_was_taken_over_finds_out_before_it_writes(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where the thread that renews the lease has not run since: the machine slept."""
    monkeypatch.setattr("helo.storage.holding.RENEW_S", 1000.0)
    with hold(folder, "lock") as mine:
        mine.check()
        lease(folder)
        monkeypatch.setattr("helo.storage.holding.FRESH_S", 0.0)
        for _ in range(2):
            with pytest.raises(OSError, match="another search has taken it over"):
                mine.check()
    assert json.loads(folder.read("lock"))["token"] == "theirs", "the other's lease stays"


def test_a_lease_is_renewed(folder: Folder) -> None:
    renewed = threading.Event()

    class Counting(type(folder)):  # type: ignore[misc]
        def write(self, name: str, content: bytes) -> None:
            super().write(name, content)
            if json.loads(content)["renewed"] >= 2:
                renewed.set()

    with hold(Counting(**vars(folder)), "lock"):
        assert renewed.wait(20)


@pytest.mark.parametrize("content", [b"", b"{half", b"[]", b'{"process": "many"}'])
def test_a_broken_lease_is_no_lease(folder: Folder, content: bytes) -> None:
    folder.write("lock", content)
    with hold(folder, "lock") as mine:
        mine.check()


def test_on_this_machine_the_operating_system_keeps_it(tmp_path: Path) -> None:
    folder = open_folder(tmp_path)
    with hold(folder, "lock"), pytest.raises(InputError, match="is being worked on by"), hold(folder, "lock"):
        pytest.fail("two holders at a time")
