"""The ledger: what is written is read back, whole or not at all."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from helo.ledger import HISTORY_COLUMNS, CellRecord, Ledger
from helo.names import METRICS

SCORES = {name: 0.1 * number for number, name in enumerate(METRICS)}


def record(configuration: int = 0, fold: str = "S2", **other: object) -> CellRecord:
    plain = {
        "params": {"width": 16, "dropout": 0.25},
        "status": "completed",
        "epochs": 1,
        "seconds": 1.5,
        "node": "here",
        "started": datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC),
        "finished": datetime(2026, 1, 2, 3, 4, 7, tzinfo=UTC),
    }
    return CellRecord(configuration, fold, **plain | other)  # type: ignore[arg-type]


def test_round_trip(tmp_path: Path) -> None:
    history = tuple({"epoch": epoch, **dict.fromkeys(HISTORY_COLUMNS, 0.5 + epoch)} for epoch in (0, 1))
    predictions = np.random.default_rng(0).dirichlet(np.ones(3), size=4).astype(np.float32)
    whole = record(
        best_epoch=1,
        val=SCORES,
        test=SCORES,
        history=history,
        windows=np.arange(4, dtype=np.int64),
        predictions=predictions,
    )
    ledger = Ledger(tmp_path)
    assert ledger.append(whole, 0).name == "c00000-f0000.parquet"
    (back,) = ledger.read()
    for name in CellRecord.__dataclass_fields__:
        if name not in ("windows", "predictions"):
            assert getattr(back, name) == getattr(whole, name), name
    assert isinstance(back.params["width"], int)
    assert back.completed
    np.testing.assert_array_equal(back.windows, whole.windows)
    np.testing.assert_array_equal(back.predictions, predictions)
    assert back.predictions is not None
    assert back.predictions.dtype == np.float32


def test_a_failed_cell_needs_no_scores(tmp_path: Path) -> None:
    Ledger(tmp_path).append(record(status="failed", reason="the loss is nan"), 3)
    (back,) = Ledger(tmp_path).read()
    assert not back.completed
    assert (back.reason, back.val, back.test, back.history) == ("the loss is nan", None, None, ())
    assert back.windows is None
    assert back.predictions is None


def test_the_first_epoch_has_no_loss(tmp_path: Path) -> None:
    history = ({"epoch": 0, **dict.fromkeys(HISTORY_COLUMNS, float("nan"))},)
    Ledger(tmp_path).append(record(history=history), 0)
    assert np.isnan(Ledger(tmp_path).read()[0].history[0]["train_loss"])


def test_order_is_configuration_then_fold(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    for configuration, number in ((11, 0), (2, 10), (2, 9), (0, 3)):
        ledger.append(record(configuration, f"S{number}"), number)
    assert [(cell.configuration, cell.fold) for cell in ledger.read()] == [
        (0, "S3"),
        (2, "S9"),
        (2, "S10"),
        (11, "S0"),
    ]


def test_what_a_killed_writer_leaves_is_not_read(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    (tmp_path / ".c00000-f0000.parquet").write_bytes(b"PAR1 half a file")
    assert ledger.parts() == []
    assert ledger.read() == []
    ledger.append(record(), 0)
    assert len(ledger.read()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["c00000-f0000.parquet"]


def test_a_cell_written_again_replaces_itself(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.append(record(seconds=1.0), 0)
    ledger.append(record(seconds=2.0), 0)
    assert [cell.seconds for cell in ledger.read()] == [2.0]


def test_an_unwritable_record_adds_no_part(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="int"):
        Ledger(tmp_path).append(record(epochs="many"), 0)
    assert Ledger(tmp_path).parts() == []
