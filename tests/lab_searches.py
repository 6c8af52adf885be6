"""The search that clusters of the tests run, and its cells on this machine to compare with."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from searches import VOLATILE

import helo
from helo.data import simulate
from helo.names import Column

FEW = ("--baselines", "ridge", "--inner-folds", "2")
"""Options of the search, as `local_cells` has them."""

SPACE = """
configurations: 4
parameters:
  width: 8
  heads: 1
  epochs: 100
  learning_rate: {low: 1e-3, high: 1e-2, log: true}
"""

DASHBOARD = "http://127.0.0.1:8265"


class Job:
    """The search as a job of a cluster.

    Parameters
    ----------
    run : callable
        Function that runs a command of Ray where the dashboard is at `DASHBOARD`, and returns its output.
    """

    def __init__(self, run: Callable[[str], str]) -> None:
        self._run = run

    def submit(self, search: str) -> None:
        """Submit the command of a search."""
        self._run(f"ray job submit --address {DASHBOARD} --submission-id one --no-wait -- {search}")

    def status(self) -> str:
        """Return what Ray says of the job."""
        return self._run(f"ray job status --address {DASHBOARD} one")

    def logs(self) -> str:
        """Return the output of the job."""
        return self._run(f"ray job logs --address {DASHBOARD} one")

    def has_ended(self) -> bool:
        """Return whether the job has ended."""
        status = self.status()
        return any(f"Job 'one' {end}" in status for end in ("succeeded", "failed", "was stopped"))

    def has_cells(self) -> bool:
        """Return whether a cell of the search has ended."""
        return re.search(r"cells \S+ [1-9]", self.logs()) is not None


def comparable(cells: pd.DataFrame) -> pd.DataFrame:
    """Return a table of cells without `VOLATILE`, in an order that does not depend on the workers."""
    return cells.drop(columns=VOLATILE).sort_values([Column.CONFIGURATION, Column.FOLD], ignore_index=True)


def cells_of_run(run: Path) -> pd.DataFrame:
    """Return the cells of a run, to compare."""
    return comparable(helo.load_run(run).cells)


def local_cells(space: Path, out: Path) -> pd.DataFrame:
    """Return the cells of the search on this machine alone, to compare."""
    run = helo.run_search(simulate(), space, out=out, progress=False, baselines=("ridge",), inner_folds=2)
    return comparable(run.cells)
