"""What an attempt at a cell writes down."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, tzinfo
from pathlib import Path

import numpy as np
import pytest

from helo.configuration import Configuration
from helo.data.dataset import Dataset
from helo.evaluation.folds import Fold
from helo.names import Method
from helo.run.ledger import Ledger
from helo.search.execution.cells import CellSettings, run_cell
from helo.search.planning.planner import PlannedCell
from helo.search.planning.queue import BaselineCell
from helo.settings import TrainingSettings
from helo.training.cell import train_cell

PARAMS = {"width": 8, "heads": 2, "epochs": 1, "batch_size": 16}
SETTINGS = CellSettings(TrainingSettings())


def test_a_record_contains_all_results_of_the_cell(dataset: Dataset, fold: Fold, tmp_path: Path) -> None:
    record = run_cell(PlannedCell(2, 0, PARAMS), dataset, (fold,), SETTINGS).record
    expected = train_cell(dataset, fold, Configuration.from_params(PARAMS), TrainingSettings())
    assert record is not None
    assert expected is not None
    assert expected.other_windows is not None
    assert expected.out_of_fold is not None
    assert record.out_of_fold is not None
    order = np.argsort(expected.other_windows)
    np.testing.assert_array_equal(expected.other_windows[order], dataset.rows(fold.validation))
    np.testing.assert_array_equal(record.out_of_fold, expected.out_of_fold[order])
    ledger = Ledger(tmp_path)
    ledger.append(record, 0)
    (back,) = ledger.read()
    assert (back.val, back.test, back.best_epoch) == (expected.val, expected.test, expected.best_epoch)
    for name in ("windows", "predictions", "correlation", "plan"):
        assert getattr(expected, name) is not None
        np.testing.assert_array_equal(getattr(back, name), getattr(expected, name), strict=True)


def test_a_baseline_has_no_explanations(dataset: Dataset, fold: Fold) -> None:
    record = run_cell(BaselineCell(Method.RIDGE, 0), dataset, (fold,), SETTINGS).record
    assert record is not None
    assert record.status == "completed"
    assert (record.correlation, record.plan) == (None, None)


def test_a_jump_of_the_clock_changes_no_duration(dataset: Dataset, fold: Fold, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody sets the time of day while a cell runs."""

    class Jumping(datetime):
        jump = timedelta()

        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            cls.jump += timedelta(days=400)
            return datetime.now(tz) + cls.jump

    monkeypatch.setattr("helo.search.execution.cells.datetime", Jumping)
    begun = time.monotonic()
    record = run_cell(BaselineCell(Method.RIDGE, 0), dataset, (fold,), SETTINGS).record
    assert record is not None
    assert 0 <= record.seconds <= time.monotonic() - begun
    assert (record.finished - record.started).total_seconds() == pytest.approx(record.seconds, abs=1e-5)
