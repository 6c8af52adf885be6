"""The tables of a run, as views of its ledger: pure functions from records to DataFrames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from helo.ledger import HISTORY_COLUMNS, CellRecord
from helo.names import (
    BEST_EPOCH,
    COLUMN,
    CONFIGURATION,
    EPOCH,
    EPOCHS_RUN,
    FINISHED,
    FOLD,
    KIND,
    LABEL_CORRELATION,
    METHOD,
    METRICS,
    NODE,
    PARAM,
    PREDICTED,
    REASON,
    ROW,
    SECONDS,
    STARTED,
    STATUS,
    TEST,
    TRANSPORT_PLAN,
    TRUE,
    VAL,
    VALUE,
    WINDOW,
)
from helo.selection import best_overall, best_per_fold


def cells_table(records: Sequence[CellRecord]) -> pd.DataFrame:
    """A row per cell: ``cells.parquet``."""
    params = sorted({name for record in records for name in record.params})
    plain = (STATUS, REASON, EPOCHS_RUN, BEST_EPOCH, SECONDS, NODE, STARTED, FINISHED)
    columns = [CONFIGURATION, FOLD, *(PARAM + name for name in params)]
    columns += [side + metric for side in (VAL, TEST) for metric in METRICS] + list(plain)
    rows = []
    for record in records:
        row: dict[str, Any] = {CONFIGURATION: record.configuration, FOLD: record.fold}
        row |= {PARAM + name: record.params.get(name) for name in params}
        row |= {VAL + metric: (record.val or {}).get(metric, np.nan) for metric in METRICS}
        row |= {TEST + metric: (record.test or {}).get(metric, np.nan) for metric in METRICS}
        row |= {name: getattr(record, name) for name in plain}
        rows.append(row)
    table = pd.DataFrame(rows, columns=columns)
    return table.astype({BEST_EPOCH: "Int64", REASON: "string"})


def epochs_table(records: Sequence[CellRecord]) -> pd.DataFrame:
    """A row per cell and epoch: ``epochs.parquet``."""
    rows = [
        {CONFIGURATION: record.configuration, FOLD: record.fold, **entry}
        for record in records
        for entry in record.history
    ]
    table = pd.DataFrame(rows, columns=[CONFIGURATION, FOLD, EPOCH, *HISTORY_COLUMNS])
    # Where every cell failed before its first epoch there are no rows that would say so.
    return table.astype({CONFIGURATION: "int64", EPOCH: "int64", **dict.fromkeys(HISTORY_COLUMNS, "float64")})


def predictions_table(
    records: Sequence[CellRecord], cells: pd.DataFrame, truth: pd.DataFrame, objective: str, folds: int
) -> pd.DataFrame:
    """A row per test window of the selected configurations: ``predictions.parquet``.

    `truth` has a row per window of the dataset, in its order: ``group`` and ``true_<emotion>``.
    """
    return all_predictions_table(_selected(records, cells, objective, folds), truth).drop(columns=METHOD)


def _selected(
    records: Sequence[CellRecord], cells: pd.DataFrame, objective: str, folds: int
) -> list[CellRecord]:  # fmt: skip
    """The cells of the configurations that are best in their fold or over all folds."""
    wanted = set(best_per_fold(cells, objective).items())
    overall = best_overall(cells, objective, folds)
    wanted |= {(fold, overall) for fold in cells[FOLD].unique() if overall is not None}
    return [record for record in records if (record.fold, record.configuration) in wanted]


def explanations_table(
    records: Sequence[CellRecord], cells: pd.DataFrame, objective: str, folds: int
) -> pd.DataFrame:  # fmt: skip
    """What the selected configurations learnt: ``explanations.parquet``.

    Matrices in long form, of the cells of `predictions_table`: a row per ``configuration``, ``fold``, ``kind``,
    ``row`` and ``column``, with its ``value``. Kinds are ``label_correlation`` (E × E, emotions in the dataset's order)
    and ``transport_plan`` (main modality's tokens × behavioural tokens); a cell that learnt no such thing, or was
    recorded by a version that did not keep it, has no rows of that kind.
    """
    parts = [
        (record, kind, matrix)
        for record in _selected(records, cells, objective, folds)
        for kind, matrix in ((LABEL_CORRELATION, record.correlation), (TRANSPORT_PLAN, record.plan))
        if matrix is not None
    ]
    sizes = [matrix.size for _, _, matrix in parts]
    places = [np.indices(matrix.shape, dtype=np.int32).reshape(2, -1) for _, _, matrix in parts]
    rows, columns = np.concatenate([np.zeros((2, 0), dtype=np.int32), *places], axis=1)
    return pd.DataFrame(
        {
            CONFIGURATION: np.repeat(np.array([record.configuration for record, _, _ in parts], dtype=np.int64), sizes),
            FOLD: np.repeat(np.array([record.fold for record, _, _ in parts], dtype=object), sizes),
            KIND: np.repeat(np.array([kind for _, kind, _ in parts], dtype=object), sizes),
            ROW: rows,
            COLUMN: columns,
            VALUE: np.concatenate([np.zeros(0, dtype=np.float32), *(matrix.ravel() for _, _, matrix in parts)]),
        }
    )


def all_predictions_table(records: Sequence[CellRecord], truth: pd.DataFrame) -> pd.DataFrame:
    """A row per cell and test window, of HeLo and the baselines: ``all_predictions.parquet``."""
    emotions = [column.removeprefix(TRUE) for column in truth.columns if column.startswith(TRUE)]
    parts = []
    for record in records:
        if record.predictions is None or record.windows is None:
            continue
        part = truth.iloc[record.windows].reset_index(drop=True)
        part.insert(0, WINDOW, record.windows)
        part.insert(0, FOLD, record.fold)
        part.insert(0, CONFIGURATION, record.configuration)
        part.insert(0, METHOD, record.method)
        predicted = pd.DataFrame(record.predictions, columns=[PREDICTED + emotion for emotion in emotions])
        parts.append(pd.concat([part, predicted], axis=1))
    if parts:
        return pd.concat(parts, ignore_index=True)
    columns = [METHOD, CONFIGURATION, FOLD, WINDOW, *truth.columns, *(PREDICTED + emotion for emotion in emotions)]
    return pd.DataFrame(columns=columns)
