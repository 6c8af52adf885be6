"""Searches on Ray clusters whose nodes join, drain or fail during the search."""

from __future__ import annotations

import dataclasses
import math
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import ray
import torch
from ray import cloudpickle
from ray.cluster_utils import Cluster
from ray.util import placement_group, remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from rich.console import Console
from searches import VOLATILE

import helo
from helo._deadline import Deadline
from helo.cluster.filling import NO_GPU
from helo.configuration import Configuration
from helo.data import Dataset, simulate, write_dataset
from helo.errors import SearchError
from helo.evaluation.folds import Fold, loso_folds
from helo.names import Status
from helo.run.ledger import Ledger, LedgerWriter
from helo.run.tables import CELL_COLUMNS, cells_table
from helo.search import driver
from helo.search.execution.cells import CellSettings, Train, run_cell
from helo.search.execution.connection import SharedDataset, ray_cluster
from helo.search.execution.elastic import ConcurrencyLimit, cluster_machines, share_folder, worker_is_starting
from helo.search.execution.progress import SearchProgress
from helo.search.execution.recorder import Reporting
from helo.search.execution.tune import run_cells
from helo.search.planning.outcome import Outcome
from helo.search.planning.pace import Pace
from helo.search.planning.planner import Planner
from helo.search.planning.queue import Cell, Queue
from helo.search.planning.space import Range, Space, read_space
from helo.settings import TrainingSettings
from helo.storage import LocalFolder, open_folder
from helo.training.cell import CellResult, CellTraining, Checkpointer, train_cell

pytestmark = pytest.mark.slow

SPACE = Space(
    name="tiny",
    configurations=6,
    searched={"ot_entropy": Range(0.01, 1.0, True, False), "dropout": Range(0.1, 0.5, False, False)},
    fixed={"width": 8, "heads": 2, "epochs": 8, "batch_size": 256},
)
SETTINGS = CellSettings(TrainingSettings(seed=3))
INNER_FOLDS = 2
"""Number of members of a cell: the fewest that rungs divide into two stages."""

NODES = 4
WAIT_S = 1200.0
"""Seconds after which a test that waits for an event fails."""

# Workers cannot import this file, so its functions and classes are pickled by value.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return simulate(subjects=4, clips=2, windows=5, emotions=3)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A cluster of a head node without resources and four workers with one CPU each."""
    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 0}, shutdown_at_exit=False)
    for _ in range(NODES):
        found.add_node(num_cpus=1)
    found.wait_for_nodes()
    yield found
    found.shutdown()


class RecordingQueue(Queue):
    """Queue that records which attempts were retried."""

    def __init__(self, planner: Planner) -> None:
        super().__init__(planner)
        self.retried: list[Cell] = []

    def retry(self, cell: Cell, gpu_factor: int = 1) -> bool:
        self.retried.append(cell)
        return super().retry(cell, gpu_factor)


def recording_queue(dataset: Dataset, space: Space) -> RecordingQueue:
    folds = len(dataset.subject_names)
    return RecordingQueue(
        Planner(space, folds, seed=3, pace=Pace.for_search(space, folds, NODES, "shared", racing=True))
    )


def search(
    dataset: Dataset, queue: RecordingQueue, train: Train, folder: Path, settings: CellSettings = SETTINGS
) -> pd.DataFrame:
    """Run all cells on the current cluster, and return the table of cells."""
    folder.mkdir()
    folds = loso_folds(dataset.subject_names, 3, INNER_FOLDS)
    settings = dataclasses.replace(settings, train=train)
    progress = SearchProgress(queue.planner.max_cells, "kl", Console(quiet=True))
    assert run_cells(queue, SharedDataset(dataset), folds, settings, Reporting(LedgerWriter(Ledger(folder)), progress))
    return cells_table(Ledger(folder).rows(CELL_COLUMNS))


