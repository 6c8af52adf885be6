"""Searches on Ray: each cell runs once, results do not depend on concurrency, and scheduling costs little."""

from __future__ import annotations

import dataclasses
import gc
import os
import sys
import time
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from ray import cloudpickle
from ray.tune.experiment import Trial
from rich.console import Console
from searches import VOLATILE
from trivial_cells import trivial_result

from helo.configuration import Configuration
from helo.data import Dataset, simulate
from helo.evaluation.folds import Fold, loso_folds
from helo.names import Status, TableName
from helo.run.directory import Run
from helo.run.ledger import Ledger, LedgerWriter
from helo.run.manifest import Manifest
from helo.search.context import SearchContext
from helo.search.driver import run_remaining_cells
from helo.search.execution import _tune_compat
from helo.search.execution.cells import CellSettings
from helo.search.execution.connection import SharedDataset, ray_cluster
from helo.search.execution.progress import SearchProgress
from helo.search.execution.recorder import Reporting
from helo.search.execution.tune import run_cells
from helo.search.planning.planner import Planner
from helo.search.planning.queue import Queue
from helo.search.planning.space import Range, Space
from helo.search.setup.search_setup import SearchSetup
from helo.search.sizing.resources import Resources
from helo.settings import TrainingSettings
from helo.storage import LocalFolder
from helo.training.cell import CellResult, Checkpointer

SPACE = Space(
    name="tiny",
    configurations=3,
    searched={"ot_entropy": Range(0.01, 1.0, True, False), "dropout": Range(0.1, 0.5, False, False)},
    fixed={"width": 8, "heads": 2, "epochs": 2, "batch_size": 256},
)
# Workers cannot import this module, so its functions are pickled by value.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return simulate(subjects=4, clips=2, windows=5, emotions=3)


def search(dataset: Dataset, out: Path, space: Space = SPACE, concurrency: int = 1, **given: Any) -> pd.DataFrame:
    resources = Resources(concurrency, 1, given.pop("share", 0))
    setup = SearchSetup(dataset, space, LocalFolder(out), TrainingSettings(seed=3), resources, **given)
    context = SearchContext(setup, Console(quiet=True))
    assert run_remaining_cells(context)
    run = context.run
    return run.table(TableName.CELLS).drop(columns=VOLATILE)


