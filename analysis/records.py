"""The finished cells of a run as its ledger has them by now: for runs that are under way, or ended before their time.

Only reads: the search that writes the ledger does not notice. Each part is read once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from analysis.statistics.estimates import unconverged_cells
from helo.baselines.table import fitted_baselines_table
from helo.ledger import CellRecord, part_name
from helo.names import CELLS, CONFIGURATION, FITTED_BASELINES, FOLD, METHOD
from helo.run import Run
from helo.selection import best_per_fold
from helo.tables import cells_table, epochs_table, explanations_table

BLOCK = 200
"""Parts that are read before it is told how far this is."""

PIECES = 64
"""Pieces in which epochs are kept at most."""


def is_behind(run: Run) -> bool:
    """Whether a run's ledger has cells that its ``cells.parquet`` has not, or that cannot be read."""
    return len(run.ledger.parts()) > _written(run)


def _written(run: Run) -> int:
    """How many cells the tables have."""
    try:
        return int(pq.read_metadata(run.path / f"{CELLS}.parquet").num_rows)
    except (OSError, pa.ArrowException):
        return 0


class Records:
    """The tables that a run's ledger gives, kept up to date by `refresh`."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._seen: set[Path] = set()
        self._cells = cells_table([])
        # In pieces: to join millions of rows again for every cell would take long.
        self._epochs: list[pd.DataFrame] = []
        self._unconverged: list[pd.Series] = []
        self._baselines: list[CellRecord] = []
        self._faults: dict[Path, str] = {}

    def refresh(self, told: Callable[[int, int], None] = lambda done, of: None) -> bool:
        """Read what has come since the last time; whether there was anything. `told` hears parts read, of how many."""
        ledger = self.run.ledger
        found = dict.fromkeys((*ledger.parts(), *ledger.baseline_parts()))
        if not self._seen <= found.keys():
            self.__init__(self.run)  # type: ignore[misc]  # parts were moved away, to be made again: start anew
        new = [path for path in found if path not in self._seen]
        cells = [self._cells]
        for start in range(0, len(new), BLOCK):
            block = new[start : start + BLOCK]
            records, faults = ledger.inspect(block)
            self._faults |= faults
            own = [record for record in records if record.method not in FITTED_BASELINES]
            cells.append(cells_table(own))
            self._add_epochs(epochs_table(own))
            self._baselines += [record for record in records if record.method in FITTED_BASELINES]
            self._seen |= set(block)
            told(min(start + BLOCK, len(new)), len(new))
        if new:
            self._cells = self._ordered(_joined(cells))
        return bool(new)

    @property
    def notes(self) -> list[str]:
        """That the tables are of the ledger, and which of its parts cannot be read."""
        found = []
        if len(self._cells) > _written(self.run):
            found.append(
                "The search has not written its tables since these cells finished: it is under way, or was ended. What"
                " needs its data set is missing until it does."
            )
        if self._faults:
            path, fault = next(iter(self._faults.items()))
            found.append(f"{len(self._faults)} cells of the ledger cannot be read, the first is {path.name}: {fault}.")
        return found

    def _add_epochs(self, new: pd.DataFrame) -> None:
        if new.empty:
            return
        self._unconverged.append(unconverged_cells(new))
        self._epochs.append(new)
        if len(self._epochs) > PIECES:
            self._epochs = [self.epochs()]
            self._unconverged = [self.unconverged]

    @property
    def cells(self) -> pd.DataFrame:
        """``cells``, in the order configuration, fold."""
        return self._cells

    @property
    def unconverged(self) -> pd.Series:
        """See `analysis.statistics.estimates.unconverged_cells`."""
        return pd.concat(self._unconverged) if self._unconverged else unconverged_cells(epochs_table([]))

    def epochs(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """``epochs``, or some of its columns; the cells are in the order in which they were read."""
        pieces = self._epochs or [epochs_table([])]
        return pd.concat([piece if columns is None else piece[list(columns)] for piece in pieces], ignore_index=True)

    def baselines(self, known: pd.DataFrame) -> pd.DataFrame:
        """A table of baselines with the fitted ones as the ledger has them by now; `known` has the trivial ones."""
        trivial = known[~known[METHOD].isin(FITTED_BASELINES)]
        return _joined([trivial, fitted_baselines_table(self._baselines)])

    def explanations(self, objective: str) -> pd.DataFrame:
        """What the cells learnt that their folds would choose by now: see `helo.tables.explanations_table`."""
        number = {fold["test"]: place for place, fold in enumerate(self.run.folds)}
        chosen = best_per_fold(self._cells, objective).items()
        folder = self.run.ledger.folder
        parts = [folder / f"{part_name(configuration, number[fold])}.parquet" for fold, configuration in chosen]
        return explanations_table(self.run.ledger.inspect(parts)[0], self._cells, objective, len(number))

    def _ordered(self, table: pd.DataFrame) -> pd.DataFrame:
        place = {fold["test"]: number for number, fold in enumerate(self.run.folds)}
        keys = pd.DataFrame({CONFIGURATION: table[CONFIGURATION], FOLD: table[FOLD].map(place)})
        return table.loc[keys.sort_values([CONFIGURATION, FOLD], kind="stable").index].reset_index(drop=True)


def _joined(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """All, one below the other; an empty one has no say in the types of columns."""
    parts = [part for part in tables if len(part)]
    return pd.concat(parts, ignore_index=True) if parts else tables[0]
