"""Signals that end a search."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator

import pytest

from helo.search.execution import signals
from helo.search.execution.signals import ENDING, end_like_ctrl_c


@pytest.fixture(params=[signal.default_int_handler, signal.SIG_IGN], ids=["foreground", "background"])
def former(request: pytest.FixtureRequest) -> Iterator[object]:
    """Handler of SIGINT as a shell leaves it to a process."""
    before = signal.signal(signal.SIGINT, request.param)
    yield request.param
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("former", [signal.SIG_IGN], indirect=True)
def test_a_process_that_ignores_ctrl_c_ends_when_it_is_terminated(former: object) -> None:
    with end_like_ctrl_c():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGINT) is former


def test_a_burst_of_signals_interrupts_once(former: object, monkeypatch: pytest.MonkeyPatch) -> None:
    finished = []
    with end_like_ctrl_c():
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM if former is signal.SIG_IGN else signal.SIGINT)
        for number in (signal.SIGINT, *ENDING, signal.SIGINT):
            signal.raise_signal(number)
        finished.append("what follows the first")
        monkeypatch.setattr(signals, "BURST_S", 0.0)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert finished
    assert signal.getsignal(signal.SIGINT) is former


def test_an_interruption_that_python_ignores_comes_again(former: object) -> None:
    class Finalised:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGTERM)

    hook = sys.unraisablehook
    with end_like_ctrl_c():
        del (finalised := [Finalised()])[:]
        assert finalised == []  # the exception of the signal was ignored
        with pytest.raises(KeyboardInterrupt):
            threading.Event().wait(600)
    assert sys.unraisablehook is hook
