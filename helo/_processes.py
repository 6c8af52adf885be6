"""New processes of the standard library's pools: how they start, and why they ended."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import ModuleType


@contextmanager
def hidden_main() -> Iterator[None]:
    """Hide the main module while processes are started.

    A new process imports the main module of the process that starts it. A script without ``if __name__ == "__main__"``
    would call this package again there, and what comes from standard input cannot be imported at all. The functions
    that this package runs in processes need nothing of it.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def describe_end(exit_codes: Iterable[int | None]) -> str:
    """Return why one of several processes ended early, as the end of a sentence that begins with the process.

    Parameters
    ----------
    exit_codes : iterable of int or None
        Exit codes as in `multiprocessing.Process.exitcode`. A negative one is the number of a signal. A pool ends its
        other processes by SIGTERM when it has lost one, so that SIGTERM alone explains nothing.

    Returns
    -------
    str

    Examples
    --------
    >>> describe_end([None, -9, -15])
    'was killed, most likely because memory ran out'
    >>> describe_end([-11, -15]), describe_end([3])
    ('was ended by SIGSEGV', 'ended with exit status 3')
    """
    for code in exit_codes:
        if code == -signal.SIGKILL:
            return "was killed, most likely because memory ran out"
        if code and code != -signal.SIGTERM:
            return f"ended with exit status {code}" if code > 0 else f"was ended by {signal.Signals(-code).name}"
    return "ended unexpectedly"
