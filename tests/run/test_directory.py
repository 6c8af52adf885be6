"""Run directories: atomic creation, locks, and tables that are computed from the ledger."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from helo.errors import InputError
from helo.metrics import METRICS
from helo.run.directory import Run
from helo.run.ledger import HISTORY_COLUMNS, CellRecord, rows_of
from helo.run.manifest import Manifest
from helo.run.selection import selected_cells
from helo.run.tables import cells_table, epochs_table, explanations_table, predictions_table
from helo.storage import LocalFolder

FOLDS = [
    {"test": "a", "validation": ["b"], "train": ["c"]},
    {"test": "b", "validation": ["a"], "train": ["c"]},
]
TRUTH = pd.DataFrame({"group": ["g"] * 4, "true_joy": [0.1, 0.2, 0.3, 0.4], "true_fear": [0.9, 0.8, 0.7, 0.6]})
WHEN = datetime(2026, 1, 2, tzinfo=UTC)
WINDOWS = {"a": [0, 1], "b": [2, 3]}


def record(configuration: int, fold: str, kl: float | None, **params: object) -> CellRecord:
    """Return the record of a completed cell with this validation KL, or of a failed cell if it is None."""
    plain = (configuration, fold, {"width": 8, **params})
    if kl is None:
        return CellRecord(*plain, "failed", 0, 0.1, "here", WHEN, WHEN, reason="diverged")
    scores = dict.fromkeys(METRICS, kl)
    history = tuple({"epoch": epoch, **dict.fromkeys(HISTORY_COLUMNS, kl)} for epoch in (0, 1))
    predicted = np.full((2, 2), 0.5, dtype=np.float32)
    return CellRecord(
        *plain,
        "completed",
        1,
        0.1,
        "here",
        WHEN,
        WHEN,
        1,
        None,
        scores,
        scores,
        history,
        windows=np.array(WINDOWS[fold]),
        predictions=predicted,
        correlation=np.array([[1, kl], [kl, 1]], np.float32),
        plan=None if fold == "a" else np.array([[kl, 0.5, 0.0]], np.float32),
        out_of_fold=predicted,
    )


RECORDS = [record(0, "a", 0.3), record(0, "b", 0.1), record(1, "a", 0.2, extra=1), record(1, "b", None)]


def rows(records: Sequence[CellRecord]) -> pa.Table:
    """Return records as rows of the ledger."""
    return rows_of([("ab".index(one.fold), one) for one in records])


def test_a_run_can_be_opened_again(tmp_path: Path) -> None:
    Run.create(tmp_path / "deep" / "run", Manifest.from_dict({"seed": 1, "name": "ä"}), FOLDS)
    run = Run.open(tmp_path / "deep" / "run")
    assert run.manifest.as_dict() == {"seed": 1, "name": "ä"}
    assert run.folds == FOLDS
    assert run.ledger.read() == []


def test_an_existing_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="already there"):
        Run.create(tmp_path, Manifest(), FOLDS)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_creation_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for target in (tmp_path / "file" / "run", tmp_path / "file" / "a" / "b"):
        with pytest.raises(InputError, match="cannot be written"):
            Run.create(target, Manifest(), FOLDS)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("manifest", "folds"), [({"seed": object()}, FOLDS), ({}, [{"test": {1}}])], ids=["manifest", "folds"]
)
def test_values_that_are_not_json_leave_nothing(tmp_path: Path, manifest: dict[str, Any], folds: Any) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(TypeError, match="not JSON serializable"):
        Run.create(tmp_path / "there" / "deep" / "deeper" / "run", Manifest.from_dict(manifest), folds)
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == ["there"]


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2048, hard))
    try:
        with pytest.raises(InputError, match="run: cannot be written \\(File too large\\)"):
            Run.create(tmp_path / "deep" / "run", Manifest(command="x" * 100_000), FOLDS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_a_new_run_has_manifest_and_folds_and_no_hidden_files(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", Manifest(identity="abc"), FOLDS)
    assert {path.name for path in run.folder.here.iterdir()} == {"manifest.json", "folds.json"}
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert run.checkpoints == LocalFolder(tmp_path / "run" / "checkpoints")
    assert run.ledger.identity == Run.open(str(run.folder)).ledger.identity == "abc"


def test_a_new_run_has_the_permissions_of_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        run = Run.create(tmp_path / "run", Manifest(), FOLDS)
    finally:
        os.umask(before)
    assert run.folder.here.stat().st_mode & 0o777 == 0o750


@contextmanager
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Start another process that holds the lock of a run until it is killed or its input ends."""
    code = (
        "import sys; from helo.run.directory import Run\n"
        "with Run.open(sys.argv[1]).lock():\n    print('locked', flush=True)\n    sys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_run_has_one_holder_and_is_free_when_the_holder_is_killed(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", Manifest(), FOLDS)
    with holder(tmp_path / "run") as process:
        for _ in range(2):
            with pytest.raises(InputError) as caught, run.lock():
                pytest.fail("two holders at a time")
            message = str(caught.value)
            assert message.startswith(f"{run.folder.here}: is in use by process {process.pid} on ")
            assert "\n" not in message
        process.kill()  # SIGKILL: the process cannot clean up
        process.wait()
        with run.lock():
            assert f"process {os.getpid()} on" in (run.folder.here / "lock").read_text()
            assert str(process.pid) not in (run.folder.here / "lock").read_text()


