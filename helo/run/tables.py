"""Tables of a run, computed from its ledger by pure functions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from helo.metrics import METRICS
from helo.names import Column, Explanation, Prefix
from helo.run.ensemble.fold_ensembles import FoldEnsemble
from helo.run.ledger import HISTORY_COLUMNS, CellRecord

CELL_COLUMNS: Final = (
    Column.CONFIGURATION,
    Column.FOLD,
    Column.PARAMS,
    Column.STATUS,
    Column.REASON,
    Column.FAULT,
    Column.EPOCHS,
    Column.BEST_EPOCH,
    Column.SECONDS,
    Column.NODE,
    Column.STARTED,
    Column.FINISHED,
    Prefix.VAL.removesuffix("_"),
    Prefix.TEST.removesuffix("_"),
    Prefix.TEST_BY_GROUP.removesuffix("_"),
)
"""Columns of the ledger that `cells_table` needs."""

EPOCH_COLUMNS: Final = (Column.CONFIGURATION, Column.FOLD, Column.HISTORY)
"""Columns of the ledger that `epochs_table` needs."""


def cells_table(rows: pa.Table) -> pd.DataFrame:
    """Return ``cells.parquet``: a row per cell of HeLo.

    Parameters
    ----------
    rows : Table
        Rows of the ledger, with `CELL_COLUMNS`.

    Returns
    -------
    DataFrame
        Cells in the order of `rows`, with hyperparameters (``param_…``) and scores (``val_…``, ``test_…``). If a cell
        has scores by group, there are also columns ``test_by_group_…``.
    """
    texts = rows[Column.PARAMS].combine_chunks()
    if not pa.types.is_dictionary(texts.type):
        texts = texts.dictionary_encode()
    # Parse the hyperparameters once for each configuration, not for each cell.
    configurations = [json.loads(text) for text in texts.dictionary.to_pylist()]
    names = sorted({name for params in configurations for name in params})
    table = pd.DataFrame(
        {
            Column.CONFIGURATION: rows[Column.CONFIGURATION].to_numpy().astype(np.int64),
            Column.FOLD: _strings(rows[Column.FOLD]),
        }
    )
    values = pd.DataFrame(
        [{Prefix.PARAM + name: params.get(name) for name in names} for params in configurations],
        columns=[Prefix.PARAM + name for name in names],
    )
    table = pd.concat([table, values.take(texts.indices.to_numpy()).reset_index(drop=True)], axis=1)
    for side in (Prefix.VAL, Prefix.TEST, Prefix.TEST_BY_GROUP):
        scores = rows[side.removesuffix("_")]
        if side == Prefix.TEST_BY_GROUP and scores.null_count == len(scores):
            continue
        table = table.assign(**{side + metric: pc.struct_field(scores, metric).to_numpy() for metric in METRICS})
    others = {
        Column.STATUS: _strings(rows[Column.STATUS]),
        Column.REASON: _strings(rows[Column.REASON]).astype("string"),
        Column.FAULT: _strings(rows[Column.FAULT]).astype("string"),
        Column.EPOCHS: rows[Column.EPOCHS].to_numpy().astype(np.int64),
        Column.BEST_EPOCH: pd.array(rows[Column.BEST_EPOCH].to_pandas(integer_object_nulls=True), dtype="Int64"),
        Column.SECONDS: rows[Column.SECONDS].to_numpy(),
        Column.NODE: _strings(rows[Column.NODE]),
        Column.STARTED: pd.Series(rows[Column.STARTED].to_pandas()).astype("datetime64[ns, UTC]"),
        Column.FINISHED: pd.Series(rows[Column.FINISHED].to_pandas()).astype("datetime64[ns, UTC]"),
    }
    return table.assign(**others)


def _strings(column: pa.ChunkedArray) -> pd.Series:
    """Return a column of strings as Python objects."""
    return pd.Series(column.to_pandas(), dtype=object)


def epochs_table(rows: pa.Table) -> pd.DataFrame:
    """Return ``epochs.parquet``: a row per cell and epoch.

    Parameters
    ----------
    rows : Table
        Rows of the ledger, with `EPOCH_COLUMNS`.

    Returns
    -------
    DataFrame
        Configuration, fold and epoch with the columns of the history.
    """
    history = rows[Column.HISTORY].combine_chunks()
    lengths = pc.fill_null(pc.list_value_length(history), 0).to_numpy()
    entries = history.flatten()
    table: dict[str, Any] = {
        Column.CONFIGURATION: np.repeat(rows[Column.CONFIGURATION].to_numpy().astype(np.int64), lengths),
        Column.FOLD: np.repeat(_strings(rows[Column.FOLD]).to_numpy(), lengths),
        Column.EPOCH: entries.field(Column.EPOCH).to_numpy(zero_copy_only=False).astype(np.int64),
    }
    table |= {name: entries.field(name).to_numpy(zero_copy_only=False) for name in HISTORY_COLUMNS}
    return pd.DataFrame(table).astype(dict.fromkeys(HISTORY_COLUMNS, "float64"))


def explanations_table(records: Sequence[CellRecord]) -> pd.DataFrame:
    """Return ``explanations.parquet``: the matrices that the selected configurations have learnt, in long form.

    Parameters
    ----------
    records : sequence of CellRecord
        Records of the cells from `helo.run.selection.selected_cells`.

    Returns
    -------
    DataFrame
        A row per ``configuration``, ``fold``, ``kind``, ``row`` and ``column``, with its ``value``. Kinds are
        ``label_correlation`` (E × E, emotions in the order of the dataset) and ``transport_plan`` (tokens of the main
        modality × behavioural tokens). Cells without a matrix of a kind have no rows of that kind.
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
    """Return the test predictions of cells: a row per cell and test window.

    ``predictions.parquet`` has the rows of the selected cells (without ``method``), and ``all_predictions.parquet``
    those of all cells and baselines.

    Parameters
    ----------
    records : sequence of CellRecord
        Records of HeLo or baselines. Records without predictions have no rows.
    truth : DataFrame
        A row per window of the dataset, in its order, with ``group`` and ``true_<emotion>``.

    Returns
    -------
    DataFrame
        Method, configuration, fold and window with the columns of `truth` and ``pred_<emotion>``.
    """
    parts = []
    for record in records:
        if record.predictions is None or record.windows is None:
            continue
        part = _fold_predictions(record.fold, record.windows, record.predictions, truth)
        part.insert(0, Column.CONFIGURATION, record.configuration)
        part.insert(0, Column.METHOD, record.method)
        parts.append(part)
    if parts:
        return pd.concat(parts, ignore_index=True)
    return pd.DataFrame(columns=[Column.METHOD, Column.CONFIGURATION, *_prediction_columns(truth)])