@pytest.mark.slow
def test_cells_share_a_logical_gpu(dataset: Dataset, tmp_path: Path) -> None:
    """Runs before the tests that share a cluster, because the search starts Ray itself."""
    space = dataclasses.replace(SPACE, configurations=1)
    cells = search(dataset, tmp_path / "run", space, concurrency=2, share=0.5, gpus=1, racing=False)
    assert (cells["status"] == Status.COMPLETED).all()


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Ray cluster that several searches share, because each start takes seconds."""
    with ray_cluster(None, 3):
        yield


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize("protocol", ["shared", "nested"])
def test_the_cells_of_a_search_do_not_depend_on_concurrency(dataset: Dataset, tmp_path: Path, protocol: str) -> None:
    """TPE, racing and rungs learn from finished cells, but not from the order in which they finish."""
    space = dataclasses.replace(SPACE, configurations=6, fixed={**SPACE.fixed, "epochs": 8})
    once = search(dataset, tmp_path / "a", space, protocol=protocol)
    assert Status.STOPPED in set(once["status"])
    pd.testing.assert_frame_equal(once, search(dataset, tmp_path / "b", space, 3, protocol=protocol), check_exact=True)


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_a_stopped_cell_equals_the_first_members_of_the_whole_cell(dataset: Dataset, tmp_path: Path) -> None:
    space = dataclasses.replace(SPACE, configurations=6, sampler="random", fixed={**SPACE.fixed, "epochs": 8})
    raced = search(dataset, tmp_path / "raced", space, 2)
    whole = search(dataset, tmp_path / "whole", space, 2, racing=False)
    assert set(whole["status"]) == {Status.COMPLETED}
    assert len(whole) == 6 * 4
    both = raced.merge(whole, on=["configuration", "fold"], suffixes=("", "_whole"))
    assert len(both) == len(raced)
    stopped = both["status"] == Status.STOPPED
    assert 0 < stopped.sum() < len(both)
    assert (both["epochs_whole"] == 3 * 8).all()  # three members
    assert (both.loc[stopped, "epochs"] <= 8).all()  # of one member
    # Members that are trained as one model differ by rounding from those that are trained one after another.
    for name in ("val_kl", "test_kl"):
        np.testing.assert_allclose(both.loc[~stopped, name], both.loc[~stopped, f"{name}_whole"], rtol=1e-3)
    raced_records, whole_records = (
        {(record.configuration, record.fold): record for record in Run.open(tmp_path / name).ledger.read()}
        for name in ("raced", "whole")
    )
    for key, record in raced_records.items():
        curve = whole_records[key].first_losses
        assert len(curve) == 9
        np.testing.assert_allclose(record.first_losses, curve[: len(record.first_losses)], rtol=1e-3)


def trials_in_memory() -> list[Trial]:
    return [one for one in gc.get_objects() if isinstance(one, Trial)]


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_cells_share_few_worker_processes_and_leave_few_trials(tmp_path: Path) -> None:
    """Run 500 trivial cells. A new process for each cell would take seconds, and Tune keeps trials that have ended."""
    data = simulate(subjects=10, clips=2, windows=5, emotions=3)
    folds = loso_folds(data.subject_names, 0)
    space = dataclasses.replace(SPACE, configurations=50, sampler="random")
    planner = Planner(space, len(folds), seed=0, racing=False)
    ledger, workers = Ledger(tmp_path / "ledger"), tmp_path / "workers"
    (tmp_path / "ledger").mkdir()
    workers.mkdir()

    def logged(
        dataset: Dataset,
        fold: Fold,
        configuration: Configuration,
        settings: TrainingSettings,
        rungs: Mapping[int, float],
        checkpointer: Checkpointer | None,
    ) -> CellResult:
        (workers / str(os.getpid())).touch()
        return trivial_result(dataset, fold, configuration.ot_entropy, epochs=20)

    earlier, kept = weakref.WeakSet(trials_in_memory()), list[int]()

    class Counting(SearchProgress):
        def cell_finished(self, status: str, total: int, best: tuple[int, float] | None) -> None:
            super().cell_finished(status, total, best)
            if self.cells.finished == 480:
                kept.append(sum(trial not in earlier for trial in trials_in_memory()))

    reporting = Reporting(LedgerWriter(ledger), Counting(500, "kl", Console(quiet=True)))
    with ray_cluster(None, 2):
        started = time.perf_counter()
        assert run_cells(Queue(planner), SharedDataset(data), folds, CellSettings(train=logged), reporting, 2)
        seconds = (time.perf_counter() - started) / 500
    records = ledger.read()
    assert len(records) == 500
    assert len({(record.configuration, record.fold) for record in records}) == 500
    print(f"overhead of a cell: {1000 * seconds:.0f} ms (start of the actors included)")
    # The second one was ended neither while it started nor while it waited for the next generation of cells.
    assert len(list(workers.iterdir())) == 2
    assert 0 < kept[0] < 2 * _tune_compat.FORGOTTEN_AT_ONCE


def test_an_existing_run_directory_is_not_changed(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with pytest.raises(ValueError, match="already there"):
        Run.create(tmp_path / "run", Manifest(), [])
    assert list((tmp_path / "run").iterdir()) == []


def test_idle_actors_stay_until_others_need_their_place_or_time_has_passed() -> None:
    patient = _tune_compat._IdleActors(idle_s=3600)
    for actor in "abc":
        assert patient.cache_object("cpu", actor)
    assert list(patient.flush_cached_objects()) == []
    patient.increase_max("cpu")  # a cell of the same kind is pending: it takes the actor that was busy last
    assert list(patient.flush_cached_objects()) == []
    assert patient.pop_cached_object("cpu") == "c"
    patient.decrease_max("cpu")
    patient.increase_max("gpu")  # a cell of another kind is pending, and may need the CPUs of the idle actors
    assert list(patient.flush_cached_objects()) == ["a", "b"]
    assert patient.pop_cached_object("cpu") is None

    hasty = _tune_compat._IdleActors(idle_s=0)
    for actor in "abc":
        hasty.cache_object("cpu", actor)
    assert list(hasty.flush_cached_objects()) == ["a", "b"]  # one stays, as in Tune
    assert list(hasty.flush_cached_objects(force_all=True)) == ["c"]
    assert hasty.num_cached_objects == 0
