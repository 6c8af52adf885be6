"""Difficulty of each subject, and what the search gains on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd
import plotly.graph_objects as go

from helo.analysis.figures._links import build_owners
from helo.analysis.figures._style import (
    BLUE,
    GREY,
    VERMILLION,
    describe,
    escape_label,
    format_metric_title,
    make_figure,
)
from helo.analysis.statistics.estimates import best_fitted_baseline, paired
from helo.errors import InputError
from helo.metrics import METRICS
from helo.names import Estimate


class _SubjectsInfo(NamedTuple):
    """Scores of each test subject under the train mean, the search and the best fitted baseline."""

    metric: str
    subjects: tuple[str, ...]  # hardest first, by the score of the train mean
    reference: tuple[float, ...]  # scores of the train mean
    searched: tuple[float, ...]  # scores of the search
    regressor: str  # fitted baseline with the best mean test score; empty without a fitted baseline
    regressed: tuple[float, ...]  # scores of `regressor`


def _build_info(scores: pd.DataFrame, metric: str) -> _SubjectsInfo:
    both = paired(scores, metric, Estimate.TRAIN_MEAN, Estimate.PER_FOLD_SELECTION)
    if both.empty:
        raise InputError("no subject has both a completed cell and the train-mean baseline")
    both = both.sort_values(Estimate.TRAIN_MEAN, ascending=METRICS[metric].higher_is_better, kind="stable")
    regressor = best_fitted_baseline(scores, metric)
    regressed = paired(scores, metric, regressor).loc[both.index, regressor].tolist() if regressor else []
    return _SubjectsInfo(
        metric,
        tuple(both.index.astype(str)),
        tuple(both[Estimate.TRAIN_MEAN].tolist()),
        tuple(both[Estimate.PER_FOLD_SELECTION].tolist()),
        regressor,
        tuple(regressed),
    )


def plot_subjects(scores: pd.DataFrame, metric: str) -> go.Figure:
    """Plot the score of the train mean and of the search for each test subject, joined by a line.

    The fitted baseline with the best mean test score is a third marker. A click on its legend entry hides it.

    Parameters
    ----------
    scores : pandas.DataFrame
        Scores from `helo.analysis.statistics.estimates.subject_scores`.
    metric : str
        Metric to show.

    Returns
    -------
    plotly.graph_objects.Figure
        One row per test subject, the hardest on top.

    Raises
    ------
    InputError
        If no subject has both a completed cell and the train-mean baseline.
    """
    info = _build_info(scores, metric)
    better = METRICS[metric].resolved_improvement(info.searched, info.reference) > 0
    return describe(
        _draw_figure(info),
        f"The search is better than the train mean for {sum(better)} of {len(info.subjects)} subjects. The hardest is"
        f" {info.subjects[0]}.",
    )


def _draw_figure(info: _SubjectsInfo) -> go.Figure:
    names = [escape_label(subject) for subject in info.subjects]
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
        mark_subjects(
            info.subjects, info.reference, Estimate.TRAIN_MEAN, {"color": GREY, "symbol": "square", "size": 9}
        ),
    ]
    if info.regressor:
        marker = {"color": VERMILLION, "symbol": "diamond-open", "size": 9}
        traces.append(mark_subjects(info.subjects, info.regressed, info.regressor, marker))
    traces.append(
        mark_subjects(
            info.subjects, info.searched, Estimate.PER_FOLD_SELECTION, {"color": BLUE, "symbol": "circle", "size": 11}
        )
    )
    return make_subject_rows(traces, names, info.metric)


def mark_subjects(subjects: Sequence[str], x: Sequence[float], name: str, marker: dict[str, object]) -> go.Scatter:
    """Return a mark per subject, which selects its subject; `x` are the values of a method or run called `name`."""
    label = escape_label(name)
    return go.Scatter(
        x=x,
        y=[escape_label(subject) for subject in subjects],
        name=label,
        mode="markers",
        marker=marker,
        meta=build_owners(subject=subjects),
        hovertemplate=f"%{{y}}<br>{label} %{{x:.4f}}<extra></extra>",
    )


def make_subject_rows(traces: list[go.Scatter], names: Sequence[str], metric: str, **layout: Any) -> go.Figure:
    """Return a figure of a metric with a row per subject, the first one on top; `names` are escaped."""
    return make_figure(
        traces,
        height=110 + 24 * len(names),
        xaxis={"title": {"text": format_metric_title(metric)}},
        yaxis={
            "type": "category",
            "categoryorder": "array",
            "categoryarray": names,
            "autorange": "reversed",
            "title": {"text": "test subject"},
            "dtick": 1,
        },
        **layout,
    )
