"""Real faults: killed workers, drivers and nodes, full disks, damaged files."""

from __future__ import annotations

import math
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import limits
import numpy as np
import pandas as pd
import pytest
import ray
import torch
from ray import cloudpickle
from ray.cluster_utils import Cluster
from rich.console import Console
from searches import VOLATILE, assert_same_tables, command, done, parts, tables, wait_for
from trivial_cells import trivial_result

import helo
from helo._deadline import Deadline
from helo.configuration import Configuration
from helo.data import Dataset, simulate
from helo.evaluation.folds import Fold, loso_folds
from helo.names import Status
from helo.run.directory import Run
from helo.run.ledger import CellRecord, Ledger, LedgerWriter
from helo.run.tables import CELL_COLUMNS, cells_table
from helo.search.execution.cells import CellSettings, Train
from helo.search.execution.connection import SharedDataset, ray_cluster
from helo.search.execution.progress import SearchProgress
from helo.search.execution.recorder import Reporting
from helo.search.execution.tune import run_cells
from helo.search.planning.planner import MAX_ATTEMPTS, Planner
from helo.search.planning.queue import Queue
from helo.search.planning.space import Range, Space
from helo.search.setup.finished import FinishedCells
from helo.settings import TrainingSettings
from helo.storage import LocalFolder, open_folder
from helo.training.cell import CellResult, Checkpointer, train_cell
from helo.training.checkpoints import CheckpointFile

pytestmark = pytest.mark.slow

SPACE = Space(
    name="tiny",
    configurations=3,
    searched={"ot_entropy": Range(0.01, 1.0, True, False), "dropout": Range(0.1, 0.5, False, False)},
    fixed={"width": 8, "heads": 2, "epochs": 2, "batch_size": 256},
)
YAML = """
configurations: {configurations}
sampler: random
parameters:
  width: 8
  heads: 2
  epochs: 16
  dropout: {{low: 0.1, high: 0.5}}
  learning_rate: {{low: 1e-4, high: 1e-2, log: true}}
"""
KILLS = int(os.environ.get("HELO_TEST_KILLS", "3"))
"""Number of times that the driver is killed. Each time starts Ray anew, which takes seconds."""

FEW = ("--baselines", "ridge", "--inner-folds", "2")
"""Options of a search with one baseline and the fewest members that rungs divide into two stages."""

# Workers cannot import this module, so its functions are pickled by value.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return simulate(subjects=4, clips=2, windows=5, emotions=3)


