"""The search that clusters of the tests run, and its cells on this machine to compare with."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from searches import VOLATILE

import helo
from helo.data import simulate
from helo.names import Column

FEW = ("--baselines", "ridge", "--inner-folds", "2")
"""Options of the search, as `local_cells` has them."""


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
