"""What is wrong with a cluster file: gathered, so that all of it is said at once, and nothing twice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from helo.errors import did_you_mean

Place = tuple[str | int, ...]
"""Keys and positions that lead to a value in a file."""


@dataclass
class Faults:
    """Faults in the order in which they were found.

    What lies at or below a place that is wrong already is not looked at again: one mistake, one line.
    """

    lines: list[str] = field(default_factory=list)
    _places: list[Place] = field(default_factory=list)

    def add(self, place: Place, what: str, about: Iterable[Place] = ()) -> None:
        """Note a fault; `about` are other places that it follows from."""
        if any(self._covered(each) for each in (place, *about)):
            return
        self._places.append(place)
        self.lines.append(f"{spell(place)}: {what}")

    def missing(self, place: Place, key: str, what: str) -> None:
        """Note that a key, or what must be in it, is missing, unless that is already explained: by a misspelling of the
        key, or by a fault inside it."""
        wanted = (*place, key)
        inside = any(wrong[: len(wanted)] == wanted for wrong in self._places)
        if not inside and (*place, f"~{key}") not in self._places:
            self.add(wanted, what)

    def unknown(self, place: Place, key: str, known: Iterable[str]) -> None:
        """Note a key that nobody reads."""
        names = list(known)
        guess = did_you_mean(key, names)
        self.add((*place, key), f"unknown key{guess or '; known are ' + ', '.join(sorted(names))}")
        if guess:
            self._places.append((*place, "~" + guess.split("'")[1]))

    def _covered(self, place: Place) -> bool:
        return any(place[: len(wrong)] == wrong for wrong in self._places)


def spell(place: Place) -> str:
    """A place as people write it.

    >>> spell(("available_node_types", "gpu", "BlockDeviceMappings", 0, "Ebs"))
    'available_node_types.gpu.BlockDeviceMappings[0].Ebs'
    """
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in place)
    return text.lstrip(".") or "the file"


def mapping(value: Any) -> Mapping[str, Any]:
    """A mapping, or an empty one instead of what is none: that fault is the schema's."""
    return {str(key): entry for key, entry in value.items()} if isinstance(value, Mapping) else {}


def sequence(value: Any) -> list[Any]:
    """A list, or an empty one instead of what is none."""
    return value if isinstance(value, list) else []


def words(value: Any) -> str:
    """All texts of a list in one: commands, or options."""
    return " ".join(entry for entry in sequence(value) if isinstance(entry, str))


def whole(value: Any) -> int | None:
    """A whole number, or None."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None
