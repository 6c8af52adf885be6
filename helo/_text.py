"""Values as text for people."""

from __future__ import annotations

import re


def format_duration(seconds: float) -> str:
    """Return a time span in its two largest units at most.

    >>> format_duration(42.4), format_duration(3725), format_duration(200_000)
    ('42 s', '1 h 2 min', '55 h 33 min')
    """
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes = max(1, round(seconds / 60))
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


def parse_duration(text: str) -> float:
    """Return the seconds in a text such as ``90s``, ``30m`` or ``1.5h``; raise `ValueError` for other texts.

    >>> parse_duration("90s"), parse_duration("1.5h"), parse_duration("2 d")
    (90.0, 5400.0, 172800.0)
    """
    found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([a-z]+)\s*", text)
    if found is None or found[2] not in _UNITS:
        raise ValueError(f"no time span: {text!r}")
    return float(found[1]) * _UNITS[found[2]]


def format_size(count: float) -> str:
    """Return a number of bytes in GiB or MiB.

    >>> format_size(3 * 2**30), format_size(5 * 2**20)
    ('3.0 GiB', '5 MiB')
    """
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def hide_credentials(text: str) -> str:
    """Return a text without what URIs in it have before ``@``.

    >>> hide_credentials("s3://user:secret@bucket/run: is no place")
    's3://…@bucket/run: is no place'
    """
    return re.sub(r"(?<=://)[^/\s]*@", "…@", text)


MAX_WHOLE = 2**63 - 1
"""Largest whole number that a file may have."""


def parse_whole(text: str) -> int:
    """Return the whole number in a text of a file; raise `ValueError` for one beyond `MAX_WHOLE`.

    Larger numbers are no setting of anything, and those with thousands of digits cannot even be shown.

    >>> parse_whole("-12")
    -12
    """
    return require_whole(int(text) if len(text) < 25 else MAX_WHOLE + 1)


def require_whole(number: int) -> int:
    """Return a whole number; raise `ValueError` if it is beyond `MAX_WHOLE`."""
    if abs(number) > MAX_WHOLE:
        raise ValueError(f"a whole number must be from -{MAX_WHOLE} to {MAX_WHOLE}, got one that is beyond")
    return number


def make_printable(text: object) -> str:
    """Return a text from a dataset or manifest with unprintable characters replaced.

    Such characters could control a terminal or a page.

    >>> make_printable("S2" + chr(27) + "[31m")
    'S2�[31m'
    """
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in str(text))
