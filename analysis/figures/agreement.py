"""Predicted against reported share of each emotion, with a point per subject."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import pandas as pd
import plotly.graph_objects as go

from helo.analysis.figures._links import build_owners
from helo.analysis.figures._style import (
    BLUE,
    GREY,
    Grid,
    arrange_panels,
    axis_suffix,
    build_note,
    count_columns,
    describe,
    escape_label,
    make_figure,
    shorten_label,
    update_narrow_layout,
)
from helo.analysis.wording import format_percent
from helo.names import Column, Estimate

MOST_EMOTIONS = 36
"""Maximum number of panels. Emotions with the largest reported shares come first; the table has all emotions."""


class _Panel(NamedTuple):
    """Mean shares of an emotion, one value per subject, and the skill on it."""

    emotion: str
    reported: tuple[float, ...]
    predicted: tuple[float, ...]
    train_mean: tuple[float, ...]  # what the train mean predicts for each subject; NaN with one subject
    skill: float
    low: float
    high: float

    @property
    def ends(self) -> tuple[float, float]:
        """Range of both axes, which has all points."""
        values = [value for value in (*self.reported, *self.predicted, *self.train_mean) if not math.isnan(value)]
        room = 0.08 * (max(values) - min(values)) or 0.01
        return min(values) - room, max(values) + room


class _AgreementInfo(NamedTuple):
    """Panels in the order of the skill, the largest first."""

    subjects: tuple[str, ...]
    panels: tuple[_Panel, ...]
    left_out: int  # emotions beyond `MOST_EMOTIONS`


def _build_info(shares: pd.DataFrame, table: pd.DataFrame) -> _AgreementInfo:
    shown = set(table.nlargest(MOST_EMOTIONS, "reported")[Column.EMOTION])
    subjects = list(dict.fromkeys(shares[Column.SUBJECT]))
    of_emotion = dict(iter(shares.set_index(Column.SUBJECT).groupby(Column.EMOTION)))
    panels = []
    for row in table.to_dict("records"):
        if row[Column.EMOTION] in shown:
            own = of_emotion[row[Column.EMOTION]].loc[subjects]
            reported, predicted, trivial = (
                tuple(own[name].tolist()) for name in ("reported", "predicted", "train_mean")
            )
            between = row["skill_low"], row["skill_high"]
            panels.append(_Panel(row[Column.EMOTION], reported, predicted, trivial, row[Column.SKILL], *between))
    return _AgreementInfo(tuple(subjects), tuple(panels), len(table) - len(panels))


def plot_agreement(shares: pd.DataFrame, table: pd.DataFrame) -> go.Figure:
    """Plot the predicted against the reported share of each emotion, with a point per test subject.

    Parameters
    ----------
    shares : pandas.DataFrame
        As from `helo.analysis.statistics.emotions.emotion_shares`.
    table : pandas.DataFrame
        As from `helo.analysis.statistics.emotions.summarise_emotions`.

    Returns
    -------
    plotly.graph_objects.Figure
        One panel per emotion, at most `MOST_EMOTIONS`, in the order of `table`. Axes differ between panels.
    """
    info = _build_info(shares, table)
    return describe(
        _draw_figure(info),
        f"Predicted against reported mean share of {len(info.panels)} emotions for {len(info.subjects)} subjects.",
    )


def _draw_figure(info: _AgreementInfo) -> go.Figure:
    count = len(info.panels)
    columns = count_columns(count, 4)
    wide = Grid(count, columns, panel=150, gap=62, top=70, spacing=0.06)
    slim = Grid(count, min(2, count), panel=120, gap=66, top=112, spacing=0.16)
    figure = make_figure([trace for index, panel in enumerate(info.panels) for trace in _traces(info, panel, index)])
    axes: dict[str, Any] = {}  # one update is much faster than one for each panel
    diagonals = []
    narrow: dict[str, Any] = {}
    for index, panel in enumerate(info.panels):
        number = axis_suffix(index)
        axis = {"range": list(panel.ends), "nticks": 4}
        x_title = {"title": {"text": "reported"}}
        y_title = {"title": {"text": "predicted"}} if index % columns == 0 else {}
        axes |= {
            f"xaxis{number}": axis | {"nticks": 5} | (x_title if wide.is_lowest(index) else {}),
            f"yaxis{number}": axis | y_title,
        }
        narrow[f"xaxis{number}.title.text"] = "reported" if slim.is_lowest(index) else ""
        narrow |= {f"{side}axis{number}.nticks": 3 for side in "xy"}
        narrow[f"annotations[{index}].text"] = _title(panel, has_interval=False)
        low, high = panel.ends
        place = {"xref": f"x{number}", "yref": f"y{number}", "x0": low, "y0": low, "x1": high, "y1": high}
        diagonals.append(
            {"type": "line", "layer": "below", "line": {"color": GREY, "width": 1, "dash": "dot"}, **place}
        )
    figure.update_layout(axes, shapes=diagonals, legend={"x": 0, "y": 1, "yref": "container", "yanchor": "top"})
    arrange_panels(figure, wide, slim, [_title(panel) for panel in info.panels])
    cut = f", the {count} of {count + info.left_out} emotions with the largest shares" if info.left_out else ""
    note = build_note(f"{len(info.subjects)} test subjects{cut}", 1)
    figure.add_annotation(note | {"xanchor": "right", "yshift": 44})
    narrow["margin.t"] = slim.top
    narrow[f"annotations[{count}].yshift"] = 38
    return update_narrow_layout(figure, narrow)


def _title(panel: _Panel, has_interval: bool = True) -> str:
    between = ""
    if has_interval and not math.isnan(panel.low):
        between = f" ({format_percent(panel.low).removesuffix(' %')} to {format_percent(panel.high)})"
    return f"<b>{shorten_label(panel.emotion)}</b><br>skill {format_percent(panel.skill)}{between}"


def _traces(info: _AgreementInfo, panel: _Panel, index: int) -> list[go.Scatter]:
    number = axis_suffix(index)
    dashes = {"color": GREY, "symbol": "line-ew-open", "size": 8, "line": {"width": 2}}
    return [
        go.Scatter(
            x=_rounded(panel.reported),
            y=_rounded(values),
            xaxis=f"x{number}",
            yaxis=f"y{number}",
            name=name,
            legendgroup=name,
            showlegend=index == 0,
            mode="markers",
            marker=marker,
            text=[escape_label(subject) for subject in info.subjects],
            hovertemplate=f"%{{text}}<br>reported %{{x:.4f}}<br>{name} %{{y:.4f}}<extra></extra>",
            meta=build_owners(subject=info.subjects),
        )
        for values, name, marker in (
            (panel.train_mean, Estimate.TRAIN_MEAN, dashes),
            (panel.predicted, Estimate.PER_FOLD_SELECTION, {"color": BLUE, "size": 7}),
        )
    ]


def _rounded(values: tuple[float, ...]) -> list[float]:
    return [round(value, 5) for value in values]
