"""Short names for runs that are shown together."""

from __future__ import annotations

from collections.abc import Sequence


def short_names(places: Sequence[str]) -> list[str]:
    """Return a short and unique name for each run: the last parts of its place, as many as tell it from the others.

    Parameters
    ----------
    places : sequence of str
        Paths or URIs of run directories, without a slash at the end.

    Examples
    --------
    >>> short_names(["runs/wesad/first", "runs/wesad/second"])
    ['first', 'second']
    >>> short_names(["a/wesad/first", "b/wesad/first", "b/wesad/other"])
    ['a/wesad/first', 'b/wesad/first', 'other']
    >>> short_names(["runs/first", "runs/first"])
    ['first (1)', 'first (2)']
    """
    parts = [[part for part in place.split("/") if part] or [place] for place in places]
    names = []
    for number, own in enumerate(parts):
        others = [other for other in parts if other != own]
        length = next(
            (n for n in range(1, len(own)) if all(other[-n:] != own[-n:] for other in others)),
            len(own),
        )
        is_twin = parts.count(own) > 1
        names.append("/".join(own[-(1 if not others else length) :]) + (f" ({number + 1})" if is_twin else ""))
    return names
