"""What the axes of a figure show: ranges of their values, and their categories in order. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from helo.analysis.figures import CHOICES, expand_changes

Ends = tuple[float, float]
"""Lower and upper end of a range."""

MARGIN: Final = 0.05
"""Space between the outermost values and the ends of an axis, as a share of their range."""

ROUNDING: Final = 1e-6
"""Share of a range that counts as rounding."""


def axis_names(figure: go.Figure) -> list[str]:
    """Return the names of the axes of a figure, such as ``xaxis2``."""
    named = (name for name in figure.layout if re.fullmatch(r"[xy]axis\d*", name))  # as JSON it would be copied
    used = (f"{letter}axis{(trace[f'{letter}axis'] or letter)[1:]}" for trace in figure.data for letter in "xy")
    return sorted({*named, *used})


def letter_of(axis: str) -> str:
    """Return ``x`` or ``y``."""
    return axis[0]


def join_ends(ends: Iterable[Ends]) -> Ends | None:
    """Return the smallest range that holds all ranges, or None without any.

    >>> join_ends([(0.0, 1.0), (-1.0, 0.5)])
    (-1.0, 1.0)
    """
    found = list(ends)
    return (min(low for low, _ in found), max(high for _, high in found)) if found else None


def find_extents(figure: go.Figure, axes: Collection[str] | None = None) -> dict[str, Ends]:
    """Return the range that each axis of numbers needs, with a margin: exponents of 10 on a logarithmic axis.

    Axes of categories and axes without values are left out. `axes` are those that are wanted, by default all.
    """
    names = [name for name in axis_names(figure) if figure.layout[name].type != "category"]
    wanted = names if axes is None else [name for name in names if name in axes]
    if not wanted:
        return {}
    return _extents_of(figure, [trace.to_plotly_json() for trace in figure.data], wanted)


def find_choice_extents(figure: go.Figure, axes: Collection[str]) -> dict[str, dict[str, dict[str, Ends]]]:
    """Return the ranges that some axes need once a subject or configuration is chosen.

    Parameters
    ----------
    figure : plotly.graph_objects.Figure
        Figure with choices, see `helo.analysis.figures._links.add_choices`.
    axes : collection of str
        Axes whose ranges are wanted.

    Returns
    -------
    dict
        Kind → name → axis → its ends.
    """
    found: dict[str, dict[str, dict[str, Ends]]] = {}
    if not axes:
        return found
    traces = [trace.to_plotly_json() for trace in figure.data]
    for kind, by_name in (figure.layout.meta or {}).get(CHOICES, {}).items():
        for name, changes in by_name.items():
            changed = [
                {**trace, **change}
                for trace, change in zip(traces, [*expand_changes(changes), *[{}] * len(traces)], strict=False)
            ]
            extents = _extents_of(figure, changed, axes)
            if extents:
                found.setdefault(str(kind), {})[str(name)] = extents
    return found


def find_categories(figure: go.Figure, axis: str) -> tuple[str, ...]:
    """Return the categories of an axis in order."""
    letter, number = letter_of(axis), axis[5:]
    order = figure.layout[axis].categoryarray
    shown = [] if order is None else list(order)
    for trace in figure.data:
        if (trace[f"{letter}axis"] or letter)[1:] == number and trace[letter] is not None:
            shown += [value for value in trace[letter] if value is not None]
    return tuple(dict.fromkeys(map(str, shown)))


def _extents_of(figure: go.Figure, traces: Sequence[Mapping[str, Any]], axes: Iterable[str]) -> dict[str, Ends]:
    found = {}
    for axis in axes:
        letter, settings = letter_of(axis), figure.layout[axis]
        is_log = settings.type == "log"
        numbers = _numbers_of_matching(figure, axis)
        own = [trace for trace in traces if trace.get(f"{letter}axis", letter)[1:] in numbers]
        values = [*_values(own, letter, figure.layout.barmode), *_values_of_shapes(figure, letter, numbers)]
        shown = np.concatenate(values) if values else np.empty(0)
        shown = shown[np.isfinite(shown) & ((shown > 0) | (not is_log))]
        if not len(shown):
            continue
        low, high = map(float, (np.log10([shown.min(), shown.max()]) if is_log else (shown.min(), shown.max())))
        margin = MARGIN * (high - low) or MARGIN * abs(high) or MARGIN
        has_zero = not is_log and (settings.rangemode == "tozero" or _has_bars(own, letter))
        slack = ROUNDING * (high - low)  # of bars that begin at 0
        found[axis] = (
            0.0 if has_zero and low >= -slack else low - margin,
            0.0 if has_zero and high <= slack else high + margin,
        )
    return found


def _numbers_of_matching(figure: go.Figure, axis: str) -> set[str]:
    """Return the number of an axis and of those that have its range; the first axis has an empty one."""
    letter, number = letter_of(axis), axis[5:]
    others = (name for name in axis_names(figure) if letter_of(name) == letter)
    return {number, *(name[5:] for name in others if figure.layout[name].matches == f"{letter}{number}")}


def _values(traces: Sequence[Mapping[str, Any]], letter: str, barmode: str | None) -> list[NDArray[np.float64]]:
    found: list[NDArray[np.float64]] = []
    stacks: dict[Any, float] = {}
    for trace in traces:
        values = _as_numbers(trace.get(letter))
        if values is None or trace.get("visible") is False:
            continue
        if _has_bars([trace], letter):
            base = _as_numbers(trace.get("base"))
            found += [values, np.zeros(1)] if base is None else [base, base + values]
            if barmode == "stack":
                for place, value in zip(trace["x" if letter == "y" else "y"], values, strict=True):
                    stacks[place] = stacks.get(place, 0.0) + float(np.nan_to_num(value))
            continue
        error = trace.get(f"error_{letter}", {})
        more = _as_numbers(error.get("array"))
        less = _as_numbers(error.get("arrayminus", error.get("array")))
        width = _as_numbers(trace.get("width")) if trace.get("type") == "bar" else None
        found.append(values)
        found += [values + distance for distance in (more,) if distance is not None]
        found += [values - distance for distance in (less,) if distance is not None]
        found += [values - width / 2, values + width / 2] if width is not None else []
    return [*found, np.array(list(stacks.values()))] if stacks else found


def _has_bars(traces: Sequence[Mapping[str, Any]], letter: str) -> bool:
    """Return whether the length of bars is along an axis."""
    along = {"v": "y", "h": "x"}
    return any(trace.get("type") == "bar" and along[trace.get("orientation") or "v"] == letter for trace in traces)


def _values_of_shapes(figure: go.Figure, letter: str, numbers: Collection[str]) -> list[NDArray[np.float64]]:
    found = []
    for shape in figure.layout.shapes:
        if (shape[f"{letter}ref"] or "paper") in {f"{letter}{number}" for number in numbers}:
            values = _as_numbers([shape[f"{letter}0"], shape[f"{letter}1"]])
            found += [] if values is None else [values]
    return found


def _as_numbers(values: Any) -> NDArray[np.float64] | None:
    """Return values as numbers, NaN for None; None if they are absent or no numbers."""
    if values is None:
        return None
    try:
        return np.atleast_1d(np.asarray(values, dtype=np.float64))
    except (TypeError, ValueError):
        return None
