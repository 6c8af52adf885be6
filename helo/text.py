"""Values as people say them."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """A time span in its two largest units at most.

    >>> duration(42.4), duration(3725), duration(200_000)
    ('42 s', '1 h 2 min', '55 h 33 min')
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