def ensemble_predictions_table(ensembles: Sequence[FoldEnsemble], truth: pd.DataFrame) -> pd.DataFrame:
    """Return ``ensemble_predictions.parquet``: a row per fold and test window.

    Parameters
    ----------
    ensembles : sequence of FoldEnsemble
        Ensembles of the folds.
    truth : DataFrame
        See `predictions_table`.

    Returns
    -------
    DataFrame
        Fold and window with the columns of `truth` and ``pred_<emotion>``.
    """
    parts = [_fold_predictions(one.fold, one.windows, one.predictions, truth) for one in ensembles]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=_prediction_columns(truth))


def _fold_predictions(
    fold: str, windows: NDArray[np.int64], predictions: NDArray[np.float32], truth: pd.DataFrame
) -> pd.DataFrame:
    """Return the rows of one fold, with `_prediction_columns`."""
    part = truth.iloc[windows].reset_index(drop=True)
    part.insert(0, Column.WINDOW, windows)
    part.insert(0, Column.FOLD, fold)
    predicted = [name for name in _prediction_columns(truth) if name.startswith(Prefix.PREDICTED)]
    return pd.concat([part, pd.DataFrame(predictions, columns=predicted)], axis=1)


def _prediction_columns(truth: pd.DataFrame) -> list[str]:
    emotions = [column.removeprefix(Prefix.TRUE) for column in truth.columns if column.startswith(Prefix.TRUE)]
    return [Column.FOLD, Column.WINDOW, *truth.columns, *(Prefix.PREDICTED + emotion for emotion in emotions)]
