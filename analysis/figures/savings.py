"""Savings of racing and rungs: cells that were not started, and epochs that were not run."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd
import plotly.graph_objects as go

from helo.analysis.figures._style import BLUE, GREY, NARROW, ORANGE, SKY, VERMILLION, describe, make_figure
from helo.analysis.statistics.cell_counts import CellCounts
from helo.analysis.statistics.training_end import EPOCHS_PARAM
from helo.errors import InputError
from helo.names import Column, Status


class Savings(NamedTuple):
    """Cells and epochs that were run, out of those that running every cell to its end would have taken.

    Attributes
    ----------
    planned, completed, stopped, failed, dropped, waiting : int
        Numbers of cells, see `helo.analysis.statistics.cell_counts.CellCounts`. Waiting cells are no savings.
    typical : float
        Mean number of epochs, summed over members, of a cell that runs to its end.
    epochs_completed, epochs_stopped, epochs_failed : int
        Epochs that ran in cells of this status.
    epochs_saved : int
        Number of epochs that are not run: what stopped cells would have taken to their end, and `typical` epochs for
        each dropped cell.
    epochs_waiting : int
        `typical` epochs for each waiting cell.
    """

    planned: int
    completed: int
    stopped: int
    failed: int
    dropped: int
    waiting: int
    typical: float
    epochs_completed: int
    epochs_stopped: int
    epochs_failed: int
    epochs_saved: int
    epochs_waiting: int

    @property
    def share_run(self) -> float:
        """Epochs that were run, as a share of those that the finished and dropped cells take to their end."""
        done = self.epochs_completed + self.epochs_stopped + self.epochs_failed
        return done / (done + self.epochs_saved)

    @property
    def sentence(self) -> str:
        """Summary of the savings in one sentence."""
        return (
            f"Of {self.planned} cells, {self.completed} ran to their end, {self.stopped} were stopped at a rung,"
            f" {self.failed} failed and {self.dropped} were dropped: about {self.share_run:.0%} of the epochs"
            f" that all of them would have taken, at {self.typical:.3g} epochs for a cell that runs to its end."
            + (f" The other {self.waiting} have not finished and do not count." if self.waiting else "")
        )


def savings(cells: pd.DataFrame, counts: CellCounts) -> Savings:
    """Count the cells and epochs that racing and rungs saved.

    Parameters
    ----------
    cells : pandas.DataFrame
        Table of cells, as in ``cells.parquet``.
    counts : CellCounts
        Numbers of these cells, and of those that were dropped or wait.

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
    budgets = _whole_epochs(cells)
    typical = float(budgets.groupby(cells[Column.CONFIGURATION]).first().mean())
    stopped = by_status[Status.STOPPED]
    rest = (budgets[stopped.index] - stopped[Column.EPOCHS]).clip(lower=0).sum()
    run = {status: int(rows[Column.EPOCHS].fillna(0).sum()) for status, rows in by_status.items()}
    return Savings(
        planned=counts.planned,
        completed=counts.completed,
        stopped=counts.stopped,
        failed=counts.failed,
        dropped=counts.dropped,
        waiting=counts.waiting,
        typical=typical,
        epochs_completed=run[Status.COMPLETED],
        epochs_stopped=run[Status.STOPPED],
        epochs_failed=run[Status.FAILED],
        epochs_saved=round(float(rest) + typical * counts.dropped),
        epochs_waiting=round(typical * counts.waiting),
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
        ("not run", GREY, (found.dropped, found.epochs_saved)),
        ("not finished", SKY, (found.waiting, found.epochs_waiting)),
    )
    cells, epochs = (sum(one[2][side] for one in counts) for side in (0, 1))
    parts = [
        _Part(name, colour, both, (both[0] / cells, both[1] / max(1, epochs)))
        for name, colour, both in counts
        if any(both)
    ]
    return _SavingsInfo(tuple(parts), found.sentence)


def plot_savings(cells: pd.DataFrame, counts: CellCounts) -> go.Figure:
    """Plot the cells and epochs that ran to their end, were stopped, failed, were not run, or have not finished.

    Parameters
    ----------
    cells : pandas.DataFrame
        Table of cells, as in ``cells.parquet``.
    counts : CellCounts
        See `savings`.

    Returns
    -------
    plotly.graph_objects.Figure
        Two bars, of cells and of epochs.

    Raises
    ------
    InputError
        If no cell has run to its end.
    """
    info = _build_info(savings(cells, counts))
    return describe(_draw_figure(info), info.sentence)


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