def run_sequentially(dataset: Dataset, queue: Queue, folder: Path, seed: int = 3) -> pd.DataFrame:
    """Run all cells in this process, one at a time and without Ray, and return the table of cells."""
    folder.mkdir()
    ledger, folds = Ledger(folder), loso_folds(dataset.subject_names, seed, INNER_FOLDS)
    settings = CellSettings(TrainingSettings(seed=seed))
    while (cell := queue.ask()) is not None:
        record = run_cell(cell, dataset, folds, settings).record
        assert record is not None
        ledger.append(record, cell.fold)
        queue.tell(cell, Outcome.of_record(record, "kl"))
    assert queue.finished
    return cells_table(ledger.rows(CELL_COLUMNS))


@contextmanager
def in_background(function: Callable[[], None]) -> Iterator[None]:
    """Call a function in another thread during the ``with`` block, and raise its error afterwards."""
    with ThreadPoolExecutor(1) as pool:
        helper = pool.submit(function)
        yield
        helper.result(WAIT_S)


def wait_until(condition: Callable[[], Any]) -> None:
    """Wait for a condition; fail after `WAIT_S` seconds."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, f"the condition did not become true within {WAIT_S:.0f} s"
        time.sleep(0.05)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_results_do_not_depend_on_nodes_that_join_and_fail(dataset: Dataset, cluster: Cluster, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    seen.mkdir()
    removed = tmp_path / "removed"

    def train_on_all_nodes(
        dataset: Dataset,
        fold: Fold,
        configuration: Configuration,
        settings: TrainingSettings,
        rungs: Mapping[int, float],
        checkpointer: Checkpointer | None,
    ) -> CellResult | None:
        """Wait until four nodes have run a cell and one of them has failed; some cells also wait for the new node."""
        (seen / ray.get_runtime_context().get_node_id()).touch()
        nodes = NODES + (configuration.dropout > 0.3)
        wait_until(lambda: removed.exists() and len(names(seen)) >= nodes)
        return train_cell(dataset, fold, configuration, settings, rungs, checkpointer)

    def replace_node() -> None:
        wait_until(lambda: len(names(seen)) == NODES)
        cluster.remove_node(cluster.list_all_nodes()[1], allow_graceful=False)
        removed.touch()
        cluster.add_node(num_cpus=1)

    queue = recording_queue(dataset, SPACE)
    with ray_cluster(cluster.address), in_background(replace_node):
        found = search(dataset, queue, train_on_all_nodes, tmp_path / "ledger")
    assert len(names(seen)) == NODES + 1
    # The cell on the failed node is retried, and its attempt is not counted.
    assert [cell.attempt for cell in queue.retried] == [0]
    assert set(found["status"]) == {Status.COMPLETED, Status.STOPPED}
    expected = run_sequentially(dataset, recording_queue(dataset, SPACE), tmp_path / "sequential")
    pd.testing.assert_frame_equal(found.drop(columns=VOLATILE), expected.drop(columns=VOLATILE), check_exact=True)


EPOCHS = 120
EPOCH_S = 0.05
"""Seconds added to each epoch, so that a cell lasts long enough to be interrupted."""


class LoggingCheckpointer:
    """Checkpointer that logs the node and number of every epoch."""

    def __init__(self, checkpointer: Checkpointer, log: Path) -> None:
        self.checkpointer, self.log = checkpointer, log
        self.node = ray.get_runtime_context().get_node_id()

    def load(self, device: torch.device) -> Mapping[str, Any] | None:
        return self.checkpointer.load(device)

    def after_epoch(self, training: CellTraining) -> bool:
        with self.log.open("a") as file:
            file.write(f"{self.node} {training.current.epoch}\n")
        time.sleep(EPOCH_S)
        return self.checkpointer.after_epoch(training)


def epochs_of(log: Path) -> list[tuple[str, int]]:
    """Return the nodes and numbers of the epochs in the log of a cell, in the order in which they ran."""
    lines = [line.split() for line in log.read_text().splitlines()] if log.exists() else []
    return [(node, int(epoch)) for node, epoch in lines]


def drain(address: str, node: str) -> None:
    """Drain a node, as the spot watcher does after an interruption notice."""
    words = ["drain-node", "--address", address, "--node-id", node, "--reason", "DRAIN_NODE_REASON_PREEMPTION"]
    words += ["--reason-message", "notice", "--deadline-remaining-seconds", "60"]
    code = "import sys; from ray.scripts.scripts import main; sys.exit(main())"
    subprocess.run([sys.executable, "-c", code, *words], check=True, capture_output=True)


def test_cells_resume_on_another_node_when_their_node_drains_or_fails(
    dataset: Dataset, cluster: Cluster, tmp_path: Path
) -> None:
    """No epoch is repeated after a drain, and only those since the last checkpoint after a failure."""
    logs, checkpoints = tmp_path / "logs", tmp_path / "checkpoints"
    logs.mkdir()
    every = 20 * EPOCH_S

    def train_logged(
        dataset: Dataset,
        fold: Fold,
        configuration: Configuration,
        settings: TrainingSettings,
        rungs: Mapping[int, float],
        checkpointer: Checkpointer | None,
    ) -> CellResult | None:
        assert checkpointer is not None
        logging_checkpointer = LoggingCheckpointer(checkpointer, logs / fold.test)
        return train_cell(dataset, fold, configuration, settings, rungs, logging_checkpointer)

    def running_cells() -> dict[str, Path]:
        """Return the log of the cell on each node that has run more than 30 epochs of it."""
        found = {path: epochs_of(path) for path in logs.iterdir()}
        return {epochs[-1][0]: path for path, epochs in found.items() if len(epochs) > 30}

    interrupted: dict[str, str] = {}

    def remove_nodes() -> None:
        head = cluster.head_node.node_id
        wait_until(lambda: len(running_cells()) >= 2)
        (drained, drained_log), (failed, failed_log) = list(running_cells().items())[:2]
        assert head not in (drained, failed)
        drain(cluster.address, drained)
        interrupted[drained_log.name] = drained
        interrupted[failed_log.name] = failed
        cluster.remove_node(next(n for n in cluster.worker_nodes if n.node_id == failed), allow_graceful=False)

    space = dataclasses.replace(SPACE, configurations=1, fixed={**SPACE.fixed, "epochs": EPOCHS})
    queue = recording_queue(dataset, space)
    with ray_cluster(cluster.address), in_background(remove_nodes):
        store = share_folder(LocalFolder(checkpoints))
        settings = dataclasses.replace(SETTINGS, checkpoints=store, checkpoint_every=every)
        found = search(dataset, queue, train_logged, tmp_path / "ledger", settings)
    assert set(found["status"]) == {Status.COMPLETED}
    assert [cell.attempt for cell in queue.retried] == [0, 0]
    _, failed_fold = interrupted
    for fold in found["fold"]:
        epochs = epochs_of(logs / fold)
        numbers = [epoch for _, epoch in epochs]
        assert set(numbers) == set(range(1, EPOCHS))  # checkpointers are not called after the last epoch
        assert len({node for node, _ in epochs}) == 1 + (fold in interrupted)
        if fold != failed_fold:
            assert numbers == sorted(set(numbers)), "an epoch ran twice"
        else:
            repeated = len(numbers) - (EPOCHS - 1)
            print(f"{repeated} of {EPOCHS} epochs were repeated after the node failed")
            assert repeated <= every / EPOCH_S + 1
    assert list(checkpoints.iterdir()) == []  # the checkpoints of finished cells are deleted
    expected = run_sequentially(dataset, recording_queue(dataset, space), tmp_path / "sequential")
    pd.testing.assert_frame_equal(found.drop(columns=VOLATILE), expected.drop(columns=VOLATILE), check_exact=True)


def test_each_node_stores_one_copy_of_the_data(cluster: Cluster) -> None:
    """All cells of a node, also of a new one, use the read-only copy in its object store."""
    dataset = simulate(subjects=4, clips=2, windows=2500, emotions=3)

    def look(shared: SharedDataset) -> bool:
        return shared.get().features.flags.writeable

    with ray_cluster(cluster.address):
        shared, task = SharedDataset(dataset), ray.remote(look)

        def holding(nodes: Sequence[str], cells: int) -> set[str]:
            on = [NodeAffinitySchedulingStrategy(node, soft=False) for node in nodes]
            writeable = [task.options(num_cpus=0, scheduling_strategy=node).remote(shared) for node in on * cells]
            assert not any(ray.get(writeable)), "a cell has its own copy"
            return set(ray.experimental.get_object_locations([shared.reference])[shared.reference]["node_ids"])

        alive = [node["NodeID"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
        before = holding(alive[:2], cells=1)
        joined = cluster.add_node(num_cpus=1).node_id
        assert before >= {*alive[:2]}
        assert joined not in before
        assert holding([joined], cells=3) == {*before, joined}


LAUNCHED = """
cluster_name: some
max_workers: 5
head_node_type: head
available_node_types:
  head: {resources: {CPU: 0}, node_config: {}}
  small: {resources: {CPU: 4}, max_workers: 3, node_config: {}}
  large: {resources: {CPU: 16, GPU: 2}, max_workers: 3, node_config: {}}
