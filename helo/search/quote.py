"""Cost estimate of a search: cells, hours, memory, and the price of a cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console

from helo._cli import print_line
from helo._text import format_duration, format_size
from helo.cluster.filling import Node
from helo.cluster.nodes import Nodes, price_list, read_nodes
from helo.errors import InputError
from helo.run.directory import Run
from helo.search.planning.planner import Planner
from helo.search.setup.budget import describe_budget
from helo.search.setup.finished import FinishedCells
from helo.search.setup.search_setup import SearchSetup
from helo.search.sizing.probe import (
    CellCost,
    in_own_process,
    largest_configuration,
    measure_cell,
    sample_configurations,
    thin_dataset,
)
from helo.search.sizing.resources import Machines, choose_gpu_share, resolve_resources, this_machine


@dataclass(frozen=True)
class Quote:
    """Upper estimate of the cost of a search, as if every cell trained all its epochs. Few cells do.

    Attributes
    ----------
    cells : int
        Number of cells still to run.
    cell_hours : float
        Training time in hours, summed over these cells.
    concurrency : int
        Number of cells that run at the same time.
    memory, gpu_memory : int
        Bytes of main memory and of GPU memory of a cell of the largest configuration.
    """

    cells: int
    cell_hours: float
    concurrency: int
    memory: int
    gpu_memory: int

    @property
    def hours(self) -> float:
        """Hours from the start of the search to its end."""
        return self.cell_hours / min(self.concurrency, max(1, self.cells))


@dataclass(frozen=True)
class CellsLeft:
    """Cells of a search.

    Attributes
    ----------
    finished, dropped : int
        HeLo's cells that are finished, and those that racing has dropped.
    cells, baselines : int
        Cells still to run: HeLo's if no further configuration is dropped, and those of the fitted baselines.
    """

    finished: int
    dropped: int
    cells: int
    baselines: int


def count_cells_left(setup: SearchSetup, run: Run | None) -> CellsLeft:
    """Count the cells that a search still has to run. Nothing is written.

    Parameters
    ----------
    setup : SearchSetup
        Setup of the search.
    run : Run or None
        Run to resume, whose finished cells are replayed as in the search: they decide what racing has dropped.

    Returns
    -------
    CellsLeft
    """
    folds, finished, fitted = setup.folds, FinishedCells(setup.space.objective, setup.retry_failed), 0
    if run is not None:
        for _, rows in run.ledger.blocks(finished.columns, faults={}):
            finished.add(rows)
        records = run.ledger.inspect(run.ledger.baseline_parts())[0]
        fitted = sum(not finished.runs_again(one.status, one.fault, one.reason) for one in records)
    planner = Planner(setup.space, len(folds), setup.seed, setup.protocol, setup.racing, setup.pace, finished.params)
    planner.restore(finished.outcomes)
    total = setup.space.configurations * len(folds)
    return CellsLeft(
        finished=planner.finished_cells,
        dropped=total - planner.max_cells,
        cells=planner.max_cells - planner.finished_cells,
        baselines=len(setup.baselines) * len(folds) - fitted,
    )


def print_quote(
    setup: SearchSetup, run: Run | None, console: Console, cluster: Path | None, price: float | None
) -> None:
    """Time a few configurations on one fold, and print an upper estimate of the cost of the search.

    Parameters
    ----------
    setup : SearchSetup
        Setup of the search.
    run : Run or None
        Run to resume, whose finished cells cost nothing.
    console : Console
        Console to print on.
    cluster : Path or None
        Cluster file whose workers run the cells. None: this machine runs them.
    price : float or None
        Price of the whole cluster in USD per hour. None: the sum of the known prices of its machines.

    Raises
    ------
    InputError
        If the cluster file is invalid, or has a machine type without a known price and `price` is None.
    """
    show = partial(print_line, console)
    nodes = read_nodes(cluster, setup.resources.gpus_per_cell == 0) if cluster is not None else []
    if nodes and price is None:
        unknown = sorted({node.kind for node in nodes if node.instance is None})
        if unknown:
            raise InputError(
                f"{cluster}: no price is known for {', '.join(unknown)}; give the price of the whole cluster per hour "
                "with --price"
            )
    folds, left = setup.folds, count_cells_left(setup, run)
    if not left.cells and not left.baselines:
        show(f"the search has ended with {left.finished} cells: none is left to run")
        return
    device = "cuda" if setup.gpus and setup.resources.gpus_per_cell != 0 else "cpu"
    configurations = [largest_configuration(setup.space), *sample_configurations(setup.space, setup.seed)]
    for note in setup.notes:
        show(note)
    for line in describe_budget(setup):
        show(line)
    show(f"timing {len(configurations)} configurations on one fold …")
    dataset, window_share = thin_dataset(setup.dataset)
    training = setup.training_on(device)
    costs: list[CellCost] = [
        in_own_process(measure_cell, dataset, folds[0], params, training, window_share) for params in configurations
    ]
    cells = left.cells
    largest, *sampled = costs
    cell_seconds = float(
        np.mean(
            [
                cost.seconds_per_epoch * params["epochs"]
                for cost, params in zip(sampled, configurations[1:], strict=True)
            ]
        )
    )
    concurrency = _concurrency(setup, nodes, largest)
    quote = Quote(cells, cells * cell_seconds / 3600, concurrency, largest.memory, largest.gpu_memory)
    members = len(folds[0].splits)
    show(
        f"cells: {cells} at most ({setup.space.configurations} configurations × {len(folds)} folds{_done(left)}), "
        f"each with {members} members, which are models that are averaged"
    )
    show(
        f"time: {format_duration(3600 * quote.hours)} at most with {quote.concurrency} cells at a time "
        f"({_format_range([cost.seconds_per_epoch for cost in costs])} per epoch, measured on {device}; "
        f"{format_duration(cell_seconds)} per cell that trains all its epochs)"
    )
    if setup.racing:
        show("racing and rungs usually reduce this to about a third; --no-racing trains everything")
    if left.baselines:
        show(f"baselines: {left.baselines} more cells, each of which takes seconds on data of ordinary size")
    gpu = f" and {format_size(largest.gpu_memory)} of GPU memory" if largest.gpu_memory else ""
    show(f"memory: {format_size(largest.memory)}{gpu} per cell, for the largest configuration")
    if nodes or price is not None:
        _print_price(show, quote, nodes, price)


def _done(left: CellsLeft) -> str:
    """Return what is subtracted from all cells, as the end of a clause."""
    parts = ((left.finished, "finished"), (left.dropped, "dropped by racing"))
    return "".join(f", {number} {how}" for number, how in parts if number)


def _concurrency(setup: SearchSetup, nodes: Sequence[Nodes], largest: CellCost) -> int:
    """Return the number of cells that run at the same time on the workers of the cluster, or on this machine."""
    requested = setup.resources
    workers = [node for node in nodes if not node.head and node.most and node.instance is not None]
    if not workers:
        machine, share = this_machine(setup.gpus), requested.gpus_per_cell
        if share is None:
            cells_per_gpu = machine.count_cells_per_gpu(requested.cpus_per_cell)
            share = choose_gpu_share(largest.gpu_memory, largest.gpu_total, cells_per_gpu) if largest.gpu_total else 0.0
        return resolve_resources(requested, share, machine).concurrency or 1
    groups = [(Node(node.instance.cpus, node.instance.gpus), node.most) for node in workers if node.instance]
    machines = Machines((), groups, sum(count for _, count in groups))
    return resolve_resources(requested, requested.gpus_per_cell or 0.0, machines).concurrency or 1


def _print_price(show: Callable[[str], None], quote: Quote, nodes: Sequence[Nodes], price: float | None) -> None:
    """Show the price of the search on a cluster, from the price of the whole cluster or from those of its machines."""
    if price is not None:
        show(f"price: {quote.hours:.2f} hours × {price:.2f} USD = {quote.hours * price:.2f} USD while cells run")
        show("starting and idle machines are not included")
        return
    hourly = 0.0
    for node in nodes:
        if node.most and node.usd is not None:
            hourly += node.most * node.usd
            hours = node.most * quote.hours
            show(f"  {node.most} × {node.kind} ({node.name}): {hours:.2f} instance hours × {node.usd:.3f} USD")
    total = quote.hours * hourly
    source = f"on demand ({price_list().source})"
    show(f"price: {quote.hours:.2f} hours × {hourly:.2f} USD = {total:.2f} USD while cells run, {source}")
    show("starting and idle machines, and the head during that time, are not included")
    show("times are measured on this machine; the machines of the cluster differ")


def _format_range(seconds: Sequence[float]) -> str:
    """Return the smallest and largest of some seconds as text."""
    return f"{min(seconds):.2f} to {max(seconds):.2f} s"
