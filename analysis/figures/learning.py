"""Learning curves of the configurations that the search would use."""

from __future__ import annotations

from typing import Any, NamedTuple

import pandas as pd
import plotly.graph_objects as go

from analysis.estimates import chosen_cells, completed
from analysis.figures._style import BLUE, GREY, plain, styled, validation_title
from helo.errors import InputError
from helo.names import BEST_EPOCH, EPOCH, FOLD, VAL
from helo.selection import best_per_fold


class _Curve(NamedTuple):
    fold: str
    configuration: int
    epochs: tuple[int, ...]
    scores: tuple[float, ...]
    best_epoch: int | None


class _LearningInfo(NamedTuple):
    metric: str
    curves: tuple[_Curve, ...]
    mean_epochs: tuple[int, ...]  # those that every curve has: elsewhere a mean would be over other people
    means: tuple[float, ...]


def _info(cells: pd.DataFrame, epochs: pd.DataFrame, objective: str) -> _LearningInfo:
    choice = best_per_fold(cells, objective)
    best = chosen_cells(completed(cells), choice).set_index(FOLD)[BEST_EPOCH].dropna()
    rows = chosen_cells(epochs, choice).dropna(subset=[VAL + objective]).sort_values(EPOCH, kind="stable")
    curves = []
    for fold in cells[FOLD].unique():
        of_fold = rows[rows[FOLD] == fold]
        if len(of_fold):
            scores = tuple(of_fold[VAL + objective].astype(float).tolist())
            kept = int(best[fold]) if fold in best.index else None
            curves.append(_Curve(str(fold), choice[fold], tuple(int(e) for e in of_fold[EPOCH]), scores, kept))
    if not curves:
        raise InputError("no selected cell has recorded an epoch")
    by_epoch = rows.pivot(index=EPOCH, columns=FOLD, values=VAL + objective).dropna()
    return _LearningInfo(
        objective, tuple(curves), tuple(int(e) for e in by_epoch.index), tuple(by_epoch.mean(axis=1).tolist())
    )


def plot_learning(cells: pd.DataFrame, epochs: pd.DataFrame, objective: str) -> go.Figure:
    """Validation score per epoch: a thin line per fold, for the configuration selected in it, and their mean.

    `cells`, `epochs`: as in ``cells.parquet`` and ``epochs.parquet``. A dot is the epoch whose weights were
    kept.
    """
    return _figure(_info(cells, epochs, objective))


def _figure(info: _LearningInfo) -> go.Figure:
    traces = [
        go.Scatter(
            x=curve.epochs,
            y=curve.scores,
            name="a fold",
            legendgroup="folds",
            showlegend=index == 0,
            mode="lines+markers",
            line={"color": GREY, "width": 1},
            marker={
                "size": [7 if epoch == curve.best_epoch else 0 for epoch in curve.epochs],
                "opacity": 1,
                "line": {"width": 0},
            },
            hovertemplate=f"{plain(curve.fold)}, configuration {curve.configuration}<br>"
            "epoch %{x}: %{y:.4f}<extra></extra>",
        )
        for index, curve in enumerate(info.curves)
    ]
    traces.append(
        go.Scatter(
            x=info.mean_epochs,
            y=info.means,
            name="mean over folds",
            mode="lines",
            line={"color": BLUE, "width": 3},
            hovertemplate="mean, epoch %{x}: %{y:.4f}<extra></extra>",
        )
    )
    x: dict[str, Any] = {"title": {"text": "epoch (0: before training)"}, "rangemode": "tozero"}
    if max(curve.epochs[-1] for curve in info.curves) <= 12:
        x["dtick"] = 1  # or plotly marks half epochs
    return styled(
        traces,
        height=360,
        xaxis=x,
        yaxis={"title": {"text": validation_title(info.metric)}},
    )
