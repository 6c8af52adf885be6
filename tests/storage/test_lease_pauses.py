"""Leases on object storage whose holders are paused and resumed at random moments.

Two processes take the lease in turn, check it and write, as the drivers of a search do. They are paused (SIGSTOP) after
random times, and in the middle of requests: between the reading of a lease and its renewal, and while they write. Names
of the objects tell when their writer held the lease and asked for permission, so the order in which requests arrive at
the storage shows whether two processes wrote at a time.

``HELO_LEASE_PAUSES=200`` pauses the processes that many times instead of 12.
"""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, NamedTuple

import pytest
from storage_proxy import StorageProxy

pytestmark = pytest.mark.slow

PAUSES: Final = int(os.environ.get("HELO_LEASE_PAUSES", "12"))
WAIT_S: Final = 300.0
"""Seconds after which a test that waits for an event fails."""

RENEW_S, FRESH_S, PATIENCE_S, SETTLE_S = 0.3, 1.2, 1.8, 0.3
"""Times of the lease, in the proportions of the real ones."""

HOLDER: Final = f"""
import random, sys, time
from dataclasses import replace
import helo.storage.lease as lease
from helo._deadline import seconds_since_boot
from helo.errors import InputError
from helo.storage import Patience, lock_folder, open_folder

lease.RENEW_S, lease.FRESH_S, lease.PATIENCE_S, lease.SETTLE_S = {RENEW_S}, {FRESH_S}, {PATIENCE_S}, {SETTLE_S}
name, place, seed = sys.argv[1:]
folder, draw = open_folder(place), random.Random(seed)
while True:
    try:
        with lock_folder(folder, "lock") as lock:
            begun, ends = time.monotonic_ns(), time.monotonic() + draw.uniform(2, 20)
            guarded = folder.with_patience(Patience(30, guard=lock.check))
            while time.monotonic() < ends:
                asked = time.monotonic_ns()
                lock.check()
                guarded.write(f"data/{{name}}-{{begun}}-{{asked}}", b"")
                time.sleep(0.03)
    except (InputError, OSError) as error:
        print(error, flush=True)
        time.sleep(0.1)
"""
"""A holder: it takes the lease, writes until it is lost or for some seconds, and tries to take it again."""


class Write(NamedTuple):
    """Write of a holder, in nanoseconds of the clock that all processes of this machine share.

    Attributes
    ----------
    holder : str
        Name of the process.
    begun, asked, arrived : int
        When its tenure began, when it asked whether it still holds the lease, and when the storage got the request.
    """

    holder: str
    begun: int
    asked: int
    arrived: int


@dataclass
class Holder:
    """A process that takes the lease, behind a proxy of its own, which may pause it in the middle of a request."""

    name: str
    process: subprocess.Popen[str]
    proxy: StorageProxy
    writes: list[Write] = field(default_factory=list)
    pause_at: tuple[str, str] | None = None
    paused: threading.Event = field(default_factory=threading.Event)

    def see(self, command: str, path: str) -> None:
        """Note a write, and pause the process before it gets the answer to the request in `pause_at`."""
        if found := re.search(r"/data/\w+-(\d+)-(\d+)$", path):
            if command == "PUT":
                self.writes.append(Write(self.name, int(found[1]), int(found[2]), time.monotonic_ns()))
            path = "data"
        if self.pause_at is not None and command == self.pause_at[0] and path.endswith(self.pause_at[1]):
            self.pause_at = None
            self.process.send_signal(signal.SIGSTOP)
            self.paused.set()

    def pause(self, draw: random.Random) -> None:
        """Pause the process: at once, before its next renewal is decided, or after a request that is on its way."""
        moment = draw.choice([None, ("GET", "/lock"), ("PUT", "/lock"), ("PUT", "data"), ("DELETE", "/lock")])
        self.paused.clear()
        self.pause_at = moment
        if moment is None or not self.paused.wait(3 * PATIENCE_S):
            self.pause_at = None
            self.process.send_signal(signal.SIGSTOP)


@contextmanager
def holders(storage: str, place: str, seed: int) -> Iterator[list[Holder]]:
    found = []
    try:
        for name in ("a", "b"):
            proxy = StorageProxy(storage)
            process = subprocess.Popen(
                [sys.executable, "-c", textwrap.dedent(HOLDER), name, place, f"{seed}{name}"],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                env={**os.environ, "AWS_ENDPOINT_URL_S3": proxy.address},
            )
            holder = Holder(name, process, proxy)
            proxy.refuse = holder.see  # type: ignore[assignment]
            found.append(holder)
        yield found
    finally:
        for holder in found:
            holder.process.kill()  # a paused process, too
            holder.process.communicate()
            holder.proxy.close()


def intruders(writes: list[Write]) -> tuple[list[Write], list[Write]]:
    """Return the writes that arrived after another tenure began: those allowed after that, and those on their way."""
    begins = sorted({one.begun for one in writes})
    next_of = dict(pairwise(begins))
    late = [one for one in writes if one.arrived > next_of.get(one.begun, one.arrived)]
    allowed = [one for one in late if one.asked > next_of[one.begun]]
    return allowed, [one for one in late if one not in allowed]


def test_two_processes_that_are_paused_never_write_at_a_time(storage_server: str, object_storage: str) -> None:
    """At most one request that is already on its way arrives after another process has taken the lease."""
    seed = int(os.environ.get("HELO_LEASE_SEED", "0"))
    draw = random.Random(seed)
    with holders(storage_server, object_storage, seed) as both:
        for _ in range(PAUSES):
            holder = draw.choice(both)
            holder.pause(draw)
            time.sleep(draw.uniform(0.2, 2.5) * PATIENCE_S)
            holder.process.send_signal(signal.SIGCONT)
            written, until = len(both[0].writes) + len(both[1].writes), time.monotonic() + WAIT_S
            while len(both[0].writes) + len(both[1].writes) < written + 10:
                for one in both:
                    assert one.process.poll() is None, one.process.communicate()
                assert time.monotonic() < until, "no process gets the lease"
                time.sleep(0.02)
    writes = both[0].writes + both[1].writes
    tenures = len({one.begun for one in writes})
    allowed, on_their_way = intruders(writes)
    print(
        f"{PAUSES} pauses, {len(writes)} writes in {tenures} tenures: {len(allowed)} allowed after another had begun, "
        f"{len(on_their_way)} on their way"
    )
    assert tenures > 1
    assert allowed == []
    assert len({one.begun for one in on_their_way}) == len(on_their_way), "several writes of one tenure came too late"
