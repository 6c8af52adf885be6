"""Arithmetic of cost estimates. The slow tests run the command."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from helo.cluster.nodes import Instance, Nodes
from helo.data import simulate
from helo.search.planning.space import load_space
from helo.search.quote import Quote, _concurrency, _print_price
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
