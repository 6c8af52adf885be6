"""What is recorded of a finished cell, and how it stands in a file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from helo.metrics import METRICS
from helo.names import FITTED_BASELINES, Column, Method, Prefix

HISTORY_COLUMNS = (
    Column.TRAIN_LOSS,
    Column.ALIGNMENT_LOSS,
    Column.UNCONVERGED,
    *(Prefix.VAL + metric for metric in METRICS),
)
"""What is recorded for every epoch, besides its number."""

_MATRIX = pa.list_(pa.list_(pa.float32()))
_SCORES = pa.struct([(metric, pa.float64()) for metric in METRICS])
PART = pa.schema(
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
        (
            "history",
            pa.list_(pa.struct([(Column.EPOCH, pa.int32())] + [(name, pa.float64()) for name in HISTORY_COLUMNS])),
        ),
        ("windows", pa.list_(pa.int64())),
        ("predictions", _MATRIX),
        ("correlation", _MATRIX),
        ("plan", _MATRIX),
    ]
)
"""The row of a part."""

EARLIER = pa.schema(list(PART)[:-2])
"""Parts that were written before cells kept what they learnt."""

ROW = PART.append(pa.field(Column.FOLD_NUMBER, pa.int32()))
"""A row of a pack, and of what the ledger reads."""

SET_ASIDE = "set-aside"
"""Folder in a ledger for files that could not be read."""

_ARRAYS = {"windows": np.int64, "predictions": np.float32, "correlation": np.float32, "plan": np.float32}
"""Fields of a record that are arrays, and of what."""


def part_name(configuration: int, fold_number: int, method: str = Method.HELO) -> str:
    """What the files of a cell are called, without their endings.

    Of a baseline there is one cell per fold, whatever setting it chose there.

    >>> part_name(7, 3), part_name(7, 3, "ridge")
    ('c00007-f0003', 'b-ridge-f0003')
    """
    return f"c{configuration:05d}-f{fold_number:04d}" if method == Method.HELO else f"b-{method}-f{fold_number:04d}"


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
    method: str = Method.HELO


def rows_of(records: Iterable[tuple[int, CellRecord]]) -> pa.Table:
    """Pairs of fold number and record as a table with the columns of `ROW`."""
    return pa.Table.from_pylist([_row(record) | {Column.FOLD_NUMBER: number} for number, record in records], schema=ROW)


def records_of(rows: pa.Table) -> list[CellRecord]:
    """The records of a table with the columns of `PART`; raise `ValueError` for what is none."""
    return [_record(row) for row in rows.select(PART.names).to_pylist()]


def _row(record: CellRecord) -> dict[str, Any]:
    row = {name: getattr(record, name) for name in PART.names}
    row["params"] = json.dumps(dict(record.params), sort_keys=True)
    row["history"] = [dict(entry) for entry in record.history]
    return row | {name: row[name].tolist() for name in _ARRAYS if row[name] is not None}


def _record(row: dict[str, Any]) -> CellRecord:
    if row["method"] != Method.HELO and row["method"] not in FITTED_BASELINES:
        raise ValueError(f"is of an unknown method ({row['method']})")
    row["params"] = json.loads(row["params"])
    row["history"] = tuple(row["history"] or ())
    row |= {name: np.asarray(row[name], kind) for name, kind in _ARRAYS.items() if row.get(name) is not None}
    return CellRecord(**row)
