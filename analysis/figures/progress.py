"""How the best configuration found so far improves while the search runs."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd
import plotly.graph_objects as go

from analysis.estimates import scored
from analysis.figures._style import BLUE, GREY, styled, validation_title
from helo.errors import InputError
from helo.names import CONFIGURATION, FINISHED, FOLD, HIGHER_IS_BETTER, VAL


class _ProgressInfo(NamedTuple):
    metric: str
    cells: int  # finished cells of the run, whatever their status
    finished: tuple[int, ...]  # how many cells had finished when a configuration had its last fold
    configurations: tuple[int, ...]
    means: tuple[float, ...]  # its mean validation score over all folds
    best: tuple[float, ...]  # the best of these so far


def _info(cells: pd.DataFrame, objective: str) -> _ProgressInfo:
    ordered = cells.sort_values(FINISHED, kind="stable").reset_index(drop=True)
    done = scored(ordered).dropna(subset=[VAL + objective])
    found = done.assign(place=done.index + 1).groupby(CONFIGURATION)
    each = pd.DataFrame({"mean": found[VAL + objective].mean(), "folds": found.size(), "place": found["place"].max()})
    whole = each[each["folds"] == cells[FOLD].nunique()].sort_values("place")
    if whole.empty:
        raise InputError("no configuration has scores in all folds (under the nested protocol none ever has)")
    best = whole["mean"].cummax() if objective in HIGHER_IS_BETTER else whole["mean"].cummin()
    return _ProgressInfo(
        objective,
        len(cells),
        tuple(whole["place"].tolist()),
        tuple(int(number) for number in whole.index),
        tuple(whole["mean"].tolist()),
        tuple(best.tolist()),
    )


def plot_progress(cells: pd.DataFrame, objective: str) -> go.Figure:
    """Mean validation score of each configuration with scores in all folds, and the best so far.

    `cells` has the columns of ``cells.parquet``; x counts finished cells in the order in which they finished.
    """
    return _figure(_info(cells, objective))


def _figure(info: _ProgressInfo) -> go.Figure:
    traces = [
        go.Scatter(
            x=info.finished,
            y=info.means,
            name="a configuration",
            mode="markers",
            marker={"color": GREY, "size": 7},
            customdata=info.configurations,
            hovertemplate="configuration %{customdata}<br>mean over folds %{y:.4f}<br>after %{x} cells<extra></extra>",
        ),
        go.Scatter(
            x=(*info.finished, info.cells),
            y=(*info.best, info.best[-1]),
            name="best so far",
            mode="lines",
            line={"color": BLUE, "width": 2.5, "shape": "hv"},
            hovertemplate="best so far %{y:.4f}<br>after %{x} cells<extra></extra>",
        ),
    ]
    return styled(
        traces,
        height=340,
        xaxis={"title": {"text": "finished cells"}, "rangemode": "tozero"},
        yaxis={"title": {"text": f"mean {validation_title(info.metric)}"}},
    )
