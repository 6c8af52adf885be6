"""The finished cells of a run as its ledger has them by now: for runs that are under way, or ended before their time.

Only reads: the search that writes the ledger does not notice. Each file is read once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd
import pyarrow as pa
from helo.analysis.statistics.estimates import count_unconverged

from helo.evaluation.baselines.table import fitted_baselines_table
from helo.names import FITTED_BASELINES, Column, TableName
from helo.run.directory import Run
from helo.run.ledger import CellRecord, cell_of, cells_in, is_pack, rows_in
from helo.run.selection import best_per_fold
from helo.run.tables import CELL_COLUMNS, EPOCH_COLUMNS, cells_table, epochs_table, explanations_table

PIECES = 64
"""Pieces in which epochs are kept at most."""


def is_behind(run: Run) -> bool:
    """Whether a run's ledger has cells that its ``cells.parquet`` has not, or that cannot be read."""
    return len(run.ledger) > run.rows_of(TableName.CELLS)


class LedgerTables:
    """The tables that a run's ledger gives, kept up to date by `refresh`."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._files: set[str] = set()
        self._seen: set[tuple[int, int]] = set()
        self._packed: set[tuple[int, int]] = set()
        self._cells = cells_table(run.ledger.empty_table(CELL_COLUMNS))
        # In pieces: to join millions of rows again for every cell would take long.
        self._epochs: list[pd.DataFrame] = []
        self._unconverged: list[pd.Series] = []
        self._baselines: list[CellRecord] = []
        self._faults: dict[str, str] = {}

    def refresh(self, told: Callable[[int, int], None] = lambda done, of: None) -> bool:
        """Read what has come since the last time; whether there was anything. `told` hears cells read, of how many.

        Raises `OSError` where the storage fails; then these records are to be made anew.
        """
        ledger = self.run.ledger
        files, baselines = ledger.files(), ledger.baseline_parts()
        gone, known = self._files - {*files, *baselines}, len(self._faults)
        of = sum(map(rows_in, {*files} - self._files))
        cells, grown = [self._cells], False
        for names, rows in ledger.blocks((*CELL_COLUMNS, Column.HISTORY), self._files, self._faults):
            self._files |= {*names}
            keys = cells_in(rows)
            new = rows.filter(pa.array([key not in self._seen for key in keys], pa.bool_()))
            self._seen.update(keys)
            if is_pack(names[0]):
                self._packed.update(keys)
            if len(new):
                grown = True
                cells.append(cells_table(new))
                self._add_epochs(epochs_table(new))
            told(min(of, sum(map(len, cells[1:]))), of)
        if any(cell_of(name) not in self._packed for name in gone):
            self.__init__(self.run)  # type: ignore[misc]  # files were moved away, to be made again: start anew
            return self.refresh(told)
        self._files = self._files - gone | self._faults.keys()
        fresh = [name for name in baselines if name not in self._files]
        records, faults = ledger.inspect(fresh)
        self._baselines += records
        self._faults |= faults
        self._files |= {*fresh}
        if grown:
            self._cells = self._ordered(_joined(cells))
        return grown or bool(fresh) or len(self._faults) > known

    @property
    def notes(self) -> list[str]:
        """That the tables are of the ledger, and which of its parts cannot be read."""
        found = []
        if len(self._cells) > self.run.rows_of(TableName.CELLS):
            found.append(
                "The search has not written its tables since these cells finished: it is under way, or was ended. What"
                " needs its data set is missing until it does."
            )
        if self._faults:
            name, fault = next(iter(self._faults.items()))
            found.append(f"{len(self._faults)} files of the ledger cannot be read, the first is {name}: {fault}.")
        return found

    def _add_epochs(self, new: pd.DataFrame) -> None:
        if new.empty:
            return
        self._unconverged.append(count_unconverged(new))
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
        """See `helo.analysis.statistics.estimates.count_unconverged`."""
        return pd.concat(self._unconverged) if self._unconverged else count_unconverged(self.epochs())

    def epochs(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """``epochs``, or some of its columns; the cells are in the order in which they were read."""
        pieces = self._epochs or [epochs_table(self.run.ledger.empty_table(EPOCH_COLUMNS))]
        return pd.concat([piece if columns is None else piece[list(columns)] for piece in pieces], ignore_index=True)

    def baselines(self, known: pd.DataFrame) -> pd.DataFrame:
        """A table of baselines with the fitted ones as the ledger has them by now; `known` has the trivial ones."""
        trivial = known[~known[Column.METHOD].isin(FITTED_BASELINES)]
        return _joined([trivial, fitted_baselines_table(self._baselines)])

    def explanations(self, objective: str) -> pd.DataFrame:
        """What the cells learnt that their folds would choose by now: see `helo.run.tables.explanations_table`."""
        chosen = best_per_fold(self._cells, objective).items()
        return explanations_table(self.run.find([(configuration, fold) for fold, configuration in chosen]))

    def _ordered(self, table: pd.DataFrame) -> pd.DataFrame:
        place = {fold["test"]: number for number, fold in enumerate(self.run.folds)}
        keys = pd.DataFrame(
            {Column.CONFIGURATION: table[Column.CONFIGURATION], Column.FOLD: table[Column.FOLD].map(place)}
        )
        return table.loc[keys.sort_values([Column.CONFIGURATION, Column.FOLD], kind="stable").index].reset_index(
            drop=True
        )


def _joined(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """All, one below the other; an empty one has no say in the types of columns."""
    parts = [part for part in tables if len(part)]
    return pd.concat(parts, ignore_index=True) if parts else tables[0]
