"""Signals that end a search."""

from __future__ import annotations

import signal

import pytest

from helo.search.execution import signals
from helo.search.execution.signals import ENDING, end_like_ctrl_c


def test_a_burst_of_signals_interrupts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    former = signal.getsignal(signal.SIGINT)
    finished = []
    with end_like_ctrl_c():
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        for number in (signal.SIGINT, *ENDING, signal.SIGINT):
            signal.raise_signal(number)
        finished.append("what follows the first")
        monkeypatch.setattr(signals, "BURST_S", 0.0)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert finished
    assert signal.getsignal(signal.SIGINT) is former
