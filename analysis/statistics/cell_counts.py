"""Cells of a search: how many are finished, dropped by racing or still to run, and whether the search has ended."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

from helo.names import Column, SearchProtocol, Status
from helo.run.manifest import Manifest


class CellCounts(NamedTuple):
    """Numbers of cells of a search.

    Attributes
    ----------
    planned : int
        All configurations on all folds.
    completed, stopped, failed : int
        Finished cells with this status.
    dropped : int
        Cells that never run because racing dropped their configuration, as far as the run directory tells. While a
        search runs, some of the `waiting` cells may be dropped as well.
    waiting : int
        Cells that have not finished and were not counted as `dropped`.
    racing : bool
        Whether the search drops configurations.
    ended : bool or None
        Whether the search has ended; None if the run directory does not tell, as in runs of earlier versions that have
        no model.
    """

    planned: int
    completed: int
    stopped: int
    failed: int
    dropped: int
    waiting: int
    racing: bool
    ended: bool | None

    @property
    def finished(self) -> int:
        """Number of finished cells of any status."""
        return self.completed + self.stopped + self.failed

    @property
    def most(self) -> int:
        """Number of cells that the search has at its end, if no further configuration is dropped."""
        return self.planned - self.dropped


def count_cells(cells: pd.DataFrame, folds: int, manifest: Manifest, has_model: bool = False) -> CellCounts:
    """Count the cells of a search.

    Parameters
    ----------
    cells : DataFrame
        Columns of ``cells.parquet``, or of the same table read from the ledger.
    folds : int
        Number of folds of the run.
    manifest : Manifest
        Manifest of the run.
    has_model : bool
        Whether the run has a fitted model, which only a search that has ended has.

    Returns
    -------
    CellCounts
    """
    space = manifest.space or {}
    drawn, finished = _count_configurations(space.get("configurations"), space.get("variants")), len(cells)
    is_nested, seen = manifest.protocol == SearchProtocol.NESTED, cells[Column.CONFIGURATION].nunique()
    planned = max(finished, seen if is_nested else seen * folds, drawn * folds)
    most = planned if manifest.cells is None else max(finished, min(planned, manifest.cells))
    everything = drawn * folds if is_nested else drawn
    if has_model or (drawn and finished >= most):
        ended, most = True, finished
    elif manifest.racing and manifest.cells is None and seen >= everything:
        ended = None  # all configurations have started: the others may have been dropped, or may wait
    else:
        ended = False
    counts = cells[Column.STATUS].value_counts()
    return CellCounts(
        planned=planned,
        completed=int(counts.get(Status.COMPLETED, 0)),
        stopped=int(counts.get(Status.STOPPED, 0)),
        failed=int(counts.get(Status.FAILED, 0)),
        dropped=planned - most,
        waiting=most - finished,
        racing=bool(manifest.racing),
        ended=ended,
    )


def _count_configurations(configurations: object, variants: object) -> int:
    """Return the number of configurations of a space, or 0 if its manifest does not tell."""
    if isinstance(configurations, int):
        return configurations
    return len(variants) if isinstance(variants, dict) else 0
