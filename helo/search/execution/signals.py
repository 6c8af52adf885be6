"""Signals that end a search: a terminated search ends like one that Ctrl-C interrupts."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

ENDING: Final = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Signals of a scheduler, a shutdown or a closed terminal."""

BURST_S: Final = 2.0
"""Seconds after an interruption in which further ones are ignored."""

Handlers = dict[signal.Signals, Callable[[int, FrameType | None], Any] | int | None]


@contextmanager
def end_like_ctrl_c() -> Iterator[None]:
    """Treat `ENDING` like Ctrl-C while the context is open: what is finished is kept, shown and can be resumed.

    A burst of Ctrl-C counts as one, so that it does not interrupt what follows the first. A process that ignores
    Ctrl-C, as one that a shell script starts in the background, goes on to ignore it, but `ENDING` end it. While cells
    run, Ray Tune handles Ctrl-C itself, and does not ignore it.

    Outside of the main thread, where Python cannot handle signals, nothing is changed.
    """
    with kept_handlers():
        former, former_hook = signal.getsignal(signal.SIGINT), sys.unraisablehook
        is_main = threading.current_thread() is threading.main_thread()
        if is_main:
            interruption = _Interruption(former is not signal.SIG_IGN)
            for number in ENDING:
                signal.signal(number, interruption.end)
            if former in (signal.default_int_handler, signal.SIG_IGN):
                signal.signal(signal.SIGINT, interruption)
                sys.unraisablehook = interruption.repeat_if_lost
        try:
            yield
        finally:
            if is_main:
                if former is not None:  # None: it was not set from Python
                    signal.signal(signal.SIGINT, former)
                sys.unraisablehook = former_hook


class _Interruption:
    """Handler of SIGINT that raises `KeyboardInterrupt` once for a burst of signals.

    Parameters
    ----------
    interrupts : bool
        Whether SIGINT by itself interrupts. Otherwise it has no effect until `end` is called.
    """

    def __init__(self, interrupts: bool) -> None:
        self._interrupts, self._last = interrupts, -BURST_S

    def end(self, number: int, frame: FrameType | None) -> None:
        """Interrupt, as the handler of a signal that ends the process."""
        self._interrupts = True
        # By way of the handler of SIGINT: Tune ends its trials in its own one, and this one raises KeyboardInterrupt.
        signal.raise_signal(signal.SIGINT)

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if not self._interrupts or time.monotonic() - self._last < BURST_S:
            return
        self._last = time.monotonic()
        raise KeyboardInterrupt

    def repeat_if_lost(self, unraisable: sys.UnraisableHookArgs) -> None:
        """Send SIGINT again if Python has ignored the interruption, as it does in finalisers and around forks."""
        if unraisable.exc_type is not KeyboardInterrupt:
            sys.__unraisablehook__(unraisable)
            return
        self._last = -BURST_S
        again = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))  # when this function has returned
        again.daemon = True
        again.start()


@contextmanager
def kept_handlers() -> Iterator[Callable[[], None]]:
    """Restore the handlers of `ENDING` at the end of the context, and wherever the yielded function is called.

    Ray replaces that of SIGTERM when it starts, by one that aborts the process while its threads run.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    handlers: Handlers = {number: signal.getsignal(number) for number in ENDING}

    def restore() -> None:
        for number, handler in handlers.items():
            if handler is not None:  # None: it was not set from Python
                signal.signal(number, handler)

    try:
        yield restore
    finally:
        restore()
