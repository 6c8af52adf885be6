"""How difficult each subject is, and what the search gains on it."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd
import plotly.graph_objects as go

from analysis.estimates import paired
from analysis.figures._style import BLUE, GREY, metric_title, plain, styled
from helo.errors import InputError
from helo.names import HIGHER_IS_BETTER, PER_FOLD_SELECTION, TRAIN_MEAN


class _SubjectsInfo(NamedTuple):
    metric: str
    subjects: tuple[str, ...]  # hardest first: by the train mean's score
    reference: tuple[float, ...]
    searched: tuple[float, ...]


def _info(scores: pd.DataFrame, metric: str) -> _SubjectsInfo:
    both = paired(scores, metric, TRAIN_MEAN, PER_FOLD_SELECTION)
    if both.empty:
        raise InputError("no subject has both a completed cell and the train-mean baseline")
    both = both.sort_values(TRAIN_MEAN, ascending=metric in HIGHER_IS_BETTER, kind="stable")
    return _SubjectsInfo(
        metric,
        tuple(both.index.astype(str)),
        tuple(both[TRAIN_MEAN].tolist()),
        tuple(both[PER_FOLD_SELECTION].tolist()),
    )


def plot_subjects(scores: pd.DataFrame, metric: str) -> go.Figure:
    """A row per test subject, hardest on top: the train mean's score and the search's, joined by a line.

    `scores` comes from `analysis.estimates.subject_scores`.
    """
    return _figure(_info(scores, metric))


def _figure(info: _SubjectsInfo) -> go.Figure:
    names = [plain(subject) for subject in info.subjects]
    joins_x: list[float | None] = []
    joins_y: list[str | None] = []
    for name, reference, searched in zip(names, info.reference, info.searched, strict=True):
        joins_x += [reference, searched, None]
        joins_y += [name, name, None]
    traces = [
        go.Scatter(
            x=joins_x,
            y=joins_y,
            mode="lines",
            line={"color": GREY, "width": 1.5},
            hoverinfo="skip",
            showlegend=False,
        ),
        _points(info.reference, names, TRAIN_MEAN, {"color": GREY, "symbol": "square", "size": 9}),
        _points(info.searched, names, PER_FOLD_SELECTION, {"color": BLUE, "symbol": "circle", "size": 11}),
    ]
    return styled(
        traces,
        height=110 + 24 * len(names),
        xaxis={"title": {"text": metric_title(info.metric)}},
        yaxis={
            "type": "category",
            "categoryorder": "array",
            "categoryarray": names,
            "autorange": "reversed",
            "title": {"text": "test subject"},
            "dtick": 1,
        },
    )


def _points(x: tuple[float, ...], y: list[str], name: str, marker: dict[str, object]) -> go.Scatter:
    return go.Scatter(
        x=x,
        y=y,
        name=name,
        mode="markers",
        marker=marker,
        hovertemplate=f"%{{y}}<br>{name} %{{x:.4f}}<extra></extra>",
    )
