"""Faults of a cluster file, collected so that all are reported at once and each only once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from helo.errors import did_you_mean

Place = tuple[str | int, ...]
"""Keys and list positions that lead to a value in a file."""

_ABSENT = ", got None"


@dataclass
class Faults:
    """Faults in the order in which they were found.

    A fault at or below a place that already has one is not added. Each mistake thus makes one line.

    Attributes
    ----------
    lines : list of str
        One message per fault, starting with the place.
    """

    lines: list[str] = field(default_factory=list)
    _places: list[Place] = field(default_factory=list)

    def add(self, place: Place, what: str, about: Iterable[Place] = ()) -> None:
        """Add a fault, unless its place or one of the places `about`, which it follows from, already has one."""
        if any(self._covered(each) for each in (place, *about)):
            return
        self._places.append(place)
        self.lines.append(f"{spell(place)}: {what}")

    def missing(self, place: Place, key: str, what: str) -> None:
        """Add a missing key or content, unless the key is misspelt or already has a fault inside.

        A message that ends with ``got None`` is about an absent key.
        """
        full = (*place, key)
        if what.endswith(_ABSENT):
            what = f"is missing; it {what.removesuffix(_ABSENT)}"
        inside = any(wrong[: len(full)] == full for wrong in self._places)
        if not inside and (*place, f"~{key}") not in self._places:
            self.add(full, what)

    def unknown(self, place: Place, key: str, known: Iterable[str]) -> None:
        """Add an unknown key, with a guess at the right one."""
        names = list(known)
        hint = did_you_mean(key, names) or f"; known are {', '.join(sorted(names))}"
        self.add((*place, key), f"unknown key{hint}")
        # The key that is meant: it is then not reported as missing.
        self._places += [(*place, f"~{meant}") for meant in get_close_matches(key, names, n=1)]

    def _covered(self, place: Place) -> bool:
        return any(place[: len(wrong)] == wrong for wrong in self._places)


def spell(place: Place) -> str:
    """Format a place with dots and brackets.

    >>> spell(("available_node_types", "gpu", "BlockDeviceMappings", 0, "Ebs"))
    'available_node_types.gpu.BlockDeviceMappings[0].Ebs'
    """
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in place)
    return text.lstrip(".") or "the file"


def mapping(value: Any) -> Mapping[str, Any]:
    """Return the value if it is a mapping, else an empty one: the schema reports the fault."""
    return {str(key): entry for key, entry in value.items()} if isinstance(value, Mapping) else {}


def sequence(value: Any) -> list[Any]:
    """Return the value if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def words(value: Any) -> str:
    """Join the texts in a list of commands or options."""
    return " ".join(entry for entry in sequence(value) if isinstance(entry, str))


def whole(value: Any) -> int | None:
    """Return the value if it is a whole number, else None."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None
