"""Predicted and reported distributions, over all subjects or for a chosen subject."""

from __future__ import annotations

from typing import Any, NamedTuple

import pandas as pd
import plotly.graph_objects as go

from helo.analysis.figures._links import add_choices
from helo.analysis.figures._style import (
    GREY,
    VERMILLION,
    Grid,
    arrange_panels,
    axis_suffix,
    build_note,
    escape_label,
    make_figure,
    update_narrow_layout,
)
from helo.analysis.statistics.estimates import chosen_cells
from helo.errors import InputError
from helo.names import Column, Prefix
from helo.run.selection import best_per_fold

MOST_GROUPS = 36
"""Maximum number of panels. The predictions table has all groups."""

_ALL_WINDOWS = "all windows"

Distribution = tuple[float, ...] | None
"""Probability of each emotion; None if a subject has no window in the group."""


class _PredictionsInfo(NamedTuple):
    """Mean distributions by group, over all subjects and for each subject."""

    emotions: tuple[str, ...]
    groups: tuple[str, ...]
    left_out: int  # groups beyond `MOST_GROUPS`
    everyone: tuple[
        tuple[Distribution, ...], tuple[Distribution, ...]
    ]  # reported and predicted, by group; mean over subjects
    subjects: tuple[str, ...]
    reported: tuple[tuple[Distribution, ...], ...]  # by subject, then group
    predicted: tuple[tuple[Distribution, ...], ...]


def _build_info(predictions: pd.DataFrame, cells: pd.DataFrame, objective: str) -> _PredictionsInfo:
    rows = chosen_cells(predictions, best_per_fold(cells, objective))
    emotions = [column.removeprefix(Prefix.TRUE) for column in predictions.columns if column.startswith(Prefix.TRUE)]
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

    def everyone(prefix: str) -> tuple[Distribution, ...]:
        wanted = means[[prefix + emotion for emotion in emotions]].groupby(Column.GROUP, sort=False).mean()
        return tuple(tuple(wanted.loc[group].tolist()) for group in groups[:MOST_GROUPS])

    return _PredictionsInfo(
        tuple(emotions),
        tuple(groups[:MOST_GROUPS]),
        max(0, len(groups) - MOST_GROUPS),
        (everyone(Prefix.TRUE), everyone(Prefix.PREDICTED)),
        tuple(subjects),
        distributions(Prefix.TRUE),
        distributions(Prefix.PREDICTED),
    )


def plot_predictions(predictions: pd.DataFrame, cells: pd.DataFrame, objective: str) -> go.Figure:
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

    Returns
    -------
    plotly.graph_objects.Figure
        One panel per group, at most `MOST_GROUPS`.

    Raises
    ------
    InputError
        If there are no predictions of selected configurations.
    """
    return _draw_figure(_build_info(predictions, cells, objective))


def _draw_figure(info: _PredictionsInfo) -> go.Figure:
    emotions = [escape_label(emotion) for emotion in info.emotions]
    panels = range(len(info.groups))
    figure = make_figure(_traces(info, emotions), barmode="overlay")
    columns = min(len(info.groups), 3 if len(emotions) > 8 else 4)
    wide = Grid(len(info.groups), columns, panel=150, gap=34, top=64, bottom=70, spacing=0.04)
    slim = Grid(len(info.groups), 1, panel=120, gap=34, top=64, bottom=70)
    narrow: dict[str, Any] = {}
    highest = 1.08 * max(max(one) for side in (info.reported, info.predicted) for row in side for one in row if one)
    for index in panels:
        number = axis_suffix(index)
        x = {"type": "category", "categoryorder": "array", "categoryarray": emotions, "dtick": 1}
        y = {"range": [0, highest], "nticks": 5, "showticklabels": index % columns == 0}
        title = {"title": {"text": "probability"}} if index % columns == 0 else {}
        figure.update_layout(
            {f"xaxis{number}": x | {"showticklabels": wide.is_lowest(index)}, f"yaxis{number}": y | title}
        )
        narrow[f"xaxis{number}.showticklabels"] = slim.is_lowest(index)
        narrow[f"xaxis{number}.tickfont.size"] = 9 if len(emotions) > 12 else 12
    figure.update_layout(legend={"x": 0, "y": 1, "yref": "container", "yanchor": "top"})
    arrange_panels(figure, wide, slim, [f"<b>{escape_label(group)}</b>" for group in info.groups])
    cut = f", the first {len(info.groups)} of {len(info.groups) + info.left_out} groups" if info.left_out else ""
    note = build_note(f"mean of {len(info.subjects)} test subjects{cut}", 1)
    figure.add_annotation(note | {"xanchor": "right", "yshift": 28})
    narrow[f"annotations[{len(info.groups)}].yshift"] = 4  # beside the first title: the legend takes the full width
    notes = {len(info.groups): f"subject {{}}{cut}"}
    return add_choices(update_narrow_layout(figure, narrow), notes, subject=_choices(info))


def _traces(info: _PredictionsInfo, emotions: list[str]) -> list[Any]:
    traces: list[Any] = []
    for index, (reported, predicted) in enumerate(zip(*info.everyone, strict=True)):
        axes = {
            "xaxis": f"x{axis_suffix(index)}",
            "yaxis": f"y{axis_suffix(index)}",
            "showlegend": index == 0,
        }
        traces += [
            go.Bar(
                x=emotions,
                y=_heights(reported),
                name="reported",
                legendgroup="reported",
                marker={"color": GREY, "opacity": 0.55},
                hovertemplate="%{x}<br>reported %{y:.3f}<extra></extra>",
                **axes,
            ),
            go.Scatter(
                x=emotions,
                y=_heights(predicted),
                name="predicted",
                legendgroup="predicted",
                mode="markers",
                marker={"color": VERMILLION, "size": 7},
                hovertemplate="%{x}<br>predicted %{y:.3f}<extra></extra>",
                **axes,
            ),
        ]
    return traces


def _heights(distribution: Distribution) -> list[float]:
    return [round(share, 5) for share in distribution or ()]


def _choices(info: _PredictionsInfo) -> dict[str, list[dict[str, Any]]]:
    return {
        subject: [{"y": _heights(side)} for pair in zip(reported, predicted, strict=True) for side in pair]
        for subject, reported, predicted in zip(info.subjects, info.reported, info.predicted, strict=True)
    }
