"""Deadlines: jumps of the time of day do not move them, and other machines read the time of day."""

from __future__ import annotations

import dataclasses
import pickle
import time

import pytest

from helo._deadline import Deadline, seconds_since_boot

DAY = 86_400.0


@pytest.mark.parametrize("jump", [-30 * DAY, -1.0, 1.0, 30 * DAY])
def test_a_jump_of_the_clock_moves_no_deadline(monkeypatch: pytest.MonkeyPatch, jump: float) -> None:
    ahead, past = Deadline.after(3600), Deadline.after(-3600)
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + jump)
    ahead, past = (pickle.loads(pickle.dumps(one)) for one in (ahead, past))  # noqa: S301 -- as a worker receives them
    assert not ahead.passed
    assert 3500 < ahead.left <= 3600
    assert past.passed


def test_another_machine_reads_the_time_of_day(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its seconds since the boot are others."""
    ahead = dataclasses.replace(Deadline.after(3600), boot="another", since_boot=0.0)
    assert not ahead.passed
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 3601)
    assert ahead.passed


def test_a_deadline_is_a_time_since_the_boot() -> None:
    assert Deadline.at(seconds_since_boot() - 1).passed
    assert Deadline.at(8200.0) == Deadline.at(8200.0)
