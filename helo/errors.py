"""What a user can put right, and how a command says it: one line, exit code 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


class InputError(ValueError):
    """Bad input: the message is one line that says what, where, and what would be right."""


class StorageError(OSError):
    """Object storage does not answer, or refuses: the message is one line that says where and why."""


class SearchError(RuntimeError):
    """A search that failed though its input is good: the message says why, what is finished, and how to go on."""


class LeakageError(RuntimeError):
    """A subject is on both sides of a split: the result would be worthless, so nothing is computed."""


class DivergedError(RuntimeError):
    """A loss or a prediction is no longer a number: this cannot be trained on these windows."""


def require_new(path: Path, option: str = "--out") -> None:
    """Raise `InputError` if something is at `path` already: nothing that a user has made is overwritten.

    `option`: what the user chose the path with.
    """
    if path.exists():
        raise InputError(f"{path}: is already there; choose another {option} or remove it")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `` (did you mean 'x'?)`` for the closest known word, or an empty string.

    >>> did_you_mean("ot_entropi", ["ot_entropy", "width"])
    " (did you mean 'ot_entropy'?)"
    >>> did_you_mean("zzz", ["ot_entropy"])
    ''
    """
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def shorten(words: Iterable[object], most: int = 5) -> str:
    """Join words for one line of text, naming at most `most` of them.

    >>> shorten(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    names = [str(word) for word in words]
    if len(names) <= most:
        return ", ".join(names)
    return ", ".join(names[:most]) + f" and {len(names) - most} more"
