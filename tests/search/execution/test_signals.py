"""Signals that end a search."""

from __future__ import annotations

import signal
import sys
import threading

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


def test_an_interruption_that_python_ignores_comes_again() -> None:
    class Finalised:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGTERM)

    former = sys.unraisablehook
    with end_like_ctrl_c():
        del (finalised := [Finalised()])[:]
        assert finalised == []  # the exception of the signal was ignored
        with pytest.raises(KeyboardInterrupt):
            threading.Event().wait(600)
    assert sys.unraisablehook is former
