"""Links between figures: owners of points, and the content of a figure once a subject or configuration is chosen.

Both are plain data in the figure (``meta`` of a trace and of the layout), so that pages work without a server. The
report and the dashboard read them in ``analysis/web/figures.js``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

import plotly.graph_objects as go

from helo.analysis.figures._style import escape_label
from helo.errors import InputError, did_you_mean
from helo.names import Column

KINDS: Final = (Column.SUBJECT, Column.CONFIGURATION)
"""Kinds of choices."""

CHOICES: Final = "choices"
"""Key in `layout.meta`: kind → name → list with one mapping per trace, of the attributes to replace."""

CHOICE_STYLE: Final = "style"
"""Key in `layout.meta`: list with one mapping per trace, of the attributes to replace whatever is chosen."""

CHOICE_NOTES: Final = "notes"
"""Key in `layout.meta`: number of an annotation → its text once something is chosen."""


def build_owners(
    subject: Sequence[str] | str | None = None, configuration: Sequence[int] | int | None = None
) -> dict[str, Any]:
    """Return the `meta` of a trace: the subject and the configuration of each point, or of the whole trace.

    A click on a point chooses its owners. Points of other owners then fade; points without an owner of the chosen kind
    stay as they are. Names are not escaped, because they are compared and not shown.

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
    """Return the `meta` of a heat map: the owners of its columns and rows. A frame marks the chosen ones.

    >>> build_grid_owners({"configuration": [0, 1]}, {"subject": ["S2"]})
    {'x': {'configuration': [0, 1]}, 'y': {'subject': ['S2']}}
    """
    return {side: {kind: list(names) for kind, names in owners.items()} for side, owners in (("x", x), ("y", y))}


def expand_changes(changes: Sequence[Mapping[str, Any] | int]) -> list[Mapping[str, Any]]:
    """Return the change of each trace. A number stands for the change of the trace with this number.

    >>> expand_changes([{"y": [1]}, {}, 0])
    [{'y': [1]}, {}, {'y': [1]}]
    """
    return [one if isinstance(one, Mapping) else cast("Mapping[str, Any]", changes[one]) for one in changes]


def add_choices(
    figure: go.Figure,
    notes: Mapping[int, str] | None = None,
    style: Sequence[Mapping[str, Any]] = (),
    **choices: Mapping[Any, Sequence[Mapping[str, Any] | int]],
) -> go.Figure:
    """Add the content that a figure shows once a subject or configuration is chosen.

    Parameters
    ----------
    figure : plotly.graph_objects.Figure
        Figure to change.
    notes : mapping, optional
        Number of an annotation → its text once something is chosen, in which ``{}`` stands for the name.
    style : sequence of mapping, optional
        One mapping per trace, of the attributes to replace whatever is chosen.
    **choices : mapping
        By kind (see `KINDS`): name → one mapping per trace from attribute to new value, such as ``{"y": [...]}``. Long
        numeric values may be arrays. A number stands for the change of the trace with this number. Later traces that do
        not change may be omitted.

    Returns
    -------
    plotly.graph_objects.Figure
        The same figure.
    """
    meta = dict(figure.layout.meta or {})
    meta[CHOICES] = {
        kind: {str(name): list(changes) for name, changes in names.items()} for kind, names in choices.items()
    }
    meta[CHOICE_STYLE] = list(style)
    meta[CHOICE_NOTES] = {str(number): text for number, text in (notes or {}).items()}
    figure.layout.meta = meta
    return figure


def choose(figure: go.Figure, subject: str | None = None, configuration: int | None = None) -> go.Figure:
    """Show a figure as it is once a subject or configuration is chosen.

    Parameters
    ----------
    figure : plotly.graph_objects.Figure
        Figure to change.
    subject : str, optional
        Test subject to choose.
    configuration : int, optional
        Configuration to choose.

    Returns
    -------
    plotly.graph_objects.Figure
        The same figure.

    Raises
    ------
    InputError
        If the figure has no such choice, or both are given.
    """
    meta = figure.layout.meta or {}
    choices = meta.get(CHOICES, {})
    requested = {Column.SUBJECT: subject, Column.CONFIGURATION: configuration}
    for kind, name in requested.items():
        if name is None:
            continue
        names = choices.get(kind, {})
        if not names:
            raise InputError(f"this figure does not change with the {kind}")
        if subject is not None and configuration is not None:
            raise InputError("this figure shows a subject or a configuration, not both: omit one")
        if str(name) not in names:
            raise InputError(f"unknown {kind} {str(name)!r}{did_you_mean(str(name), names)}")
        for changes in (meta.get(CHOICE_STYLE, ()), expand_changes(names[str(name)])):
            for trace, change in zip(figure.data, changes, strict=False):
                trace.update(change)
        for number, text in meta.get(CHOICE_NOTES, {}).items():
            figure.layout.annotations[int(number)].text = text.replace("{}", escape_label(name))
    return figure
