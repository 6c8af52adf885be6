"""Run directory: manifest, folds, ledger, and the tables that are computed from the ledger."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from helo.errors import InputError, StorageError, as_input_error
from helo.names import Column, FileName, Prefix, TableName
from helo.run.ensemble.fold_ensembles import LabelledWindows, ensemble_table, fold_ensembles
from helo.run.ledger import RECORD_COLUMNS, CellRecord, Ledger, records_of, runs_again
from helo.run.manifest import Manifest
from helo.run.selection import mark_estimates, selected_cells
from helo.run.tables import (
    CELL_COLUMNS,
    EPOCH_COLUMNS,
    cells_table,
    ensemble_predictions_table,
    epochs_table,
    explanations_table,
    predictions_table,
)
from helo.storage import Folder, FolderLock, LocalFolder, Patience, lock_folder, open_folder, require_new_folder
from helo.storage.atomic import delete_leftovers


class Run:
    """Directory of a search, on this machine or on object storage.

    Parameters
    ----------
    place : Folder or path or str
        Folder of the run.
    manifest : Manifest
        Manifest of the run.

    Attributes
    ----------
    folder : Folder
        Folder of the run.
    manifest : Manifest
        Manifest of the run.
    ledger : Ledger
        Records of finished cells.
    """

    def __init__(self, place: Folder | os.PathLike[str] | str, manifest: Manifest) -> None:
        self.folder = open_folder(place).existing()
        self.manifest = manifest
        self.ledger = Ledger(self.folder / FileName.LEDGER, manifest.identity or "")

    @classmethod
    def create(cls, place: Folder | os.PathLike[str] | str, manifest: Manifest, folds: list[dict[str, Any]]) -> Run:
        """Create the directory of a new run.

        Parameters
        ----------
        place : Folder or path or str
            Folder to create.
        manifest : Manifest
            Manifest of the run.
        folds : list of dict
            Test subject and inner splits of each fold.

        Returns
        -------
        Run
            The new run.

        Raises
        ------
        InputError
            If the folder already exists or cannot be written.
        """
        folder = open_folder(place)
        require_new_folder(folder)
        with as_input_error(folder, "cannot be written"), folder.filled(last=FileName.MANIFEST) as staging:
            LocalFolder(staging).write_json(FileName.FOLDS, folds)
            LocalFolder(staging).write_json(FileName.MANIFEST, manifest.as_dict())
        return cls(folder, manifest)

    @classmethod
    def open(cls, place: os.PathLike[str] | str) -> Run:
        """Open an existing run.

        Parameters
        ----------
        place : path or str
            Folder of the run, or its URI on object storage.

        Returns
        -------
        Run
            The run.

        Raises
        ------
        InputError
            If the folder cannot be read or is not a run directory.
        """
        folder = open_folder(place)
        try:
            has_manifest = folder.exists(FileName.MANIFEST)
        except StorageError:
            raise
        except OSError as error:
            raise InputError(f"{folder}: cannot be read ({error})") from None
        if not has_manifest:
            raise InputError(f"{folder}: is not a run directory ({_why_no_run(folder)})")
        document = folder.read_json(FileName.MANIFEST)
        if not isinstance(document, dict):
            raise InputError(f"{folder.where(FileName.MANIFEST)}: is not the manifest of a run")
        return cls(folder, Manifest.from_dict(document))

    def with_patience(self, patience: Patience) -> Run:
        """Return this run with another patience with storage that does not answer."""
        return Run(self.folder.with_patience(patience), self.manifest)

    def update_manifest(self, manifest: Manifest) -> None:
        """Replace the manifest of the run."""
        self.folder.write_json(FileName.MANIFEST, manifest.as_dict())
        self.manifest = manifest

    def lock(self, waiting: Callable[[str], None] = lambda line: None) -> AbstractContextManager[FolderLock]:
        """Lock the run against other searches. See `helo.storage.lock_folder`.

        Parameters
        ----------
        waiting : callable
            Function that gets a message for the user while the lock of another search may still expire.

        Returns
        -------
        context manager
            The lock, which is released at the end of the context.

        Raises
        ------
        InputError
            If another search has locked the run.
        """
        return lock_folder(self.folder, FileName.LOCK, waiting)

    def delete_leftovers(self) -> None:
        """Delete the unfinished files that killed processes have left in a run on this machine."""
        for folder in (self.folder, self.ledger.folder):
            if folder.here is not None:
                delete_leftovers(folder.here)

    @property
    def checkpoints(self) -> Folder:
        """Folder of the checkpoints of unfinished cells."""
        return self.folder / FileName.CHECKPOINTS

    @property
    def model(self) -> Folder:
        """Folder of the fitted model: the recommended configuration, fitted to all subjects."""
        return self.folder / FileName.MODEL

    @property
    def has_model(self) -> bool:
        """Whether the run has a fitted model."""
        return self.model.exists(FileName.MODEL_DESCRIPTION)

    def has_cells_to_run(self, retry_failed: bool) -> bool:
        """Return whether cells of HeLo run again on resume: lost ones, or with `retry_failed` all that failed."""
        rows = self.ledger.rows((Column.STATUS, Column.FAULT, Column.REASON))
        columns = (rows[name].to_pylist() for name in (Column.STATUS, Column.FAULT, Column.REASON))
        return any(
            runs_again(status, fault, reason, retry_failed) for status, fault, reason in zip(*columns, strict=True)
        )

    @property
    def folds(self) -> list[dict[str, Any]]:
        """Test subject and inner splits of each fold. Folds of earlier versions have one split without this key."""
        folds: list[dict[str, Any]] = self.folder.read_json(FileName.FOLDS)
        return folds

    @property
    def report(self) -> Path | str:
        """Path of the report, or its URI on object storage."""
        return self.folder.where(FileName.REPORT) if self.folder.here is None else self.folder.here / FileName.REPORT

    def find(self, cells: Collection[tuple[int, str]]) -> list[CellRecord]:
        """Return the records of the finished cells among some cells.

        Parameters
        ----------
        cells : collection of tuple
            Configuration and test subject of each cell.

        Returns
        -------
        list of CellRecord
            Records in the order of configurations, then of fold numbers.
        """
        numbers = {fold["test"]: number for number, fold in enumerate(self.folds)}
        return self.ledger.find({(configuration, numbers[fold]) for configuration, fold in cells})

    def write_table(self, name: str, table: pd.DataFrame) -> None:
        """Write a table atomically."""
        self._write_pieces(name, [table])

    def _write_pieces(self, name: str, pieces: Iterable[pd.DataFrame]) -> None:
        """Write a table atomically from at least one piece, with one piece in memory at a time.

        The first piece that has rows determines the types of the columns.
        """
        empty, rest = None, iter(pieces)
        for piece in rest:
            if len(piece):
                break
            empty = piece if empty is None else empty
        else:
            assert empty is not None
            piece = empty
        first = pa.Table.from_pandas(piece, preserve_index=False)
        with (
            self.folder.new_file(f"{name}.parquet") as path,
            path.open("wb") as file,
            pq.ParquetWriter(file, first.schema) as writer,
        ):
            writer.write_table(first)
            for piece in filter(len, rest):
                writer.write_table(pa.Table.from_pandas(piece, schema=first.schema, preserve_index=False))

    def table(self, name: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Read a table.

        Parameters
        ----------
        name : str
            A `helo.names.TableName`.
        columns : sequence of str, optional
            Columns to read. The default is all.

        Returns
        -------
        DataFrame
            The table.

        Raises
        ------
        InputError
            If the search has not written the table yet, or the file is damaged.
        StorageError
            If the storage does not answer.
        """
        file = f"{name}.parquet"
        try:
            return pq.read_table(self.folder.open(file), columns=None if columns is None else list(columns)).to_pandas()
        except FileNotFoundError:
            raise InputError(f"{self.folder.where(file)}: is missing; the search has not got that far") from None
        except StorageError:
            raise
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"{self.folder.where(file)}: cannot be read ({error})") from None

    def rows_of(self, name: str) -> int:
        """Return the number of rows of a table, or 0 if the table is missing or damaged."""
        try:
            return int(pq.read_metadata(self.folder.open(f"{name}.parquet")).num_rows)
        except StorageError:
            raise
        except (OSError, pa.ArrowException):
            return 0

    def write_tables(
        self,
        truth: pd.DataFrame,
        subjects: NDArray[np.str_],
        baselines: pd.DataFrame,
        objective: str,
        export_predictions: bool = False,
    ) -> dict[str, str]:
        """Compute all tables from the ledger and write them.

        Parameters
        ----------
        truth : DataFrame
            True distributions of all windows, see `helo.run.tables.predictions_table`.
        subjects : ndarray of shape (N,)
            Subject of each window.
        baselines : DataFrame
            Scores of all baselines, for ``baselines.parquet``.
        objective : str
            Metric that selects configurations.
        export_predictions : bool
            Whether the predictions of all cells and baselines are written to ``all_predictions.parquet``.

        Returns
        -------
        dict
            Name → problem of each damaged file of the ledger. The cells of these files are missing in the tables.
        """
        faults: dict[str, str] = {}
        cells = cells_table(self.ledger.rows(CELL_COLUMNS, faults))
        records = self.find(selected_cells(cells, objective, len(self.folds)))
        self._write_pieces(TableName.EPOCHS, map(epochs_table, self._blocks(EPOCH_COLUMNS, faults)))
        predictions = predictions_table(records, truth).drop(columns=Column.METHOD)
        self.write_table(TableName.PREDICTIONS, mark_estimates(predictions, cells, objective, len(self.folds)))
        self.write_table(TableName.EXPLANATIONS, explanations_table(records))
        self.write_table(TableName.BASELINES, baselines)
        ensembles = fold_ensembles(self.ledger, self.folds, cells, objective, _labelled(truth, subjects, cells))
        self.write_table(TableName.ENSEMBLE, ensemble_table(ensembles))
        self.write_table(TableName.ENSEMBLE_PREDICTIONS, ensemble_predictions_table(ensembles, truth))
        # After the other tables: readers use them only if this table has all cells of the ledger.
        self.write_table(TableName.CELLS, cells)
        if export_predictions:
            fitted = self.ledger.read_baselines()
            parts = chain(map(records_of, self._blocks(RECORD_COLUMNS, faults)), [fitted])
            self._write_pieces(TableName.ALL_PREDICTIONS, (predictions_table(part, truth) for part in parts))
        return faults

    def _blocks(self, columns: Sequence[str], faults: dict[str, str]) -> Iterator[pa.Table]:
        """Yield the rows of HeLo's cells in pieces that fit into memory. There is always at least one piece."""
        empty = True
        for _, rows in self.ledger.blocks(columns, faults=faults):
            empty = False
            yield rows
        if empty:
            yield self.ledger.rows(columns)


def _why_no_run(folder: Folder) -> str:
    if folder.exists(FileName.SEEDS):
        return "it holds a run for each of several seeds; name one of them"
    return f"it has no {FileName.MANIFEST}"


def _labelled(truth: pd.DataFrame, subjects: NDArray[np.str_], cells: pd.DataFrame) -> LabelledWindows:
    """Return the labels of all windows, with their groups if cells have scores by group."""
    labels = truth.filter(regex=f"^{Prefix.TRUE}").to_numpy(float)
    has_groups = any(column.startswith(Prefix.TEST_BY_GROUP) for column in cells.columns)
    return LabelledWindows(labels, subjects, truth[Column.GROUP].to_numpy(str) if has_groups else None)
