"""Searches on Ray clusters that grow and shrink while they run: nodes join, are taken away with notice, or die."""

from __future__ import annotations

import dataclasses
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
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from rich.console import Console

import helo
from helo.configuration import Configuration
from helo.data import Dataset, simulate, write_dataset
from helo.evaluation.folds import Fold, loso_folds
from helo.names import Status
from helo.run.ledger import Ledger, LedgerWriter
from helo.run.tables import CELL_COLUMNS, cells_table
from helo.search.execution.cells import CellSettings, Train, run_cell
from helo.search.execution.connection import SharedDataset, ray_cluster
from helo.search.execution.elastic import ConcurrencyLimit, cluster_machines, share_folder
from helo.search.execution.progress import SearchProgress
from helo.search.execution.recorder import Reporting
from helo.search.execution.tune import run_cells
from helo.search.planning.outcome import Outcome
from helo.search.planning.pace import Pace
from helo.search.planning.planner import Planner
from helo.search.planning.queue import Cell, Queue
from helo.search.planning.space import Range, Space, read_space
from helo.settings import TrainingSettings
from helo.storage import open_folder
from helo.training.cell import CellResult, CellTraining, Checkpointer, train_cell

pytestmark = pytest.mark.slow

SPACE = Space(
    name="tiny",
    configurations=6,
    searched={"ot_entropy": Range(0.01, 1.0, True, False), "dropout": Range(0.1, 0.5, False, False)},
    fixed={"width": 8, "heads": 2, "epochs": 8, "batch_size": 256},
)
SETTINGS = CellSettings(TrainingSettings(seed=3))
NODES = 4
WAIT_S = 120.0
VOLATILE = ["seconds", "node", "started", "finished"]
# Workers cannot import this module, so its functions are pickled by value.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return simulate(subjects=4, clips=2, windows=5, emotions=3)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head that lends nothing, and four workers of a CPU each."""
    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 0}, shutdown_at_exit=False)
    for _ in range(NODES):
        found.add_node(num_cpus=1)
    found.wait_for_nodes()
    yield found
    found.shutdown()


class Watched(Queue):
    """Remembers which attempts were handed out again."""

    def __init__(self, planner: Planner) -> None:
        super().__init__(planner)
        self.again: list[Cell] = []

    def retry(self, cell: Cell, gpu_factor: int = 1) -> bool:
        self.again.append(cell)
        return super().retry(cell, gpu_factor)


def watched(dataset: Dataset, space: Space) -> Watched:
    folds = len(dataset.subject_names)
    return Watched(Planner(space, folds, seed=3, pace=Pace.for_search(space, folds, NODES, "shared", racing=True)))


def search(
    dataset: Dataset, queue: Watched, train: Train, folder: Path, settings: CellSettings = SETTINGS
) -> pd.DataFrame:
    """All cells on the cluster at hand, as many at a time as it holds."""
    folder.mkdir()
    folds = loso_folds(dataset.subject_names, 3)
    settings = dataclasses.replace(settings, train=train)
    progress = SearchProgress(queue.planner.max_cells, "kl", Console(quiet=True))
    assert run_cells(queue, SharedDataset(dataset), folds, settings, Reporting(LedgerWriter(Ledger(folder)), progress))
    return cells_table(Ledger(folder).rows(CELL_COLUMNS))


def alone(dataset: Dataset, queue: Queue, folder: Path, seed: int = 3) -> pd.DataFrame:
    """All cells in this process, one at a time, without Ray."""
    folder.mkdir()
    ledger, folds = Ledger(folder), loso_folds(dataset.subject_names, seed)
    settings = CellSettings(TrainingSettings(seed=seed))
    while (cell := queue.ask()) is not None:
        record = run_cell(cell, dataset, folds, settings).record
        assert record is not None
        ledger.append(record, cell.fold)
        queue.tell(cell, Outcome.of_record(record, "kl"))
    assert queue.finished
    return cells_table(ledger.rows(CELL_COLUMNS))


