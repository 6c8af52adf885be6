"""Savings of racing and rungs: cells that were not started, and epochs that were not run."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd
import plotly.graph_objects as go

from helo.analysis.figures._style import BLUE, GREY, NARROW, ORANGE, VERMILLION, make_figure
from helo.analysis.statistics.training_end import EPOCHS_PARAM
from helo.errors import InputError
from helo.names import Column, Status


class Savings(NamedTuple):
    """Cells and epochs that were run, out of those that running every cell to its end would have taken.

    Attributes
    ----------
    planned : int
        Cells of the whole search.
    completed, stopped, failed : int
        Cells that ended with this status.
    unstarted : int
        Cells that were not started.
    typical : float
        Mean number of epochs, summed over members, of a cell that runs to its end.
    epochs_completed, epochs_stopped, epochs_failed : int
        Epochs that ran in cells of this status.
    epochs_rest : int
        Number of epochs that were not run: what stopped cells would have taken to their end, and `typical` epochs for
        each cell that was not started.
    """

    planned: int
    completed: int
    stopped: int
    failed: int
    unstarted: int
    typical: float
    epochs_completed: int
    epochs_stopped: int
    epochs_failed: int
    epochs_rest: int

    @property
    def share_run(self) -> float:
        """Epochs that were run, as a share of the epochs of all cells run to their end."""
        done = self.epochs_completed + self.epochs_stopped + self.epochs_failed
        return done / (done + self.epochs_rest)

    @property
    def sentence(self) -> str:
        """Summary of the savings in one sentence."""
        return (
            f"Of {self.planned} cells, {self.completed} ran to their end, {self.stopped} were stopped at a rung,"
            f" {self.failed} failed and {self.unstarted} were not started: about {self.share_run:.0%} of the epochs"
            f" that all of them would have taken, at {self.typical:.3g} epochs for a cell that runs to its end."
        )


def savings(cells: pd.DataFrame, folds: int, nested: bool = False, configurations: int | None = None) -> Savings:
    """Count the cells and epochs that racing and rungs saved.

    Parameters
    ----------
    cells : pandas.DataFrame
        Table of cells, as in ``cells.parquet``.
    folds : int
        Number of folds of the run.
    nested : bool
        Whether each fold has its own configurations (protocol ``nested``).
    configurations : int, optional
        Number of configurations that the search draws, per fold if `nested`. By default, the number in `cells`. While a
        search is running, waiting cells count as not started.

    Returns
    -------
    Savings
        Numbers of cells and epochs.

    Raises
    ------
    InputError
        If no cell has run to its end.
    """
    by_status = {
        status: cells[cells[Column.STATUS] == status] for status in (Status.COMPLETED, Status.STOPPED, Status.FAILED)
    }
    if by_status[Status.COMPLETED].empty:
        raise InputError("no cell ran to its end yet, so nothing says how long one takes")
    seen = cells[Column.CONFIGURATION].nunique()
    everything = seen if nested else seen * folds
    planned = max(len(cells), everything, (configurations or 0) * folds)
    budgets = _whole_epochs(cells)
    typical = float(budgets.groupby(cells[Column.CONFIGURATION]).first().mean())
    stopped = by_status[Status.STOPPED]
    rest = (budgets[stopped.index] - stopped[Column.EPOCHS]).clip(lower=0).sum() + typical * (planned - len(cells))
    run = {status: int(rows[Column.EPOCHS].fillna(0).sum()) for status, rows in by_status.items()}
    return Savings(
        planned=planned,
        completed=len(by_status[Status.COMPLETED]),
        stopped=len(by_status[Status.STOPPED]),
        failed=len(by_status[Status.FAILED]),
        unstarted=planned - len(cells),
        typical=typical,
        epochs_completed=run[Status.COMPLETED],
        epochs_stopped=run[Status.STOPPED],
        epochs_failed=run[Status.FAILED],
        epochs_rest=round(float(rest)),
    )


def _whole_epochs(cells: pd.DataFrame) -> pd.Series:
    """Return the number of epochs, summed over members, that each cell takes if it runs to its end.

    All members train for all epochs of their configuration, so this is K × epochs. In runs of earlier versions, which
    ended cells early, it is the mean of the completed cells.
    """
    completed = cells[cells[Column.STATUS] == Status.COMPLETED]
    if EPOCHS_PARAM in cells:
        members = (completed[Column.EPOCHS] / completed[EPOCHS_PARAM]).unique()
        if len(members) == 1:
            return cells[EPOCHS_PARAM] * float(members[0])
    return pd.Series(float(completed[Column.EPOCHS].mean()), cells.index)


class _Part(NamedTuple):
    """Cells and epochs with the same end."""

    name: str
    colour: str
    counts: tuple[int, int]  # cells, epochs
    shares: tuple[float, float]


class _SavingsInfo(NamedTuple):
    """Parts of the two bars."""

    parts: tuple[_Part, ...]
    sentence: str


def _build_info(found: Savings) -> _SavingsInfo:
    counts = (
        ("ran to its end", BLUE, (found.completed, found.epochs_completed)),
        ("stopped at a rung", ORANGE, (found.stopped, found.epochs_stopped)),
        ("failed", VERMILLION, (found.failed, found.epochs_failed)),
        ("not run", GREY, (found.unstarted, found.epochs_rest)),
    )
    cells, epochs = (sum(one[2][side] for one in counts) for side in (0, 1))
    parts = [
        _Part(name, colour, both, (both[0] / cells, both[1] / max(1, epochs)))
        for name, colour, both in counts
        if any(both)
    ]
    return _SavingsInfo(tuple(parts), found.sentence)


def plot_savings(cells: pd.DataFrame, folds: int, nested: bool = False, configurations: int | None = None) -> go.Figure:
    """Plot the cells and epochs that ran to their end, were stopped, failed, or were not run.

    Parameters
    ----------
    cells : pandas.DataFrame
        Table of cells, as in ``cells.parquet``.
    folds : int
        Number of folds of the run.
    nested : bool
        Whether each fold has its own configurations (protocol ``nested``).
    configurations : int, optional
        Number of configurations that the search draws; see `savings`.

    Returns
    -------
    plotly.graph_objects.Figure
        Two bars, of cells and of epochs.

    Raises
    ------
    InputError
        If no cell has run to its end.
    """
    return _draw_figure(_build_info(savings(cells, folds, nested, configurations)))


def _draw_figure(info: _SavingsInfo) -> go.Figure:
    rows = ["cells", "epochs"]
    traces = [
        go.Bar(
            x=part.shares,
            y=rows,
            orientation="h",
            width=0.6,
            name=part.name,
            marker={"color": part.colour},
            text=[f"{share:.0%}" if share >= 0.04 else "" for share in part.shares],
            textposition="inside",
            insidetextanchor="middle",
            textangle=0,
            customdata=[[f"{part.counts[0]:,} cells"], [f"{part.counts[1]:,} epochs"]],
            hovertemplate=f"{part.name}: %{{customdata[0]}}, %{{x:.1%}}<extra></extra>",
        )
        for part in info.parts
    ]
    return make_figure(
        traces,
        height=204,
        barmode="stack",
        margin={"t": 46},
        meta={NARROW: {"height": 250, "margin.t": 92}},  # the legend has at least two lines
        legend={"traceorder": "normal"},
        xaxis={"title": {"text": "share of the whole search"}, "tickformat": ".0%", "dtick": 0.25},
        yaxis={"type": "category", "autorange": "reversed"},
    )
