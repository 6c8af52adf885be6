"""Exceptions of HeLo Search, and helpers for their messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from helo._text import hide_credentials


class InputError(ValueError):
    """Bad input.

    The message is one line: where the problem is, what it is, and what would be right. Commands exit with code 2.
    """


class StorageError(OSError):
    """Object storage that does not answer or denies access.

    The message is one line with the place and the reason.

    Parameters
    ----------
    message : str
        The message.
    may_pass : bool
        Whether the same request may succeed later, as when the storage is overloaded.
    """

    def __init__(self, message: str, may_pass: bool = False) -> None:
        super().__init__(message)
        self.may_pass = may_pass


class SearchError(RuntimeError):
    """Failure of a search with valid input.

    The message gives the reason, the number of finished cells, and how to resume the search.
    """


class LeakageError(RuntimeError):
    """Subject on both sides of a split.

    It is raised before anything is computed, because scores on such a split would be too optimistic.
    """


class DivergedError(RuntimeError):
    """Training that diverged: a loss or a prediction is not a finite number."""


def require_new(path: Path, option: str = "--out") -> None:
    """Raise `InputError` if `path` exists, so that no file of a user is overwritten.

    Parameters
    ----------
    path : Path
        Path of the output.
    option : str
        Name of the option that sets the path, for the message.

    Raises
    ------
    InputError
        If there is a file or a directory at `path`.
    """
    if path.exists():
        raise InputError(f"{path}: is already there; choose another {option} or remove it")


def reason_of(error: BaseException) -> str:
    """Return the reason of a failure whose place is named beside it.

    >>> reason_of(PermissionError(1, "Operation not permitted", "runs/a/study.log"))
    'Operation not permitted'
    """
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)


@contextmanager
def as_input_error(place: object, problem: str) -> Iterator[None]:
    """Turn errors of the operating system into `InputError`, and leave those of a storage that fails.

    Parameters
    ----------
    place : object
        Path or URI, for the message.
    problem : str
        What cannot be done there, such as "cannot be written".

    Raises
    ------
    InputError
        If the operating system reports an error.
    StorageError
        If the storage does not answer.
    """
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        raise InputError(f"{place}: {problem} ({reason_of(error)})") from None


def describe_error(error: BaseException) -> str:
    """Return the reason of a failure in one line.

    Parameters
    ----------
    error : BaseException
        The failure.

    Returns
    -------
    str

    Examples
    --------
    >>> describe_error(PermissionError(1, "Operation not permitted", "runs/a/study.log"))
    'runs/a/study.log: Operation not permitted'
    >>> describe_error(KeyError("width"))
    "KeyError: 'width'"
    """
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    said = hide_credentials(" ".join(str(error).split()))
    return said if isinstance(error, InputError | StorageError) else f"{type(error).__name__}: {said}"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a hint with the known word that is closest to a misspelt one.

    Parameters
    ----------
    word : str
        Word that is not known.
    known : iterable of str
        Words that are known.

    Returns
    -------
    str
        Hint that starts with a space, to be appended to a message. Empty if no known word is close.

    Examples
    --------
    >>> did_you_mean("ot_entropi", ["ot_entropy", "width"])
    " (did you mean 'ot_entropy'?)"
    >>> did_you_mean("zzz", ["ot_entropy"])
    ''
    """
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def shorten(words: Iterable[object], most: int = 5) -> str:
    """Join words for one line of text.

    Parameters
    ----------
    words : iterable of object
        Words, in the order in which they are named.
    most : int
        Maximum number of words that are named. The others are counted.

    Returns
    -------
    str

    Examples
    --------
    >>> shorten(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    names = [str(word) for word in words]
    if len(names) <= most:
        return ", ".join(names)
    return ", ".join(names[:most]) + f" and {len(names) - most} more"
