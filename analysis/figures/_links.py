"""How figures are linked: whose a point is, and what a figure shows once a subject or configuration is chosen.

Both are plain data in the figure (``meta`` of a trace and of the layout), so that a page without a server can follow
them: ``analysis/web/figures.js`` does, in the report and in the dashboard.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import plotly.graph_objects as go
from helo.analysis.figures._style import escape_label

from helo.errors import InputError, did_you_mean
from helo.names import Column

KINDS: Final = (Column.SUBJECT, Column.CONFIGURATION)
"""What can be chosen."""

CHOICES: Final = "choices"
"""Key of a figure's `layout.meta`: kind → name → per trace, the attributes that take the place of its own."""

CHOICE_NOTES: Final = "notes"
"""Key of a figure's `layout.meta`: number of an annotation → what it says of a choice."""


def build_owners(
    subject: Sequence[str] | str | None = None, configuration: Sequence[int] | int | None = None
) -> dict[str, Any]:
    """The `meta` of a trace: the subject and the configuration of each point, or one of the whole trace.

    Names are raw, not escaped: they are compared, never shown. A click on a point chooses them, and once something is
    chosen, all points of others fade. Points without an owner of that kind do not.

    >>> build_owners(subject=["S2", "S3"], configuration=4)
    {'subject': ['S2', 'S3'], 'configuration': [4]}
    """
    given = {Column.SUBJECT: subject, Column.CONFIGURATION: configuration}
    return {
        kind: [value] if isinstance(value, str | int) else list(value)
        for kind, value in given.items()
        if value is not None
    }


def build_grid_owners(x: Mapping[str, Sequence[Any]], y: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """The `meta` of a heat map: whose its columns and rows are. Once one is chosen, a frame shows it.

    >>> build_grid_owners({"configuration": [0, 1]}, {"subject": ["S2"]})
    {'x': {'configuration': [0, 1]}, 'y': {'subject': ['S2']}}
    """
    return {side: {kind: list(names) for kind, names in of.items()} for side, of in (("x", x), ("y", y))}


def add_choices(
    figure: go.Figure, said: Mapping[int, str] | None = None, **choices: Mapping[Any, Sequence[Mapping[str, Any]]]
) -> go.Figure:
    """Note what a figure shows when a subject or configuration is chosen: `choices` are kinds of `KINDS`.

    Each maps a name to one mapping per trace (of as many of the first traces as change): attribute → its new value,
    as in ``{"y": [...]}``; long numeric values may be arrays. `said` are annotations, by number, that then say whose
    this is: text in which ``{}`` stands for the name.
    """
    meta = dict(figure.layout.meta or {})
    meta[CHOICES] = {kind: {str(name): list(of) for name, of in names.items()} for kind, names in choices.items()}
    meta[CHOICE_NOTES] = {str(number): text for number, text in (said or {}).items()}
    figure.layout.meta = meta
    return figure


def choose(figure: go.Figure, subject: str | None = None, configuration: int | None = None) -> go.Figure:
    """The figure as it is with a subject or configuration chosen; raise `InputError` where it has no such choice."""
    meta = figure.layout.meta or {}
    choices = meta.get(CHOICES, {})
    wishes = {Column.SUBJECT: subject, Column.CONFIGURATION: configuration}
    for kind, wanted in wishes.items():
        if wanted is None:
            continue
        known = choices.get(kind, {})
        if not known:
            raise InputError(f"this figure does not change with the {kind}")
        if subject is not None and configuration is not None:
            raise InputError("this figure shows a subject or a configuration, not both: leave one out")
        if str(wanted) not in known:
            raise InputError(f"{kind}: none is {str(wanted)!r}{did_you_mean(str(wanted), known)}")
        for trace, changes in zip(figure.data, known[str(wanted)], strict=False):
            trace.update(changes)
        for number, text in meta.get(CHOICE_NOTES, {}).items():
            figure.layout.annotations[int(number)].text = text.replace("{}", escape_label(wanted))
    return figure
