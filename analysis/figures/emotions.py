"""Error of each emotion beside that of the train mean, and the skill that follows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd
import plotly.graph_objects as go

from helo.analysis.figures._links import add_choices
from helo.analysis.figures._style import (
    BLUE,
    GREY,
    Grid,
    arrange_panels,
    build_note,
    describe,
    escape_label,
    make_figure,
    shorten_label,
    update_narrow_layout,
)
from helo.analysis.statistics.finding import error_skill
from helo.analysis.wording import format_percent
from helo.errors import InputError
from helo.names import Column, Estimate

_ROW = 22
_NARROW_TOP = 64


class _Series(NamedTuple):
    """Values of each emotion with their 95 % bootstrap intervals; bounds are NaN with one subject."""

    values: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


class _EmotionsInfo(NamedTuple):
    """Errors and skill of each emotion, the largest skill first."""

    emotions: tuple[str, ...]
    subjects: int
    reported: tuple[float, ...]  # mean reported shares
    error: _Series
    train_mean_error: _Series
    skill: _Series  # NaN where the train mean makes no error
    by_subject: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]]  # errors of the train mean and of the search

    def is_clear(self, place: int) -> bool:
        """Return whether the interval of a skill excludes 0."""
        return self.skill.low[place] > 0 or self.skill.high[place] < 0


def _build_info(table: pd.DataFrame, shares: pd.DataFrame) -> _EmotionsInfo:
    if table.empty:
        raise InputError("there are no predictions of selected configurations")

    def series(name: str) -> _Series:
        return _Series(*(tuple(table[name + ending].astype(float)) for ending in ("", "_low", "_high")))

    return _EmotionsInfo(
        tuple(table[Column.EMOTION].astype(str)),
        int(table["subjects"].max()),
        tuple(table["reported"]),
        series("error"),
        series("train_mean_error"),
        series(Column.SKILL),
        {
            str(subject): (tuple(own["train_mean_error"]), tuple(own["error"]))
            for subject, rows in shares.groupby(Column.SUBJECT, sort=False)
            for own in [rows.set_index(Column.EMOTION).loc[table[Column.EMOTION]]]
        },
    )


def plot_emotions(table: pd.DataFrame, shares: pd.DataFrame) -> go.Figure:
    """Plot the mean absolute error of each emotion, of the search and of the train mean, and the skill.

    Parameters
    ----------
    table : pandas.DataFrame
        As from `helo.analysis.statistics.emotions.summarise_emotions`.
    shares : pandas.DataFrame
        As from `helo.analysis.statistics.emotions.emotion_shares`, on the same subjects. If a subject is chosen, the
        figure shows its own errors.

    Returns
    -------
    plotly.graph_objects.Figure
        One row per emotion, the largest skill on top. A filled mark is a skill whose interval excludes 0.

    Raises
    ------
    InputError
        If the table is empty.
    """
    info = _build_info(table, shares)
    better = sum(info.is_clear(place) and info.skill.values[place] > 0 for place in range(len(info.emotions)))
    worse = sum(info.is_clear(place) and info.skill.values[place] < 0 for place in range(len(info.emotions)))
    return describe(
        _draw_figure(info),
        f"Of {len(info.emotions)} emotions, the skill interval is above 0 for {better} and below 0 for {worse}. Largest"
        f" skill: {info.emotions[0]}, {format_percent(info.skill.values[0])}.",
    )


def _draw_figure(info: _EmotionsInfo) -> go.Figure:
    rows = len(info.emotions)
    names = [escape_label(emotion) for emotion in info.emotions]
    labels = [shorten_label(emotion) for emotion in info.emotions]
    clear = [info.is_clear(place) for place in range(rows)]
    grey = {"color": GREY, "symbol": "square", "size": 7}
    blue = {"color": BLUE, "symbol": "circle", "size": 8}
    filled = {"color": BLUE, "symbol": ["circle" if one else "circle-open" for one in clear], "size": 9}
    reported = [f"reported share {share:.3f}" for share in info.reported]
    skills = [format_percent(value) for value in info.skill.values]
    figure = make_figure(
        [
            _marks(info.train_mean_error, -0.17, Estimate.TRAIN_MEAN, grey, names, reported),
            _marks(info.error, 0.17, Estimate.PER_FOLD_SELECTION, blue, names, reported),
            _marks(info.skill, 0.0, "skill", filled, names, skills).update(xaxis="x2", yaxis="y2", showlegend=False),
        ]
    )
    axis = {
        "tickmode": "array",
        "tickvals": list(range(rows)),
        "ticktext": labels,
        "range": [rows - 0.5, -0.5],
        "tickfont": {"size": 12},
    }
    size = max(120, _ROW * rows)
    wide = Grid(2, 2, panel=size, gap=0, top=40, spacing=0.04)
    slim = Grid(2, 1, panel=size, gap=70, top=_NARROW_TOP)
    figure.update_layout(
        xaxis={"title": {"text": "mean absolute error ↓"}, "rangemode": "tozero", "nticks": 6},
        xaxis2={"title": {"text": "skill against the train mean ↑"}, "tickformat": ".0%", "nticks": 7},
        yaxis=axis,
        yaxis2=axis | {"showticklabels": False},
        legend={"x": 0, "y": 1, "yref": "container", "yanchor": "top"},
    )
    arrange_panels(figure, wide, slim)
    zero = {"type": "line", "x0": 0, "x1": 0, "y0": 0, "y1": 1, "xref": "x2", "yref": "y2 domain"}
    figure.add_shape(zero | {"line": {"color": GREY, "width": 1}, "layer": "below"})
    note = build_note(f"mean of {info.subjects} test subjects", 1)
    figure.add_annotation(note | {"xanchor": "right", "yshift": 12})
    update_narrow_layout(figure, {"xaxis2.title.text": "skill ↑", "annotations[0].yshift": 0, "margin.t": slim.top})
    bare = {"error_x": {"visible": False}, "hovertemplate": "%{customdata}<br>%{x:.4f}<extra></extra>"}
    open_marks = {"marker": {"symbol": "circle-open"}}
    return add_choices(
        figure,
        {0: "subject {}"},
        [bare, bare, bare | open_marks],
        subject={name: _own(*errors) for name, errors in info.by_subject.items()},
    )


def _own(reference: tuple[float, ...], error: tuple[float, ...]) -> list[dict[str, Any]]:
    """Return the errors and skills of one subject as changes of the traces."""
    skills = [error_skill(one, other) for one, other in zip(error, reference, strict=True)]
    return [
        {"x": [None if math.isnan(value) else round(value, 4) for value in values]}
        for values in (reference, error, skills)
    ]


def _marks(
    series: _Series, shift: float, name: str, marker: dict[str, Any], names: list[str], remarks: list[str]
) -> go.Scatter:
    """Return marks with intervals, `shift` rows below the middle of their rows."""
    texts = [
        f"{emotion}<br>{name} {value:.4f}{_format_interval(low, high)}<br>{remark}"
        for emotion, value, low, high, remark in zip(names, *series, remarks, strict=True)
    ]
    return go.Scatter(
        x=series.values,
        y=[place + shift for place in range(len(names))],
        name=name,
        mode="markers",
        marker=marker,
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [high - value for value, high in zip(series.values, series.high, strict=True)],
            "arrayminus": [value - low for value, low in zip(series.values, series.low, strict=True)],
            "thickness": 1.5,
            "width": 0,
        },
        customdata=names,
        text=texts,
        hovertemplate="%{text}<extra></extra>",
    )


def _format_interval(low: float, high: float) -> str:
    return "" if math.isnan(low) else f" ({low:.4f} to {high:.4f})"
