"""The baselines of a run as a table: ``baselines.parquet``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pandas as pd

from helo.data.dataset import Dataset
from helo.evaluation.baselines.trivial import trivial_predictions
from helo.evaluation.folds import Fold
from helo.metrics import METRICS, mean_scores
from helo.names import Column, Prefix, Status
from helo.run.ledger import CellRecord


def baselines_table(dataset: Dataset, folds: tuple[Fold, ...], records: Sequence[CellRecord] = ()) -> pd.DataFrame:
    """A row per method and fold: ``method``, ``fold``, ``test_<metric>``, ``val_<metric>``, ``status`` and so on.

    The trivial predictions are made here; those of regressors come from their cells (`records`), whose settings
    (``params``, JSON) the inner validation subjects chose.
    """
    rows: list[dict[str, Any]] = []
    for fold in folds:
        test = dataset.rows((fold.test,))
        labels, who = dataset.labels[test], dataset.subjects[test]
        for method, predicted in trivial_predictions(dataset, fold).items():
            found = {Prefix.TEST + name: value for name, value in mean_scores(labels, predicted, who).items()}
            rows.append({Column.METHOD: method, Column.FOLD: fold.test, **found, Column.STATUS: Status.COMPLETED})
    return _table(rows + [_row(record) for record in records])


def fitted_baselines_table(records: Sequence[CellRecord]) -> pd.DataFrame:
    """The part of `baselines_table` that comes from cells."""
    return _table([_row(record) for record in records])


def _table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    scores = (side + name for side in (Prefix.TEST, Prefix.VAL) for name in METRICS)
    columns = [Column.METHOD, Column.FOLD, *scores, Column.PARAMS, Column.STATUS, Column.REASON, Column.SECONDS]
    return pd.DataFrame(rows, columns=columns).astype({Column.PARAMS: "string", Column.REASON: "string"})


def _row(record: CellRecord) -> dict[str, Any]:
    sides = ((Prefix.TEST, record.test), (Prefix.VAL, record.val))
    return {
        Column.METHOD: record.method,
        Column.FOLD: record.fold,
        **{side + name: value for side, scores in sides for name, value in (scores or {}).items()},
        Column.PARAMS: json.dumps(dict(record.params), sort_keys=True),
        Column.STATUS: record.status,
        Column.REASON: record.reason,
        Column.SECONDS: record.seconds,
    }
