"""Spelling of names of subjects, groups, modalities and emotions: letters that are refused, names that look alike."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from helo.errors import InputError

MAX_LENGTH: Final = 500
"""Maximum number of letters of a name."""

_REFUSED: Final = {
    "Cc": "a control character",
    "Cf": "an invisible letter",
    "Cs": "half of a surrogate pair",
    "Zl": "a line separator",
    "Zp": "a paragraph separator",
}
"""Unicode category of a letter that a name must not have → what it is."""

_BLANK: Final = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
"""Letters that look like a space or like nothing, although their category is that of visible letters or marks."""

_JOINERS: Final = frozenset("\u200c\u200d")
"""Zero-width (non-)joiners, which Persian and Indic words and emoji need between letters."""


def name_problem(name: str) -> str | None:
    r"""Return what is wrong with the letters of a name, or None.

    Control characters act on a terminal, and others are invisible or turn the direction of text: two people could have
    names that look alike. Spaces, letters of every script, and joiners inside a word are valid.

    Parameters
    ----------
    name
        The name.

    Returns
    -------
    str or None
        End of a message about the name.

    Examples
    --------
    >>> name_problem("S2\x1b[31m")
    'must not have U+001B, a control character'
    >>> name_problem("José 2") is None
    True
    """
    if len(name) > MAX_LENGTH:
        return f"must have at most {MAX_LENGTH} letters, got {len(name)}"
    for place, letter in enumerate(name):
        kind = "an invisible letter" if letter in _BLANK else _REFUSED.get(unicodedata.category(letter))
        if kind and not (letter in _JOINERS and 0 < place < len(name) - 1):
            return f"must not have U+{ord(letter):04X}, {kind}"
    return None


def check_names(what: str, names: Iterable[str]) -> None:
    """Raise `InputError` for a name with letters that `name_problem` refuses; `what` says what has the name."""
    for name in names:
        if problem := name_problem(name):
            raise InputError(f"{what} {short_repr(name)}: a name {problem}")


def short_repr(name: str) -> str:
    """Return a name in quotes with escapes, at most 60 letters of it."""
    return repr(name if len(name) <= 60 else f"{name[:59]}…")


def plain_name(name: str) -> str:
    r"""Return a name with a space in place of letters that `name_problem` refuses, as for the heading of a column.

    >>> plain_name("heart\nrate\u200b")
    'heart rate'
    """
    if name_problem(name) is None:
        return name
    return " ".join("".join(" " if name_problem(f"a{letter}a") else letter for letter in name).split())[:MAX_LENGTH]


def as_compared(name: str) -> str:
    r"""Return a name without its differences in spaces, case, invisible letters and ways to write an accent.

    Two names with the same result are the same for people.

    >>> as_compared("Jose\u0301  A ") == as_compared("JOS\u00c9\u00a0a")
    True
    """
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    seen = "".join(letter for letter in text if letter.isspace() or not _is_ignorable(letter))
    return " ".join(seen.split())


def alike(first: str, second: str) -> str:
    """Return how two names differ that `as_compared` makes equal, for a message.

    >>> alike("P01", "p01 ")
    "'P01' and 'p01 ' differ in spaces or case only"
    """
    if " ".join(first.split()).casefold() == " ".join(second.split()).casefold():
        return f"{first!r} and {second!r} differ in spaces or case only"
    return f"{first!a} and {second!a} differ in the coding of their letters only"


def _is_ignorable(letter: str) -> bool:
    is_variation = "\ufe00" <= letter <= "\ufe0f"
    return letter in _BLANK or is_variation or unicodedata.category(letter) in _REFUSED


def names_array(what: str, names: Sequence[str]) -> NDArray[Any]:
    """Return names as an array; raise `InputError` as `check_names`. NumPy would drop NUL at the end of a name."""
    check_names(what, dict.fromkeys(names))
    return np.asarray(names, dtype=np.str_)
