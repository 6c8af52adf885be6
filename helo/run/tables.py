"""The tables of a run, as views of its ledger: pure functions from rows and records to DataFrames."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from helo.metrics import METRICS
from helo.names import Column, Explanation, Prefix
from helo.run.ledger import HISTORY_COLUMNS, CellRecord
from helo.run.selection import best_overall, best_per_fold

CELL_COLUMNS: Final = (
    *(
        Column.CONFIGURATION,
        Column.FOLD,
        Column.PARAMS,
        Column.STATUS,
        Column.REASON,
        Column.EPOCHS,
        Column.BEST_EPOCH,
        Column.SECONDS,
        Column.NODE,
        Column.STARTED,
        Column.FINISHED,
    ),
    *(Prefix.VAL.removesuffix("_"), Prefix.TEST.removesuffix("_")),
)
"""The ledger's columns that `cells_table` needs."""

EPOCH_COLUMNS: Final = (Column.CONFIGURATION, Column.FOLD, Column.HISTORY)
"""Those that `epochs_table` needs."""


def cells_table(rows: pa.Table) -> pd.DataFrame:
    """A row per cell: ``cells.parquet``. `rows`: the ledger's, with `CELL_COLUMNS`."""
    texts = rows[Column.PARAMS].combine_chunks()
    if not pa.types.is_dictionary(texts.type):
        texts = texts.dictionary_encode()
    # As many as configurations, not as cells.
    drawn = [json.loads(text) for text in texts.dictionary.to_pylist()]
    params = sorted({name for one in drawn for name in one})
    table = pd.DataFrame(
        {
            Column.CONFIGURATION: rows[Column.CONFIGURATION].to_numpy().astype(np.int64),
            Column.FOLD: _words(rows[Column.FOLD]),
        }
    )
    values = pd.DataFrame(
        [{Prefix.PARAM + name: one.get(name) for name in params} for one in drawn],
        columns=[Prefix.PARAM + name for name in params],
    )
    table = pd.concat([table, values.take(texts.indices.to_numpy()).reset_index(drop=True)], axis=1)
    for side in (Prefix.VAL, Prefix.TEST):
        scores = rows[side.removesuffix("_")]
        table = table.assign(**{side + metric: pc.struct_field(scores, metric).to_numpy() for metric in METRICS})
    plain = {
        Column.STATUS: _words(rows[Column.STATUS]),
        Column.REASON: _words(rows[Column.REASON]).astype("string"),
        Column.EPOCHS: rows[Column.EPOCHS].to_numpy().astype(np.int64),
        Column.BEST_EPOCH: pd.array(rows[Column.BEST_EPOCH].to_pandas(integer_object_nulls=True), dtype="Int64"),
        Column.SECONDS: rows[Column.SECONDS].to_numpy(),
        Column.NODE: _words(rows[Column.NODE]),
        Column.STARTED: pd.Series(rows[Column.STARTED].to_pandas()).astype("datetime64[ns, UTC]"),
        Column.FINISHED: pd.Series(rows[Column.FINISHED].to_pandas()).astype("datetime64[ns, UTC]"),
    }
    return table.assign(**plain)


def _words(column: pa.ChunkedArray) -> pd.Series:
    return pd.Series(column.to_pandas(), dtype=object)


def epochs_table(rows: pa.Table) -> pd.DataFrame:
    """A row per cell and epoch: ``epochs.parquet``. `rows`: the ledger's, with `HISTORY`."""
    history = rows[Column.HISTORY].combine_chunks()
    lengths = pc.fill_null(pc.list_value_length(history), 0).to_numpy()
    entries = history.flatten()
    table: dict[str, Any] = {
        Column.CONFIGURATION: np.repeat(rows[Column.CONFIGURATION].to_numpy().astype(np.int64), lengths),
        Column.FOLD: np.repeat(_words(rows[Column.FOLD]).to_numpy(), lengths),
        Column.EPOCH: entries.field(Column.EPOCH).to_numpy(zero_copy_only=False).astype(np.int64),
    }
    table |= {name: entries.field(name).to_numpy(zero_copy_only=False) for name in HISTORY_COLUMNS}
    return pd.DataFrame(table).astype(dict.fromkeys(HISTORY_COLUMNS, "float64"))


def selected(cells: pd.DataFrame, objective: str, folds: int) -> set[tuple[int, str]]:
    """The cells (configuration, fold) of the configurations that are best in their fold or over all folds."""
    wanted = {(configuration, fold) for fold, configuration in best_per_fold(cells, objective).items()}
    overall = best_overall(cells, objective, folds)
    return wanted | {(overall, fold) for fold in cells[Column.FOLD].unique() if overall is not None}


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
        for kind, matrix in (
            (Explanation.LABEL_CORRELATION, record.correlation),
            (Explanation.TRANSPORT_PLAN, record.plan),
        )
        if matrix is not None
    ]
    sizes = [matrix.size for _, _, matrix in parts]
    places = [np.indices(matrix.shape, dtype=np.int32).reshape(2, -1) for _, _, matrix in parts]
    rows, columns = np.concatenate([np.zeros((2, 0), dtype=np.int32), *places], axis=1)
    return pd.DataFrame(
        {
            Column.CONFIGURATION: np.repeat(
                np.array([record.configuration for record, _, _ in parts], dtype=np.int64), sizes
            ),
            Column.FOLD: np.repeat(np.array([record.fold for record, _, _ in parts], dtype=object), sizes),
            Column.KIND: np.repeat(np.array([kind for _, kind, _ in parts], dtype=object), sizes),
            Column.ROW: rows,
            Column.COLUMN: columns,
            Column.VALUE: np.concatenate([np.zeros(0, dtype=np.float32), *(matrix.ravel() for _, _, matrix in parts)]),
        }
    )


def predictions_table(records: Sequence[CellRecord], truth: pd.DataFrame) -> pd.DataFrame:
    """A row per cell and test window, of HeLo or baselines.

    ``predictions.parquet`` has the `selected` cells' (without ``method``), ``all_predictions.parquet`` those of all.
    `truth` has a row per window of the dataset, in its order: ``group`` and ``true_<emotion>``.
    """
    emotions = [column.removeprefix(Prefix.TRUE) for column in truth.columns if column.startswith(Prefix.TRUE)]
    parts = []
    for record in records:
        if record.predictions is None or record.windows is None:
            continue
        part = truth.iloc[record.windows].reset_index(drop=True)
        part.insert(0, Column.WINDOW, record.windows)
        part.insert(0, Column.FOLD, record.fold)
        part.insert(0, Column.CONFIGURATION, record.configuration)
        part.insert(0, Column.METHOD, record.method)
        predicted = pd.DataFrame(record.predictions, columns=[Prefix.PREDICTED + emotion for emotion in emotions])
        parts.append(pd.concat([part, predicted], axis=1))
    if parts:
        return pd.concat(parts, ignore_index=True)
    columns = [
        Column.METHOD,
        Column.CONFIGURATION,
        Column.FOLD,
        Column.WINDOW,
        *truth.columns,
        *(Prefix.PREDICTED + emotion for emotion in emotions),
    ]
    return pd.DataFrame(columns=columns)
