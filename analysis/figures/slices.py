"""Each searched hyperparameter against the score of the configurations that tried it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd
import plotly.graph_objects as go

from analysis.estimates import scored
from analysis.figures._style import BLUE, Grid, arrange, axis_number, plain, styled, validation_title
from helo.errors import InputError
from helo.names import CONFIGURATION, FOLD, PARAM, VAL


class _Slice(NamedTuple):
    parameter: str
    log: bool
    categories: tuple[str, ...]  # every value in axis order; empty for a numeric axis
    values: tuple[float | str, ...]
    means: tuple[float, ...]
    folds: tuple[int, ...]  # over how many folds each mean goes
    configurations: tuple[int, ...]


class _SlicesInfo(NamedTuple):
    metric: str
    folds: int
    slices: tuple[_Slice, ...]


def _info(cells: pd.DataFrame, objective: str, parameters: Mapping[str, Any]) -> _SlicesInfo:
    done = scored(cells).dropna(subset=[VAL + objective])
    if done.empty:
        raise InputError("no cell has a score yet")
    found = done.groupby(CONFIGURATION)
    each = pd.DataFrame({"mean": found[VAL + objective].mean(), "folds": found[FOLD].nunique()})
    tried = done.drop_duplicates(CONFIGURATION).set_index(CONFIGURATION)
    slices = []
    for column in (name for name in cells.columns if name.startswith(PARAM)):
        name = column.removeprefix(PARAM)
        definition = parameters.get(name)
        definition = definition if isinstance(definition, Mapping) else {}
        values = tried[column]
        if None in (definition.get("choices") or ()):  # a choice like any other
            values = values.astype(object).where(values.notna(), str(None))
        values = values.dropna()
        if values.map(str).nunique() > 1:
            slices.append(_slice(name, values, each.loc[values.index], definition))
    if not slices:
        raise InputError("no parameter takes two values among the cells with scores")
    return _SlicesInfo(objective, cells[FOLD].nunique(), tuple(slices))


def _slice(name: str, values: pd.Series, each: pd.DataFrame, definition: Mapping[str, Any]) -> _Slice:
    choices = definition.get("choices")
    categories: tuple[str, ...] = ()
    numeric = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    if choices or not numeric:
        # A column that mixes whole and broken numbers holds floats: 64.0 is the choice 64.
        known = {choice: str(choice) for choice in choices or () if isinstance(choice, int | float | str)}
        names = [known.get(value, str(value)) for value in values.tolist()]
        order = dict.fromkeys(str(choice) for choice in choices or ())
        categories = tuple(value for value in (*order, *sorted(set(names) - set(order))) if value in names)
        shown: tuple[float | str, ...] = tuple(names)
    else:
        shown = tuple(float(value) for value in values)
    log = bool(definition.get("log")) and not categories and float(values.min()) > 0
    return _Slice(
        name,
        log,
        categories,
        shown,
        tuple(each["mean"].tolist()),
        tuple(int(count) for count in each["folds"]),
        tuple(int(number) for number in each.index),
    )


def plot_slices(cells: pd.DataFrame, objective: str, parameters: Mapping[str, Any] | None = None) -> go.Figure:
    """A panel per parameter that varies: its value against the mean validation score over folds.

    - `cells`: as in ``cells.parquet``
    - `parameters`: name to ``{low, high, log, choices, value}`` as in the manifest's space; says which axes
      are logarithmic and how choices are ordered

    A configuration that did not complete every fold is an open circle: its mean is over other people.
    """
    return _figure(_info(cells, objective, parameters or {}))


def _figure(info: _SlicesInfo) -> go.Figure:
    figure = styled([], showlegend=False)
    wide = Grid(len(info.slices), min(3, len(info.slices)), panel=200, gap=66, top=12)
    for index, one in enumerate(info.slices):
        number = axis_number(index)
        figure.add_trace(_trace(one, info.folds, number))
        x: dict[str, Any] = {"title": {"text": plain(one.parameter)}}
        if one.categories:
            shown = [plain(value) for value in one.categories]
            x |= {"type": "category", "categoryorder": "array", "categoryarray": shown}
            x |= {"range": [-0.5, len(shown) - 0.5]}
        elif one.log:
            x |= {"type": "log"} | _log_ticks([value for value in one.values if isinstance(value, float)])
        else:
            x |= {"nticks": 6}
        y: dict[str, Any] = {"title": {"text": validation_title(info.metric)}, "nticks": 6}
        if index:
            y["matches"] = "y"
        if index % wide.columns:
            y |= {"showticklabels": False, "title": None}
        figure.update_layout({f"xaxis{number}": x, f"yaxis{number}": y})
    return arrange(figure, wide, Grid(len(info.slices), 1, panel=170, gap=66, top=12))


def _log_ticks(values: Sequence[float]) -> dict[str, Any]:
    """Ticks that are written out: plotly's own on a log axis are bare digits between powers of ten."""
    low, high = math.log10(min(values)), math.log10(max(values))
    steps = (1,) if high - low > 2 else (1, 2, 5)
    powers = range(math.floor(low), math.ceil(high) + 1)
    ticks = [step * 10.0**power for power in powers for step in steps]
    ticks = [tick for tick in ticks if min(values) * 0.9 <= tick <= max(values) * 1.1]
    return {"tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]} if len(ticks) > 1 else {}


def _trace(one: _Slice, folds: int, number: str) -> go.Scatter:
    return go.Scatter(
        x=[plain(value) if isinstance(value, str) else value for value in one.values],
        y=one.means,
        xaxis=f"x{number}",
        yaxis=f"y{number}",
        mode="markers",
        marker={
            "size": 8,
            "color": BLUE,
            "opacity": 0.8,
            "symbol": ["circle" if count == folds else "circle-open" for count in one.folds],
        },
        customdata=list(zip(one.configurations, one.folds, strict=True)),
        hovertemplate=f"configuration %{{customdata[0]}}<br>{plain(one.parameter)} %{{x}}<br>"
        f"mean %{{y:.4f}} over %{{customdata[1]}} of {folds} folds<extra></extra>",
    )
