"""What a search will cost, before it is paid for: cells, hours, memory, and the price of a cluster."""

from __future__ import annotations

import os
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
from helo.evaluation.folds import loso_folds
from helo.run.directory import Run
from helo.search.setup.search_setup import SearchSetup
from helo.search.sizing.probe import (
    CellCost,
    in_own_process,
    largest_configuration,
    measure_cell,
    sample_configurations,
    thin_dataset,
)
from helo.search.sizing.resources import Machines, choose_gpu_share, resolve_resources


@dataclass(frozen=True)
class Quote:
    """The cost of a search if every cell trains all its epochs, which few do.

    - `cells`: that are left to run
    - `cell_hours`: their training time, summed over cells
    - `concurrency`: cells at a time
    - `memory`, `gpu_memory`: bytes that the largest configuration takes
    """

    cells: int
    cell_hours: float
    concurrency: int
    memory: int
    gpu_memory: int

    @property
    def hours(self) -> float:
        """From start to end."""
        return self.cell_hours / min(self.concurrency, max(1, self.cells))


def print_quote(
    setup: SearchSetup, run: Run | None, console: Console, cluster: Path | None, price: float | None
) -> None:
    """Time a few configurations on one fold, and print what the search would cost at most."""
    tell = partial(print_line, console)

    nodes = read_nodes(cluster) if cluster is not None else []
    if nodes and price is None:
        unknown = sorted({node.kind for node in nodes if node.instance is None})
        if unknown:
            raise InputError(
                f"{cluster}: no price is known for {', '.join(unknown)}; give --price USD for an hour of all"
            )
    folds = loso_folds(setup.dataset.subject_names, setup.seed)
    device = "cuda" if setup.gpus and setup.resources.gpus_per_cell != 0 else "cpu"
    tried = [largest_configuration(setup.space), *sample_configurations(setup.space, setup.seed)]
    tell(f"timing {len(tried)} configurations on one fold …")
    few, share = thin_dataset(setup.dataset)
    found: list[CellCost] = [
        in_own_process(
            measure_cell,
            few,
            folds[0],
            params,
            setup.training_on(device),
            share,
        )
        for params in tried
    ]
    total = setup.space.configurations * len(folds)
    cells = total - (len(run.ledger) if run is not None else 0)
    each = float(
        np.mean([one.seconds_per_epoch * params["epochs"] for one, params in zip(found[1:], tried[1:], strict=True)])
    )
    big = found[0]
    quote = Quote(cells, cells * each / 3600, _concurrency(setup, nodes, big), big.memory, big.gpu_memory)
    tell(f"cells: {cells} at most ({setup.space.configurations} configurations × {len(folds)} folds)")
    tell(
        f"time: {format_duration(3600 * quote.hours)} at most with {quote.concurrency} cells at a time "
        f"({_span([one.seconds_per_epoch for one in found])} an epoch, measured on {device}; "
        f"{format_duration(each)} a cell if it trains all its epochs)"
    )
    if setup.racing:
        tell("racing, rungs and patience usually leave about a third of that; --no-racing trains more")
    if setup.baselines:
        tell(f"besides: {len(setup.baselines) * len(folds)} baselines' cells, seconds each on data of ordinary size")
    gpu = f", {format_size(big.gpu_memory)} of a GPU" if big.gpu_memory else ""
    tell(f"memory: {format_size(big.memory)} a cell{gpu}, for the largest configuration")
    if nodes or price is not None:
        _say_price(tell, quote, nodes, price)


def _concurrency(setup: SearchSetup, nodes: Sequence[Nodes], big: CellCost) -> int:
    """Cells at a time on the cluster's workers, or on this machine."""
    wish = setup.resources
    workers = [node for node in nodes if not node.head and node.most and node.instance is not None]
    if not workers:
        here, share = Machines([Node(os.cpu_count() or 1, setup.gpus)]), wish.gpus_per_cell
        if share is None:
            feed = here.count_cells_per_gpu(wish.cpus_per_cell)
            share = choose_gpu_share(big.gpu_memory, big.gpu_total, feed) if big.gpu_total else 0.0
        return resolve_resources(wish, share, here).concurrency or 1
    groups = [(Node(node.instance.cpus, node.instance.gpus), node.most) for node in workers if node.instance]
    there = Machines((), groups, sum(most for _, most in groups))
    return resolve_resources(wish, wish.gpus_per_cell or 0.0, there).concurrency or 1


def _say_price(tell: Callable[[str], None], quote: Quote, nodes: Sequence[Nodes], price: float | None) -> None:
    if price is not None:
        tell(f"price: {quote.hours:.2f} hours × {price:.2f} USD = {quote.hours * price:.2f} USD while cells run")
        tell("machines that start or idle come on top")
        return
    hourly = 0.0
    for node in nodes:
        if node.most and node.instance is not None:
            hourly += node.most * node.instance.usd
            hours = node.most * quote.hours
            tell(f"  {node.most} × {node.kind} ({node.name}): {hours:.2f} instance hours × {node.instance.usd} USD")
    total = quote.hours * hourly
    source = f"on demand ({price_list().source})"
    tell(f"price: {quote.hours:.2f} hours × {hourly:.2f} USD = {total:.2f} USD while cells run, {source}")
    tell("machines that start or idle, and the head meanwhile, come on top")
    tell("times are of this machine: on the cluster's they differ")


def _span(seconds: Sequence[float]) -> str:
    return f"{min(seconds):.2f} to {max(seconds):.2f} s"
