"""Cells that failed because of the machine run again on resume; those that failed by themselves do not."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from limits import GROUPS, memory_group
from ray import cloudpickle
from rich.console import Console
from searches import assert_same_tables, tables

import helo
from helo.configuration import Configuration
from helo.data import Dataset, simulate
from helo.errors import DivergedError, InputError
from helo.evaluation.folds import Fold, loso_folds
from helo.names import Fault, Status, TableName
from helo.run.directory import Run
from helo.run.ledger import CellRecord, Ledger, LedgerWriter
from helo.search.execution.cells import CellSettings, Train
from helo.search.execution.connection import SharedDataset, ray_cluster
from helo.search.execution.progress import SearchProgress
from helo.search.execution.recorder import Reporting
from helo.search.execution.tune import run_cells
from helo.search.planning.planner import Planner
from helo.search.planning.queue import Queue
from helo.search.planning.space import Range, Space
from helo.settings import TrainingSettings
from helo.training.cell import CellResult, Checkpointer, train_cell

pytestmark = pytest.mark.slow

FIXED = {"width": 8, "heads": 2, "epochs": 1, "batch_size": 256}
SPACE = Space("tiny", 1, {"dropout": Range(0.1, 0.5, False, False)}, FIXED)
# Workers cannot import this module, so its functions are pickled by value.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return simulate(subjects=5, clips=2, windows=5, emotions=3)


def run_with(train: Train, dataset: Dataset, folder: Path) -> dict[str, CellRecord]:
    """Run a cell per fold on the current cluster and return the records by test subject."""
    folds = loso_folds(dataset.subject_names, 0)
    ledger = Ledger(folder)
    reporting = Reporting(LedgerWriter(ledger), SearchProgress(len(folds), "kl", Console(quiet=True)))
    queue = Queue(Planner(SPACE, len(folds), seed=0, racing=False))
    assert run_cells(queue, SharedDataset(dataset), folds, CellSettings(train=train), reporting, 1)
    return {record.fold: record for record in ledger.read()}


@contextmanager
def limited_memory(limit: int) -> Iterator[None]:
    """Limit the memory of this process and its children by a control group."""
    with memory_group("helo-test") as group:
        (group / "memory.limit_in_bytes").write_text(str(limit))
        (group / "cgroup.procs").write_text(str(os.getpid()))
        yield


def failing(
    dataset: Dataset,
    fold: Fold,
    configuration: Configuration,
    settings: TrainingSettings,
    rungs: Mapping[int, float],
    checkpointer: Checkpointer | None,
) -> CellResult | None:
    """Fail in the way of the fold."""
    if fold.test == "P01":
        os.kill(os.getpid(), signal.SIGKILL)
    if fold.test == "P02":
        signal.raise_signal(signal.SIGSEGV)
    if fold.test == "P03":
        raise OSError(28, "No space left on device", "/scratch/checkpoint")
    if fold.test == "P04":
        raise DivergedError("the loss is not finite")
    return train_cell(dataset, fold, configuration, settings, rungs, checkpointer)


def test_faults_of_the_machine_are_told_from_those_of_the_cell(dataset: Dataset, tmp_path: Path) -> None:
    with ray_cluster(None, 1):
        records = run_with(failing, dataset, tmp_path / "ledger")
    reasons = {fold: str(record.reason) for fold, record in records.items()}
    assert "died each of the 3 times this cell was tried; the last time it was ended by SIGKILL" in reasons["P01"]
    assert "it was ended by SIGSEGV" in reasons["P02"]
    assert "No space left on device" in reasons["P03"]
    assert reasons["P04"] == "the loss is not finite"
    faults = {fold: record.fault for fold, record in records.items()}
    assert faults == {**dict.fromkeys(("P01", "P02", "P03"), Fault.MACHINE), "P04": Fault.CELL, "P05": None}


def hungry(
    dataset: Dataset,
    fold: Fold,
    configuration: Configuration,
    settings: TrainingSettings,
    rungs: Mapping[int, float],
    checkpointer: Checkpointer | None,
) -> CellResult | None:
    """Take all memory in one fold."""
    if fold.test == "P02":
        kept = []
        while True:
            kept.append(np.ones(2**24))  # 128 MiB
    return train_cell(dataset, fold, configuration, settings, rungs, checkpointer)


@pytest.mark.skipif(not os.access(GROUPS, os.W_OK), reason="control groups of version 1 cannot be made here")
def test_the_reason_names_memory_and_its_limit(dataset: Dataset, tmp_path: Path) -> None:
    with limited_memory(4 * 2**30), ray_cluster(None, 1):
        records = run_with(hungry, dataset, tmp_path / "ledger")
    failed = {fold: record for fold, record in records.items() if record.status == Status.FAILED}
    assert list(failed) == ["P02"]
    reason = str(failed["P02"].reason)
    assert "OOM killer of the system ended it" in reason or "memory of its node was nearly full" in reason, reason
    assert "(limit of memory: 4.0 GiB)" in reason
    assert failed["P02"].fault == Fault.MACHINE


def spoil(run: Run, fold: int, fault: str, method: str) -> None:
    """Record a finished cell as failed."""
    records = run.ledger.read() if method == "helo" else run.ledger.read_baselines()
    record = next(one for one in records if one.fold == run.folds[fold]["test"])
    spoilt = CellRecord(
        **{name: getattr(record, name) for name in ("configuration", "fold", "params", "method", "seconds", "node")},
        **{name: getattr(record, name) for name in ("started", "finished")},
        status=Status.FAILED,
        reason="spoilt",
        fault=fault,
        epochs=0,
    )
    run.ledger.append(spoilt, fold)


def test_resuming_runs_lost_cells_again_and_others_on_request(
    dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run"
    with ray_cluster(None, 1):
        helo.run_search(dataset, space=SPACE, baselines="ridge", inner_folds=1, racing=False, out=path)
        whole = tables(path)
        for method in ("helo", "ridge"):
            spoil(Run.open(path), 1, Fault.MACHINE, method)
            spoil(Run.open(path), 2, Fault.CELL, method)
        capsys.readouterr()
        with pytest.warns(UserWarning, match=r"1 of 5 cells failed"):
            helo.run_search(dataset, resume=path)
        assert "2 cells that failed because of the machine run again" in capsys.readouterr().out
        assert (tables(path)[TableName.CELLS]["status"] == Status.FAILED).sum() == 1
        helo.run_search(dataset, resume=path, retry_failed=True)
        assert "2 cells that failed run again" in capsys.readouterr().out
    assert_same_tables(tables(path), whole)
    with pytest.raises(InputError, match="retry_failed needs resume"):
        helo.run_search(dataset, retry_failed=True)
