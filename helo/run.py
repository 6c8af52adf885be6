"""The run directory: manifest, folds, ledger, and the tables made from the ledger."""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from helo.errors import InputError, require_new
from helo.files import read_json, whole_file, whole_folder, write_json
from helo.ledger import Ledger
from helo.names import (
    ALL_PREDICTIONS,
    BASELINES,
    CELLS,
    CHECKPOINTS_FOLDER,
    EPOCHS,
    EXPLANATIONS,
    FOLDS_FILE,
    IDENTITY,
    LEDGER_FOLDER,
    LOCK_FILE,
    MANIFEST_FILE,
    MODEL_FOLDER,
    PREDICTIONS,
    REPORT_FILE,
)
from helo.tables import all_predictions_table, cells_table, epochs_table, explanations_table, predictions_table


class Run:
    """A directory with everything about one search."""

    def __init__(self, path: Path, manifest: dict[str, Any]) -> None:
        self.path = path
        self.manifest = manifest
        self.ledger = Ledger(path / LEDGER_FOLDER, str(manifest.get(IDENTITY, "")))

    @classmethod
    def create(cls, path: Path, manifest: dict[str, Any], folds: list[dict[str, Any]]) -> Run:
        """Make the directory; raise `InputError` if it is already there or cannot be written."""
        require_new(path)
        try:
            with whole_folder(path) as staging:
                (staging / LEDGER_FOLDER).mkdir()
                (staging / CHECKPOINTS_FOLDER).mkdir()
                write_json(staging / FOLDS_FILE, folds)
                write_json(staging / MANIFEST_FILE, manifest)
        except OSError as error:
            raise InputError(f"{path}: cannot be written ({error.strerror or error})") from None
        return cls(path, manifest)

    @classmethod
    def open(cls, path: Path | str) -> Run:
        """Open a run that is there; raise `InputError` if it is none."""
        path = Path(path)
        if not (path / MANIFEST_FILE).is_file():
            raise InputError(f"{path}: is not a run directory (it has no {MANIFEST_FILE})")
        manifest = read_json(path / MANIFEST_FILE)
        if not isinstance(manifest, dict):
            raise InputError(f"{path / MANIFEST_FILE}: is not the manifest of a run")
        return cls(path, manifest)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keep every other search from this run; raise `InputError` if one has it.

        The lock is the operating system's: it ends with the process that holds it, however that ends.
        """
        with (self.path / LOCK_FILE).open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.seek(0)
                holder = file.read().strip() or "another process"
                raise InputError(f"{self.path}: is being worked on by {holder}; wait for it or end it") from None
            file.truncate(0)
            file.write(f"process {os.getpid()} on {platform.node()}")
            file.flush()
            yield

    @property
    def checkpoints(self) -> Path:
        """The folder for the states of cells in the making."""
        return self.path / CHECKPOINTS_FOLDER

    @property
    def model(self) -> Path:
        """Where the recommended configuration, fitted to all subjects, is saved."""
        return self.path / MODEL_FOLDER

    @property
    def folds(self) -> list[dict[str, Any]]:
        """The folds as written at the start."""
        folds: list[dict[str, Any]] = read_json(self.path / FOLDS_FILE)
        return folds

    @property
    def report(self) -> Path:
        """Where the report of this run is written."""
        return self.path / REPORT_FILE

    def write_table(self, name: str, table: pd.DataFrame) -> None:
        """Write one table, whole or not at all."""
        with whole_file(self.path / f"{name}.parquet") as hidden:
            table.to_parquet(hidden, index=False)

    def table(self, name: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Read one table, or some of its columns; raise `InputError` if the run has none of that name yet."""
        path = self.path / f"{name}.parquet"
        if not path.is_file():
            raise InputError(f"{path}: is missing; the search has not got that far")
        try:
            return pd.read_parquet(path, columns=None if columns is None else list(columns))
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"{path}: cannot be read ({error})") from None

    def write_tables(
        self, truth: pd.DataFrame, baselines: pd.DataFrame, objective: str, everything: bool = False
    ) -> None:
        """Make ``cells``, ``epochs``, ``predictions``, ``explanations`` and ``baselines`` from the ledger.

        `truth`: see `predictions_table`; with `everything` the predictions of all cells are written, too.
        """
        records = self.ledger.read()
        cells = cells_table(records)
        self.write_table(EPOCHS, epochs_table(records))
        self.write_table(PREDICTIONS, predictions_table(records, cells, truth, objective, len(self.folds)))
        self.write_table(EXPLANATIONS, explanations_table(records, cells, objective, len(self.folds)))
        self.write_table(BASELINES, baselines)
        # Last but one: whoever finds all cells of the ledger in it takes the others for written, too.
        self.write_table(CELLS, cells)
        if everything:
            self.write_table(ALL_PREDICTIONS, all_predictions_table([*records, *self.ledger.read_baselines()], truth))
