"""The run directory: manifest, folds, ledger, and the tables made from the ledger."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from helo.errors import InputError
from helo.names import Column, FileName, TableName
from helo.run.ledger import ROW, CellRecord, Ledger, records_of
from helo.run.manifest import Manifest
from helo.run.tables import (
    CELL_COLUMNS,
    EPOCH_COLUMNS,
    cells_table,
    epochs_table,
    explanations_table,
    predictions_table,
    selected,
)
from helo.storage import Folder, Hold, LocalFolder, hold, open_folder, require_new_folder


class Run:
    """A directory with everything about one search, on this machine or on object storage."""

    def __init__(self, place: Folder | os.PathLike[str] | str, manifest: Manifest) -> None:
        self.folder = open_folder(place)
        self.manifest = manifest
        self.ledger = Ledger(self.folder / FileName.LEDGER, manifest.identity or "")

    @classmethod
    def create(cls, place: Folder | os.PathLike[str] | str, manifest: Manifest, folds: list[dict[str, Any]]) -> Run:
        """Make the directory; raise `InputError` if it is already there or cannot be written."""
        folder = open_folder(place)
        require_new_folder(folder)
        try:
            with folder.filled(last=FileName.MANIFEST) as staging:
                LocalFolder(staging).write_json(FileName.FOLDS, folds)
                LocalFolder(staging).write_json(FileName.MANIFEST, manifest.as_dict())
        except OSError as error:
            raise InputError(f"{folder}: cannot be written ({error.strerror or error})") from None
        return cls(folder, manifest)

    @classmethod
    def open(cls, place: os.PathLike[str] | str) -> Run:
        """Open a run that is there; raise `InputError` if it is none."""
        folder = open_folder(place)
        try:
            there = folder.exists(FileName.MANIFEST)
        except OSError as error:
            raise InputError(f"{folder}: cannot be read ({error})") from None
        if not there:
            raise InputError(f"{folder}: is not a run directory (it has no {FileName.MANIFEST})")
        document = folder.read_json(FileName.MANIFEST)
        if not isinstance(document, dict):
            raise InputError(f"{folder.where(FileName.MANIFEST)}: is not the manifest of a run")
        return cls(folder, Manifest.from_dict(document))

    def update_manifest(self, manifest: Manifest) -> None:
        """Write another manifest."""
        self.folder.write_json(FileName.MANIFEST, manifest.as_dict())
        self.manifest = manifest

    def lock(self, waiting: Callable[[str], None] = lambda line: None) -> AbstractContextManager[Hold]:
        """Keep every other search from this run; raise `InputError` if one has it. See `helo.storage.hold`."""
        return hold(self.folder, FileName.LOCK, waiting)

    @property
    def checkpoints(self) -> Folder:
        """The folder for the states of cells in the making."""
        return self.folder / FileName.CHECKPOINTS

    @property
    def model(self) -> Folder:
        """Where the recommended configuration, fitted to all subjects, is saved."""
        return self.folder / FileName.MODEL

    @property
    def has_model(self) -> bool:
        """Whether it is there."""
        return self.model.exists(FileName.MODEL_DESCRIPTION)

    @property
    def folds(self) -> list[dict[str, Any]]:
        """The folds as written at the start."""
        folds: list[dict[str, Any]] = self.folder.read_json(FileName.FOLDS)
        return folds

    @property
    def report(self) -> Path | str:
        """Where the report of this run is written: a path, or a URI on object storage."""
        return self.folder.where(FileName.REPORT) if self.folder.here is None else self.folder.here / FileName.REPORT

    def find(self, cells: Collection[tuple[int, str]]) -> list[CellRecord]:
        """The finished ones of some cells (configuration, fold), in the order configuration, number of the fold."""
        number = {fold["test"]: place for place, fold in enumerate(self.folds)}
        return self.ledger.find({(configuration, number[fold]) for configuration, fold in cells})

    def write_table(self, name: str, table: pd.DataFrame) -> None:
        """Write one table, whole or not at all."""
        self._write_pieces(name, [table])

    def _write_pieces(self, name: str, pieces: Iterable[pd.DataFrame]) -> None:
        """Write one table whose pieces, of which there is one at least, need not be in memory at a time.

        The first that has rows says what the columns hold.
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
        """Read one table, or some of its columns; raise `InputError` if the run has none of that name yet."""
        file = f"{name}.parquet"
        try:
            return pq.read_table(self.folder.open(file), columns=None if columns is None else list(columns)).to_pandas()
        except FileNotFoundError:
            raise InputError(f"{self.folder.where(file)}: is missing; the search has not got that far") from None
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"{self.folder.where(file)}: cannot be read ({error})") from None

    def rows_of(self, name: str) -> int:
        """How many rows a table has; 0 if it is not there or cannot be read."""
        try:
            return int(pq.read_metadata(self.folder.open(f"{name}.parquet")).num_rows)
        except (OSError, pa.ArrowException):
            return 0

    def write_tables(
        self, truth: pd.DataFrame, baselines: pd.DataFrame, objective: str, everything: bool = False
    ) -> dict[str, str]:
        """Make ``cells``, ``epochs``, ``predictions``, ``explanations`` and ``baselines`` from the ledger.

        `truth`: see `predictions_table`; with `everything` the predictions of all cells are written, too. Returns what
        is wrong with each file of the ledger that is damaged: its cells are missing.
        """
        faults: dict[str, str] = {}
        cells = cells_table(self.ledger.rows(CELL_COLUMNS, faults))
        records = self.find(selected(cells, objective, len(self.folds)))
        self._write_pieces(TableName.EPOCHS, map(epochs_table, self._blocks(EPOCH_COLUMNS, faults)))
        self.write_table(TableName.PREDICTIONS, predictions_table(records, truth).drop(columns=Column.METHOD))
        self.write_table(TableName.EXPLANATIONS, explanations_table(records))
        self.write_table(TableName.BASELINES, baselines)
        # Last but one: whoever finds all cells of the ledger in it takes the others for written, too.
        self.write_table(TableName.CELLS, cells)
        if everything:
            fitted = self.ledger.read_baselines()
            parts = chain(map(records_of, self._blocks(ROW.names, faults)), [fitted])
            self._write_pieces(TableName.ALL_PREDICTIONS, (predictions_table(part, truth) for part in parts))
        return faults

    def _blocks(self, columns: Sequence[str], faults: dict[str, str]) -> Iterator[pa.Table]:
        """The rows of HeLo's cells in pieces that fit into memory, one at least."""
        empty = True
        for _, rows in self.ledger.blocks(columns, faults=faults):
            empty = False
            yield rows
        if empty:
            yield self.ledger.rows(columns)
