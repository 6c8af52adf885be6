"""The append-only record of finished cells: the only truth about a run.

A part is one Parquet file with one row, written under a hidden name, flushed to the disk and renamed: a
reader sees it whole or not at all. The tables of a run are views of the ledger and can be made again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from helo.names import ALIGNMENT_LOSS, COMPLETED, EPOCH, METRICS, TRAIN_LOSS, UNCONVERGED, VAL

HISTORY_COLUMNS = (TRAIN_LOSS, ALIGNMENT_LOSS, UNCONVERGED, *(VAL + metric for metric in METRICS))
"""What is recorded for every epoch, besides its number."""

_SCORES = pa.struct([(metric, pa.float64()) for metric in METRICS])
_PART = pa.schema(
    [
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
        ("predictions", pa.list_(pa.list_(pa.float32()))),
    ]
)


@dataclass(frozen=True)
class CellRecord:
    """One finished cell.

    - `params`: the whole configuration, name to value
    - `val`, `test`: the six measures on the inner validation subjects and on the test subject
    - `history`: a row per epoch, with `HISTORY_COLUMNS`
    - `windows`, `predictions`: (W,) row numbers of the test subject's windows, (W, E) distributions
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

    @property
    def completed(self) -> bool:
        """Whether the cell ran to its end and has scores."""
        return self.status == COMPLETED


class Ledger:
    """A folder of parts; one process writes, any number read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def append(self, record: CellRecord, fold_number: int) -> Path:
        """Write one finished cell, whole or not at all, and return its file."""
        name = f"c{record.configuration:05d}-f{fold_number:04d}.parquet"
        row = {name: getattr(record, name) for name in _PART.names}
        row["params"] = json.dumps(dict(record.params), sort_keys=True)
        row["history"] = [dict(entry) for entry in record.history]
        if record.windows is not None:
            row["windows"] = record.windows.tolist()
        if record.predictions is not None:
            row["predictions"] = record.predictions.tolist()
        hidden = self.folder / f".{name}"
        with hidden.open("wb") as file:
            pq.write_table(pa.Table.from_pylist([row], schema=_PART), file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        final = self.folder / name
        os.replace(hidden, final)
        return final

    def parts(self) -> list[Path]:
        """All whole parts, in the order configuration, fold."""
        return sorted(path for path in self.folder.glob("c*.parquet"))

    def read(self) -> list[CellRecord]:
        """Every finished cell, in the order configuration, fold."""
        return [self._read_part(path) for path in self.parts()]

    @staticmethod
    def _read_part(path: Path) -> CellRecord:
        row = pq.read_table(path, schema=_PART).to_pylist()[0]
        row["params"] = json.loads(row["params"])
        row["history"] = tuple(row["history"] or ())
        if row["windows"] is not None:
            row["windows"] = np.asarray(row["windows"], dtype=np.int64)
        if row["predictions"] is not None:
            row["predictions"] = np.asarray(row["predictions"], dtype=np.float32)
        return CellRecord(**row)