"""
"""Cluster file as ``ray up`` leaves it on the head node, with the resources of each node type."""


def test_the_concurrency_limit_follows_the_nodes_and_the_limits_of_the_autoscaler(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with ray_cluster(cluster.address):
        cpus = sum(node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"])
        assert cluster_machines().count_cells(1, 0) == cpus
        assert ConcurrencyLimit(None, 1, 0.0).current() == 2 * cpus  # as many cells again are queued
        assert ConcurrencyLimit(7, 1, 0.0).current() == 7
        assert ConcurrencyLimit(None, 1, 0.5).current() == 1  # one cell is queued for a node with a GPU
        (tmp_path / "ray_bootstrap_config.yaml").write_text(LAUNCHED)
        assert ConcurrencyLimit(None, 1, 0.0).current() == 3 * 16 + 2 * 4
        assert ConcurrencyLimit(None, 8, 0.5).current() == 3 * 2
        marked = LAUNCHED.replace("{CPU: 4}", "{CPU: 4, no_gpu: 1}")
        (tmp_path / "ray_bootstrap_config.yaml").write_text(marked)
        assert ConcurrencyLimit(None, 1, 0.0).current() == 3 * 4  # cells without a GPU run on the marked nodes only
        assert ConcurrencyLimit(None, 8, 0.5).current() == 3 * 2
        (tmp_path / "ray_bootstrap_config.yaml").write_text("max_workers: many")
        assert ConcurrencyLimit(None, 1, 0.0).current() == 2 * cpus


def test_cells_without_a_gpu_run_on_marked_nodes_only(dataset: Dataset, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    seen.mkdir()

    def train(
        dataset: Dataset,
        fold: Fold,
        configuration: Configuration,
        settings: TrainingSettings,
        rungs: Mapping[int, float],
        checkpointer: Checkpointer | None,
    ) -> CellResult | None:
        (seen / ray.get_runtime_context().get_node_id()).touch()
        return train_cell(dataset, fold, configuration, settings, rungs, checkpointer)

    mixed = Cluster(initialize_head=True, head_node_args={"num_cpus": 0}, shutdown_at_exit=False)
    try:
        mixed.add_node(num_cpus=8, num_gpus=1)
        marked = mixed.add_node(num_cpus=1, resources={NO_GPU: 1})
        mixed.wait_for_nodes()
        with ray_cluster(mixed.address):
            search(dataset, recording_queue(dataset, SPACE), train, tmp_path / "ledger")
    finally:
        mixed.shutdown()
    assert names(seen) == {marked.node_id}


def test_a_search_does_not_wait_for_ever_for_a_gpu_to_measure_a_cell_on(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The autoscaler may start nodes with GPUs, but none starts, as without a quota for them."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(driver, "PROBE_PATIENCE_S", 1.0)
    (tmp_path / "ray_bootstrap_config.yaml").write_text(LAUNCHED)
    ran = tmp_path / "run"
    with pytest.raises(SearchError, match=r"no node with a GPU has measured a cell.* give --gpus-per-cell 0"):
        helo.run_search(simulate(subjects=4, clips=2, windows=3), address=cluster.address, out=ran)
    assert "waiting up to 0 minutes for the cluster to start a node with a GPU" in capsys.readouterr().out
    assert not ran.exists()


def test_room_for_a_worker_tells_one_that_starts_from_one_that_waits(cluster: Cluster) -> None:
    with ray_cluster(cluster.address):
        assert not worker_is_starting()
        impossible, possible = placement_group([{"CPU": 1000}]), placement_group([{"CPU": 1}])
        ray.get(possible.ready(), timeout=WAIT_S)
        assert worker_is_starting()
        remove_placement_group(possible)
        wait_until(lambda: not worker_is_starting())  # the other one waits for a node
        remove_placement_group(impossible)


def test_a_search_ends_at_its_deadline_although_cells_wait_for_a_node(
    dataset: Dataset, cluster: Cluster, tmp_path: Path
) -> None:
    tmp_path = tmp_path / "ledger"
    tmp_path.mkdir()
    queue, folds = recording_queue(dataset, SPACE), loso_folds(dataset.subject_names, 3, INNER_FOLDS)
    settings = CellSettings(TrainingSettings(seed=3, threads=64), deadline=Deadline.after(2))
    progress = SearchProgress(queue.planner.max_cells, "kl", Console(quiet=True))
    with ray_cluster(cluster.address):
        assert not run_cells(
            queue, SharedDataset(dataset), folds, settings, Reporting(LedgerWriter(Ledger(tmp_path)), progress), 2
        )
    assert list(tmp_path.iterdir()) == []


YAML = """
name: tiny
configurations: 6
parameters:
  width: 8
  heads: 2
  epochs: 20
  batch_size: 256
  ot_entropy: {low: 0.01, high: 1.0, log: true}
  dropout: {low: 0.1, high: 0.5}
