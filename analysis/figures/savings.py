"""What racing and rungs saved: cells that were never started, epochs that were never run."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd
import plotly.graph_objects as go
from helo.analysis.figures._style import BLUE, GREY, NARROW, ORANGE, VERMILLION, make_figure

from helo.errors import InputError
from helo.names import Column, Status


class Savings(NamedTuple):
    """What was run, of what running every cell to its end would have taken.

    - `planned`: cells of the whole search; of these so many `completed`, `stopped`, `failed` or never `started`
    - `epochs_completed`, `epochs_stopped`, `epochs_failed`: run in cells of that status
    - `epochs_rest`: not run: an estimate. Stopped cells and those never started are taken to need `typical` epochs
      each, the mean of the completed cells, most of which patience ended. Cells that rungs let go on may need more
      than others, so it is rather too high
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
        """Epochs that were run, as a share of those that all cells would have taken."""
        done = self.epochs_completed + self.epochs_stopped + self.epochs_failed
        return done / (done + self.epochs_rest)

    @property
    def sentence(self) -> str:
        """The same in words."""
        return (
            f"Of {self.planned} cells, {self.completed} ran to their end, {self.stopped} were stopped at a rung,"
            f" {self.failed} failed and {self.unstarted} were not started: about {self.share_run:.0%} of the epochs"
            f" that all of them would have taken, at {self.typical:.3g} epochs for a cell that runs to its end."
        )


def savings(cells: pd.DataFrame, folds: int, nested: bool = False, configurations: int | None = None) -> Savings:
    """Count what was saved; raise `InputError` while no cell ran to its end.

    - `cells`: as in ``cells.parquet``
    - `folds`: how many the run has
    - `nested`: whether every fold has configurations of its own
    - `configurations`: how many the search was to try, in each fold under ``nested`` (default: those in `cells`);
      while a search goes on, cells that still wait count as not started
    """
    of = {status: cells[cells[Column.STATUS] == status] for status in (Status.COMPLETED, Status.STOPPED, Status.FAILED)}
    if of[Status.COMPLETED].empty:
        raise InputError("no cell ran to its end yet, so nothing says how long one takes")
    known = cells[Column.CONFIGURATION].nunique()
    everything = known if nested else known * folds
    planned = max(len(cells), everything, (configurations or 0) * folds)
    typical = float(of[Status.COMPLETED][Column.EPOCHS].mean())
    stopped = of[Status.STOPPED][Column.EPOCHS]
    rest = (typical - stopped).clip(lower=0).sum() + typical * (planned - len(cells))
    run = {status: int(rows[Column.EPOCHS].fillna(0).sum()) for status, rows in of.items()}
    return Savings(
        planned=planned,
        completed=len(of[Status.COMPLETED]),
        stopped=len(of[Status.STOPPED]),
        failed=len(of[Status.FAILED]),
        unstarted=planned - len(cells),
        typical=typical,
        epochs_completed=run[Status.COMPLETED],
        epochs_stopped=run[Status.STOPPED],
        epochs_failed=run[Status.FAILED],
        epochs_rest=round(float(rest)),
    )


class _Part(NamedTuple):
    name: str
    colour: str
    counts: tuple[int, int]  # cells, epochs
    shares: tuple[float, float]


class _SavingsInfo(NamedTuple):
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
    """Two bars, cells and epochs: what ran to its end, was stopped, failed, or was not run. Arguments: `savings`."""
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
        meta={NARROW: {"height": 250, "margin.t": 92}},  # the legend has two lines or more
        legend={"traceorder": "normal"},
        xaxis={"title": {"text": "share of the whole search"}, "tickformat": ".0%", "dtick": 0.25},
        yaxis={"type": "category", "autorange": "reversed"},
    )
