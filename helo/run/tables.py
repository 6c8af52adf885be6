"""The tables of a run, as views of its ledger: pure functions from rows and records to DataFrames."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from helo.names import (
    BEST_EPOCH,
    COLUMN,
    CONFIGURATION,
    EPOCH,
    EPOCHS_RUN,
    FINISHED,
    FOLD,
    HISTORY,
    KIND,
    LABEL_CORRELATION,
    METHOD,
    METRICS,
    NODE,
    PARAM,
    PARAMS,
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
from helo.run.ledger import HISTORY_COLUMNS, CellRecord
from helo.run.selection import best_overall, best_per_fold

CELL_COLUMNS: Final = (
    *(CONFIGURATION, FOLD, PARAMS, STATUS, REASON, EPOCHS_RUN, BEST_EPOCH, SECONDS, NODE, STARTED, FINISHED),
    *(VAL.removesuffix("_"), TEST.removesuffix("_")),
)
"""The ledger's columns that `cells_table` needs."""

EPOCH_COLUMNS: Final = (CONFIGURATION, FOLD, HISTORY)
"""Those that `epochs_table` needs."""


def cells_table(rows: pa.Table) -> pd.DataFrame:
    """A row per cell: ``cells.parquet``. `rows`: the ledger's, with `CELL_COLUMNS`."""
    texts = rows[PARAMS].combine_chunks()
    if not pa.types.is_dictionary(texts.type):
        texts = texts.dictionary_encode()
    # As many as configurations, not as cells.
    drawn = [json.loads(text) for text in texts.dictionary.to_pylist()]
    params = sorted({name for one in drawn for name in one})
    table = pd.DataFrame({CONFIGURATION: rows[CONFIGURATION].to_numpy().astype(np.int64), FOLD: _words(rows[FOLD])})
    values = pd.DataFrame(
        [{PARAM + name: one.get(name) for name in params} for one in drawn], columns=[PARAM + name for name in params]
    )
    table = pd.concat([table, values.take(texts.indices.to_numpy()).reset_index(drop=True)], axis=1)
    for side in (VAL, TEST):
        scores = rows[side.removesuffix("_")]
        table = table.assign(**{side + metric: pc.struct_field(scores, metric).to_numpy() for metric in METRICS})
    plain = {
        STATUS: _words(rows[STATUS]),
        REASON: _words(rows[REASON]).astype("string"),
        EPOCHS_RUN: rows[EPOCHS_RUN].to_numpy().astype(np.int64),
        BEST_EPOCH: pd.array(rows[BEST_EPOCH].to_pandas(integer_object_nulls=True), dtype="Int64"),
        SECONDS: rows[SECONDS].to_numpy(),
        NODE: _words(rows[NODE]),
        STARTED: pd.Series(rows[STARTED].to_pandas()).astype("datetime64[ns, UTC]"),
        FINISHED: pd.Series(rows[FINISHED].to_pandas()).astype("datetime64[ns, UTC]"),
    }
    return table.assign(**plain)


def _words(column: pa.ChunkedArray) -> pd.Series:
    return pd.Series(column.to_pandas(), dtype=object)


def epochs_table(rows: pa.Table) -> pd.DataFrame:
    """A row per cell and epoch: ``epochs.parquet``. `rows`: the ledger's, with `HISTORY`."""
    history = rows[HISTORY].combine_chunks()
    lengths = pc.fill_null(pc.list_value_length(history), 0).to_numpy()
    entries = history.flatten()
    table = {
        CONFIGURATION: np.repeat(rows[CONFIGURATION].to_numpy().astype(np.int64), lengths),
        FOLD: np.repeat(_words(rows[FOLD]).to_numpy(), lengths),
        EPOCH: entries.field(EPOCH).to_numpy(zero_copy_only=False).astype(np.int64),
    }
    table |= {name: entries.field(name).to_numpy(zero_copy_only=False) for name in HISTORY_COLUMNS}
    return pd.DataFrame(table).astype(dict.fromkeys(HISTORY_COLUMNS, "float64"))


def selected(cells: pd.DataFrame, objective: str, folds: int) -> set[tuple[int, str]]:
    """The cells (configuration, fold) of the configurations that are best in their fold or over all folds."""
    wanted = {(configuration, fold) for fold, configuration in best_per_fold(cells, objective).items()}
    overall = best_overall(cells, objective, folds)
    return wanted | {(overall, fold) for fold in cells[FOLD].unique() if overall is not None}


def explanations_table(records: Sequence[CellRecord]) -> pd.DataFrame:
    """What the selected configurations learnt: ``explanations.parquet``. `records`: of the `selected` cells.

    Matrices in long form: a row per ``configuration``, ``fold``, ``kind``, ``row`` and ``column``, with its ``value``.
    Kinds are ``label_correlation`` (E × E, emotions in the dataset's order) and ``transport_plan`` (main modality's
    tokens × behavioural tokens); a cell that learnt no such thing, or was recorded by a version that did not keep it,
    has no rows of that kind.
    """
    parts = [
        (record, kind, matrix)
        for record in records
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


def predictions_table(records: Sequence[CellRecord], truth: pd.DataFrame) -> pd.DataFrame:
    """A row per cell and test window, of HeLo or baselines.

    ``predictions.parquet`` has the `selected` cells' (without ``method``), ``all_predictions.parquet`` those of all.
    `truth` has a row per window of the dataset, in its order: ``group`` and ``true_<emotion>``.
    """
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
