"""The ensemble of each fold of a run, made from its ledger, and its tables."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from helo.metrics import METRICS, mean_scores, mean_scores_by_group, with_prefix
from helo.names import Column, Prefix
from helo.run.ensemble.candidates import CANDIDATES
from helo.run.ensemble.weights import greedy_weights
from helo.run.ledger import Ledger, matrix_of
from helo.run.selection import rank_per_fold

_MEMORY: Final = 500_000_000
"""Bytes of out-of-fold predictions that are read at a time, at least those of one fold."""

_COLUMNS: Final = (Column.FOLD, Column.WINDOWS, Column.PREDICTIONS, Column.OUT_OF_FOLD)


@dataclass(frozen=True)
class LabelledWindows:
    """Labels of all windows of a dataset, in its order.

    Attributes
    ----------
    labels : ndarray of shape (N, E)
        Reported distributions.
    subjects : ndarray of shape (N,)
        Subject of each window.
    groups : ndarray of shape (N,), optional
        Group of each window; None without groups to average.
    """

    labels: NDArray[np.floating]
    subjects: NDArray[np.str_]
    groups: NDArray[np.str_] | None = None


@dataclass(frozen=True)
class FoldEnsemble:
    """Ensemble of one fold.

    Attributes
    ----------
    fold : str
        Test subject.
    weights : dict
        Configuration → weight, for those with a weight above 0, largest first. The weights sum to 1.
    val, test : dict
        The six metrics of the weighted mean, out-of-fold and on the test subject. The weights were chosen on the
        out-of-fold predictions, so `val` is slightly too good.
    test_by_group : dict, optional
        Like `test`, but after averaging the windows in each group; None without groups to average.
    windows : ndarray of shape (W,)
        Row numbers of the test subject's windows.
    predictions : ndarray of shape (W, E)
        Weighted mean of the predictions of these windows.
    """

    fold: str
    weights: dict[int, float]
    val: dict[str, float]
    test: dict[str, float]
    test_by_group: dict[str, float] | None
    windows: NDArray[np.int64]
    predictions: NDArray[np.float32]


def fold_ensembles(
    ledger: Ledger,
    folds: Sequence[Mapping[str, Any]],
    cells: pd.DataFrame,
    objective: str,
    windows: LabelledWindows,
) -> list[FoldEnsemble]:
    """Return the ensemble of each fold that has a completed cell.

    The labels of the test subject enter its scores only, not the weights.

    Parameters
    ----------
    ledger : Ledger
        Ledger of the run.
    folds : sequence of mapping
        Folds of the run, the content of ``folds.json``.
    cells : DataFrame
        A row per cell, with the columns of ``cells.parquet``.
    objective : str
        Metric whose out-of-fold loss selects.
    windows : LabelledWindows
        Labels of all windows.

    Returns
    -------
    list of FoldEnsemble
        Ensembles in the order of `folds`. Empty if the best cell of a fold has no out-of-fold predictions, as in runs
        of earlier versions: an estimate over some of the subjects could not be compared with the others.
    """
    ranked = rank_per_fold(cells, objective, CANDIDATES)
    numbers = [number for number, fold in enumerate(folds) if fold["test"] in ranked]
    size = max(1, _MEMORY // (CANDIDATES * windows.labels.size * np.dtype(np.float32).itemsize))
    found = []
    for start in range(0, len(numbers), size):
        batch = numbers[start : start + size]
        candidates = {(configuration, number) for number in batch for configuration in ranked[folds[number]["test"]]}
        rows = ledger.find_rows(candidates, _COLUMNS)
        places = {
            cell: place
            for place, cell in enumerate(
                zip(rows[Column.FOLD_NUMBER].to_pylist(), rows[Column.CONFIGURATION].to_pylist(), strict=True)
            )
        }
        for number in batch:
            order = {
                configuration: places[number, configuration]
                for configuration in ranked[folds[number]["test"]]
                if (number, configuration) in places
            }
            ensemble = _ensemble_of(folds[number], order, rows, objective, windows)
            if ensemble is None:
                return []
            found.append(ensemble)
    return found


def _ensemble_of(
    fold: Mapping[str, Any], places: Mapping[int, int], rows: pa.Table, objective: str, windows: LabelledWindows
) -> FoldEnsemble | None:
    """Return the ensemble of a fold; `places`: configuration → its row in `rows`, best first.

    None is returned if the best configuration has no out-of-fold predictions.
    """
    validation = np.flatnonzero(np.isin(windows.subjects, _validation_subjects(fold)))
    out_of_fold = {}
    for configuration, place in places.items():
        predicted = matrix_of(rows, Column.OUT_OF_FOLD, place)
        if predicted is not None and len(predicted) == len(validation):
            out_of_fold[configuration] = predicted
    if not places or next(iter(places)) not in out_of_fold:
        return None
    stacked = np.stack(list(out_of_fold.values()))
    labels, subjects = windows.labels[validation], windows.subjects[validation]
    weights = greedy_weights(stacked, labels, subjects, objective)
    chosen = {one: float(weight) for one, weight in zip(out_of_fold, weights, strict=True) if weight > 0}
    tests = np.asarray(rows[Column.WINDOWS][places[next(iter(chosen))]].values.to_numpy(), dtype=np.int64)
    predictions = np.zeros((len(tests), windows.labels.shape[1]))
    for configuration, weight in chosen.items():
        predicted = matrix_of(rows, Column.PREDICTIONS, places[configuration])
        assert predicted is not None
        predictions += weight * predicted
    labels_of_test, subjects_of_test = windows.labels[tests], windows.subjects[tests]
    groups = None if windows.groups is None else windows.groups[tests]
    return FoldEnsemble(
        fold=fold["test"],
        weights=dict(sorted(chosen.items(), key=lambda item: -item[1])),
        val=mean_scores(labels, np.tensordot(weights, stacked, axes=1), subjects),
        test=mean_scores(labels_of_test, predictions, subjects_of_test),
        test_by_group=(
            None if groups is None else mean_scores_by_group(labels_of_test, predictions, subjects_of_test, groups)
        ),
        windows=tests,
        predictions=predictions.astype(np.float32),
    )


def _validation_subjects(fold: Mapping[str, Any]) -> list[str]:
    """Return the subjects that validate in any inner split. Folds of earlier versions are one split themselves."""
    return [subject for split in fold.get("splits") or [fold] for subject in split["validation"]]


def ensemble_table(ensembles: Sequence[FoldEnsemble]) -> pd.DataFrame:
    """Return ``ensemble.parquet``: a row per fold.

    Parameters
    ----------
    ensembles : sequence of FoldEnsemble
        Ensembles of the folds.

    Returns
    -------
    DataFrame
        Columns ``fold``, ``weights`` (JSON: configuration → weight), ``val_<metric>`` (out-of-fold) and
        ``test_<metric>``. With groups to average, there are also columns ``test_by_group_<metric>``.
    """
    has_groups = any(ensemble.test_by_group is not None for ensemble in ensembles)
    prefixes = [Prefix.VAL, Prefix.TEST] + ([Prefix.TEST_BY_GROUP] if has_groups else [])
    columns = [prefix + metric for prefix in prefixes for metric in METRICS]
    rows = [
        {
            Column.FOLD: ensemble.fold,
            Column.WEIGHTS: json.dumps({str(one): weight for one, weight in ensemble.weights.items()}),
            **with_prefix(Prefix.VAL, ensemble.val),
            **with_prefix(Prefix.TEST, ensemble.test),
            **with_prefix(Prefix.TEST_BY_GROUP, ensemble.test_by_group),
        }
        for ensemble in ensembles
    ]
    table = pd.DataFrame(rows, columns=[Column.FOLD, Column.WEIGHTS, *columns])
    return table.astype({Column.FOLD: "string", Column.WEIGHTS: "string"} | dict.fromkeys(columns, "float64"))
