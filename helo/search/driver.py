"""A search from start to end: dataset and space in, a run directory with all its tables out."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

import pandas as pd
from rich.console import Console

from helo._cli import print_line
from helo.cluster.filling import Node
from helo.errors import InputError
from helo.evaluation.baselines import baselines_table
from helo.evaluation.folds import Fold, folds_as_json, loso_folds
from helo.names import Column, Prefix, TableName
from helo.run.directory import Run
from helo.run.ledger import LedgerWriter, rows_in
from helo.search.deliver import deliver
from helo.search.execution.cells import CellSettings
from helo.search.execution.connection import SharedDataset, ray_cluster, ray_is_running, run_on_worker
from helo.search.execution.elastic import cluster_machines, share_folder
from helo.search.execution.loggers import make_loggers
from helo.search.execution.progress import SearchProgress
from helo.search.execution.recorder import Reporting
from helo.search.execution.tune import run_cells
from helo.search.export import write_study
from helo.search.planning.pace import Pace
from helo.search.planning.planner import Planner
from helo.search.planning.queue import Queue
from helo.search.setup.finished import FinishedCells
from helo.search.setup.manifest import build_manifest, last_resources, record_resumption
from helo.search.setup.search_setup import SearchSetup
from helo.search.sizing.probe import Measured, in_own_process, largest, measure, thinned
from helo.search.sizing.resources import Machines, Resources, require_room, settle, share_that_fits
from helo.settings import CPU
from helo.storage import Hold, LocalFolder
from helo.training.checkpoints import CheckpointStore


def run_search(
    setup: SearchSetup, console: Console, announce: Callable[[Run, Resources], None], run: Run | None = None
) -> tuple[Run, bool]:
    """Run every cell that is left, then write the run's tables. Returns the run and whether it is complete.

    With `run` the search goes on there; without, a new run is made at `setup.out`. `announce` is called when
    the run directory is there. A search that ends early leaves the tables of the cells that finished.
    """
    folds = loso_folds(setup.dataset.subject_names, setup.seed)
    with ExitStack() as stack:
        if run is not None:
            # Before Ray starts: a second search of the same run ends at once.
            held = stack.enter_context(run.lock(partial(print_line, console)))
            finished, finished_baselines = _sound_cells(run, setup.space.objective, console)
        else:
            finished, finished_baselines = FinishedCells(setup.space.objective), set()
        others = setup.address is not None or ray_is_running()
        settled = _on_others_cluster if others else _on_own_cluster
        resources = settled(setup, folds, stack, console)
        concurrency = resources.concurrency or 1
        pace = setup.pace or Pace.for_search(setup.space, len(folds), concurrency, setup.protocol, setup.racing)
        planner = Planner(setup.space, len(folds), setup.seed, setup.protocol, setup.racing, pace, finished.params)
        planner.restore(finished.outcomes)
        queue = Queue(planner, setup.baselines, finished_baselines)
        if run is None:
            manifest = build_manifest(setup, folds, resources, pace)
            run = Run.create(setup.out, manifest, folds_as_json(folds))
            held = stack.enter_context(run.lock())
            # Now, and not with the other tables at the end: whoever looks on compares with the train mean.
            run.write_table(TableName.BASELINES, baselines_table(setup.dataset, folds))
        else:
            record_resumption(run, setup, resources)
        announce(run, resources)
        complete = _run_cells(setup, queue, folds, resources, run, held, console, others)
    return run, complete


def _run_cells(
    setup: SearchSetup,
    queue: Queue,
    folds: tuple[Fold, ...],
    resources: Resources,
    run: Run,
    held: Hold,
    console: Console,
    others: bool,
) -> bool:
    settings = CellSettings(
        training=setup.training,
        gpus=resources.gpus_per_cell or 0.0,
        checkpoints=_checkpoints(run, others),
        checkpoint_every=setup.checkpoint_every,
        deadline=setup.deadline,
    )
    loggers = make_loggers(setup.loggers, run.folder.here, run.folder.name)
    try:
        planner = queue.planner
        complete = queue.finished
        if not complete:
            tell = partial(print_line, console)
            with (
                # Closed before tables are made: no file moves under them.
                LedgerWriter(run.ledger, setup.pack, held.check, tell) as writer,
                SearchProgress(planner.max_cells, setup.space.objective, console, planner.finished_cells) as progress,
            ):
                complete = run_cells(
                    queue,
                    SharedDataset(setup.dataset),
                    folds,
                    settings,
                    Reporting(writer, progress, loggers),
                    setup.resources.concurrency if others else resources.concurrency,
                )
    except BaseException:
        with contextlib.suppress(Exception):  # what went wrong first is what the user has to know
            held.check()
            write_tables(run, setup, folds, console)
        raise
    write_tables(run, setup, folds, console)
    write_study(run, setup.space, planner.studies())
    return complete


def _checkpoints(run: Run, others: bool) -> CheckpointStore:
    """Where the states of cells lie, for whatever machine asks: it may not see a directory of this one."""
    here = run.checkpoints.here
    if here is None:
        return run.checkpoints
    return share_folder(here.resolve()) if others else LocalFolder(here.resolve())


def deliver_model(setup: SearchSetup, run: Run, console: Console, again: str) -> bool:
    """Fit the recommended configuration of a complete search to all subjects; see `helo.search.deliver`.

    For itself, when tables and report are written: whatever happens to the fit, they are there.
    """
    resources = last_resources(run)
    threads, share = resources.cpus_per_cell, resources.gpus_per_cell
    with run.lock():
        if setup.address is None:  # this process has torch already: a worker would take seconds to start
            device = "cuda" if share and setup.gpus else "cpu"
            return deliver(setup, run, setup.dataset, device, lambda fit, *rest: fit(*rest), console, again)
        with ray_cluster(setup.address):
            call = partial(run_on_worker, cpus=threads, gpus=1 if share else 0)
            return deliver(setup, run, SharedDataset(setup.dataset), "cuda" if share else "cpu", call, console, again)


def _on_own_cluster(setup: SearchSetup, folds: tuple[Fold, ...], stack: ExitStack, console: Console) -> Resources:
    """Settle the resources on this machine, and start Ray with them: without it nothing is written."""
    here = Machines([Node(os.cpu_count() or 1, setup.gpus)])
    resources = settle(setup.resources, _share(setup, folds, here, in_own_process), here)
    lent = (resources.concurrency or 1) * resources.cpus_per_cell
    stack.enter_context(ray_cluster(None, lent, setup.gpus))
    return resources


def _on_others_cluster(setup: SearchSetup, folds: tuple[Fold, ...], stack: ExitStack, console: Console) -> Resources:
    """Settle the resources on a Ray cluster that others have started, as large as it may become."""
    stack.enter_context(ray_cluster(setup.address))
    there = cluster_machines()
    measured = setup.resources.gpus_per_cell is None and there.feeds(setup.resources.cpus_per_cell)
    if measured and not any(node.gpus for node in there.now):
        print_line(console, "waiting for the cluster to start a node with a GPU, to measure what a cell needs of it")
    share = _share(setup, folds, there, _probe_there)
    require_room(setup.resources, share, there)
    if not share and setup.training.engine != CPU:
        raise InputError("precision mixed and compile make cells faster on GPUs only, and no cell gets one; leave them")
    return settle(setup.resources, share, there)


def _probe_there(function: Callable[..., Any], *arguments: Any) -> Any:
    return run_on_worker(function, *arguments, cpus=1, gpus=1)


def _share(setup: SearchSetup, folds: tuple[Fold, ...], there: Machines, call: Callable[..., Measured]) -> float:
    """The share of a GPU for each cell: the one wished for, or the one that holds the largest configuration."""
    if setup.resources.gpus_per_cell is not None:
        return setup.resources.gpus_per_cell
    feed = there.feeds(setup.resources.cpus_per_cell)
    if not feed:
        return 0.0
    found = call(
        measure,
        thinned(setup.dataset)[0],
        folds[0],
        largest(setup.space),
        setup.training_on("cuda"),
    )
    return share_that_fits(found.gpu_memory, found.gpu_total, feed)


def _sound_cells(run: Run, objective: str, console: Console) -> tuple[FinishedCells, set[tuple[str, int]]]:
    """The finished cells of a run and of its baselines; files that cannot be read are moved aside and run again."""
    faults: dict[str, str] = {}
    finished = FinishedCells(objective)
    for _, rows in run.ledger.blocks(finished.columns, faults=faults, verify=True):
        finished.add(rows)
    records, more = run.ledger.inspect(run.ledger.baseline_parts())
    for name, fault in (faults | more).items():
        moved = run.ledger.set_aside(name)
        what = "its cell runs again" if rows_in(name) == 1 else f"its {rows_in(name)} cells run again"
        print_line(console, f"{run.ledger.folder.where(name)}: {fault}; moved to {moved}, {what}")
    number = {fold["test"]: place for place, fold in enumerate(run.folds)}
    return finished, {(record.method, number[record.fold]) for record in records}


def write_tables(run: Run, setup: SearchSetup, folds: tuple[Fold, ...], console: Console) -> None:
    """Make the run's tables from its ledger and its dataset."""
    dataset = setup.dataset
    truth = pd.DataFrame(dataset.labels, columns=[Prefix.TRUE + emotion for emotion in dataset.emotions])
    if dataset.groups is not None:
        truth.insert(0, Column.GROUP, dataset.groups)
    baselines = baselines_table(dataset, folds, run.ledger.read_baselines())
    for name, fault in run.write_tables(truth, baselines, setup.space.objective, setup.export_predictions).items():
        print_line(
            console, f"{run.ledger.folder.where(name)}: {fault}; its cells are in no table until the search goes on"
        )
