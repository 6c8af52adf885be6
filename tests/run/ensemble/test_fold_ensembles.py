"""Ensembles of the folds of a run, from its ledger."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from helo.metrics import mean_scores, mean_scores_by_group
from helo.run.ensemble import fold_ensembles as module
from helo.run.ensemble.candidates import CANDIDATES
from helo.run.ensemble.fold_ensembles import FoldEnsemble, LabelledWindows, ensemble_table, fold_ensembles
from helo.run.ensemble.weights import greedy_weights
from helo.run.ledger import CellRecord, Ledger, LedgerWriter
from helo.run.tables import CELL_COLUMNS, cells_table, ensemble_predictions_table

NAMES = ("a", "b", "c", "d")
SUBJECTS = np.array(list("abcdabcdabcd"))  # no subject has its windows in one block
GROUPS = np.array(list("ggggghhhhhhh"))
CONFIGURATIONS = 10
WHEN = datetime(2026, 1, 2, tzinfo=UTC)
FOLDS = [
    {
        "test": test,
        "splits": [
            {"validation": [one], "train": [two for two in NAMES if two not in (one, test)]}
            for one in NAMES
            if one != test
        ],
    }
    for test in NAMES
]
RNG = np.random.default_rng(0)
LABELS = RNG.dirichlet(np.ones(3), len(SUBJECTS))


def record(configuration: int, fold: str, labels: NDArray[np.float64] = LABELS) -> CellRecord:
    """A completed cell whose predictions are its own mixture of the labels and noise."""
    rng = np.random.default_rng([configuration, NAMES.index(fold)])
    predicted = (0.5 * LABELS + 0.5 * rng.dirichlet(np.ones(3), len(LABELS))).astype(np.float32)
    test, others = np.flatnonzero(fold == SUBJECTS), np.flatnonzero(fold != SUBJECTS)
    return CellRecord(
        configuration=configuration,
        fold=fold,
        params={"width": 8},
        status="completed",
        epochs=1,
        seconds=1.0,
        node="here",
        started=WHEN,
        finished=WHEN,
        best_epoch=1,
        val=mean_scores(labels[others], predicted[others], SUBJECTS[others]),
        test=mean_scores(labels[test], predicted[test], SUBJECTS[test]),
        test_by_group=mean_scores_by_group(labels[test], predicted[test], SUBJECTS[test], GROUPS[test]),
        windows=test,
        predictions=predicted[test],
        out_of_fold=predicted[others],
    )


def kl(one: CellRecord) -> float:
    """The validation loss of a completed cell."""
    assert one.val is not None
    return one.val["kl"]


def array(found: NDArray[np.float32] | None) -> NDArray[np.float32]:
    """An array that a completed cell has."""
    assert found is not None
    return found


RECORDS = [record(configuration, fold) for configuration in range(CONFIGURATIONS) for fold in NAMES]


def written(folder: Path, records: Sequence[CellRecord], pack: int = 1000) -> tuple[Ledger, pd.DataFrame]:
    """A ledger with these cells, and their table."""
    ledger = Ledger(folder)
    with LedgerWriter(ledger, pack=pack) as writer:
        for one in records:
            writer.append(one, NAMES.index(one.fold))
    return ledger, cells_table(ledger.rows(CELL_COLUMNS))


def ensembles(
    folder: Path, records: Sequence[CellRecord] = RECORDS, labels: NDArray[np.float64] = LABELS, pack: int = 1000
) -> list[FoldEnsemble]:
    """The ensembles of a run with these cells and labels."""
    ledger, cells = written(folder, records, pack)
    return fold_ensembles(ledger, FOLDS, cells, "kl", LabelledWindows(labels, SUBJECTS, GROUPS))


def test_an_ensemble_is_the_weighted_mean_of_the_best_cells_of_its_fold(tmp_path: Path) -> None:
    for fold, found in zip(NAMES, ensembles(tmp_path), strict=True):
        of_fold = sorted((one for one in RECORDS if one.fold == fold), key=kl)[:CANDIDATES]
        others = np.flatnonzero(fold != SUBJECTS)
        stacked = np.stack([array(one.out_of_fold) for one in of_fold])
        weights = greedy_weights(stacked, LABELS[others], SUBJECTS[others], "kl")
        expected = {one.configuration: weight for one, weight in zip(of_fold, weights, strict=True) if weight}
        assert found.fold == fold
        assert found.weights == expected
        assert list(found.weights.values()) == sorted(found.weights.values(), reverse=True)
        mean = sum(weight * array(one.predictions) for one, weight in zip(of_fold, weights, strict=True))
        np.testing.assert_allclose(found.predictions, mean, atol=1e-6)
        np.testing.assert_array_equal(found.windows, np.flatnonzero(fold == SUBJECTS))
        test = found.windows
        assert found.test == pytest.approx(mean_scores(LABELS[test], mean, SUBJECTS[test]), abs=1e-6)
        by_group = mean_scores_by_group(LABELS[test], mean, SUBJECTS[test], GROUPS[test])
        assert found.test_by_group == pytest.approx(by_group, abs=1e-6)
        assert found.val["kl"] <= min(map(kl, of_fold))


def test_labels_of_the_test_subject_change_no_weight(tmp_path: Path) -> None:
    before = ensembles(tmp_path / "before")
    changed = LABELS.copy()
    changed[SUBJECTS == "a"] = np.roll(LABELS[SUBJECTS == "a"], 1, axis=1)
    after = ensembles(tmp_path / "after", labels=changed)
    assert after[0].weights == before[0].weights
    assert after[0].val == before[0].val
    assert after[0].test != before[0].test
    assert [one.weights for one in after[1:]] != [one.weights for one in before[1:]]  # there the subject validates


def test_packs_and_folds_read_one_by_one_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = ensemble_table(ensembles(tmp_path / "parts"))
    monkeypatch.setattr(module, "_MEMORY", 1)
    pd.testing.assert_frame_equal(ensemble_table(ensembles(tmp_path / "packs", pack=7)), expected)


def test_only_completed_cells_with_predictions_take_part(tmp_path: Path) -> None:
    """Cells beyond the candidates have no out-of-fold predictions in a ledger, and stopped cells never."""
    of_fold = sorted((one for one in RECORDS if one.fold == "a"), key=kl)
    kept = [one.configuration for one in of_fold[1:3]]
    few = [
        replace(one, status="stopped", out_of_fold=None)
        if one is of_fold[0]
        else one
        if one.configuration in kept
        else replace(one, out_of_fold=None)
        for one in of_fold
    ]
    (found,) = ensembles(tmp_path, few)
    assert set(found.weights) <= {*kept}


def test_a_run_without_predictions_for_a_best_cell_has_no_ensembles(tmp_path: Path) -> None:
    best = min((one for one in RECORDS if one.fold == "b"), key=kl)
    records = [replace(one, out_of_fold=None) if one is best else one for one in RECORDS]
    assert ensembles(tmp_path / "missing", records) == []
    assert ensembles(tmp_path / "empty", []) == []


def test_a_fold_with_a_single_cell_has_that_cell_as_its_ensemble(tmp_path: Path) -> None:
    (found,) = ensembles(tmp_path, [record(3, "c")])
    assert found.weights == {3: 1.0}
    assert found.test == pytest.approx(record(3, "c").test)


def test_folds_of_an_earlier_version_are_one_split(tmp_path: Path) -> None:
    others = np.flatnonzero(SUBJECTS == "b")
    one = record(0, "a")
    assert one.out_of_fold is not None
    only_b = replace(one, out_of_fold=one.out_of_fold[SUBJECTS[SUBJECTS != "a"] == "b"])
    ledger, cells = written(tmp_path, [only_b])
    folds = [{"test": "a", "validation": ["b"], "train": ["c", "d"]}]
    (found,) = fold_ensembles(ledger, folds, cells, "kl", LabelledWindows(LABELS, SUBJECTS))
    assert found.val == mean_scores(LABELS[others], array(only_b.out_of_fold).astype(float), SUBJECTS[others])
    assert found.test_by_group is None


def test_tables(tmp_path: Path) -> None:
    found = ensembles(tmp_path)
    table = ensemble_table(found)
    assert table["fold"].tolist() == list(NAMES)
    assert [json.loads(text) for text in table["weights"]] == [
        {str(name): weight for name, weight in one.weights.items()} for one in found
    ]
    assert table["test_by_group_kl"].tolist() == [one.test_by_group["kl"] for one in found if one.test_by_group]
    empty = ensemble_table([])
    assert list(empty.columns) == [name for name in table.columns if "by_group" not in name]
    assert (empty.dtypes == table[empty.columns].dtypes).all()
    truth = pd.DataFrame(LABELS, columns=["true_joy", "true_fear", "true_calm"])
    predictions = ensemble_predictions_table(found, truth)
    assert list(predictions.columns) == ["fold", "window", *truth.columns, "pred_joy", "pred_fear", "pred_calm"]
    np.testing.assert_array_equal(predictions[truth.columns], LABELS[predictions["window"]])
    assert predictions["fold"].tolist() == SUBJECTS[predictions["window"]].tolist()
    assert list(ensemble_predictions_table([], truth).columns) == list(predictions.columns)
