"""Suppression of the output and warnings of libraries."""

from __future__ import annotations

import contextlib
import io
import threading
import warnings
from collections.abc import Iterator

_LOCK = threading.Lock()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Suppress standard output and warnings within the context.

    Both belong to the process, so only one thread at a time is inside the context.
    """
    with _LOCK, contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
