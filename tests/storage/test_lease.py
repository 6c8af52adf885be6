"""Leases whose holder was paused in the middle of a step, step by step."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from helo.storage import Folder, Patience, lock_folder, open_folder
from helo.storage.lease import Lease


@pytest.fixture
def folder(object_storage: str, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """A folder whose leases are renewed by `check` and `renew` only, and are fresh until a test says otherwise."""
    for name, seconds in (("RENEW_S", 1e5), ("FRESH_S", 1e4), ("PATIENCE_S", 1e5), ("SETTLE_S", 0.05)):
        monkeypatch.setattr(f"helo.storage.lease.{name}", seconds)
    monkeypatch.setattr("helo.storage.lease.time.sleep", lambda seconds: None)
    return open_folder(object_storage)


def lease_of(folder: Folder) -> Lease:
    return Lease(folder, "lock", lambda line: None)


def during(lease: Lease, request: str, then: Callable[[], object]) -> None:
    """Let something happen between the first `request` of a lease and the next one, in which its process is paused."""
    ask, waiting = getattr(lease.folder, request), [then]

    def ask_and_pause(*arguments: object) -> object:
        answer = ask(*arguments)
        if waiting and arguments[0] == "lock":
            waiting.pop()()
        return answer

    object.__setattr__(lease.folder, request, ask_and_pause)


def grow_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let more time pass than a lease is fresh."""
    monkeypatch.setattr("helo.storage.lease.FRESH_S", -1.0)


def token(folder: Folder) -> object:
    return json.loads(folder.read("lock"))["token"]


def test_a_renewal_that_replaced_the_lease_of_another_holder_is_noticed(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paused after it had read its own lease, it writes over that of the other one. The mark tells."""
    mine, other = lease_of(folder), lease_of(folder)
    mine.claim({})
    grow_old(monkeypatch)
    during(mine, "read", lambda: other.claim(json.loads(folder.read("lock"))))
    mine.renew()
    assert not other.lost
    assert token(folder) == mine.token, "the other lease was replaced"
    assert mine.lost
    with pytest.raises(OSError, match="another search has taken it over"):
        mine.check()
    mine.renew()
    assert mine.lost, "a lost lease stays lost"
    other.renew()
    assert other.lost


def test_a_late_renewal_goes_on_if_nobody_has_come(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after an outage, or when the machine slept. Marks of processes that were killed do not count."""
    folder.write("lock-killed", b"")
    mine = lease_of(folder)
    mine.claim({})
    grow_old(monkeypatch)
    mine.renew()
    assert not mine.lost
    monkeypatch.setattr("helo.storage.lease.FRESH_S", 1e4)
    mine.check()
    mine.release()
    assert folder.names() == []


def test_a_lease_that_was_deleted_while_it_was_old_is_lost(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process may have taken it, finished its work and gone."""
    mine = lease_of(folder)
    mine.claim({})
    folder.delete("lock")
    mine.renew()
    assert not mine.lost
    folder.delete("lock")
    grow_old(monkeypatch)
    mine.renew()
    assert mine.lost


def test_an_old_lease_is_not_deleted(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be that of another process by now, and then a third one would come in."""
    mine, other = lease_of(folder), lease_of(folder)
    mine.claim({})
    other.claim(json.loads(folder.read("lock")))
    grow_old(monkeypatch)
    mine.release()
    assert token(folder) == other.token


def test_a_claim_of_a_lease_that_has_changed_meanwhile_is_no_claim(folder: Folder) -> None:
    mine, other = lease_of(folder), lease_of(folder)
    other.claim({})
    mine.claim({})
    assert mine.lost
    assert token(folder) == other.token


def test_a_claim_that_took_long_waits_until_a_holder_has_noticed(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    monkeypatch.setattr("helo.storage.lease.time.sleep", waited.append)
    for settle, wanted in ((0.0, 7777.0), (999.0, 999.0)):
        monkeypatch.setattr("helo.storage.lease.FRESH_S", 7777.0)
        monkeypatch.setattr("helo.storage.lease.SETTLE_S", settle)
        mine = lease_of(folder)
        mine.claim({})
        assert not mine.lost
        assert wanted in waited
        mine.release()
        waited.clear()


def test_every_change_of_a_locked_folder_asks_whether_the_lease_is_held(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    with lock_folder(folder, "lock") as lock:
        guarded = folder.with_patience(Patience(0, guard=lock.check))
        guarded.write("a", b"1")
        folder.write("lock", b'{"token": "another"}')
        grow_old(monkeypatch)
        changes: list[Callable[[], object]] = [
            lambda: guarded.write("a", b"2"),
            lambda: guarded.write("large", bytes(6 * 2**20)),
            lambda: guarded.delete("a"),
            lambda: guarded.move("a", "b"),
            lambda: (guarded / "inside").write("a", b"2"),
        ]
        for change in changes:
            with pytest.raises(OSError, match="another search has taken it over"):
                change()
        assert guarded.read("a") == b"1"
        assert {name for name in folder.names() if not name.startswith("lock")} == {"a"}
