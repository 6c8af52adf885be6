"""The append-only record of finished cells: the only truth about a run.

A part is one Parquet file with one row, written under a hidden name, flushed to the disk and renamed: a
reader sees it whole or not at all. It carries the identity of its search, so that a part of another one is
told from its own. The tables of a run are views of the ledger and can be made again.
"""

from __future__ import annotations

import fnmatch
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from helo.files import whole_file
from helo.names import ALIGNMENT_LOSS, EPOCH, FITTED_BASELINES, HELO, METRICS, TRAIN_LOSS, UNCONVERGED, VAL

HISTORY_COLUMNS = (TRAIN_LOSS, ALIGNMENT_LOSS, UNCONVERGED, *(VAL + metric for metric in METRICS))
"""What is recorded for every epoch, besides its number."""

_MATRIX = pa.list_(pa.list_(pa.float32()))
_SCORES = pa.struct([(metric, pa.float64()) for metric in METRICS])
_PART = pa.schema(
    [
        ("method", pa.string()),
        ("configuration", pa.int32()),
        ("fold", pa.string()),
        ("params", pa.string()),  # JSON: spaces differ in their parameters, parts of a ledger must not
        ("status", pa.string()),
        ("reason", pa.string()),
        ("epochs", pa.int32()),
        ("best_epoch", pa.int32()),
        ("seconds", pa.float64()),
        ("node", pa.string()),
        ("started", pa.timestamp("us", tz="UTC")),
        ("finished", pa.timestamp("us", tz="UTC")),
        ("val", _SCORES),
        ("test", _SCORES),
        ("history", pa.list_(pa.struct([(EPOCH, pa.int32())] + [(name, pa.float64()) for name in HISTORY_COLUMNS]))),
        ("windows", pa.list_(pa.int64())),
        ("predictions", _MATRIX),
        ("correlation", _MATRIX),
        ("plan", _MATRIX),
    ]
)
_EARLIER = pa.schema(list(_PART)[:-2])
"""Parts that were written before cells kept what they learnt."""

_ARRAYS = {"windows": np.int64, "predictions": np.float32, "correlation": np.float32, "plan": np.float32}
"""Fields of a record that are arrays, and of what."""

SET_ASIDE = "set-aside"
"""Folder in a ledger for parts that could not be read."""

_IDENTITY = b"helo.search"
_NAME = b"helo.cell"
"""Keys of the search's identity and of the cell's name in a part's metadata."""


def part_name(configuration: int, fold_number: int, method: str = HELO) -> str:
    """What the files of a cell are called, without their endings.

    Of a baseline there is one cell per fold, whatever setting it chose there.

    >>> part_name(7, 3), part_name(7, 3, "ridge")
    ('c00007-f0003', 'b-ridge-f0003')
    """
    return f"c{configuration:05d}-f{fold_number:04d}" if method == HELO else f"b-{method}-f{fold_number:04d}"


@dataclass(frozen=True)
class CellRecord:
    """One finished cell, of HeLo or of a baseline.

    - `configuration`: of a baseline, the number of the setting that it chose
    - `params`: the whole configuration, name to value
    - `val`, `test`: the six measures on the inner validation subjects and on the test subject
    - `history`: a row per epoch, with `HISTORY_COLUMNS`
    - `windows`, `predictions`: (W,) row numbers of the test subject's windows, (W, E) distributions
    - `correlation`: (E, E) the learned label correlation; None without label attention
    - `plan`: (n, m) the mean transport plan over the test subject's windows, from the tokens of the main modality to
      the behavioural ones; None without transport
    """

    configuration: int
    fold: str
    params: Mapping[str, Any]
    status: str
    epochs: int
    seconds: float
    node: str
    started: datetime
    finished: datetime
    best_epoch: int | None = None
    reason: str | None = None
    val: Mapping[str, float] | None = None
    test: Mapping[str, float] | None = None
    history: tuple[Mapping[str, float], ...] = ()
    windows: NDArray[np.int64] | None = None
    predictions: NDArray[np.float32] | None = field(default=None, repr=False)
    correlation: NDArray[np.float32] | None = field(default=None, repr=False)
    plan: NDArray[np.float32] | None = field(default=None, repr=False)
    method: str = HELO


