"""The arithmetic of a quote; the command itself is run by the slow tests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from helo.cluster.nodes import Instance, Nodes
from helo.data import simulate
from helo.search.planning.space import load_space
from helo.search.quote import Quote, _concurrency, _say_price
from helo.search.setup.search_setup import SearchSetup
from helo.search.sizing.probe import CellCost
from helo.search.sizing.resources import Resources
from helo.settings import TrainingSettings
from helo.storage import LocalFolder

GPU = Instance(usd=1.0, cpus=8, gpus=1, gpu_gib=24)
CPU = Instance(usd=0.3, cpus=8, gpus=0)
HEAD = Nodes("head", "h", 1, CPU, head=True)
BIG = CellCost(0.1, 2**30, 3 * 2**30, 24 * 2**30)


def setup(**wish: object) -> SearchSetup:
    resources = replace(Resources(None, 1, 0.0), **wish)  # type: ignore[arg-type]
    training = TrainingSettings(threads=resources.cpus_per_cell)
    return SearchSetup(simulate(subjects=4), load_space("demo"), LocalFolder(Path("nowhere")), training, resources)


def test_hours_are_those_of_the_slowest_worker_at_least() -> None:
    assert Quote(cells=100, cell_hours=50, concurrency=10, memory=0, gpu_memory=0).hours == 5
    assert Quote(cells=4, cell_hours=8, concurrency=10, memory=0, gpu_memory=0).hours == 2


def test_cells_fill_the_workers_and_not_the_head() -> None:
    assert _concurrency(setup(), [HEAD, Nodes("w", "c", 3, CPU, head=False)], BIG) == 24
    assert _concurrency(setup(cpus_per_cell=4), [HEAD, Nodes("w", "c", 3, CPU, head=False)], BIG) == 6
    both = [HEAD, Nodes("w", "c", 1, CPU, head=False), Nodes("g", "g", 2, GPU, head=False)]
    assert _concurrency(setup(gpus_per_cell=0.25), both, BIG) == 2 * 4  # the CPU worker has no GPU to share
    assert _concurrency(setup(concurrency=5), both, BIG) == 5


def test_a_worker_of_which_there_may_be_none_counts_for_nothing() -> None:
    nodes = [HEAD, Nodes("w", "c", 0, CPU, head=False), Nodes("v", "c", 1, CPU, head=False)]
    assert _concurrency(setup(), nodes, BIG) == 8


def test_the_price_is_that_of_cells_and_says_what_comes_on_top() -> None:
    quote, said = Quote(cells=100, cell_hours=50, concurrency=10, memory=0, gpu_memory=0), list[str]()
    _say_price(said.append, quote, [HEAD, Nodes("w", "g", 2, GPU, head=False)], None)
    assert any("5.00 hours × 2.30 USD = 11.50 USD while cells run, on demand (https://" in line for line in said)
    assert "machines that start or idle, and the head meanwhile, come on top" in said
    given: list[str] = []
    _say_price(given.append, quote, [], 2.0)
    assert given == [
        "price: 5.00 hours × 2.00 USD = 10.00 USD while cells run",
        "machines that start or idle come on top",
    ]
    assert not any("at most" in line for line in [*said, *given])