def run(
    dataset: Dataset, train: Train, folder: Path, gpus: float = 0, configurations: int = 3
) -> tuple[list[CellRecord], Planner]:
    """Run all cells on the current cluster and return their records and the planner."""
    folder.mkdir(exist_ok=True)
    folds = loso_folds(dataset.subject_names, 0)
    planner = Planner(replace(SPACE, configurations=configurations), len(folds), seed=0, racing=False)
    ledger = Ledger(folder)
    settings = CellSettings(gpus=gpus, train=train)
    progress = SearchProgress(planner.max_cells, "kl", Console(quiet=True))
    assert run_cells(
        Queue(planner), SharedDataset(dataset), folds, settings, Reporting(LedgerWriter(ledger), progress), 2
    )
    records = ledger.read()
    assert len(records) == 4 * configurations
    return records, planner


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Ray cluster that several tests share, because each start takes seconds. Its GPU is logical."""
    with ray_cluster(None, 2, gpus=1):
        yield


@pytest.mark.usefixtures("cluster")
def test_a_killed_worker_loses_no_cell_and_failures_stay_in_their_cells(dataset: Dataset, tmp_path: Path) -> None:
    mark = tmp_path / "mark"

    def faulty(
        dataset: Dataset,
        fold: Fold,
        configuration: Configuration,
        settings: TrainingSettings,
        rungs: Mapping[int, float],
        checkpointer: Checkpointer | None,
    ) -> CellResult:
        if fold.test == "P01":
            torch.empty(2**50)
        if fold.test == "P02" and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if fold.test == "P03":
            raise RuntimeError("this fold cannot be trained")
        return trivial_result(dataset, fold, configuration.ot_entropy, epochs=1)

    with ray_cluster(None, 2):
        records, planner = run(dataset, faulty, tmp_path / "ledger")
    assert mark.exists()
    failed = [record for record in records if record.status == Status.FAILED]
    assert {record.fold for record in failed} == {"P01", "P03"}
    of_memory = [str(record.reason) for record in failed if record.fold == "P01"]
    assert all(re.match(r"out of memory( \(limit .+?\))?: ", reason) for reason in of_memory), of_memory
    assert all("cannot be trained" in str(record.reason) for record in failed if record.fold == "P03")
    assert planner.best() is None  # no configuration has a score in every fold


@pytest.mark.usefixtures("cluster")
def test_a_cell_that_always_kills_its_worker_fails_after_some_attempts(dataset: Dataset, tmp_path: Path) -> None:
    attempts = tmp_path / "attempts"
    attempts.mkdir()

    def deadly(
        dataset: Dataset,
        fold: Fold,
        configuration: Configuration,
        settings: TrainingSettings,
        rungs: Mapping[int, float],
        checkpointer: Checkpointer | None,
    ) -> CellResult:
        if fold.test == "P02":
            (attempts / str(time.monotonic_ns())).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return trivial_result(dataset, fold, configuration.ot_entropy, epochs=1)

    with ray_cluster(None, 2):
        records, _ = run(dataset, deadly, tmp_path / "ledger", configurations=1)
    failed = [record for record in records if record.status == Status.FAILED]
    assert len(failed) == 1
    assert len(list(attempts.iterdir())) == MAX_ATTEMPTS
    assert all(record.fold == "P02" and f"each of the {MAX_ATTEMPTS} times" in str(record.reason) for record in failed)


@pytest.mark.usefixtures("cluster")
def test_a_cell_out_of_gpu_memory_gets_a_larger_share(dataset: Dataset, tmp_path: Path) -> None:
    """Use a logical GPU, of which Ray assigns shares by the same rules as of a real GPU."""

    def needs_half(
        dataset: Dataset,
        fold: Fold,
        configuration: Configuration,
        settings: TrainingSettings,
        rungs: Mapping[int, float],
        checkpointer: Checkpointer | None,
    ) -> CellResult:
        share = ray.get_runtime_context().get_assigned_resources()["GPU"]
        if fold.test == "P01" and share < 0.5:
            raise torch.OutOfMemoryError(f"tried to allocate more than {share} of the GPU")
        if fold.test == "P02":
            raise torch.OutOfMemoryError("no GPU is large enough")
        assert share == (0.5 if fold.test == "P01" else 0.25)
        return trivial_result(dataset, fold, configuration.ot_entropy, epochs=1)

    with ray_cluster(None, 2, gpus=1):
        records, _ = run(dataset, needs_half, tmp_path, gpus=0.25, configurations=1)
    assert {record.fold for record in records if record.status == Status.FAILED} == {"P02"}
    assert all("no GPU is large enough" in str(r.reason) for r in records if r.status == Status.FAILED)


@pytest.fixture
def two_nodes() -> Iterator[Cluster]:
    """Cluster with a head that runs no cells. The test adds its workers."""
    ray.shutdown()  # disconnect from the cluster of the tests above: a process uses one cluster
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    yield cluster
    cluster.shutdown()


def test_a_removed_node_loses_no_cell(dataset: Dataset, tmp_path: Path, two_nodes: Cluster) -> None:
    nodes = [two_nodes.add_node(num_cpus=1) for _ in range(2)]
    two_nodes.wait_for_nodes()
    ready, go = tmp_path / "ready", tmp_path / "go"
    ready.mkdir()

    def waits(
        dataset: Dataset,
        fold: Fold,
        configuration: Configuration,
        settings: TrainingSettings,
        rungs: Mapping[int, float],
        checkpointer: Checkpointer | None,
    ) -> CellResult:
        (ready / ray.get_runtime_context().get_node_id()).touch()
        while not go.exists():  # until the test has removed a node under a running cell
            time.sleep(0.05)
        return trivial_result(dataset, fold, configuration.ot_entropy, epochs=1)

    def remove(ended: list[bool]) -> None:
        while len(list(ready.iterdir())) < 2 and not ended:
            time.sleep(0.05)
        two_nodes.remove_node(nodes[0])
        go.touch()

    ended: list[bool] = []
    helper = threading.Thread(target=remove, args=(ended,))
    with ray_cluster(two_nodes.address):
        helper.start()
        try:
            records, _ = run(dataset, waits, tmp_path / "ledger")
        finally:
            ended.append(True)
            helper.join()
    assert len(list(ready.iterdir())) == 2
    assert {record.status for record in records} == {Status.COMPLETED}


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a search without faults."""
    folder = tmp_path_factory.mktemp("unbroken")
    (folder / "space.yaml").write_text(YAML.format(configurations=5))
    done("--space", "space.yaml", *FEW, "--out", "run", cwd=folder)
    return folder


