"""The tables of a run, read from its ledger: for runs that are in progress or were interrupted.

The ledger is only read, so a running search is not affected. Each file is read once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd
import pyarrow as pa

from helo.analysis.statistics.estimates import count_unconverged
from helo.errors import InputError
from helo.evaluation.baselines.table import fitted_baselines_table
from helo.names import FITTED_BASELINES, Column, TableName
from helo.run.directory import Run
from helo.run.ledger import CellRecord, cell_of, cells_in, is_pack, rows_in
from helo.run.selection import best_per_fold
from helo.run.tables import CELL_COLUMNS, EPOCH_COLUMNS, cells_table, epochs_table, explanations_table

PIECES = 64
"""Maximum number of pieces in which epochs are kept."""


def is_behind(run: Run) -> bool:
    """Return whether the ledger has more cells than ``cells.parquet``; unreadable cells count."""
    return len(run.ledger) > run.rows_of(TableName.CELLS)


def unreadable_tables(run: Run) -> list[str]:
    """Return a sentence for each table of a run that exists and cannot be read."""
    found = []
    for name in (
        TableName.CELLS,
        TableName.EPOCHS,
        TableName.BASELINES,
        TableName.ENSEMBLE,
        TableName.PREDICTIONS,
        TableName.EXPLANATIONS,
    ):
        if run.folder.exists(f"{name}.parquet"):
            try:
                run.table(name, [])
            except InputError as error:
                found.append(f"{error}. Results that need this table are missing, or made from the ledger.")
    return found


class LedgerTables:
    """Tables of a run, read from its ledger. `refresh` reads new records.

    Parameters
    ----------
    run : Run
        Run whose ledger is read.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self._clear()

    def _clear(self) -> None:
        self._files: set[str] = set()
        self._seen: set[tuple[int, int]] = set()
        self._packed: set[tuple[int, int]] = set()
        self._cells = cells_table(self.run.ledger.empty_table(CELL_COLUMNS))
        # In pieces, because concatenating millions of rows for every new cell is slow.
        self._epochs: list[pd.DataFrame] = []
        self._unconverged: list[pd.Series] = []
        self._baselines: list[CellRecord] = []
        self._faults: dict[str, str] = {}

    def refresh(self, on_progress: Callable[[int, int], None] = lambda done, total: None) -> bool:
        """Read the records that were added since the last call.

        Parameters
        ----------
        on_progress : callable, optional
            Receives the number of cells read and the number of cells to read.

        Returns
        -------
        bool
            Whether there are new cells, new baselines or new unreadable files.

        Raises
        ------
        OSError
            If the storage fails. The object is then incomplete and must be created again.
        """
        ledger = self.run.ledger
        files, baselines = ledger.files(), ledger.baseline_parts()
        removed, faults_before = self._files - {*files, *baselines}, len(self._faults)
        total = sum(map(rows_in, {*files} - self._files))
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
            on_progress(min(total, sum(map(len, cells[1:]))), total)
        if any(cell_of(name) not in self._packed for name in removed):
            # A file was removed without being packed, so its cells will run again: the tables must not keep them.
            self._clear()
            return self.refresh(on_progress)
        self._files = self._files - removed | self._faults.keys()
        fresh = [name for name in baselines if name not in self._files]
        records, faults = ledger.inspect(fresh)
        self._baselines += records
        self._faults |= faults
        self._files |= {*fresh}
        if grown:
            self._cells = self._ordered(_joined(cells))
        return grown or bool(fresh) or len(self._faults) > faults_before

    @property
    def notes(self) -> list[str]:
        """Notes for the user: cells that are not in the run's tables yet, and unreadable files."""
        notes = []
        if len(self._cells) > self.run.rows_of(TableName.CELLS):
            notes.append(
                "The search has not written its tables since these cells finished: it is in progress or was"
                " interrupted. Results that need its data set are missing until it writes them."
            )
        if self._faults:
            name, fault = next(iter(self._faults.items()))
            notes.append(f"{len(self._faults)} files of the ledger cannot be read, the first is {name}: {fault}.")
        return notes

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
        """Table ``cells``, ordered by configuration and fold."""
        return self._cells

    @property
    def unconverged(self) -> pd.Series:
        """Unconverged transport plans, see `helo.analysis.statistics.estimates.count_unconverged`."""
        return pd.concat(self._unconverged) if self._unconverged else count_unconverged(self.epochs())

    def epochs(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Return the table ``epochs``, with the cells in the order in which they were read.

        Parameters
        ----------
        columns : sequence of str, optional
            Columns to return (default: all).

        Returns
        -------
        DataFrame
            A row per cell and epoch.
        """
        pieces = self._epochs or [epochs_table(self.run.ledger.empty_table(EPOCH_COLUMNS))]
        return pd.concat([piece if columns is None else piece[list(columns)] for piece in pieces], ignore_index=True)

    def baselines(self, written: pd.DataFrame) -> pd.DataFrame:
        """Return the table ``baselines`` with the fitted baselines of the ledger.

        Parameters
        ----------
        written : DataFrame
            Columns of ``baselines.parquet``. Its trivial baselines are kept, its fitted baselines are replaced.

        Returns
        -------
        DataFrame
            Same columns as `written`.
        """
        trivial = written[~written[Column.METHOD].isin(FITTED_BASELINES)]
        return _joined([trivial, fitted_baselines_table(self._baselines)])

    def explanations(self, objective: str) -> pd.DataFrame:
        """Return the table ``explanations`` of the cells that their folds select at present.

        Parameters
        ----------
        objective : str
            Metric whose inner validation score selects configurations.

        Returns
        -------
        DataFrame
            See `helo.run.tables.explanations_table`.
        """
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
    """Concatenate tables. Empty tables are left out, because they would change the types of columns."""
    parts = [part for part in tables if len(part)]
    return pd.concat(parts, ignore_index=True) if parts else tables[0]