"""


class RayNodes:
    """Nodes started by ``ray start``, each with its own process group."""

    def __init__(self, folder: Path, ports: Iterator[int]) -> None:
        self.folder, self.ports = folder, ports
        self.port, self.dashboard = next(ports), next(ports)
        self.groups: list[subprocess.Popen[bytes]] = []
        self.workers: list[subprocess.Popen[bytes]] = []

    def ray(self, *words: str) -> subprocess.Popen[bytes]:
        code = "import sys; from ray.scripts.scripts import main; sys.exit(main())"
        with (self.folder / "ray.log").open("ab") as log:
            started = subprocess.Popen(
                [sys.executable, "-c", code, *words], stdout=log, stderr=log, start_new_session=True, cwd=self.folder
            )
        self.groups.append(started)
        return started

    def head(self) -> None:
        self.ray(
            *self.start(),
            "--head",
            "--num-cpus=0",
            "--node-ip-address=127.0.0.1",
            f"--port={self.port}",
            "--block",
            "--dashboard-host=127.0.0.1",
            f"--dashboard-port={self.dashboard}",
            f"--temp-dir={self.folder / 'ray'}",
        )

    def worker(self) -> None:
        to = (f"--address=127.0.0.1:{self.port}", "--node-ip-address=127.0.0.1")
        self.workers.append(self.ray(*self.start(), *to, "--num-cpus=1", "--block"))

    def start_again(self) -> None:
        """Start a worker for each one that has ended by itself, as it does where it does not start within 30 s."""
        for worker in [worker for worker in self.workers if worker.poll() is not None]:
            self.workers.remove(worker)
            self.worker()

    def start(self) -> tuple[str, str]:
        """Return the first words of ``ray start``, with a free port for the agent, whose default other clusters use."""
        return "start", f"--dashboard-agent-listen-port={next(self.ports)}"

    def answers(self) -> bool:
        """Return whether the dashboard accepts connections."""
        try:
            socket.create_connection(("127.0.0.1", self.dashboard), timeout=1).close()
        except OSError:
            return False
        return True

    def end(self) -> None:
        for group in self.groups:
            with suppress(ProcessLookupError):
                os.killpg(group.pid, signal.SIGKILL)
            group.wait()


@pytest.fixture
def plain_nodes(
    object_storage: str, monkeypatch: pytest.MonkeyPatch, free_ports: Callable[[int], list[int]]
) -> Iterator[RayNodes]:
    """A head node that runs no cells and two workers, all with access to the object storage."""
    # A short path, because the length of the socket paths in Ray's folder is limited.
    with tempfile.TemporaryDirectory(prefix="ray-") as folder:
        monkeypatch.setenv("RAY_AUTH_MODE", "token")  # otherwise a stored token would enable it for some processes only
        monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
        found = RayNodes(Path(folder), iter(free_ports(20)))
        found.head()
        try:
            wait_until(found.answers)
            found.worker()
            found.worker()
            yield found
        finally:
            found.end()


def test_a_submitted_job_survives_a_failed_node_and_writes_its_run_to_object_storage(
    plain_nodes: RayNodes, object_storage: str, tmp_path: Path
) -> None:
    (tmp_path / "space.yaml").write_text(YAML)
    data, place = simulate(subjects=4, clips=2, windows=5, emotions=3), f"{object_storage}/runs/job"
    write_dataset(data, tmp_path / "data")
    for name in ("dataset.yaml", "windows.parquet"):
        open_folder(f"{object_storage}/data").write(name, (tmp_path / "data" / name).read_bytes())
    at = ("--address", f"http://127.0.0.1:{plain_nodes.dashboard}")
    words = (
        "helo.search",
        "--address",
        "auto",
        "--space",
        str(tmp_path / "space.yaml"),
        "--seed",
        "3",
        "--inner-folds",
        str(INNER_FOLDS),
        "--baselines",
        "none",
        "--concurrency",
        "2",
        "--data",
        f"{object_storage}/data",
        "--out",
        place,
    )

    def submitted() -> bool:
        """Return whether Ray has accepted the job. For some seconds after its start it rejects jobs."""
        job = plain_nodes.ray(
            "job", "submit", *at, "--no-wait", "--submission-id", "search", "--", sys.executable, "-m", *words
        )
        return job.wait(WAIT_S) == 0

    wait_until(submitted)
    followed = plain_nodes.ray("job", "logs", *at, "--follow", "search")
    ledger = open_folder(place) / "ledger"

    def reached(cells: float) -> bool:
        """Return whether the ledger has this number of cells, or the job has ended."""
        plain_nodes.start_again()
        return len(ledger.names()) >= cells or followed.poll() is not None

    wait_until(lambda: reached(3))
    assert followed.poll() is None, (plain_nodes.folder / "ray.log").read_text()
    os.killpg(plain_nodes.workers[0].pid, signal.SIGKILL)  # a worker node with all of its processes
    wait_until(lambda: reached(math.inf))
    assert (open_folder(place) / "model").names(), (plain_nodes.folder / "ray.log").read_text()
    run = helo.load_run(place)
    assert run.complete
    space = read_space(tmp_path / "space.yaml")
    queue = Queue(Planner(space, 4, seed=3, pace=Pace.for_search(space, 4, 2, "shared", racing=True)))
    expected = run_sequentially(data, queue, tmp_path / "sequential")
    pd.testing.assert_frame_equal(run.cells.drop(columns=VOLATILE), expected.drop(columns=VOLATILE), check_exact=True)
