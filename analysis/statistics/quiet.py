"""Libraries that announce what they do, kept from doing so."""

from __future__ import annotations

import contextlib
import io
import threading
import warnings
from collections.abc import Iterator

_ALONE = threading.Lock()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Nothing is printed or warned of within. One thread at a time: both are the whole process's."""
    with _ALONE, contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
