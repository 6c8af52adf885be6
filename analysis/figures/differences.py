"""Difference between the search and the train mean for each subject."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import pandas as pd
import plotly.graph_objects as go

from helo.analysis.figures._links import build_owners
from helo.analysis.figures._style import BLUE, GREY, NARROW, VERMILLION, describe, escape_label, make_figure
from helo.analysis.statistics.estimates import bootstrap_interval, paired
from helo.analysis.wording import format_difference
from helo.errors import InputError
from helo.metrics import METRICS
from helo.names import Estimate

FEW_LABELS = 24
"""Number of subjects up to which their names are upright on a wide page."""

_NARROW_LABELS = 10
_MOST_LABELS = 80  # more names would overlap even if turned


class _DifferencesInfo(NamedTuple):
    """Gain of the search over the train mean on one metric, above 0 where the search is better."""

    metric: str
    subjects: tuple[str, ...]  # largest gain first
    gains: tuple[float, ...]
    mean: float
    low: float  # 95 % bootstrap interval of the mean; NaN with one subject
    high: float


def _build_info(scores: pd.DataFrame, metric: str) -> _DifferencesInfo:
    both = paired(scores, metric, Estimate.PER_FOLD_SELECTION, Estimate.TRAIN_MEAN)
    if both.empty:
        raise InputError("no subject has both a completed cell and the train-mean baseline")
    searched, reference = both[Estimate.PER_FOLD_SELECTION], both[Estimate.TRAIN_MEAN]
    gains = pd.Series(METRICS[metric].resolved_improvement(searched, reference), index=both.index)
    low, high = bootstrap_interval(gains.sort_index().to_numpy(float))
    gains = gains.sort_values(ascending=False, kind="stable")
    return _DifferencesInfo(
        metric, tuple(gains.index.astype(str)), tuple(gains.tolist()), float(gains.mean()), low, high
    )


def plot_differences(scores: pd.DataFrame, metric: str) -> go.Figure:
    """Plot the gain of the search over the train mean for each test subject, with the mean gain.

    Parameters
    ----------
    scores : pandas.DataFrame
        Scores from `helo.analysis.statistics.estimates.subject_scores`.
    metric : str
        Metric to show.

    Returns
    -------
    plotly.graph_objects.Figure
        One bar per test subject, the largest gain first. A line and a band show the mean gain with its 95 % bootstrap
        interval.

    Raises
    ------
    InputError
        If no subject has both a completed cell and the train-mean baseline.
    """
    info = _build_info(scores, metric)
    better = sum(gain > 0 for gain in info.gains)
    return describe(
        _draw_figure(info),
        f"The search is better than the train mean for {better} of {len(info.subjects)} subjects; mean gain"
        f" {format_difference(info.mean)}. Largest gain: {info.subjects[0]}; smallest: {info.subjects[-1]}.",
    )


def _draw_figure(info: _DifferencesInfo) -> go.Figure:
    names = [escape_label(subject) for subject in info.subjects]
    bars = go.Bar(
        x=names,
        y=info.gains,
        marker={"color": [BLUE if gain > 0 else VERMILLION for gain in info.gains]},
        meta=build_owners(subject=info.subjects),
        hovertemplate="%{x}<br>gain %{y:.4f}<extra></extra>",
    )
    label = METRICS[info.metric].label
    figure = make_figure(
        [bars],
        height=280,
        bargap=0.3,
        showlegend=False,
        margin={"t": 28},
        xaxis={"type": "category", "dtick": 1, "title": {"text": "test subject"}}
        | label_subjects(len(names), FEW_LABELS),
        yaxis={"title": {"text": f"gain in {label} (up: better)"}, "nticks": 6},
    )
    figure.add_hline(0, line={"color": GREY, "width": 1})
    figure.add_hline(info.mean, line={"color": BLUE, "width": 1.5, "dash": "dash"})
    if not math.isnan(info.low):
        figure.add_hrect(info.low, info.high, fillcolor=BLUE, opacity=0.12, line_width=0, layer="below")
    between = "" if math.isnan(info.low) else f" ({format_difference(info.low)} to {format_difference(info.high)})"
    figure.add_annotation(
        text=f"mean gain {format_difference(info.mean)}{between}",
        x=1,
        y=1,
        xref="paper",
        yref="paper",
        xanchor="right",
        yanchor="bottom",
        showarrow=False,
        font={"size": 12},
    )
    narrow = {f"xaxis.{key}": value for key, value in label_subjects(len(names), _NARROW_LABELS).items()}
    if len(names) > FEW_LABELS:
        narrow["xaxis.showticklabels"] = False
    return figure.update_layout(meta={NARROW: narrow})


def label_subjects(subjects: int, upright: int) -> dict[str, Any]:
    """Return how the names of subjects are shown: turned if there are many, left out if they would overlap."""
    return {"tickangle": 0 if subjects <= upright else -90, "showticklabels": subjects <= _MOST_LABELS}
