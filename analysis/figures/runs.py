"""Scores of several runs on the same subjects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import pandas as pd
import plotly.graph_objects as go

from helo.analysis.figures._style import GREY, PALETTE, describe, escape_label
from helo.analysis.figures.subjects import make_subject_rows, mark_subjects
from helo.analysis.statistics.common_subjects import common_across_runs
from helo.analysis.statistics.estimates import by_subject
from helo.errors import InputError
from helo.metrics import METRICS
from helo.names import Estimate

_SYMBOLS = ("circle", "diamond", "triangle-up", "cross", "x", "star")
_COLOURS = tuple(colour for colour in PALETTE if colour != GREY)


class _RunsInfo(NamedTuple):
    """Scores of each run on the subjects that all runs have."""

    metric: str
    subjects: tuple[str, ...]  # hardest first, by the train mean of the first run, or else by its search
    reference: tuple[float, ...]  # scores of the train mean; empty without one
    runs: tuple[tuple[str, tuple[float, ...]], ...]  # name and scores of the search


def _build_info(scores: Mapping[str, pd.DataFrame], metric: str) -> _RunsInfo:
    common = common_across_runs(scores)
    if len(common.rows) < 2:
        raise InputError("fewer than two runs have scores of the same subjects")
    wide = {name: by_subject(scores[name], metric) for name in common.rows}
    first = wide[common.rows[0]].loc[sorted(common.subjects)]
    has_mean = Estimate.TRAIN_MEAN in first and bool(first[Estimate.TRAIN_MEAN].notna().all())
    order = first[Estimate.TRAIN_MEAN if has_mean else Estimate.PER_FOLD_SELECTION]
    subjects = list(order.sort_values(ascending=METRICS[metric].higher_is_better, kind="stable").index)
    return _RunsInfo(
        metric,
        tuple(map(str, subjects)),
        tuple(first.loc[subjects, Estimate.TRAIN_MEAN].tolist()) if has_mean else (),
        tuple((name, tuple(table.loc[subjects, Estimate.PER_FOLD_SELECTION].tolist())) for name, table in wide.items()),
    )


def plot_runs(scores: Mapping[str, pd.DataFrame], metric: str) -> go.Figure:
    """Plot the score of the search of each run for each test subject, on the subjects that all runs have.

    Parameters
    ----------
    scores : mapping of str to pandas.DataFrame
        Name of a run → its scores from `helo.analysis.statistics.estimates.subject_scores`. All runs have the same
        data.
    metric : str
        Metric to show.

    Returns
    -------
    plotly.graph_objects.Figure
        One row per test subject, the hardest on top, and a mark per run.

    Raises
    ------
    InputError
        If fewer than two runs have scores of the same subjects.
    """
    info = _build_info(scores, metric)
    return describe(
        _draw_figure(info),
        f"{METRICS[metric].label} of {len(info.runs)} runs on {len(info.subjects)} subjects:"
        f" {', '.join(name for name, _ in info.runs)}.",
    )


def _draw_figure(info: _RunsInfo) -> go.Figure:
    names = [escape_label(subject) for subject in info.subjects]
    joins_x: list[float | None] = []
    joins_y: list[str | None] = []
    for place, name in enumerate(names):
        scores = [values[place] for _, values in info.runs]
        joins_x += [min(scores), max(scores), None]
        joins_y += [name, name, None]
    line = {"color": GREY, "width": 1.5}
    traces = [go.Scatter(x=joins_x, y=joins_y, mode="lines", line=line, hoverinfo="skip", showlegend=False)]
    if info.reference:
        marker = {"color": GREY, "symbol": "square-open", "size": 8}
        traces.append(mark_subjects(info.subjects, info.reference, Estimate.TRAIN_MEAN, marker))
    for place, (name, values) in enumerate(info.runs):
        marker = {
            "color": _COLOURS[place % len(_COLOURS)],
            "symbol": _SYMBOLS[place % len(_SYMBOLS)],
            "size": 11,
            "opacity": 0.85,
        }
        traces.append(mark_subjects(info.subjects, values, name, marker))
    return make_subject_rows(traces, names, info.metric, margin={"t": 44, "b": 48}, showlegend=True)
