"""Patience with object storage that does not answer: requests are tried again for a stated time."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from helo._text import format_duration
from helo.errors import StorageError

Answer = TypeVar("Answer")

READ_S: Final = 60.0
"""Seconds for which a request is tried again where a person waits for the answer, as for a report."""

SEARCH_S: Final = 1800.0
"""Seconds for which a search waits for the storage of its run. An outage of ten minutes does not end it."""

END_S: Final = 10.0
"""Seconds for which a request is tried again if the search loses little without it, or has failed already."""

SHORTEST_S: Final = 0.2
"""First pause in seconds. Each pause is up to twice as long as the one before."""

LONGEST_S: Final = 20.0
"""Longest pause in seconds."""

SILENT_S: Final = 10.0
"""Seconds of waiting after which the user is told."""


def _ignore(line: str) -> None:
    """Do nothing."""


def _allow() -> None:
    """Do nothing."""


@dataclass(frozen=True)
class Patience:
    """How long requests are tried again.

    Attributes
    ----------
    seconds : float
        Time in seconds after which the last error is raised. At 0 there is one attempt.
    tell : callable
        Function that gets one line if the waiting takes long.
    guard : callable
        Function that is called before a change, and before each further attempt at any request. It raises an `OSError`
        if this process may no longer change the folder.
    """

    seconds: float = READ_S
    tell: Callable[[str], None] = _ignore
    guard: Callable[[], None] = _allow

    def __reduce__(self) -> tuple[Any, ...]:
        return Patience, (self.seconds,)  # another process has no console and no lock of the search

    def keep_trying(self, request: Callable[[], Answer]) -> Answer:
        """Return the answer of a request, as soon as it has one.

        Parameters
        ----------
        request : callable
            Function without arguments that may be called several times.

        Returns
        -------
        object

        Raises
        ------
        StorageError
            If the storage refuses the request, or does not answer in time.
        """
        started, pause, is_told, waited = time.monotonic(), SHORTEST_S, False, False
        while True:
            try:
                if waited:
                    self.guard()
                return request()
            except StorageError as error:
                left = started + self.seconds - time.monotonic()
                if not error.may_pass or left <= 0:
                    raise
                if not is_told and time.monotonic() - started >= SILENT_S:
                    is_told = True
                    self.tell(f"{error}; trying again for {format_duration(left)}")
            # Pauses of random length: many workers do not ask at the same moments.
            time.sleep(min(left, random.uniform(pause / 2, pause)))
            pause, waited = min(2 * pause, LONGEST_S), True
