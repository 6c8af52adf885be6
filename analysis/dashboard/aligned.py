"""Alignment of the same figure of several runs: ranges, order of categories, colour scales and colours of methods.

`find_frame` reads what a figure shows from the figure. `align` compares the frames of all runs and returns the changes
that let these figures be compared at a glance. A figure is not drawn again because another run has changed. Pure
functions.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import plotly.graph_objects as go

from helo.analysis.dashboard.extents import (
    Ends,
    axis_names,
    find_categories,
    find_choice_extents,
    find_extents,
    join_ends,
    letter_of,
)
from helo.analysis.figures import NARROW, PALETTE
from helo.names import FITTED_BASELINES, Column, Estimate

SECONDS: Final = {"s": 1.0, "seconds": 1.0, "min": 60.0, "minutes": 60.0, "h": 3600.0, "hours": 3600.0}
"""Units of time in titles of axes, in seconds. Axes of different units are aligned on the same time."""

INSET: Final = 0.02
"""Distance of an arrow from the end of its axis, as a share of the range; see `figures._style.mark_outside`."""

_METHODS: Final = frozenset({*map(str, Estimate), *map(str, FITTED_BASELINES)})


class Axis(NamedTuple):
    """An axis of a figure that is aligned with those of other runs.

    Attributes
    ----------
    key : str
        What the axis shows. Axes with the same key are aligned.
    ends : (float, float) or None
        Lower and upper end in its own unit, the exponents of 10 on a logarithmic axis; None for categories.
    unit : float
        Its unit, in the common unit of the key.
    categories : tuple of str
        Its categories in order; empty for numbers.
    is_reversed : bool
        Whether the first category or the lowest value is on top or on the right.
    ticks : (list, list) or None
        Values and texts of its ticks, if the figure sets them.
    """

    key: str
    ends: Ends | None
    unit: float = 1.0
    categories: tuple[str, ...] = ()
    is_reversed: bool = False
    ticks: tuple[list[Any], list[Any]] | None = None


class Arrows(NamedTuple):
    """Arrows at the ends of an x axis, which stand for values beyond it: positions of all points, and those values."""

    trace: int
    axis: str
    positions: tuple[float, ...]
    values: Mapping[int, float]


class Frame(NamedTuple):
    """What has to be known of a figure to align it.

    Attributes
    ----------
    axes : mapping of str to Axis
        Axes by name, such as ``xaxis2``.
    choices : mapping
        Kind of choice → name → axis → its ends once this is chosen.
    scale : (str, float, float) or None
        What the colour scale shows, and its ends.
    scale_ticks : (list, list or None) or None
        Values and texts of the ticks of the colour bar, if the figure sets them.
    methods : tuple of (int, str, str)
        Number, method and colour of each trace that stands for a method.
    arrows : tuple of Arrows
        Arrows at the ends of axes.
    height, slim_height : float or None
        Height of the figure on a wide and on a narrow page.
    """

    axes: Mapping[str, Axis]
    choices: Mapping[str, Mapping[str, Mapping[str, Ends]]]
    scale: tuple[str, float, float] | None
    scale_ticks: tuple[list[float], list[str] | None] | None
    methods: tuple[tuple[int, str, str], ...]
    arrows: tuple[Arrows, ...]
    height: float | None
    slim_height: float | None


class Changes(NamedTuple):
    """Changes that align a figure, in the dotted form ``layout.xaxis.range`` or ``data[0].x``.

    Attributes
    ----------
    always : dict
        Path → value.
    choices : dict
        Kind of choice → name → path → value, in addition once this is chosen.
    """

    always: dict[str, Any]
    choices: dict[str, dict[str, dict[str, Any]]]


NO_CHANGES: Final = Changes({}, {})
"""The changes of a figure that stays as it is."""


def find_frame(figure: go.Figure) -> Frame:
    """Read what a figure shows.

    Parameters
    ----------
    figure : plotly.graph_objects.Figure
        Figure of one run.

    Returns
    -------
    Frame
    """
    axes = _find_axes(figure)
    numeric = {name for name, axis in axes.items() if axis.ends is not None and figure.layout[name].range is None}
    meta = figure.layout.meta or {}
    bar = figure.layout.coloraxis.colorbar
    texts = [note.text for note in figure.layout.annotations]
    low, high = figure.layout.coloraxis.cmin, figure.layout.coloraxis.cmax
    return Frame(
        axes,
        find_choice_extents(figure, numeric),
        None if low is None or not texts else (texts[-1], float(low), float(high)),
        None if bar.tickvals is None else (list(bar.tickvals), None if bar.ticktext is None else list(bar.ticktext)),
        tuple(_find_methods(figure)),
        tuple(_find_arrows(figure)),
        figure.layout.height,
        meta.get(NARROW, {}).get("height"),
    )


def _find_axes(figure: go.Figure) -> dict[str, Axis]:
    found: dict[str, Axis] = {}
    names = axis_names(figure)
    extents = find_extents(figure, [name for name in names if figure.layout[name].range is None])
    for name in names:
        axis = figure.layout[name]
        title = axis.title.text or ""
        if axis.matches or axis.visible is False or axis.type == "date" or title.startswith(Column.CONFIGURATION):
            continue
        if axis.ticktext is not None and axis.type not in ("category", "log"):
            continue  # numbers that stand for names, such as workers
        ends = tuple(sorted(map(float, axis.range))) if axis.range is not None else extents.get(name)
        is_reversed = axis.autorange == "reversed" or (axis.range is not None and axis.range[0] > axis.range[1])
        what, unit = _split_unit(title)
        key = what or _key_of_twin(figure, found, name) or name
        if axis.type == "category":
            found[name] = Axis(f"{letter_of(name)} {key}", None, 1.0, find_categories(figure, name), is_reversed)
        elif ends is not None:
            ticks = None if axis.tickvals is None else (list(axis.tickvals), list(axis.ticktext or axis.tickvals))
            found[name] = Axis(f"{letter_of(name)} {key}", ends, unit, (), is_reversed, ticks)  # type: ignore[arg-type]
    return found


def _key_of_twin(figure: go.Figure, known: Mapping[str, Axis], name: str) -> str:
    """Return what an axis without a title shows: the same as one with the same range, if there is one."""
    own = figure.layout[name].range
    for other, axis in known.items():
        if own is not None and letter_of(other) == letter_of(name) and figure.layout[other].range == own:
            return axis.key[2:]
    return ""


def _split_unit(title: str) -> tuple[str, float]:
    """Return a title without its unit of time, and the unit in seconds.

    >>> _split_unit("time of a cell in min"), _split_unit("hours during which cells ran"), _split_unit("epoch")
    (('time of a cell', 60.0), ('during which cells ran', 3600.0), ('epoch', 1.0))
    """
    last = re.fullmatch(r"(.*) in (s|min|h)", title)
    if last:
        return last[1], SECONDS[last[2]]
    first = re.fullmatch(r"(seconds|minutes|hours) (.*)", title)
    return (first[2], SECONDS[first[1]]) if first else (title, 1.0)


def _find_methods(figure: go.Figure) -> Iterable[tuple[int, str, str]]:
    for number, trace in enumerate(figure.data):
        colour = trace.marker.color if "marker" in trace else None
        if trace.name in _METHODS and isinstance(colour, str):
            yield number, str(trace.name), colour


def _find_arrows(figure: go.Figure) -> Iterable[Arrows]:
    for number, trace in enumerate(figure.data):
        symbols = trace.marker.symbol if trace.type == "scatter" else None
        if not isinstance(symbols, list | tuple):
            continue
        places = [place for place, symbol in enumerate(symbols) if str(symbol).startswith("triangle-")]
        values = {place: _as_number(trace.hovertext[place]) for place in places if trace.hovertext is not None}
        if values:
            axis = f"xaxis{(trace.xaxis or 'x')[1:]}"
            yield Arrows(number, axis, tuple(map(float, trace.x)), values)


def _as_number(text: str) -> float:
    try:
        return float(text.replace("−", "-").replace(",", ""))
    except ValueError:
        return math.nan


def align(frames: Sequence[Frame | None]) -> tuple[Changes, ...]:
    """Align the same figure of several runs.

    Ranges of axes and colour scales become their union. Categories, such as subjects and conditions, have the order of
    the first run; those of later runs follow. A method has the colour of the first run that shows it.

    Parameters
    ----------
    frames : sequence of Frame or None
        Frame of each run; None for a run without this figure.

    Returns
    -------
    tuple of Changes
        The changes of each figure.
    """
    known = [frame for frame in frames if frame is not None]
    if len(known) < 2:
        return tuple(NO_CHANGES for _ in frames)
    colours = _choose_colours(known)
    return tuple(NO_CHANGES if frame is None else _align_one(frame, known, colours) for frame in frames)


def _align_one(frame: Frame, known: Sequence[Frame], colours: Mapping[str, str]) -> Changes:
    always: dict[str, Any] = {}
    for name, axis in frame.axes.items():
        others = [one for other in known for one in other.axes.values() if one.key == axis.key]
        if axis.categories:
            always |= _align_categories(name, axis, others)
        elif axis.ends is not None and not any(one.categories for one in others):
            ends = _union(axis, ((one, one.ends) for one in others))
            always[f"layout.{name}.range"] = _directed(axis, ends)
            widest = max(others, key=lambda one: (one.ends[1] - one.ends[0]) * one.unit if one.ends else 0.0)
            if axis.ticks is not None and widest.ticks is not None:
                always |= dict(zip((f"layout.{name}.tickvals", f"layout.{name}.ticktext"), widest.ticks, strict=True))
    always |= _align_scale(frame, known) | _align_heights(frame, known)
    for number, method, colour in frame.methods:
        if colours[method] != colour:
            always |= {f"data[{number}].marker.color": colours[method]}
    for arrows in frame.arrows:
        always |= _move_arrows(arrows, always.get(f"layout.{arrows.axis}.range"))
    return Changes(always, _align_choices(frame, known, always))


def _align_categories(name: str, axis: Axis, others: Iterable[Axis]) -> dict[str, Any]:
    order = list(dict.fromkeys(category for one in others for category in one.categories))
    ends = (-0.5, len(order) - 0.5)
    return {
        f"layout.{name}.categoryorder": "array",
        f"layout.{name}.categoryarray": order,
        f"layout.{name}.range": _directed(axis, ends),
    }


def _union(axis: Axis, others: Iterable[tuple[Axis, Ends | None]]) -> Ends:
    """Return the union of ranges in the unit of an axis."""
    found = join_ends(
        (ends[0] * one.unit / axis.unit, ends[1] * one.unit / axis.unit) for one, ends in others if ends is not None
    )
    assert found is not None
    return found


def _directed(axis: Axis, ends: Ends) -> list[float]:
    return [ends[1], ends[0]] if axis.is_reversed else list(ends)


def _align_scale(frame: Frame, known: Sequence[Frame]) -> dict[str, Any]:
    if frame.scale is None:
        return {}
    same = [other for other in known if other.scale is not None and other.scale[0] == frame.scale[0]]
    low, high = (pick(other.scale[end] for other in same if other.scale) for end, pick in ((1, min), (2, max)))
    changes: dict[str, Any] = {"layout.coloraxis.cmin": low, "layout.coloraxis.cmax": high}
    widest = max(same, key=lambda other: other.scale[2] - other.scale[1] if other.scale else 0.0)
    if frame.scale_ticks is not None and widest.scale_ticks is not None:
        values, texts = widest.scale_ticks
        changes["layout.coloraxis.colorbar.tickvals"] = values
        if texts is not None:
            changes["layout.coloraxis.colorbar.ticktext"] = texts
    return changes


def _align_heights(frame: Frame, known: Sequence[Frame]) -> dict[str, Any]:
    """Give figures with the same axes the same height, so that their rows are side by side."""
    if any(other.axes.keys() != frame.axes.keys() for other in known):
        return {}
    heights = {
        "layout.height": [other.height for other in known],
        f"layout.meta.{NARROW}.height": [other.slim_height for other in known],
    }
    return {path: max(values) for path, values in heights.items() if None not in values}  # type: ignore[type-var]


def _move_arrows(arrows: Arrows, ends: Sequence[float] | None) -> dict[str, Any]:
    """Move arrows to the ends of the common range, or to their values where these are inside of it."""
    if ends is None:
        return {}
    low, high = sorted(ends)
    inset = INSET * (high - low)
    positions = list(arrows.positions)
    middle = (low + high) / 2
    for place, value in arrows.values.items():
        wanted = value if math.isfinite(value) else math.copysign(math.inf, positions[place] - middle)
        positions[place] = min(max(wanted, low + inset), high - inset)
    return {f"data[{arrows.trace}].x": positions}


def _align_choices(
    frame: Frame, known: Sequence[Frame], always: Mapping[str, Any]
) -> dict[str, dict[str, dict[str, Any]]]:
    found: dict[str, dict[str, dict[str, Any]]] = {}
    names = {(kind, name) for other in known for kind, by_name in other.choices.items() for name in by_name}
    for kind, name in names:
        for place, axis in frame.axes.items():
            if axis.ends is None:
                continue
            ends = _union(
                axis,
                (
                    (one, other.choices.get(kind, {}).get(name, {}).get(where, one.ends))
                    for other in known
                    for where, one in other.axes.items()
                    if one.key == axis.key
                ),
            )
            path, wanted = f"layout.{place}.range", _directed(axis, ends)
            if always.get(path, wanted) != wanted:
                found.setdefault(kind, {}).setdefault(name, {})[path] = wanted
    return found


def _choose_colours(known: Sequence[Frame]) -> dict[str, str]:
    """Return the colour of each method: that of the first run, or a free one if another method of it has that."""
    found: dict[str, str] = {}
    for frame in known:
        for _, method, colour in frame.methods:
            if method not in found:
                free = [one for one in PALETTE if one not in found.values()]
                found[method] = free[0] if colour in found.values() and free else colour
    return found
