"""Table of the baselines of a run, ``baselines.parquet``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pandas as pd

from helo.data.dataset import Dataset
from helo.evaluation.baselines.trivial import trivial_predictions
from helo.evaluation.folds import Fold
from helo.metrics import METRICS, mean_scores, mean_scores_by_group, with_prefix
from helo.names import Column, Prefix, Status
from helo.run.ledger import CellRecord


def baselines_table(dataset: Dataset, folds: tuple[Fold, ...], records: Sequence[CellRecord] = ()) -> pd.DataFrame:
    """Return the scores of all baselines.

    Parameters
    ----------
    dataset : Dataset
        Windows of all subjects, for the trivial baselines.
    folds : tuple of Fold
        Folds of the run.
    records : sequence of CellRecord
        Cells of the fitted baselines.

    Returns
    -------
    DataFrame
        A row per method and fold, with the columns ``method``, ``fold``, ``test_<metric>``, ``val_<metric>``,
        ``params`` (JSON, selected on the inner validation subjects), ``status``, ``reason`` and ``seconds``. With
        groups to average (see `Signals.averaged_groups`), there are also columns ``test_by_group_<metric>``.
    """
    rows: list[dict[str, Any]] = []
    for fold in folds:
        test = dataset.rows((fold.test,))
        labels, subjects, groups = dataset.labels[test], dataset.subjects[test], dataset.averaged_groups
        for method, predicted in trivial_predictions(dataset, fold).items():
            scores = with_prefix(Prefix.TEST, mean_scores(labels, predicted, subjects))
            if groups is not None:
                by_group = mean_scores_by_group(labels, predicted, subjects, groups[test])
                scores |= with_prefix(Prefix.TEST_BY_GROUP, by_group)
            rows.append({Column.METHOD: method, Column.FOLD: fold.test, **scores, Column.STATUS: Status.COMPLETED})
    return _table(rows + [_row(record) for record in records])


def fitted_baselines_table(records: Sequence[CellRecord]) -> pd.DataFrame:
    """Return the rows of `baselines_table` that belong to fitted baselines."""
    return _table([_row(record) for record in records])


def _table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    has_groups = any(column.startswith(Prefix.TEST_BY_GROUP) for row in rows for column in row)
    prefixes = (Prefix.TEST, Prefix.TEST_BY_GROUP, Prefix.VAL) if has_groups else (Prefix.TEST, Prefix.VAL)
    scores = (prefix + name for prefix in prefixes for name in METRICS)
    columns = [Column.METHOD, Column.FOLD, *scores, Column.PARAMS, Column.STATUS, Column.REASON, Column.SECONDS]
    return pd.DataFrame(rows, columns=columns).astype({Column.PARAMS: "string", Column.REASON: "string"})


def _row(record: CellRecord) -> dict[str, Any]:
    return {
        Column.METHOD: record.method,
        Column.FOLD: record.fold,
        **with_prefix(Prefix.TEST, record.test),
        **with_prefix(Prefix.TEST_BY_GROUP, record.test_by_group),
        **with_prefix(Prefix.VAL, record.val),
        Column.PARAMS: json.dumps(dict(record.params), sort_keys=True),
        Column.STATUS: record.status,
        Column.REASON: record.reason,
        Column.SECONDS: record.seconds,
    }