@contextmanager
def meanwhile(does: Callable[[], None]) -> Iterator[None]:
    """Do something beside a search, and raise what goes wrong with it."""
    with ThreadPoolExecutor(1) as pool:
        helper = pool.submit(does)
        yield
        helper.result(WAIT_S)


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "nothing happens"
        time.sleep(0.05)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_search_spreads_over_nodes_that_come_and_go_and_finds_what_one_finds(
    dataset: Dataset, cluster: Cluster, tmp_path: Path
) -> None:
    seen = tmp_path / "seen"
    seen.mkdir()
    removed = tmp_path / "removed"

    def everywhere(
        dataset: Dataset,
        fold: Fold,
        configuration: Configuration,
        settings: TrainingSettings,
        rungs: Mapping[int, float],
        checkpointer: Checkpointer | None,
    ) -> CellResult | None:
        """Cells wait until four nodes have one and one of these is gone; some of them for the one that joins."""
        (seen / ray.get_runtime_context().get_node_id()).touch()
        nodes = NODES + (configuration.dropout > 0.3)
        until(lambda: removed.exists() and len(names(seen)) >= nodes)
        return train_cell(dataset, fold, configuration, settings, rungs, checkpointer)

    def exchange() -> None:
        until(lambda: len(names(seen)) == NODES)
        cluster.remove_node(cluster.list_all_nodes()[1], allow_graceful=False)
        removed.touch()
        cluster.add_node(num_cpus=1)

    queue = watched(dataset, SPACE)
    with ray_cluster(cluster.address), meanwhile(exchange):
        found = search(dataset, queue, everywhere, tmp_path / "ledger")
    assert len(names(seen)) == NODES + 1
    assert [cell.attempt for cell in queue.again] == [0]  # one cell was under way there, and it is not to blame
    assert set(found["status"]) == {Status.COMPLETED, Status.STOPPED}
    expected = alone(dataset, watched(dataset, SPACE), tmp_path / "alone")
    pd.testing.assert_frame_equal(found.drop(columns=VOLATILE), expected.drop(columns=VOLATILE), check_exact=True)


EPOCHS = 120
PACE_S = 0.05
"""A cell of the next test takes six seconds at least."""


class Counted:
    """A keeper that writes down every epoch that is run, and where."""

    def __init__(self, keeper: Checkpointer, log: Path) -> None:
        self.keeper, self.log = keeper, log
        self.node = ray.get_runtime_context().get_node_id()

    def load(self, device: torch.device) -> Mapping[str, Any] | None:
        return self.keeper.load(device)

    def after_epoch(self, training: CellTraining) -> bool:
        with self.log.open("a") as file:
            file.write(f"{self.node} {training.epoch}\n")
        time.sleep(PACE_S)
        return self.keeper.after_epoch(training)


def epochs_of(log: Path) -> list[tuple[str, int]]:
    """What `Counted` wrote of a cell: node and epoch, in the order in which they were run."""
    lines = [line.split() for line in log.read_text().splitlines()] if log.exists() else []
    return [(node, int(epoch)) for node, epoch in lines]


def drain(address: str, node: str) -> None:
    """As a watcher does when the cloud gives notice."""
    words = ["drain-node", "--address", address, "--node-id", node, "--reason", "DRAIN_NODE_REASON_PREEMPTION"]
    words += ["--reason-message", "notice", "--deadline-remaining-seconds", "60"]
    code = "import sys; from ray.scripts.scripts import main; sys.exit(main())"
    subprocess.run([sys.executable, "-c", code, *words], check=True, capture_output=True)


