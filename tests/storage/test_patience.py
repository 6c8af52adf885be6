"""Object storage that fails for a while: requests are tried again, and never answered with "not there"."""

from __future__ import annotations

import random
import threading
import time
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from storage_proxy import StorageProxy

from helo.errors import StorageError
from helo.storage import SEARCH_S, Folder, Patience, lock_folder, open_folder
from helo.storage import lease as lease_module
from helo.storage import patience as patience_module


class Clock(NamedTuple):
    """Clock of a test: sleeping advances it."""

    now: list[float]

    def monotonic(self) -> float:
        return self.now[0]

    def sleep(self, seconds: float) -> None:
        self.now[0] += seconds


@pytest.fixture
def folder(object_storage: str, storage_proxy: StorageProxy, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """Return a folder behind the proxy."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", storage_proxy.address)
    return open_folder(object_storage)


def test_every_request_survives_many_refusals(folder: Folder, storage_proxy: StorageProxy) -> None:
    """Overloaded storage answers 503 to a share of the requests, also to those whose answers have no body (HEAD)."""
    draw = random.Random(0)
    storage_proxy.refuse = lambda command, path: 503 if draw.random() < 0.3 else None
    table = pd.DataFrame({"a": np.arange(800_000), "b": np.random.default_rng(0).random(800_000)})
    for round_ in range(5):
        place = folder / f"{round_}"
        assert place.is_new()
        place.write("a", b"1")
        place.write("b", b"x" * 6_000_000)  # in several requests
        with place.new_file("c.parquet") as path:
            table.to_parquet(path, row_group_size=40_000)
        assert place.names() == ["a", "b", "c.parquet"]
        assert place.exists("a")
        assert not place.exists("d")
        assert [bool(stamp) for stamp in place.stamps(["a", "d"])] == [True, False]
        assert len(place.read("b")) == 6_000_000
        assert pq.read_metadata(place.open("c.parquet")).num_rows == len(table)
        pd.testing.assert_frame_equal(pq.read_table(place.open("c.parquet"), columns=["b"]).to_pandas(), table[["b"]])
        place.move("a", "d")
        place.delete("b")
        place.delete("b")
        with pytest.raises(FileNotFoundError):
            place.read("a")
        with pytest.raises(FileNotFoundError):
            place.open("a")
        assert place.names() == ["c.parquet", "d"]
    assert storage_proxy.refused > 50


def test_storage_that_stays_away_is_an_error_and_not_a_missing_file(
    folder: Folder, storage_proxy: StorageProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.write("a.json", b"{}")
    opened = folder.open("a.json")
    storage_proxy.refuse = lambda command, path: 503
    impatient = folder.with_patience(Patience(1))
    for request in (
        impatient.names,
        impatient.is_new,
        lambda: impatient.exists("a.json"),
        lambda: impatient.stamps(["a.json"]),
        lambda: impatient.read("a.json"),
        lambda: impatient.read_json("a.json"),
        lambda: impatient.open("a.json"),
        lambda: impatient.write("b", b""),
        lambda: impatient.delete("a.json"),
        lambda: impatient.move("a.json", "b"),
    ):
        with pytest.raises(StorageError) as caught:
            request()
        assert caught.value.may_pass
    storage_proxy.refuse = lambda command, path: None
    assert opened.read() == b"{}"


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_for_good_is_not_repeated(folder: Folder, storage_proxy: StorageProxy, status: int) -> None:
    storage_proxy.refuse = lambda command, path: status
    for request in (lambda: folder.exists("a"), lambda: folder.read("a"), lambda: folder.write("a", b""), folder.names):
        before = storage_proxy.refused
        with pytest.raises(StorageError) as caught:
            request()
        assert not caught.value.may_pass
        assert storage_proxy.refused - before < 4


def test_a_search_survives_ten_minutes_and_no_more_than_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock([0.0])
    monkeypatch.setattr(patience_module, "time", clock)
    lines: list[str] = []
    checks: list[float] = []

    def request(back: float) -> str:
        if clock.now[0] < back:
            raise StorageError("s3://lab/run/a: no answer", may_pass=True)
        return "there"

    patience = Patience(SEARCH_S, lines.append, lambda: checks.append(clock.now[0]))
    assert patience.keep_trying(lambda: request(600.0)) == "there"
    assert lines == ["s3://lab/run/a: no answer; trying again for 30 min"]
    assert len(checks) > 10, "the lock is checked before each further attempt"
    assert clock.now[0] < 660
    with pytest.raises(StorageError, match="no answer"):
        patience.keep_trying(lambda: request(1e6))
    assert clock.now[0] < 660 + SEARCH_S + 30


def test_a_lock_outlives_an_outage_unless_another_process_has_taken_it(
    folder: Folder, storage_proxy: StorageProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_module, "SETTLE_S", 0.1)
    monkeypatch.setattr(lease_module, "FRESH_S", 0.5)
    monkeypatch.setattr(lease_module, "RENEW_S", 1e5)  # only `check` renews
    with lock_folder(folder, "lock") as lock:
        lock.check()
        storage_proxy.refuse = lambda command, path: 503
        time.sleep(1)
        back = threading.Timer(3, lambda: setattr(storage_proxy, "refuse", lambda command, path: None))
        back.start()
        lock.check()  # waits
        assert not back.is_alive()
        folder.write("lock", b'{"token": "another"}')
        time.sleep(1)
        with pytest.raises(OSError, match="another search has taken it over"):
            lock.check()
