"""Score of the configurations against each searched hyperparameter, and its marginal effect."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from helo.analysis.figures._links import build_owners
from helo.analysis.figures._style import (
    BLUE,
    ORANGE,
    Grid,
    arrange_panels,
    axis_suffix,
    count_columns,
    describe,
    escape_label,
    format_validation_title,
    make_figure,
    update_narrow_layout,
)
from helo.analysis.statistics.parameters import SearchedParameter, searched_parameters
from helo.errors import InputError
from helo.names import Column, Prefix

MOST_POINTS: Final = 400
"""Maximum number of configurations in a panel. If there are more, a sample evenly spread by score is drawn."""

LEAST = 3
"""Minimum number of configurations for which a mean is drawn."""


class _Effect(NamedTuple):
    """Mean score of the configurations with one value, or with values in one bin."""

    level: str
    low: float  # edge of the bin; NaN for choices
    high: float
    mean: float
    ci_low: float
    ci_high: float
    configurations: int


class _Slice(NamedTuple):
    """Panel of one hyperparameter."""

    parameter: str
    log: bool
    categories: tuple[str, ...]  # all values in axis order; empty for a numeric axis
    values: tuple[float | str, ...]
    means: tuple[float, ...]  # mean validation scores, adjusted for folds
    folds: tuple[int, ...]  # number of folds of each configuration
    configurations: tuple[int, ...]
    effects: tuple[_Effect, ...]


class _SlicesInfo(NamedTuple):
    """Panels of the figure, one per hyperparameter."""

    metric: str
    folds: int
    slices: tuple[_Slice, ...]
    left_out: int  # configurations that are not drawn; the effects include them


def _build_info(
    configurations: pd.DataFrame, effects: pd.DataFrame, objective: str, folds: int, parameters: Mapping[str, Any]
) -> _SlicesInfo:
    done = configurations[np.isfinite(configurations[Prefix.ADJUSTED + Prefix.VAL + objective])]
    if done.empty:
        raise InputError("no cell has a score yet")
    axes = searched_parameters(done, parameters)
    if not axes:
        raise InputError("no parameter takes two values among the cells with scores")
    each = done.set_index(Column.CONFIGURATION)[[Prefix.ADJUSTED + Prefix.VAL + objective, Column.FOLDS]].set_axis(
        ["mean", "folds"], axis=1
    )
    drawn = each
    if len(each) > MOST_POINTS:
        places = np.linspace(0, len(each) - 1, MOST_POINTS).round().astype(int)
        drawn = each.sort_values("mean", kind="stable").iloc[places].sort_index()
    slices = [_slice(axis, drawn, effects[effects[Column.PARAMETER] == axis.name]) for axis in axes]
    slices = [one for one in slices if one.values]  # a hyperparameter may act in no configuration that is drawn
    return _SlicesInfo(objective, folds, tuple(slices), len(each) - len(drawn))


def _slice(axis: SearchedParameter, each: pd.DataFrame, effects: pd.DataFrame) -> _Slice:
    values = axis.values[axis.values.index.isin(each.index)]
    rows = each.loc[values.index]
    columns = ["level", "from", "to", "mean", "ci_low", "ci_high", "configurations"]
    effects = effects[effects["configurations"] >= LEAST]
    if not axis.choices and len(effects) < 2:
        effects = effects[:0]  # a single mean over all configurations shows no effect
    return _Slice(
        axis.name,
        axis.log,
        axis.choices,
        tuple(values.tolist()),
        tuple(rows["mean"].tolist()),
        tuple(int(count) for count in rows["folds"]),
        tuple(int(number) for number in rows.index),
        tuple(_Effect(*row) for row in effects[columns].itertuples(index=False, name=None)),
    )


def plot_slices(
    configurations: pd.DataFrame,
    effects: pd.DataFrame,
    objective: str,
    folds: int,
    parameters: Mapping[str, Any] | None = None,
) -> go.Figure:
    """Plot the mean validation score of each configuration against each hyperparameter that varies.

    Scores are adjusted for folds. Open circles are configurations without scores in all folds. Orange markers are the
    mean scores of a value or of a range of values, with 95 % bootstrap intervals over configurations. Values that do
    not act in a configuration are left out.

    Parameters
    ----------
    configurations : pandas.DataFrame
        Table from `helo.analysis.statistics.configurations.configurations_table`.
    effects : pandas.DataFrame
        Table of marginal effects from `helo.analysis.statistics.importance.compute_marginal_effects`.
    objective : str
        Metric of the validation scores.
    folds : int
        Number of folds in which a configuration can run (1 under protocol ``nested``).
    parameters : mapping, optional
        Hyperparameters of the space, as in the manifest of the run.

    Returns
    -------
    plotly.graph_objects.Figure
        One panel per hyperparameter.

    Raises
    ------
    InputError
        If no cell has a score, or no hyperparameter takes two values.
    """
    info = _build_info(configurations, effects, objective, folds, parameters or {})
    names = ", ".join(one.parameter for one in info.slices)
    return describe(_draw_figure(info), f"Validation scores against {names}.")


def _draw_figure(info: _SlicesInfo) -> go.Figure:
    figure = make_figure([], showlegend=True)
    more = 36 if info.left_out else 12
    wide = Grid(len(info.slices), count_columns(len(info.slices), 3), panel=200, gap=66, top=more + 24)
    for index, one in enumerate(info.slices):
        number = axis_suffix(index)
        figure.add_traces([_points(one, info.folds, number, index == 0), *_effects(one, number, index == 0)])
        x: dict[str, Any] = {"title": {"text": escape_label(one.parameter)}}
        if one.categories:
            shown = [escape_label(value) for value in one.categories]
            x |= {"type": "category", "categoryorder": "array", "categoryarray": shown}
            x |= {"range": [-0.5, len(shown) - 0.5]}
        elif one.log:
            x |= {"type": "log"} | build_log_ticks([value for value in one.values if isinstance(value, float)])
        else:
            x |= {"nticks": 6} | _whole_ticks(one)
        y: dict[str, Any] = {"title": {"text": format_validation_title(info.metric)}, "nticks": 6}
        if index:
            y["matches"] = "y"
        if index % wide.columns:
            y |= {"showticklabels": False, "title": None}
        figure.update_layout({f"xaxis{number}": x, f"yaxis{number}": y})
    arrange_panels(figure, wide, Grid(len(info.slices), 1, panel=170, gap=66, top=more + 48))
    update_narrow_layout(figure, {"margin.t": more + 48})  # the legend has two lines on a narrow page
    if info.left_out:
        drawn = max(len(one.values) for one in info.slices)
        figure.update_layout(
            title={
                "text": f"{drawn} of {drawn + info.left_out} configurations drawn, from the best to the worst",
                "font": {"size": 13},
                "x": 0,
                "y": 1,
                "yanchor": "top",
                "pad": {"t": 6},
            }
        )
    return figure


def _whole_ticks(one: _Slice) -> dict[str, Any]:
    """Return ticks at whole numbers only, for axes with few whole numbers."""
    values = [value for value in one.values if isinstance(value, float)]
    few = all(value.is_integer() for value in values) and max(values) - min(values) <= 8
    return {"dtick": 1} if few else {}


def build_log_ticks(values: Sequence[float]) -> dict[str, Any]:
    """Return ticks with full numbers. Between powers of ten, plotly labels a log axis with bare digits."""
    low, high = math.log10(min(values)), math.log10(max(values))
    steps = (1,) if high - low > 2 else (1, 2, 5) if high - low > 0.8 else (1, 1.5, 2, 3, 5, 7)
    powers = range(math.floor(low), math.ceil(high) + 1)
    ticks = [step * 10.0**power for power in powers for step in steps]
    ticks = [tick for tick in ticks if min(values) * 0.9 <= tick <= max(values) * 1.1]
    return {"tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]} if len(ticks) > 1 else {}


def _points(one: _Slice, folds: int, number: str, legend: bool) -> go.Scatter:
    return go.Scatter(
        x=[escape_label(value) if isinstance(value, str) else value for value in one.values],
        y=one.means,
        xaxis=f"x{number}",
        yaxis=f"y{number}",
        name="a configuration",
        showlegend=legend,
        mode="markers",
        marker={
            "size": 8,
            "color": BLUE,
            "opacity": 0.6,
            "symbol": ["circle" if count == folds else "circle-open" for count in one.folds],
        },
        customdata=list(zip(one.configurations, one.folds, strict=True)),
        hovertemplate=f"configuration %{{customdata[0]}}<br>{escape_label(one.parameter)} %{{x}}<br>"
        f"mean, adjusted for folds, %{{y:.4f}}<br>in %{{customdata[1]}} of {folds} folds<extra></extra>",
        meta=build_owners(configuration=one.configurations),
    )


def _effects(one: _Slice, number: str, legend: bool) -> list[go.Scatter]:
    """Return the means with their intervals, and for bins also lines as wide as the bins."""
    if not one.effects:
        return []
    place: dict[str, Any] = {"xaxis": f"x{number}", "yaxis": f"y{number}"}
    x = [escape_label(effect.level) if one.categories else _middle(effect, one.log) for effect in one.effects]
    means = go.Scatter(
        x=x,
        y=[effect.mean for effect in one.effects],
        **place,
        name="mean of a value or range",
        showlegend=legend,
        mode="markers",
        marker={"color": ORANGE, "size": 9, "symbol": "line-ew", "line": {"color": ORANGE, "width": 3}},
        error_y={
            "array": [effect.ci_high - effect.mean for effect in one.effects],
            "arrayminus": [effect.mean - effect.ci_low for effect in one.effects],
            "color": ORANGE,
            "thickness": 2,
            "width": 4,
        },
        customdata=[(escape_label(e.level), e.configurations, e.ci_low, e.ci_high) for e in one.effects],
        hovertemplate=f"{escape_label(one.parameter)} %{{customdata[0]}}<br>mean %{{y:.4f}}, 95 % interval"
        " %{customdata[2]:.4f} to %{customdata[3]:.4f}<br>%{customdata[1]} configurations<extra></extra>",
    )
    if one.categories:
        return [means]
    line_x: list[float | None] = []
    line_y: list[float | None] = []
    for effect in one.effects:
        line_x += [effect.low, effect.high, None]
        line_y += [effect.mean, effect.mean, None]
    line = {"color": ORANGE, "width": 2.5}
    return [go.Scatter(x=line_x, y=line_y, **place, mode="lines", line=line, hoverinfo="skip", showlegend=False), means]


def _middle(effect: _Effect, log: bool) -> float:
    return math.sqrt(effect.low * effect.high) if log else (effect.low + effect.high) / 2