def test_a_lock_is_free_after_its_block_and_after_an_error_in_it(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", Manifest(), FOLDS)
    with run.lock(), pytest.raises(InputError, match=f"by process {os.getpid()} on"), Run.open(str(run.folder)).lock():
        pytest.fail("two holders at a time")
    with pytest.raises(KeyboardInterrupt), run.lock():
        raise KeyboardInterrupt
    with run.lock():
        pass


def test_folders_that_are_not_runs(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a run directory"):
        Run.open(tmp_path)
    (tmp_path / "manifest.json").write_text("{half")
    with pytest.raises(InputError, match=r"manifest\.json: cannot be read"):
        Run.open(tmp_path)


def test_tables_are_written_from_the_ledger(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", Manifest(), FOLDS)
    with pytest.raises(InputError, match=r"cells\.parquet: is missing"):
        run.table("cells")
    for cell in RECORDS:
        run.ledger.append(cell, "ab".index(cell.fold))
    run.write_tables(TRUTH, np.array(list("aabb")), pd.DataFrame({"method": ["uniform"]}), "kl")
    assert len(run.table("cells")) == 4
    assert len(run.table("epochs")) == 6
    assert list(run.table("baselines")["method"]) == ["uniform"]
    assert len(run.table("explanations")) == 3 * 4 + 3
    ensembles = run.table("ensemble")
    assert ensembles["fold"].tolist() == ["a", "b"]
    assert json.loads(ensembles["weights"][1]) == {"0": 1.0}  # the other cell of this fold failed
    assert run.table("ensemble_predictions")["window"].tolist() == [0, 1, 2, 3]
    predictions = run.table("predictions")
    assert set(zip(predictions["configuration"], predictions["fold"], strict=True)) >= {
        (1, "a"),
        (0, "b"),
        (0, "a"),
    }
    chosen = predictions.groupby(["configuration", "fold"])[["per_fold_selection", "single_configuration"]].first()
    assert chosen.loc[[(1, "a"), (0, "b"), (0, "a")]].to_numpy().tolist() == [
        [True, False],
        [True, True],
        [False, True],
    ]
    (run.folder.here / "cells.parquet").write_text("broken")
    with pytest.raises(InputError, match="cannot be read"):
        run.table("cells")


def test_cells_have_all_hyperparameters_and_scores() -> None:
    cells = cells_table(rows(RECORDS))
    assert list(cells["configuration"]) == [0, 0, 1, 1]
    assert cells["param_extra"].tolist()[2] == 1
    assert cells["param_extra"].isna().tolist() == [True, True, False, True]
    assert cells["status"].tolist() == ["completed"] * 3 + ["failed"]
    assert cells.loc[3, [f"{side}_{name}" for side in ("val", "test") for name in METRICS]].isna().all()
    assert cells.loc[3, "reason"] == "diverged"


def test_predictions_have_the_true_distributions_of_their_windows() -> None:
    table = predictions_table(RECORDS, TRUTH)
    mine = table[(table["fold"] == "b") & (table["configuration"] == 0)]
    assert mine["window"].tolist() == [2, 3]
    assert mine["true_joy"].tolist() == [0.3, 0.4]
    assert mine["pred_joy"].tolist() == [0.5, 0.5]


def test_explanations_of_selected_cells_in_long_form() -> None:
    records = [*RECORDS, record(2, "a", 0.9)]  # best in no fold, and without a score in every fold
    chosen = selected_cells(cells_table(rows(records)), "kl", 2)
    assert chosen == {(1, "a"), (0, "b"), (0, "a")}
    table = explanations_table([one for one in records if (one.configuration, one.fold) in chosen])
    assert set(zip(table["configuration"], table["fold"], strict=True)) == {(1, "a"), (0, "b"), (0, "a")}
    plan = table[table["kind"] == "transport_plan"]
    assert plan["fold"].tolist() == ["b"] * 3  # the other cells have no transport plan
    assert plan[["row", "column"]].to_numpy().tolist() == [[0, 0], [0, 1], [0, 2]]
    assert plan["value"].to_numpy() == pytest.approx([0.1, 0.5, 0.0])
    mine = table[(table["kind"] == "label_correlation") & (table["configuration"] == 1)]
    assert mine[["row", "column"]].to_numpy().tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert mine["value"].to_numpy() == pytest.approx([1, 0.2, 0.2, 1])


def test_an_empty_ledger_gives_empty_tables_with_all_columns(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", Manifest(), FOLDS)
    run.write_tables(TRUTH, np.array(list("aabb")), pd.DataFrame({"method": []}), "kl")
    assert run.table("cells").empty
    assert {"configuration", "fold", "status", "val_kl", "test_kl"} <= set(run.table("cells"))
    assert run.table("epochs").empty
    assert set(run.table("epochs")) == set(epochs_table(rows(RECORDS)))
    assert run.table("explanations").empty
    assert list(run.table("explanations")) == ["configuration", "fold", "kind", "row", "column", "value"]
    assert run.table("predictions").empty
    assert set(run.table("predictions")) == {
        "configuration",
        "fold",
        "per_fold_selection",
        "single_configuration",
        "window",
        "group",
        "true_joy",
        "true_fear",
        "pred_joy",
        "pred_fear",
    }
