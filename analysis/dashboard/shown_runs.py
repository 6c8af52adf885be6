"""The runs of a dashboard together: their figures, aligned, and their comparison."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from helo.analysis.dashboard.aligned import NO_CHANGES, align
from helo.analysis.dashboard.compared import Comparer
from helo.analysis.dashboard.watched import Drawing, Shown, WatchedRun

ALL_RUNS: Final = -1
"""Number that stands for all runs in the place of a figure."""

Place = tuple[int, str]
"""Number of a run, or `ALL_RUNS`, and name of a figure."""


class Placed(NamedTuple):
    """A figure in its place.

    Attributes
    ----------
    shown : Shown
        The figure as sent to a page.
    changes : dict
        What aligns it with those of other runs, see `helo.analysis.dashboard.aligned.Changes`.
    made : list of str
        Versions of `shown` and of `changes`.
    """

    shown: Shown
    changes: dict[str, Any]
    made: list[str]


class ShownRuns:
    """The runs of a dashboard.

    Parameters
    ----------
    by_name : mapping of str to WatchedRun
        Runs by the name that pages show.

    Attributes
    ----------
    by_name : dict of str to WatchedRun
        The same.
    runs : list of WatchedRun
        The runs in order.
    comparer : Comparer
        Comparison of the runs.
    """

    def __init__(self, by_name: Mapping[str, WatchedRun]) -> None:
        self.by_name = dict(by_name)
        self.runs = list(by_name.values())
        self.comparer = Comparer(self.by_name)

    def placed(self, places: Sequence[Place]) -> list[Placed]:
        """Return the figures of some places."""
        found: dict[Place, Placed] = {}
        for run, name in places:
            if run == ALL_RUNS:
                found[run, name] = _place(self.comparer.drawing(name), NO_CHANGES._asdict())
            elif (run, name) not in found:
                drawings = [one.drawing(name) for one in self.runs]
                changes = align([drawing.frame for drawing in drawings])
                for number, (drawing, own) in enumerate(zip(drawings, changes, strict=True)):
                    found[number, name] = _place(drawing, own._asdict())
        return [found[place] for place in places]


def _place(drawing: Drawing, changes: dict[str, Any]) -> Placed:
    digest = hashlib.sha256(json.dumps(changes, sort_keys=True).encode()).hexdigest()[:16]
    return Placed(drawing.shown, changes, [drawing.shown["made"], digest])
