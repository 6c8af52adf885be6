"""Arithmetic of cost estimates. The slow tests run the command."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from helo.cluster.nodes import Instance, Nodes
from helo.data import simulate
from helo.evaluation.folds import folds_as_json
from helo.metrics import METRICS
from helo.names import Status
from helo.run.directory import Run
from helo.run.ledger import CellRecord
from helo.run.manifest import Manifest
from helo.search.planning.outcome import Outcome
from helo.search.planning.pace import Pace
from helo.search.planning.planner import Planner
from helo.search.planning.space import Range, Space, load_space
from helo.search.quote import CellsLeft, Quote, _concurrency, _print_price, count_cells_left, print_quote
from helo.search.setup.search_setup import SearchSetup
from helo.search.sizing.probe import CellCost
from helo.search.sizing.resources import Resources
from helo.settings import TrainingSettings
from helo.storage import LocalFolder

GPU = Instance(usd=1.0, cpus=8, gpus=1, gpu_gib=24)
CPU = Instance(usd=0.3, cpus=8, gpus=0)
HEAD = Nodes("head", "h", 1, CPU, head=True)
LARGEST = CellCost(0.1, 2**30, 3 * 2**30, 24 * 2**30)


def setup(**requested: object) -> SearchSetup:
    resources = replace(Resources(None, 1, 0.0), **requested)  # type: ignore[arg-type]
    training = TrainingSettings(threads=resources.cpus_per_cell)
    return SearchSetup(
        simulate(subjects=4), load_space("demo").resolve(300), LocalFolder(Path("nowhere")), training, resources
    )


def test_hours_of_fewer_cells_than_workers_are_the_hours_of_one_cell() -> None:
    assert Quote(cells=100, cell_hours=50, concurrency=10, memory=0, gpu_memory=0).hours == 5
    assert Quote(cells=4, cell_hours=8, concurrency=10, memory=0, gpu_memory=0).hours == 2


def test_concurrency_counts_workers_without_the_head() -> None:
    assert _concurrency(setup(), [HEAD, Nodes("w", "c", 3, CPU, head=False)], LARGEST) == 24
    assert _concurrency(setup(cpus_per_cell=4), [HEAD, Nodes("w", "c", 3, CPU, head=False)], LARGEST) == 6
    both = [HEAD, Nodes("w", "c", 1, CPU, head=False), Nodes("g", "g", 2, GPU, head=False)]
    assert _concurrency(setup(gpus_per_cell=0.25), both, LARGEST) == 2 * 4  # the CPU worker has no GPU to share
    assert _concurrency(setup(concurrency=5), both, LARGEST) == 5


def test_concurrency_ignores_node_types_without_machines() -> None:
    nodes = [HEAD, Nodes("w", "c", 0, CPU, head=False), Nodes("v", "c", 1, CPU, head=False)]
    assert _concurrency(setup(), nodes, LARGEST) == 8


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_only_cells_that_are_neither_finished_nor_dropped_are_left(tmp_path: Path, share: float) -> None:
    """A search over 8 subjects in which racing drops the configurations that are much worse."""
    space = Space("one", 8, {"dropout": Range(0.0, 0.5, log=False, whole=False)}, sampler="random")
    planned = SearchSetup(
        simulate(subjects=8, clips=2, windows=2), space, LocalFolder(tmp_path), TrainingSettings(), Resources(1, 1, 0.0)
    )
    planned = replace(planned, baselines=("knn", "ridge"), pace=Pace())
    assert count_cells_left(planned, None) == CellsLeft(0, 0, 64, 16)
    run = Run.create(tmp_path / "run", Manifest(identity="here"), folds_as_json(planned.folds))
    planner = Planner(space, 8, planned.seed, pace=Pace())
    generator, now = np.random.default_rng(0), datetime.now(UTC)
    records: list[tuple[int, CellRecord]] = []
    for cell in iter(planner.ask, None):
        score = 0.2 + 0.01 * float(generator.random()) + 0.5 * (cell.configuration in (3, 5))
        scores, fold = dict.fromkeys(METRICS, score), planned.folds[cell.fold].test
        planner.tell(cell, Outcome(Status.COMPLETED, (score,), score))
        record = CellRecord(
            cell.configuration,
            fold,
            dict(cell.params),
            Status.COMPLETED,
            1,
            1.0,
            "here",
            now,
            now,
            val=scores,
            test=scores,
            first_losses=(score,),
        )
        records.append((cell.fold, record))
    assert planner.finished
    assert planner.max_cells < 64
    kept = records[: round(share * len(records))]
    for fold_number, record in kept:
        run.ledger.append(record, fold_number)
    left = count_cells_left(planned, run)
    assert left.finished == len(kept)
    assert left.cells == 64 - left.dropped - len(kept)
    if share == 1:
        assert (left.cells, left.dropped, left.baselines) == (0, 64 - len(records), 16)
        file = io.StringIO()
        print_quote(replace(planned, baselines=()), run, Console(file=file, width=200), None, None)
        assert file.getvalue() == f"the search has ended with {len(records)} cells: none is left to run\n"


def test_price_covers_running_cells_and_says_what_is_not_included() -> None:
    quote, lines = Quote(cells=100, cell_hours=50, concurrency=10, memory=0, gpu_memory=0), list[str]()
    _print_price(lines.append, quote, [HEAD, Nodes("w", "g", 2, GPU, head=False)], None)
    assert any("5.00 hours × 2.30 USD = 11.50 USD while cells run, on demand (https://" in line for line in lines)
    assert "starting and idle machines, and the head during that time, are not included" in lines
    given: list[str] = []
    _print_price(given.append, quote, [], 2.0)
    assert given == [
        "price: 5.00 hours × 2.00 USD = 10.00 USD while cells run",
        "starting and idle machines are not included",
    ]
    assert not any("at most" in line for line in [*lines, *given])
