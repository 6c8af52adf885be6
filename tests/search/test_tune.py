"""The search on real Ray: every cell once, whatever runs beside it, and at little cost."""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ray import cloudpickle
from rich.console import Console

from helo.data import Dataset, simulate
from helo.folds import loso_folds
from helo.ledger import Ledger
from helo.names import CELLS, COMPLETED, FAILED, METRICS, VAL
from helo.run import Run
from helo.search.cells import CellSettings
from helo.search.driver import SearchPlan, run_search
from helo.search.planner import Planner
from helo.search.progress import SearchProgress
from helo.search.space import Range, Space
from helo.search.tune import Resources, ray_cluster, run_cells
from helo.training import CellResult

SPACE = Space(
    name="tiny",
    configurations=3,
    searched={"ot_entropy": Range(0.01, 1.0, True, False), "dropout": Range(0.1, 0.5, False, False)},
    fixed={"width": 8, "heads": 2, "epochs": 2, "batch_size": 256},
)
# Workers cannot import this file: what they run of it travels with them.
cloudpickle.register_pickle_by_value(sys.modules[__name__])
VOLATILE = ["seconds", "node", "started", "finished"]


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return simulate(subjects=4, clips=2, windows=5, emotions=3)


def trivial(
    dataset: Dataset, fold, configuration, seed: int, normalise: str, objective: str, device: str
) -> CellResult:  # fmt: skip
    """A cell that trains nothing: what is left is the cost of scheduling and writing."""
    rows = dataset.rows((fold.test,))
    scores = dict.fromkeys(METRICS, configuration.ot_entropy)
    return CellResult(
        epochs=1,
        best_epoch=0,
        val=scores,
        test=scores,
        history=({"epoch": 0, **{VAL + name: value for name, value in scores.items()}},) * 20,
        windows=rows.astype(np.int64),
        predictions=np.full((len(rows), len(dataset.emotions)), 1 / len(dataset.emotions), dtype=np.float32),
    )


def search(dataset: Dataset, out: Path, space: Space = SPACE, concurrency: int = 1, gpus: float = 0) -> pd.DataFrame:
    plan = SearchPlan(dataset, space, out, seed=3, resources=Resources(concurrency, 1, gpus), gpus=1 if gpus else 0)
    run, complete = run_search(plan, Console(quiet=True), lambda run: None)
    assert complete
    return run.table(CELLS).drop(columns=VOLATILE)


@pytest.mark.slow
def test_the_same_command_gives_the_same_cells(dataset: Dataset, tmp_path: Path) -> None:
    once = search(dataset, tmp_path / "a")
    assert len(once) == 3 * 4
    assert (once["status"] == COMPLETED).all()
    pd.testing.assert_frame_equal(once, search(dataset, tmp_path / "b"), check_exact=True)
    random = dataclasses.replace(SPACE, sampler="random")
    alone, beside = search(dataset, tmp_path / "c", random), search(dataset, tmp_path / "d", random, 3)
    pd.testing.assert_frame_equal(alone, beside, check_exact=True)


@pytest.mark.slow
def test_cells_share_a_logical_gpu(dataset: Dataset, tmp_path: Path) -> None:
    cells = search(dataset, tmp_path / "run", concurrency=2, gpus=0.5)
    assert (cells["status"] == COMPLETED).all()


def _settings() -> CellSettings:
    return CellSettings(seed=0, normalise="train", objective="kl", threads=1, use_gpu=False)


@pytest.mark.slow
def test_scheduling_costs_little_beside_training(tmp_path: Path) -> None:
    """500 trivial cells: at most 100 ms each (a fresh actor for each would cost seconds)."""
    data = simulate(subjects=10, clips=2, windows=5, emotions=3)
    folds = loso_folds(data.subject_names, 0)
    space = dataclasses.replace(SPACE, configurations=50, sampler="random")
    planner = Planner(space, len(folds), seed=0)
    resources = Resources(2, 1, 0)
    ledger = Ledger(tmp_path)
    with ray_cluster(None, resources, 0):
        started = time.perf_counter()
        assert run_cells(
            planner, data, folds, _settings(), ledger, SearchProgress(500, "kl", Console(quiet=True)),
            resources, train=trivial,
        )  # fmt: skip
        each = (time.perf_counter() - started) / 500
    records = ledger.read()
    assert len(records) == 500
    assert len({(record.configuration, record.fold) for record in records}) == 500
    print(f"cost of a cell beside its training: {1000 * each:.0f} ms (start of the actors included)")
    assert each <= 0.1


def killer(dataset: Dataset, fold, configuration, seed: int, normalise: str, objective: str, device: str) -> CellResult:
    """The first time that fold P02 of the first configuration is tried, its worker dies."""
    mark = Path(os.environ["HELO_TEST_MARK"])
    if fold.test == "P02" and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if fold.test == "P03":
        raise RuntimeError("this fold cannot be trained")
    return trivial(dataset, fold, configuration, seed, normalise, objective, device)


@pytest.mark.slow
def test_a_killed_worker_costs_no_cell_and_an_exception_fails_its_own(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HELO_TEST_MARK", str(tmp_path / "mark"))
    folds = loso_folds(dataset.subject_names, 0)
    planner = Planner(SPACE, len(folds), seed=0)
    ledger = Ledger(tmp_path)
    resources = Resources(2, 1, 0)
    with ray_cluster(None, resources, 0):
        assert run_cells(
            planner, dataset, folds, _settings(), ledger, SearchProgress(12, "kl", Console(quiet=True)),
            resources, train=killer,
        )  # fmt: skip
    assert (tmp_path / "mark").exists()
    records = ledger.read()
    assert len(records) == 12
    assert {record.fold for record in records if record.status == FAILED} == {"P03"}
    assert all("cannot be trained" in str(record.reason) for record in records if record.status == FAILED)
    assert planner.best() is None  # no configuration has seen all folds


def test_a_run_directory_that_is_there_is_never_touched(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with pytest.raises(ValueError, match="already there"):
        Run.create(tmp_path / "run", {}, [])
    assert list((tmp_path / "run").iterdir()) == []