def test_cells_go_on_elsewhere_when_their_node_leaves_or_dies(
    dataset: Dataset, cluster: Cluster, tmp_path: Path
) -> None:
    """Taken away with notice, a node costs no epoch; without, those since the last checkpoint."""
    logs, states = tmp_path / "logs", tmp_path / "states"
    logs.mkdir()
    every = 20 * PACE_S

    def counted(
        dataset: Dataset,
        fold: Fold,
        configuration: Configuration,
        settings: TrainingSettings,
        rungs: Mapping[int, float],
        checkpointer: Checkpointer | None,
    ) -> CellResult | None:
        assert checkpointer is not None
        counting = Counted(checkpointer, logs / fold.test)
        return train_cell(dataset, fold, configuration, settings, rungs, counting)

    def at_work() -> dict[str, Path]:
        """Nodes that have a cell well under way."""
        found = {path: epochs_of(path) for path in logs.iterdir()}
        return {epochs[-1][0]: path for path, epochs in found.items() if len(epochs) > 30}

    touched: dict[str, str] = {}

    def take_away() -> None:
        head = cluster.head_node.node_id
        until(lambda: len(at_work()) >= 2)
        (leaves, its), (dies, other) = list(at_work().items())[:2]
        assert head not in (leaves, dies)
        drain(cluster.address, leaves)
        touched[its.name] = leaves
        touched[other.name] = dies
        cluster.remove_node(next(n for n in cluster.worker_nodes if n.node_id == dies), allow_graceful=False)

    space = dataclasses.replace(SPACE, configurations=1, fixed={**SPACE.fixed, "epochs": EPOCHS, "patience": EPOCHS})
    queue = watched(dataset, space)
    with ray_cluster(cluster.address), meanwhile(take_away):
        settings = dataclasses.replace(SETTINGS, checkpoints=share_folder(states), checkpoint_every=every)
        found = search(dataset, queue, counted, tmp_path / "ledger", settings)
    assert set(found["status"]) == {Status.COMPLETED}
    assert [cell.attempt for cell in queue.again] == [0, 0]
    _, died = touched
    for fold in found["fold"]:
        epochs = epochs_of(logs / fold)
        numbers = [epoch for _, epoch in epochs]
        assert set(numbers) == set(range(1, EPOCHS))  # a keeper is not told of the last
        assert len({node for node, _ in epochs}) == 1 + (fold in touched)
        if fold != died:
            assert numbers == sorted(set(numbers)), "an epoch was run twice"
        else:
            again = len(numbers) - (EPOCHS - 1)
            print(f"{again} epochs were lost with the node, of {EPOCHS}")
            assert again <= every / PACE_S + 1
    assert list(states.iterdir()) == []  # a finished cell leaves none
    expected = alone(dataset, watched(dataset, space), tmp_path / "alone")
    pd.testing.assert_frame_equal(found.drop(columns=VOLATILE), expected.drop(columns=VOLATILE), check_exact=True)


def test_a_node_holds_the_data_once_and_one_that_joins_gets_them(cluster: Cluster) -> None:
    """As an object of the store, which has one copy a node; all cells there look at it."""
    dataset = simulate(subjects=4, clips=2, windows=2500, emotions=3)

    def look(shared: SharedDataset) -> bool:
        return shared.get().features.flags.writeable

    with ray_cluster(cluster.address):
        shared, task = SharedDataset(dataset), ray.remote(look)

        def holding(nodes: Sequence[str], cells: int) -> set[str]:
            on = [NodeAffinitySchedulingStrategy(node, soft=False) for node in nodes]
            asked = [task.options(num_cpus=0, scheduling_strategy=node).remote(shared) for node in on * cells]
            assert not any(ray.get(asked)), "a cell has a copy of its own"
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
"""As `ray up` leaves it on the head: with what each type of node lends."""


