"""Records of finished cells and their form in files."""

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
from helo.names import FITTED_BASELINES, Column, Fault, Method, Prefix, Status

HISTORY_COLUMNS = (
    Column.TRAIN_LOSS,
    Column.ALIGNMENT_LOSS,
    Column.UNCONVERGED,
    *(Prefix.VAL + metric for metric in METRICS),
)
"""Columns recorded for each epoch, besides its number."""

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
        ("test_by_group", _SCORES),
        ("first_losses", pa.list_(pa.float64())),
        (Column.OUT_OF_FOLD, _MATRIX),
        (Column.FAULT, pa.string()),
    ]
)
"""Schema of a part."""

OPTIONAL = frozenset({"correlation", "plan", "test_by_group", "first_losses", Column.OUT_OF_FOLD, Column.FAULT})
"""Columns that files of earlier versions may lack. Their values are null then."""

ROW = PART.append(pa.field(Column.FOLD_NUMBER, pa.int32()))
"""Schema of a pack, and of the tables that the ledger returns."""

RECORD_COLUMNS = tuple(name for name in PART.names if name != Column.OUT_OF_FOLD)
"""Columns of `PART` that `records_of` reads. Out-of-fold predictions are by far the largest, see `Ledger.find_rows`."""

SET_ASIDE = "set-aside"
"""Folder in a ledger for unreadable files."""

_ARRAYS = {
    "windows": np.int64,
    "predictions": np.float32,
    "correlation": np.float32,
    "plan": np.float32,
    "out_of_fold": np.float32,
}
"""Fields of a record that are arrays, with their types."""


def part_name(configuration: int, fold_number: int, method: str = Method.HELO) -> str:
    """Return the file name of a cell, without its suffix.

    A baseline has one cell per fold, whichever configuration it selects there.

    >>> part_name(7, 3), part_name(7, 3, "ridge")
    ('c00007-f0003', 'b-ridge-f0003')
    """
    return f"c{configuration:05d}-f{fold_number:04d}" if method == Method.HELO else f"b-{method}-f{fold_number:04d}"


@dataclass(frozen=True)
class CellRecord:
    """A finished cell of HeLo or of a baseline.

    Attributes
    ----------
    configuration : int
        Number of the configuration. For a baseline, the one that it selected.
    fold : str
        Test subject.
    params : mapping
        All hyperparameters by name.
    status : str
        A `helo.names.Status`.
    epochs : int
        Number of epochs, summed over members.
    best_epoch : int or None
        Epoch whose weights are used.
    seconds : float
        Duration of the cell.
    node : str
        Host name of the node that ran the cell.
    started, finished : datetime
        Times in UTC.
    reason : str or None
        Reason of a failure.
    fault : str or None
        A `helo.names.Fault` of a failed cell. Records of earlier versions have None, see `is_lost`.
    val, test : mapping or None
        The six metrics on the inner validation subjects (out-of-fold) and on the test subject.
    history : tuple of mapping
        One row per epoch with `HISTORY_COLUMNS`: joint scores of the members of the cell.
    first_losses : tuple of float
        Out-of-fold loss by epoch of the members that are compared before the rest is trained. Empty for a baseline.
    windows : array (W,) or None
        Row numbers of the test subject's windows.
    predictions : array (W, E) or None
        Predicted distributions of these windows.
    correlation : array (E, E) or None
        Learned label correlation. None without label attention.
    plan : array (n, m) or None
        Mean transport plan over the test subject's windows, from the tokens of the main modality to the behavioural
        ones. None without transport.
    method : str
        A `helo.names.Method`.
    test_by_group : mapping or None
        Like `test`, but after averaging the windows in each group. None without groups to average.
    out_of_fold : array (V, E) or None
        Out-of-fold predictions of the inner validation subjects' windows, in the order of the dataset. Only cells that
        an ensemble may choose have them (see `helo.run.candidates`), and only until they are written: records that are
        read from a ledger have None.
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
    first_losses: tuple[float, ...] = ()
    windows: NDArray[np.int64] | None = None
    predictions: NDArray[np.float32] | None = field(default=None, repr=False)
    correlation: NDArray[np.float32] | None = field(default=None, repr=False)
    plan: NDArray[np.float32] | None = field(default=None, repr=False)
    method: str = Method.HELO
    test_by_group: Mapping[str, float] | None = None
    out_of_fold: NDArray[np.float32] | None = field(default=None, repr=False)
    fault: str | None = None


_EARLIER = ("out of memory", "the worker process died")
"""First words of the reasons with which earlier versions recorded faults of the machine."""


def is_lost(status: str, fault: str | None, reason: str | None) -> bool:
    """Return whether a cell failed because of the machine, and may succeed when it runs again.

    Parameters
    ----------
    status : str
        A `helo.names.Status`.
    fault : str or None
        A `helo.names.Fault`; None in records of earlier versions.
    reason : str or None
        Reason of the failure.

    Returns
    -------
    bool

    Examples
    --------
    >>> is_lost("failed", "machine", "out of memory: …"), is_lost("failed", "cell", "the loss is not finite")
    (True, False)
    """
    if status != Status.FAILED:
        return False
    return fault == Fault.MACHINE if fault else (reason or "").startswith(_EARLIER)


def runs_again(status: str, fault: str | None, reason: str | None, retry_failed: bool) -> bool:
    """Return whether a cell runs again on resume: a lost one, see `is_lost`, or with `retry_failed` any that failed."""
    return is_lost(status, fault, reason) or (retry_failed and status == Status.FAILED)


def is_readable(found: pa.Schema, schema: pa.Schema) -> bool:
    """Return whether a file has all columns of a schema except for some of `OPTIONAL`, and no others."""
    expected = pa.schema([field for field in schema if field.name in found.names or field.name not in OPTIONAL])
    return bool(found.equals(expected))


def rows_of(records: Iterable[tuple[int, CellRecord]]) -> pa.Table:
    """Return a table with the columns of `ROW` from pairs of fold number and record."""
    return pa.Table.from_pylist([_row(record) | {Column.FOLD_NUMBER: number} for number, record in records], schema=ROW)


def records_of(rows: pa.Table) -> list[CellRecord]:
    """Return the records of a table with `RECORD_COLUMNS`; raise `ValueError` for an invalid row."""
    return [_record(row) for row in rows.select(RECORD_COLUMNS).to_pylist()]


def matrix_of(rows: pa.Table, column: str, row: int) -> NDArray[np.float32] | None:
    """Return a matrix in one row of a table of the ledger, or None if it has none. No Python lists are made."""
    found = rows[column][row]
    if not found.is_valid:
        return None
    values = found.values.flatten().to_numpy(zero_copy_only=False)
    return np.asarray(values, dtype=np.float32).reshape(len(found.values), -1)


def _row(record: CellRecord) -> dict[str, Any]:
    row = {name: getattr(record, name) for name in PART.names}
    row["params"] = json.dumps(dict(record.params), sort_keys=True)
    row["history"] = [dict(entry) for entry in record.history]
    row["first_losses"] = list(record.first_losses)
    return row | {name: row[name].tolist() for name in _ARRAYS if row[name] is not None}


def _record(row: dict[str, Any]) -> CellRecord:
    if row["method"] != Method.HELO and row["method"] not in FITTED_BASELINES:
        raise ValueError(f"is of an unknown method ({row['method']})")
    row["params"] = json.loads(row["params"])
    row["history"] = tuple(row["history"] or ())
    row["first_losses"] = tuple(row["first_losses"] or ())
    row |= {name: np.asarray(row[name], kind) for name, kind in _ARRAYS.items() if row.get(name) is not None}
    return CellRecord(**row)