def test_kills_and_ctrl_c_do_not_change_results_and_a_second_search_is_refused(unbroken: Path, tmp_path: Path) -> None:
    generator = np.random.default_rng(int.from_bytes(os.urandom(4)))
    words = ["--space", str(unbroken / "space.yaml"), *FEW, "--out", "run"]
    run_path = tmp_path / "run"
    seen: dict[str, str] = {}
    for kill in range(KILLS):
        process = command(*words, cwd=tmp_path)
        target = len(seen) + int(generator.integers(0, 8))
        waits = wait_for(lambda: (run_path / "manifest.json").exists() and len(parts(run_path)) >= target, process)  # noqa: B023
        if waits and process.poll() is None:
            time.sleep(float(generator.uniform(0, 0.3)))
        process.kill()
        _, errors = process.communicate(timeout=240)
        assert "Traceback" not in errors
        seen = parts_without_loss(seen, run_path)
        words = ["--resume", "run"]
        if kill == 0:  # while enough cells are left to interrupt
            interrupt_while_a_second_search_is_refused(tmp_path, cells=len(seen) + 4)
            seen = parts_without_loss(seen, run_path)
    done("--resume", "run", cwd=tmp_path)
    parts_without_loss(seen, run_path)
    assert_same_tables(tables(run_path), tables(unbroken / "run"))
    assert Run.open(run_path).checkpoints.names() == []


def parts_without_loss(seen: dict[str, str], path: Path) -> dict[str, str]:
    """Return the present parts, and assert that all parts seen before are among them unchanged."""
    found = parts(path)
    assert seen.items() <= found.items(), "a finished cell was lost or written again"
    return found


def interrupt_while_a_second_search_is_refused(folder: Path, cells: int) -> None:
    """Resume the run until it has this number of parts, start a second search on it, and press Ctrl-C."""
    process = command("--resume", "run", cwd=folder)
    assert wait_for(lambda: len(parts(folder / "run")) >= cells, process)
    process.send_signal(signal.SIGSTOP)  # otherwise it may finish before the second search starts
    second = command("--resume", "run", cwd=folder)
    _, errors = second.communicate(timeout=240)
    process.send_signal(signal.SIGCONT)
    assert second.returncode == 2
    assert errors.count("\n") == 1
    assert f"run: is in use by process {process.pid}" in errors
    os.killpg(process.pid, signal.SIGINT)  # a terminal signals all processes of the command
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 130
    assert errors.endswith("resume with:\n  python -m helo.search --resume run\n")
    assert "Traceback" not in errors


def has_cells(path: Path, number: int) -> bool:
    return len(parts(path)) >= number


def test_a_terminated_search_ends_like_an_interrupted_one(tmp_path: Path) -> None:
    """A scheduler sends SIGTERM, and a closed terminal SIGHUP, to the command alone."""
    (tmp_path / "space.yaml").write_text(YAML.format(configurations=5))
    words = ["--space", "space.yaml", *FEW, "--out", "run"]
    for number, cells in ((signal.SIGTERM, 1), (signal.SIGHUP, 3)):
        process = command(*words, cwd=tmp_path)
        assert wait_for(partial(has_cells, tmp_path / "run", cells), process)
        process.send_signal(number)
        _, errors = process.communicate(timeout=240)
        assert process.returncode == 130, errors
        assert errors.endswith("resume with:\n  python -m helo.search --resume run\n")
        assert errors.count("\n") == 2, errors  # no dump of Ray's threads
        words = ["--resume", "run"]