class Ledger:
    """A folder of parts; one process writes, any number read.

    `identity`: what tells this search from all others; parts that carry another one are not read.
    """

    def __init__(self, folder: Path, identity: str = "") -> None:
        self.folder = folder
        self.identity = identity

    def append(self, record: CellRecord, fold_number: int) -> Path:
        """Write one finished cell, whole or not at all, and return its file."""
        row = {name: getattr(record, name) for name in _PART.names}
        row["params"] = json.dumps(dict(record.params), sort_keys=True)
        row["history"] = [dict(entry) for entry in record.history]
        row |= {name: row[name].tolist() for name in _ARRAYS if row[name] is not None}
        name = part_name(record.configuration, fold_number, record.method)
        schema = _PART.with_metadata({_IDENTITY: self.identity.encode(), _NAME: name.encode()})
        table = pa.Table.from_pylist([row], schema=schema)
        final = self.folder / f"{name}.parquet"
        # A full disk: half a part helps nobody, and takes room.
        with whole_file(final) as hidden, hidden.open("wb") as file:
            pq.write_table(table, file, compression="zstd", write_page_checksum=True)
            file.flush()
            os.fsync(file.fileno())
        return final

    def parts(self) -> list[Path]:
        """All whole parts of HeLo's cells, in the order configuration, fold."""
        return self._parts("c*-f*.parquet")

    def baseline_parts(self) -> list[Path]:
        """All whole parts of the baselines' cells, in the order method, fold."""
        return self._parts("b-*-f*.parquet")

    def _parts(self, pattern: str) -> list[Path]:
        # By their names: paths are slow to compare, and whoever follows a search asks every few seconds.
        try:
            names = sorted(fnmatch.filter(os.listdir(self.folder), pattern))
        except FileNotFoundError:
            return []
        return [self.folder / name for name in names]

    def read(self) -> list[CellRecord]:
        """Every finished cell of HeLo, in the order configuration, fold; damaged and foreign parts are left out."""
        return self.inspect()[0]

    def params(self, configuration: int) -> dict[str, Any]:
        """The hyperparameters of a configuration that has a finished cell; raise `LookupError` if it has none."""
        for record in self.inspect(sorted(self.folder.glob(f"c{configuration:05d}-f*.parquet")))[0]:
            return dict(record.params)
        raise LookupError(f"configuration {configuration} has no finished cell")

    def read_baselines(self) -> list[CellRecord]:
        """Every finished cell of a baseline, in the order of `FITTED_BASELINES`, then fold."""
        records = self.inspect(self.baseline_parts())[0]
        return sorted(records, key=lambda record: FITTED_BASELINES.index(record.method))

    def inspect(self, parts: Sequence[Path] | None = None) -> tuple[list[CellRecord], dict[Path, str]]:
        """The cells of some parts (HeLo's, if none are named), and what is wrong with each part that holds none."""
        records: list[CellRecord] = []
        faults: dict[Path, str] = {}
        for path in self.parts() if parts is None else parts:
            try:
                records.append(self._read_part(path))
            except (OSError, ValueError, TypeError, LookupError, OverflowError, pa.ArrowException) as error:
                faults[path] = str(error).splitlines()[0] if str(error) else type(error).__name__
        return records, faults

    def set_aside(self, path: Path) -> Path:
        """Move a part to where it is not read; nothing of a user's is deleted."""
        folder = self.folder / SET_ASIDE
        folder.mkdir(exist_ok=True)
        target = folder / path.name
        number = 1
        while target.exists():
            number += 1
            target = folder / f"{path.stem}-{number}.parquet"
        os.replace(path, target)
        return target

    def _read_part(self, path: Path) -> CellRecord:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            metadata = file.schema_arrow.metadata or {}
            if file.schema_arrow.remove_metadata() not in (_PART, _EARLIER):
                raise ValueError("is no part of a ledger")
            if self.identity and metadata.get(_IDENTITY) != self.identity.encode():
                raise ValueError("is of another search")
            if metadata.get(_NAME) != path.stem.encode():
                raise ValueError(f"holds another cell ({metadata.get(_NAME, b'unknown').decode()})")
            rows = file.read().to_pylist()
        if len(rows) != 1:
            raise ValueError(f"has {len(rows)} rows instead of one")
        row = rows[0]
        if row["method"] != HELO and row["method"] not in FITTED_BASELINES:
            raise ValueError(f"is of an unknown method ({row['method']})")
        row["params"] = json.loads(row["params"])
        row["history"] = tuple(row["history"] or ())
        row |= {name: np.asarray(row[name], kind) for name, kind in _ARRAYS.items() if row.get(name) is not None}
        return CellRecord(**row)