def test_the_room_follows_the_nodes_and_counts_with_those_an_autoscaler_may_start(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with ray_cluster(cluster.address):
        there = sum(node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"])
        assert cluster_machines().count_cells(1, 0) == there
        assert ConcurrencyLimit(None, 1, 0.0).current() == 2 * there  # as many again wait
        assert ConcurrencyLimit(7, 1, 0.0).current() == 7
        assert ConcurrencyLimit(None, 1, 0.5).current() == 1  # one waits for a node with a GPU
        (tmp_path / "ray_bootstrap_config.yaml").write_text(LAUNCHED)
        assert ConcurrencyLimit(None, 1, 0.0).current() == 3 * 16 + 2 * 4
        assert ConcurrencyLimit(None, 8, 0.5).current() == 3 * 2
        (tmp_path / "ray_bootstrap_config.yaml").write_text("max_workers: many")
        assert ConcurrencyLimit(None, 1, 0.0).current() == 2 * there


def test_cells_that_wait_for_a_node_when_time_is_up_do_not_keep_the_search(
    dataset: Dataset, cluster: Cluster, tmp_path: Path
) -> None:
    tmp_path = tmp_path / "ledger"
    tmp_path.mkdir()
    queue, folds = watched(dataset, SPACE), loso_folds(dataset.subject_names, 3)
    settings = CellSettings(TrainingSettings(seed=3, threads=64), deadline=time.time() + 2)
    progress = SearchProgress(queue.planner.max_cells, "kl", Console(quiet=True))
    with ray_cluster(cluster.address):
        assert not run_cells(
            queue, SharedDataset(dataset), folds, settings, Reporting(LedgerWriter(Ledger(tmp_path)), progress), 2
        )
    assert list(tmp_path.iterdir()) == []
    assert time.time() < settings.deadline + WAIT_S


YAML = """
name: tiny
configurations: 6
parameters:
  width: 8
  heads: 2
  epochs: 40
  batch_size: 256
  ot_entropy: {low: 0.01, high: 1.0, log: true}
  dropout: {low: 0.1, high: 0.5}
"""


class Computers:
    """Ray as `ray start` starts it: each node a group of processes of its own."""

    def __init__(self, folder: Path, ports: Iterator[int]) -> None:
        self.folder, self.ports = folder, ports
        self.port, self.dashboard = next(ports), next(ports)
        self.groups: list[subprocess.Popen[bytes]] = []

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

    def worker(self) -> subprocess.Popen[bytes]:
        return self.ray(
            *self.start(), f"--address=127.0.0.1:{self.port}", "--node-ip-address=127.0.0.1", "--num-cpus=1", "--block"
        )

    def start(self) -> tuple[str, str]:
        """With a port of its own for the agent that starts jobs: other clusters here have the usual one."""
        return "start", f"--dashboard-agent-listen-port={next(self.ports)}"

    def answers(self) -> bool:
        """Whether jobs can be submitted."""
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
) -> Iterator[Computers]:
    """A head that runs no cells, and two workers; all of them reach the object storage."""
    # A short path: Ray's sockets have it in their names, which may not be long.
    with tempfile.TemporaryDirectory(prefix="ray-") as folder:
        monkeypatch.setenv("RAY_AUTH_MODE", "token")  # or a token that lies about would turn it on for some of them
        monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
        found = Computers(Path(folder), iter(free_ports(6)))
        found.head()
        try:
            until(found.answers)
            found.worker()
            found.worker()
            yield found
        finally:
            found.end()


def test_a_job_that_is_submitted_survives_a_machine_and_leaves_its_run_on_object_storage(
    plain_nodes: Computers, object_storage: str, tmp_path: Path
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
        """Whether Ray has taken the job: for some seconds it answers, and has nobody yet to start it."""
        job = plain_nodes.ray(
            "job", "submit", *at, "--no-wait", "--submission-id", "search", "--", sys.executable, "-m", *words
        )
        return job.wait(WAIT_S) == 0

    until(submitted)
    followed = plain_nodes.ray("job", "logs", *at, "--follow", "search")
    ledger = open_folder(place) / "ledger"
    until(lambda: len(ledger.names()) >= 3 or followed.poll() is not None)
    assert followed.poll() is None, (plain_nodes.folder / "ray.log").read_text()
    os.killpg(plain_nodes.groups[1].pid, signal.SIGKILL)  # a worker, with all of its processes
    plain_nodes.worker()
    followed.wait(WAIT_S)
    assert (open_folder(place) / "model").names(), (plain_nodes.folder / "ray.log").read_text()
    run = helo.load_run(place)
    assert run.complete
    space = read_space(tmp_path / "space.yaml")
    queue = Queue(Planner(space, 4, seed=3, pace=Pace.for_search(space, 4, 2, "shared", racing=True)))
    expected = alone(data, queue, tmp_path / "alone")
    pd.testing.assert_frame_equal(run.cells.drop(columns=VOLATILE), expected.drop(columns=VOLATILE), check_exact=True)
