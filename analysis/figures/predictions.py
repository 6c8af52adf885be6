"""Predicted and reported distributions, over all subjects or for a chosen subject."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from helo.analysis.figures._links import add_choices
from helo.analysis.figures._style import (
    BLUE,
    GREY,
    VERMILLION,
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
from helo.analysis.statistics.emotions import find_emotions, share_intervals
from helo.analysis.statistics.estimates import chosen_cells
from helo.errors import InputError
from helo.names import Column, Estimate, Prefix
from helo.run.selection import best_per_fold

MOST_GROUPS = 36
"""Maximum number of panels. The predictions table has all groups."""

_ALL_WINDOWS = "all windows"

Distribution = tuple[float, ...] | None
"""Probability of each emotion; None if a subject has no window in the group."""


class _Mean(NamedTuple):
    """Mean distribution of a group over subjects, with 95 % bootstrap intervals; NaN with one subject."""

    shares: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


class _PredictionsInfo(NamedTuple):
    """Mean distributions by group, over all subjects and for each subject."""

    emotions: tuple[str, ...]
    groups: tuple[str, ...]
    left_out: int  # groups beyond `MOST_GROUPS`
    everyone: tuple[tuple[_Mean, ...], tuple[_Mean, ...]]  # reported and predicted, by group
    subjects: tuple[str, ...]
    reported: tuple[tuple[Distribution, ...], ...]  # by subject, then group
    predicted: tuple[tuple[Distribution, ...], ...]
    train_means: tuple[tuple[float, ...], ...]  # what the train mean predicts, by subject; NaN with one subject

    @property
    def train_mean(self) -> tuple[float, ...]:
        """Mean of the train means over subjects."""
        return tuple(np.mean(self.train_means, axis=0).tolist())


def _build_info(
    predictions: pd.DataFrame, cells: pd.DataFrame, objective: str, trivial: pd.DataFrame
) -> _PredictionsInfo:
    rows = chosen_cells(predictions, best_per_fold(cells, objective))
    emotions = find_emotions(predictions)
    if rows.empty or not emotions:
        raise InputError("there are no predictions of selected configurations")
    group = rows[Column.GROUP].astype(object).fillna("–").map(str) if Column.GROUP in rows else _ALL_WINDOWS
    rows = rows.assign(**{Column.GROUP: group})
    columns = [prefix + emotion for prefix in (Prefix.TRUE, Prefix.PREDICTED) for emotion in emotions]
    means = rows.groupby([Column.FOLD, Column.GROUP], sort=False)[columns].mean()
    groups = list(rows[Column.GROUP].unique())
    subjects = [str(fold) for fold in cells[Column.FOLD].unique() if (rows[Column.FOLD] == fold).any()]

    def distributions(prefix: str) -> tuple[tuple[Distribution, ...], ...]:
        wanted = means[[prefix + emotion for emotion in emotions]]
        found = {key: tuple(values) for key, values in zip(wanted.index, wanted.to_numpy().tolist(), strict=True)}
        return tuple(tuple(found.get((subject, group)) for group in groups[:MOST_GROUPS]) for subject in subjects)

    def everyone(prefix: str) -> tuple[_Mean, ...]:
        wanted = means[[prefix + emotion for emotion in emotions]]
        found = []
        for group in groups[:MOST_GROUPS]:
            shares = wanted.xs(group, level=Column.GROUP).to_numpy(float)
            found.append(_Mean(*(tuple(one.tolist()) for one in (shares.mean(axis=0), *share_intervals(shares)))))
        return tuple(found)

    return _PredictionsInfo(
        tuple(emotions),
        tuple(groups[:MOST_GROUPS]),
        max(0, len(groups) - MOST_GROUPS),
        (everyone(Prefix.TRUE), everyone(Prefix.PREDICTED)),
        tuple(subjects),
        distributions(Prefix.TRUE),
        distributions(Prefix.PREDICTED),
        tuple(tuple(trivial.loc[subject, emotions].tolist()) for subject in subjects),
    )


def plot_predictions(
    predictions: pd.DataFrame, cells: pd.DataFrame, objective: str, trivial: pd.DataFrame
) -> go.Figure:
    """Plot the mean reported and the mean predicted distribution of each group (clip or condition).

    Means are taken within each subject, then over subjects. If a subject is chosen, the figure shows its own means.

    Parameters
    ----------
    predictions : pandas.DataFrame
        Table of predictions, as in ``predictions.parquet``. Without a column ``group``, all windows form one group.
    cells : pandas.DataFrame
        Table of cells, as in ``cells.parquet``.
    objective : str
        Metric by whose inner validation score each fold selects its configuration.
    trivial : pandas.DataFrame
        What the train mean predicts in each fold, as from `helo.analysis.statistics.emotions.train_means`.

    Returns
    -------
    plotly.graph_objects.Figure
        One panel per group, at most `MOST_GROUPS`.

    Raises
    ------
    InputError
        If there are no predictions of selected configurations.
    """
    info = _build_info(predictions, cells, objective, trivial)
    return describe(
        _draw_figure(info),
        f"Reported and predicted shares of {len(info.emotions)} emotions in {len(info.groups)} groups, for"
        f" {len(info.subjects)} subjects.",
    )


def _draw_figure(info: _PredictionsInfo) -> go.Figure:
    emotions = [escape_label(emotion) for emotion in info.emotions]
    count = len(info.groups)
    figure = make_figure(_traces(info, emotions), barmode="overlay")
    columns = _count_columns(count, len(emotions))
    wide = Grid(count, columns, panel=150, gap=34, top=64, bottom=70, spacing=0.04)
    slim = Grid(count, 1, panel=120, gap=34, top=92, bottom=70)
    highest = max(max(one) for side in (info.reported, info.predicted) for row in side for one in row if one)
    bounds = [bound for side in info.everyone for mean in side for bound in mean.high if not math.isnan(bound)]
    highest = 1.08 * max(highest, *bounds, *(share for share in info.train_mean if not math.isnan(share)), 0)
    wide_labels, slim_labels = _labels(info.emotions, 1040 // columns), _labels(info.emotions, 240)
    axes: dict[str, Any] = {}  # one update is much faster than one for each panel
    narrow: dict[str, Any] = {}
    for index in range(count):
        number = axis_suffix(index)
        x = {"type": "category", "categoryorder": "array", "categoryarray": emotions, **wide_labels}
        y = {"range": [0, highest], "nticks": 5, "showticklabels": index % columns == 0}
        title = {"title": {"text": "probability"}} if index % columns == 0 else {}
        axes |= {f"xaxis{number}": x | {"showticklabels": wide.is_lowest(index)}, f"yaxis{number}": y | title}
        narrow[f"xaxis{number}.showticklabels"] = slim.is_lowest(index)
        if slim.is_lowest(index):
            narrow |= {f"xaxis{number}.{key}": value for key, value in slim_labels.items()}
    figure.update_layout(axes, legend={"x": 0, "y": 1, "yref": "container", "yanchor": "top"})
    arrange_panels(figure, wide, slim, [f"<b>{escape_label(group)}</b>" for group in info.groups])
    cut = f", the first {count} of {count + info.left_out} groups" if info.left_out else ""
    note = build_note(f"mean of {len(info.subjects)} test subjects{cut}", 1)
    figure.add_annotation(note | {"xanchor": "right", "yshift": 28})
    narrow["margin.t"] = slim.top
    narrow[f"annotations[{count}].yshift"] = 4  # beside the first title: the legend takes the full width
    notes = {count: f"subject {{}}{cut}"}
    bare = {"error_y": {"visible": False}}  # one subject has no intervals
    return add_choices(update_narrow_layout(figure, narrow), notes, [bare, {}, bare] * count, subject=_choices(info))


def _count_columns(groups: int, emotions: int) -> int:
    """Return the number of panels in a row that leaves about 11 pixels for the label of each emotion."""
    return count_columns(groups, 4 if emotions <= 8 else 3 if emotions <= 30 else 2 if emotions <= 45 else 1)


def _labels(emotions: tuple[str, ...], width: int) -> dict[str, Any]:
    """Return the labels of the emotions on an axis of `width` pixels: smaller, then fewer, where they would overlap."""
    room = width / len(emotions)
    size = 12 if room >= 13 else 9
    step = max(1, math.ceil((size + 1) / room))
    shown = range(0, len(emotions), step)
    return {
        "tickmode": "array",
        "tickvals": list(shown),
        "ticktext": [shorten_label(emotions[place]) for place in shown],
        "tickfont": {"size": size},
    } | ({} if len(emotions) <= 8 else {"tickangle": -90})


def _traces(info: _PredictionsInfo, emotions: list[str]) -> list[Any]:
    traces: list[Any] = []
    dash = {"symbol": "line-ew-open", "size": 9, "color": BLUE, "line": {"width": 2}}
    for index, (reported, predicted) in enumerate(zip(*info.everyone, strict=True)):
        axes = {"xaxis": f"x{axis_suffix(index)}", "yaxis": f"y{axis_suffix(index)}", "showlegend": index == 0}
        traces += [
            go.Bar(
                x=emotions,
                y=_heights(reported.shares),
                error_y=_whiskers(reported, GREY),
                name="reported",
                legendgroup="reported",
                marker={"color": GREY, "opacity": 0.55},
                hovertemplate="%{x}<br>reported %{y:.3f}<extra></extra>",
                **axes,
            ),
            go.Scatter(
                x=emotions,
                y=_heights(info.train_mean),
                name=Estimate.TRAIN_MEAN,
                legendgroup=Estimate.TRAIN_MEAN,
                mode="markers",
                marker=dash,
                hovertemplate="%{x}<br>train mean %{y:.3f}<extra></extra>",
                **axes,
            ),
            go.Scatter(
                x=emotions,
                y=_heights(predicted.shares),
                error_y=_whiskers(predicted, VERMILLION),
                name="predicted",
                legendgroup="predicted",
                mode="markers",
                marker={"color": VERMILLION, "size": 7},
                hovertemplate="%{x}<br>predicted %{y:.3f}<extra></extra>",
                **axes,
            ),
        ]
    return traces


def _whiskers(mean: _Mean, colour: str) -> dict[str, Any]:
    above = [round(high - share, 4) for share, high in zip(mean.shares, mean.high, strict=True)]
    below = [round(share - low, 4) for share, low in zip(mean.shares, mean.low, strict=True)]
    return {"array": above, "arrayminus": below, "symmetric": False, "thickness": 1.5, "width": 0, "color": colour}


def _heights(distribution: Distribution) -> list[float]:
    return [round(share, 4) for share in distribution or ()]


def _choices(info: _PredictionsInfo) -> dict[str, list[dict[str, Any] | int]]:
    """Return the distributions of each subject. The train mean is the same in all of its groups, and is given once."""
    found: dict[str, list[dict[str, Any] | int]] = {}
    for subject, reported, predicted, trivial in zip(
        info.subjects, info.reported, info.predicted, info.train_means, strict=True
    ):
        changes: list[dict[str, Any] | int] = []
        first: int | None = None
        for one, other in zip(reported, predicted, strict=True):
            own: dict[str, Any] | int = (
                {"y": []} if one is None else {"y": _heights(trivial)} if first is None else first
            )
            if one is not None and first is None:
                first = len(changes) + 1
            changes += [{"y": _heights(one)}, own, {"y": _heights(other)}]
        found[subject] = changes
    return found
