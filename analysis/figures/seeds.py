"""Gain of the search over the train mean for each seed, and for each subject in each seed."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from helo.analysis.figures._style import (
    BLUE,
    GREY,
    NARROW,
    VERMILLION,
    Grid,
    arrange_panels,
    describe,
    escape_label,
    make_figure,
)
from helo.analysis.figures.differences import FEW_LABELS, label_subjects
from helo.analysis.statistics.finding import Finding
from helo.analysis.statistics.seeds import MEAN
from helo.analysis.wording import format_difference
from helo.errors import InputError
from helo.metrics import METRICS
from helo.names import Column


def plot_seeds(rows: pd.DataFrame, metric: str) -> go.Figure:
    """Plot the mean gain of each seed, and that of the scores averaged over seeds, with their intervals.

    Parameters
    ----------
    rows : pandas.DataFrame
        Rows of `helo.analysis.statistics.seeds.seed_table` on the metric, of the seeds and of their mean.
    metric : str
        Name of the metric.

    Returns
    -------
    plotly.graph_objects.Figure
        A row per seed, and a diamond for their mean. A filled mark means that skill is shown.

    Raises
    ------
    InputError
        If there is no seed to show.
    """
    if rows.empty:
        raise InputError("no seed has scores of both the search and the train mean")
    is_mean, is_shown = rows[Column.SEED] == MEAN, rows["finding"] == Finding.BETTER
    names = [MEAN if last else f"seed {seed}" for seed, last in zip(rows[Column.SEED], is_mean, strict=True)]
    gains, lows, highs = (rows[name].tolist() for name in ("gain", "gain_low", "gain_high"))
    symbols = [
        f"{'diamond' if last else 'circle'}{'' if shown else '-open'}"
        for last, shown in zip(is_mean, is_shown, strict=True)
    ]
    trace = go.Scatter(
        x=gains,
        y=names,
        mode="markers",
        marker={"size": 12, "color": BLUE, "symbol": symbols, "line": {"width": 2, "color": BLUE}},
        error_x={
            "array": [high - gain for gain, high in zip(gains, highs, strict=True)],
            "arrayminus": [gain - low for gain, low in zip(gains, lows, strict=True)],
            "thickness": 1.5,
            "width": 4,
            "color": GREY,
        },
        customdata=[format_difference(gain) for gain in gains],
        hovertemplate="%{y}<br>gain %{customdata}<extra></extra>",
    )
    figure = make_figure([trace], showlegend=False)
    figure.add_vline(0, line={"color": GREY, "width": 1}, layer="below")
    label = METRICS[metric].label
    figure.update_layout(
        xaxis={"title": {"text": f"mean gain in {label} (right: better)"}},
        yaxis={"type": "category", "range": [len(names) - 0.5, -0.5]},
    )
    grid = Grid(1, 1, 34 * len(names) + 20, 0, top=12, bottom=56)
    return describe(
        arrange_panels(figure, grid, grid),
        f"Skill is shown with {(is_shown & ~is_mean).sum()} of {(~is_mean).sum()} seeds. Mean gain in {label}:"
        f" {format_difference(gains[-1])}.",
    )


def plot_gains(gains: pd.DataFrame, metric: str) -> go.Figure:
    """Plot the gain of the search over the train mean for each subject: a mark per seed, and a bar for their mean.

    Parameters
    ----------
    gains : pandas.DataFrame
        Result of `helo.analysis.statistics.seeds.gains_by_seed`.
    metric : str
        Name of the metric.

    Returns
    -------
    plotly.graph_objects.Figure
        Subjects with the largest mean gain first.

    Raises
    ------
    InputError
        If no subject has both scores.
    """
    means = gains.mean(axis=1).sort_values(ascending=False, kind="stable")
    if means.empty:
        raise InputError("no subject has scores of both the search and the train mean")
    names = [escape_label(subject) for subject in means.index]
    bars = go.Bar(
        x=names,
        y=means.tolist(),
        name=MEAN,
        marker={"color": [BLUE if gain > 0 else VERMILLION for gain in means], "opacity": 0.55},
        hovertemplate="%{x}<br>mean gain %{y:.4f}<extra></extra>",
    )
    marks = [
        go.Scatter(
            x=names,
            y=gains.loc[means.index, seed].tolist(),
            name=f"seed {seed}",
            mode="markers",
            marker={"size": 6, "color": GREY, "symbol": "line-ew-open", "line": {"width": 2}},
            hovertemplate=f"%{{x}}, seed {seed}<br>gain %{{y:.4f}}<extra></extra>",
        )
        for seed in gains.columns
    ]
    label = METRICS[metric].label
    figure = make_figure(
        [bars, *marks],
        height=300,
        bargap=0.3,
        showlegend=False,
        margin={"t": 20},
        xaxis={"type": "category", "dtick": 1, "title": {"text": "test subject"}}
        | label_subjects(len(names), FEW_LABELS),
        yaxis={"title": {"text": f"gain in {label} (up: better)"}, "nticks": 6},
        meta={NARROW: {"xaxis.showticklabels": len(names) <= FEW_LABELS, "xaxis.tickangle": -90}},
    )
    figure.add_hline(0, line={"color": GREY, "width": 1})
    always = int(((gains > 0).all(axis=1)).sum())
    return describe(
        figure,
        f"The mean gain over seeds is above 0 for {(means > 0).sum()} of {len(means)} subjects, and above 0 with every"
        f" seed for {always}.",
    )