def test_damaged_and_foreign_parts_are_set_aside_and_run_again(unbroken: Path, tmp_path: Path) -> None:
    shutil.copytree(unbroken / "run", tmp_path / "run")
    ledger, folder = Run.open(tmp_path / "run").ledger, tmp_path / "run" / "ledger"
    (first, *_), (second, third, *_) = (
        [folder / name for name in names] for names in (ledger.baseline_parts(), ledger.files())
    )
    first.write_bytes(first.read_bytes()[:200])
    second.write_bytes(b"")
    other = ["--space", str(unbroken / "space.yaml"), "--configurations", "1", "--baselines", "none", "--out", "other"]
    done(*other, "--seed", "1", cwd=tmp_path)
    third.write_bytes((tmp_path / "other" / "ledger" / third.name).read_bytes())
    output = done("--resume", "run", cwd=tmp_path)
    for part in (first, second, third):
        assert f"{Path('run/ledger') / part.name}:" in output
        assert (folder / "set-aside" / part.name).exists()
    assert "belongs to another search" in output
    assert_same_tables(tables(tmp_path / "run"), tables(unbroken / "run"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Folder on a file system of 200 KiB."""
    with limits.small_disk(tmp_path / "disk", "200k") as is_mounted:
        if not is_mounted:
            pytest.skip("a small disk can only be made by root")
        yield tmp_path / "disk"


def test_a_full_disk_ends_the_search_and_it_resumes_when_there_is_space(unbroken: Path, small_disk: Path) -> None:
    words = ["--space", str(unbroken / "space.yaml"), *FEW, "--out", "disk/run"]
    process = command(*words, cwd=small_disk.parent)
    _, errors = process.communicate(timeout=400)
    assert process.returncode == 1
    assert "No space left on device" in errors
    assert errors.endswith("resume with:\n  python -m helo.search --resume disk/run\n")
    assert "Traceback" not in errors
    before = parts(small_disk / "run")
    assert before
    subprocess.run(["mount", "-o", "remount,size=50m", str(small_disk)], check=True)
    done("--resume", "disk/run", cwd=small_disk.parent)
    assert before.items() <= parts(small_disk / "run").items()
    assert_same_tables(tables(small_disk / "run"), tables(unbroken / "run"))


KILLED = """
import math, os, signal, sys
from functools import partial
from pathlib import Path
from helo.configuration import Configuration
from helo.data import simulate
from helo.evaluation.folds import loso_folds
from helo.settings import TrainingSettings
from helo.storage import LocalFolder
from helo.training.cell import train_cell
from helo.training.checkpoints import CheckpointFile

class Killed(CheckpointFile):
    epochs = 0

    def after_epoch(self, training):
        super().after_epoch(training)
        self.epochs += 1
        if self.epochs == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
        return False

dataset = simulate(subjects=4, clips=2, windows=5, emotions=3)
configuration = Configuration(width=8, heads=2, batch_size=16, epochs=4)
checkpointer = Killed(LocalFolder(Path(sys.argv[1])), "cell.pt", interval=0)
fold = loso_folds(dataset.subject_names, 0)[0]
train_cell(dataset, fold, configuration, TrainingSettings(), {4: math.inf}, checkpointer)
"""


@pytest.mark.parametrize("epochs", [2, 4, 6])
def test_a_cell_killed_between_its_members_or_within_one_resumes_to_the_bit(
    dataset: Dataset, tmp_path: Path, epochs: int
) -> None:
    """Kill a cell of three members, of which the first trains 4 epochs before the others."""
    code = [sys.executable, "-c", KILLED, str(tmp_path), str(epochs)]
    assert subprocess.run(code, check=False).returncode == -signal.SIGKILL
    fold = loso_folds(dataset.subject_names, 0)[0]
    given = dataset, fold, Configuration(width=8, heads=2, batch_size=16, epochs=4), TrainingSettings(), {4: math.inf}
    checkpointer = CheckpointFile(LocalFolder(tmp_path), "cell.pt", interval=1e9)
    state = checkpointer.load(torch.device("cpu"))
    assert state is not None
    assert 4 * len(state["stages"]) + state["current"]["epoch"] == epochs
    resumed, whole = train_cell(*given, checkpointer), train_cell(*given)
    assert resumed is not None
    assert whole is not None
    assert (len(fold.splits), whole.epochs) == (3, 12)
    for name in ("epochs", "val", "test", "first_losses"):
        assert getattr(resumed, name) == getattr(whole, name)
    for name in ("predictions", "out_of_fold", "correlation", "plan"):
        np.testing.assert_array_equal(getattr(resumed, name), getattr(whole, name))
    pd.testing.assert_frame_equal(pd.DataFrame(resumed.history), pd.DataFrame(whole.history), check_exact=True)


def test_cells_that_pause_at_the_deadline_resume_from_their_checkpoints(dataset: Dataset, tmp_path: Path) -> None:
    space = replace(SPACE, sampler="random", fixed={**SPACE.fixed, "epochs": 6})
    folds = loso_folds(dataset.subject_names, 0)

    def part(folder: Path, train: Train, seconds: float | None) -> Ledger:
        ledger, states = Ledger(folder / "ledger"), folder / "checkpoints"
        states.mkdir(parents=True, exist_ok=True)
        planner = Planner(space, len(folds), seed=0)
        finished = FinishedCells("kl")
        for _, rows in ledger.blocks(finished.columns):
            finished.add(rows)
        planner.restore(finished.outcomes)
        settings = CellSettings(
            checkpoints=LocalFolder(states),
            deadline=None if seconds is None else Deadline.after(seconds),
            train=train,
        )
        progress = SearchProgress(planner.max_cells, "kl", Console(quiet=True))
        complete = run_cells(
            Queue(planner), SharedDataset(dataset), folds, settings, Reporting(LedgerWriter(ledger), progress), 2
        )
        assert complete is (seconds is None)
        return ledger

    def past_deadline(
        dataset: Dataset,
        fold: Fold,
        configuration: Configuration,
        settings: TrainingSettings,
        rungs: Mapping[int, float],
        checkpointer: Checkpointer | None,
    ) -> CellResult | None:
        assert isinstance(checkpointer, CheckpointFile)
        checkpointer.deadline = Deadline.after(-1)  # in the past, so the cell pauses after its first epoch
        return train_cell(dataset, fold, configuration, settings, rungs, checkpointer)

    def resuming(
        dataset: Dataset,
        fold: Fold,
        configuration: Configuration,
        settings: TrainingSettings,
        rungs: Mapping[int, float],
        checkpointer: Checkpointer | None,
    ) -> CellResult | None:
        if fold.test == started and configuration.ot_entropy == first:
            assert checkpointer is not None
            state = checkpointer.load(torch.device("cpu"))
            assert state is not None
            assert state["current"]["epoch"] == 1
        return train_cell(dataset, fold, configuration, settings, rungs, checkpointer)

    with ray_cluster(None, 2):
        kept = LocalFolder(tmp_path / "run/checkpoints")
        for seconds in (8, 120):  # the second only if workers start so slowly that no cell has paused
            assert part(tmp_path / "run", past_deadline, seconds).read() == []
            if kept.names():
                break
        states = [CheckpointFile(kept, name, 0).load(torch.device("cpu")) for name in kept.names()]
        assert 0 < len(states) <= 12
        assert all(state is not None and state["current"]["epoch"] == 1 for state in states)
        cell = Planner(space, len(folds), seed=0).ask()
        assert cell is not None
        first, started = cell.params["ot_entropy"], folds[cell.fold].test
        resumed = part(tmp_path / "run", resuming, seconds=None)
        whole = part(tmp_path / "whole", train_cell, seconds=None)
    assert not list((tmp_path / "run/checkpoints").iterdir())
    pd.testing.assert_frame_equal(
        cells_table(resumed.rows(CELL_COLUMNS)).drop(columns=VOLATILE),
        cells_table(whole.rows(CELL_COLUMNS)).drop(columns=VOLATILE),
        check_exact=True,
    )


def test_a_run_on_object_storage_can_be_resumed_on_another_machine(
    unbroken: Path, object_storage: str, tmp_path: Path
) -> None:
    place = f"{object_storage}/runs/killed"
    process = command("--space", str(unbroken / "space.yaml"), *FEW, "--out", place, cwd=tmp_path)
    assert wait_for(lambda: len(parts(place)) > 9, process)
    os.killpg(process.pid, signal.SIGKILL)  # the driver and all its processes, as if the machine failed
    process.communicate(timeout=240)
    seen = parts(place)
    (tmp_path / "elsewhere").mkdir()
    output = done("--resume", place, cwd=tmp_path / "elsewhere")
    assert seen.items() <= parts(place).items(), "a finished cell was lost or written again"
    assert_same_tables(tables(place), tables(unbroken / "run"))
    assert f"report: {place}/report.html" in output
    run = helo.load_run(place)
    assert run.complete
    assert run.model.subjects == ("P01", "P02", "P03", "P04", "P05", "P06", "P07", "P08")
    assert set(open_folder(place).names()) == {
        *("manifest.json", "folds.json", "journal.jsonl", "ledger", "model", "report.html", "study.log"),
        *(f"{table}.parquet" for table in ("cells", "epochs", "predictions", "explanations", "baselines")),
        *(f"{table}.parquet" for table in ("summary", "summary_by_group", "ensemble", "ensemble_predictions")),
    }
    assert not list(tmp_path.rglob("*.parquet")), "the run has files on this machine"
