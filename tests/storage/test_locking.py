"""Locks that allow one search at a time: local locks, and leases on object storage that are renewed or abandoned."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import platform
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from helo.errors import InputError
from helo.storage import Folder, LocalFolder, LockWatch, lock_folder, open_folder


@pytest.fixture
def folder(object_storage: str, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """A folder whose leases are renewed quickly."""
    for name, seconds in (("RENEW_S", 0.1), ("FRESH_S", 1.0), ("PATIENCE_S", 1.5), ("SETTLE_S", 0.2)):
        monkeypatch.setattr(f"helo.storage.lease.{name}", seconds)
    monkeypatch.setattr("helo.storage.locking.PATIENCE_S", 1.5)
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
    monkeypatch.setattr("helo.storage.lease.RENEW_S", 1000.0)
    with lock_folder(folder, "lock") as mine:
        mine.check()
        write_lease(folder)
        monkeypatch.setattr("helo.storage.lease.FRESH_S", 0.0)
        for _ in range(2):
            with pytest.raises(OSError, match="another search has taken it over"):
                mine.check()
    assert json.loads(folder.read("lock"))["token"] == "theirs", "the lease of the other process was overwritten"


def test_a_lease_is_renewed_repeatedly(folder: Folder) -> None:
    renewed = threading.Event()

    class Counting(type(folder)):  # type: ignore[misc]
        def write(self, name: str, content: bytes) -> None:
            super().write(name, content)
            if name == "lock" and json.loads(content)["renewed"] >= 2:
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


@pytest.mark.parametrize("kind", ["link", "dangling link", "folder", "FIFO, socket or device"])
def test_what_has_the_name_of_the_lock_is_neither_followed_nor_changed(tmp_path: Path, kind: str) -> None:
    run, victim = tmp_path / "run", tmp_path / "victim"
    run.mkdir()
    if kind == "link":
        victim.write_text("mine")
    if kind.endswith("link"):
        (run / "lock").symlink_to(victim)
    elif kind == "folder":
        (run / "lock").mkdir()
    else:
        os.mkfifo(run / "lock")
    expected = rf"lock: must be a file, but is a {kind.removeprefix('dangling ')}; remove it"
    with pytest.raises(InputError, match=expected), lock_folder(open_folder(run), "lock"):
        pytest.fail("the lock is held")
    assert victim.exists() == (kind == "link")
    assert kind != "link" or victim.read_text() == "mine"


def _raise(number: int) -> None:
    raise OSError(number, os.strerror(number))


@pytest.fixture
def fast_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let leases settle quickly, and be renewed as seldom as usual."""
    for name, seconds in (("PATIENCE_S", 0.4), ("SETTLE_S", 0.05)):
        monkeypatch.setattr(f"helo.storage.lease.{name}", seconds)


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_protected_by_a_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fast_leases: None, number: int
) -> None:
    """Lustre without the option flock, NFS without its lock daemon."""
    monkeypatch.setattr(fcntl, "flock", lambda file, operation: _raise(number))
    folder, messages = open_folder(tmp_path), list[str]()
    with lock_folder(folder, "lock", messages.append) as mine:
        mine.check()
        assert json.loads(folder.read("lock"))["process"] == os.getpid()
        write_lease(folder, renewed=4)
        monkeypatch.setattr("helo.storage.lease.FRESH_S", 0.0)
        with pytest.raises(OSError, match="another search has taken it over"):
            mine.check()
    assert len(messages) == 1
    assert messages[0].startswith(f"{tmp_path / 'lock'}: this file system has no locks ({os.strerror(number)})")


def test_a_file_system_without_locks_takes_over_what_a_lock_has_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fast_leases: None
) -> None:
    folder, messages = open_folder(tmp_path), list[str]()
    with lock_folder(folder, "lock"):
        pass
    monkeypatch.setattr(fcntl, "flock", lambda file, operation: _raise(errno.ENOSYS))
    with lock_folder(folder, "lock", messages.append):
        pass
    assert len(messages) == 1


@pytest.mark.parametrize("number", [errno.EWOULDBLOCK, errno.EACCES])
def test_a_lock_that_is_held_is_no_missing_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(fcntl, "flock", lambda file, operation: _raise(number))
    with pytest.raises(InputError, match="is in use by"), lock_folder(open_folder(tmp_path), "lock"):
        pytest.fail("the lock of another process was ignored")


def test_a_watch_sees_the_lock_of_a_local_folder_and_leaves_it_alone(tmp_path: Path) -> None:
    folder = open_folder(tmp_path)
    watch = LockWatch(folder, "lock")
    assert watch.is_held() is False
    with lock_folder(folder, "lock"):
        assert watch.is_held() is True
    assert watch.is_held() is False
    with lock_folder(folder, "lock"):  # the look has left no lock behind
        pass


def test_a_search_starts_while_a_watch_looks(tmp_path: Path) -> None:
    """A look holds the lock for a moment, here until the first attempt of the search has failed."""
    folder = open_folder(tmp_path)
    with (tmp_path / "lock").open("wb") as file, pytest.MonkeyPatch.context() as patch:
        fcntl.flock(file, fcntl.LOCK_SH)
        patch.setattr("helo.storage.locking.time.sleep", lambda seconds: fcntl.flock(file, fcntl.LOCK_UN))
        with lock_folder(folder, "lock"):
            assert LockWatch(folder, "lock").is_held() is True


def test_a_watch_judges_a_lease_by_its_renewals(folder: Folder) -> None:
    now = 0.0
    watch = LockWatch(folder, "lock", lambda: now)
    assert watch.is_held() is False
    write_lease(folder, renewed=3)
    assert watch.is_held() is None  # it may be abandoned
    write_lease(folder, renewed=4)
    assert watch.is_held() is True
    now = 0.3
    assert watch.is_held() is True
    now = 2.0  # more than the patience without a renewal
    assert watch.is_held() is False
    folder.delete("lock")
    assert watch.is_held() is False


def test_a_watch_knows_that_the_local_process_of_a_lease_has_ended(folder: Folder) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    with lock_folder(folder, "lock"):
        mine = json.loads(folder.read("lock"))
    write_lease(folder, **mine | {"process": ended.pid})
    assert LockWatch(folder, "lock").is_held() is False


@pytest.mark.parametrize("change", ["moved", "removed", "replaced"])
def test_a_folder_that_is_not_the_locked_one_any_more_is_not_written_to(tmp_path: Path, change: str) -> None:
    """Moved, removed, or removed and made again by somebody else."""
    path = tmp_path / "run"
    path.mkdir()
    folder = LocalFolder(path).existing()
    with lock_folder(folder, "lock") as lock:
        (folder / "ledger").write("a", b"1")
        lock.check()
        if change == "moved":
            path.rename(tmp_path / "other")
        else:
            shutil.rmtree(path)
        if change == "replaced":
            path.mkdir()
            (path / "lock").touch()
        with pytest.raises(OSError, match="has been moved, removed or replaced"):
            lock.check()
        if change != "replaced":
            for write in (
                lambda: folder.write("b", b""),
                lambda: (folder / "ledger").write("b", b""),
                lambda: folder.move("a", "c"),
                lambda: (folder / "model").filled("a"),
            ):
                with pytest.raises(FileNotFoundError, match="has been moved or removed"):
                    write()
            assert not path.exists()
