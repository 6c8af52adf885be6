"""Run the cells of a search and write the tables of its run."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any

import pandas as pd

from helo.errors import InputError, SearchError
from helo.evaluation.baselines import baselines_table
from helo.evaluation.folds import Fold, folds_as_json
from helo.names import Column, FileName, Prefix, SearchPhase, TableName
from helo.run.directory import Run
from helo.run.ensemble.candidates import CandidateCells
from helo.run.ledger import LedgerWriter, drop_cells, part_name, rows_in
from helo.run.versions import spell_versions
from helo.search.context import SearchContext
from helo.search.execution.cells import CellSettings
from helo.search.execution.connection import NoResultError, SharedDataset, ray_cluster, ray_is_running, run_on_worker
from helo.search.execution.elastic import cluster_machines, share_folder
from helo.search.execution.last_words import LastWords
from helo.search.execution.loggers import make_loggers
from helo.search.execution.progress import SearchProgress
from helo.search.execution.recorder import Reporting
from helo.search.execution.tune import run_cells
from helo.search.export import write_study
from helo.search.planning.pace import Pace
from helo.search.planning.planner import Planner
from helo.search.planning.queue import Queue
from helo.search.setup.budget import describe_budget
from helo.search.setup.finished import FinishedCells
from helo.search.setup.manifest import build_manifest, record_resumption
from helo.search.setup.search_setup import SearchSetup
from helo.search.sizing.probe import CellCost, in_own_process, largest_configuration, measure_cell, thin_dataset
from helo.search.sizing.resources import (
    Machines,
    Resources,
    choose_gpu_share,
    require_fitting_node,
    resolve_resources,
    this_machine,
)
from helo.settings import CPU
from helo.storage import END_S, LocalFolder, Patience
from helo.training.checkpoints import CheckpointStore

PROBE_PATIENCE_S = 1200.0
"""Maximum seconds in which a cluster must start a node with a GPU and measure a cell on it."""


def run_remaining_cells(context: SearchContext) -> bool:
    """Run the remaining cells of a search and write the tables of its run.

    A search that ends early leaves the tables of its finished cells. The run stays locked.

    Parameters
    ----------
    context : SearchContext
        Context of the search. Without a run, a new one is created in it.

    Returns
    -------
    bool
        Whether every cell is finished.
    """
    setup = context.setup
    folds = setup.folds
    is_resumed = context.has_run
    with ExitStack() as stack:
        words = stack.enter_context(LastWords())
        if is_resumed:
            words.run_exists(context.resume_command)
            # Before Ray starts: a second search of the same run ends at once.
            context.lock_run()
            context.note(phase=SearchPhase.STARTING)
            context.run.delete_leftovers()
            finished, finished_baselines = _read_finished_cells(context)
        else:
            finished, finished_baselines = FinishedCells(setup.space.objective), set()
        is_external = setup.address is not None or ray_is_running()
        start_ray = _join_cluster if is_external else _start_local_cluster
        resources = start_ray(context, folds, stack)
        concurrency = resources.concurrency or 1
        pace = setup.pace or Pace.for_search(setup.space, len(folds), concurrency, setup.protocol, setup.racing)
        planner = Planner(setup.space, len(folds), setup.seed, setup.protocol, setup.racing, pace, finished.params)
        planner.restore(finished.outcomes)
        queue = Queue(planner, setup.baselines, finished_baselines)
        if is_resumed:
            record_resumption(context.run, setup, resources)
        else:
            context.create_run(build_manifest(setup, folds, resources, pace), folds_as_json(folds))
            words.run_exists(context.resume_command)
            context.lock_run()
            context.note(phase=SearchPhase.STARTING)
            # Written at the start, so that a dashboard can compare the first cells with the trivial baselines.
            context.run.write_table(TableName.BASELINES, baselines_table(setup.dataset, folds))
        _announce(context, resources, is_resumed)
        return _run_cells(context, queue, resources, finished.candidates, is_external)


def _run_cells(
    context: SearchContext,
    queue: Queue,
    resources: Resources,
    candidates: CandidateCells,
    is_external: bool,
) -> bool:
    """Run the cells of a queue and write the tables; return whether every cell is finished."""
    lock = context.lock_run()
    setup, run, planner = context.setup, context.run, queue.planner
    folds = setup.folds
    settings = CellSettings(
        training=setup.training,
        gpus=resources.gpus_per_cell or 0.0,
        checkpoints=_checkpoint_store(run, is_external),
        checkpoint_every=setup.checkpoint_every,
        deadline=setup.deadline,
    )
    loggers = make_loggers(setup.loggers, run.folder.here, run.folder.name, context.print)
    try:
        complete = queue.finished
        if not complete:
            with (
                # Closed before the tables are written: no file of the ledger moves while they are made.
                LedgerWriter(run.ledger, setup.pack, lock.check, context.print) as writer,
                SearchProgress(
                    planner.max_cells,
                    setup.space.objective,
                    context.console,
                    planner.finished_cells,
                    (queue.finished_baseline_cells, queue.baseline_cells),
                    note=context.note,
                ) as progress,
            ):
                complete = run_cells(
                    queue,
                    SharedDataset(setup.dataset),
                    folds,
                    settings,
                    Reporting(writer, progress, loggers, candidates, partial(_note_versions, context)),
                    setup.resources.concurrency if is_external else resources.concurrency,
                    setup.allow_version_change,
                )
    except BaseException:
        context.stop_waiting()
        run = context.run
        with contextlib.suppress(Exception):  # the user needs to know the first error, not one that follows from it
            write_tables(context, folds)
            run.update_manifest(run.manifest.with_cells(planner.max_cells))
        raise
    context.note(phase=SearchPhase.TABLES)
    write_tables(context, folds)
    run.update_manifest(run.manifest.with_cells(planner.max_cells))  # so that readers know whether the search has ended
    context.make_extra(FileName.STUDY, lambda: write_study(run, setup.space, planner.studies()))
    _require_recorded(run, queue)
    return complete


def _require_recorded(run: Run, queue: Queue) -> None:
    """Raise `SearchError` if somebody has removed finished cells from the ledger while the search ran."""
    lost = max(0, queue.planner.finished_cells - len(run.ledger))
    lost += max(0, queue.finished_baseline_cells - len(run.ledger.baseline_parts()))
    if lost:
        raise SearchError(f"{run.ledger.folder}: records of finished cells have been removed ({lost})")


def _note_versions(context: SearchContext, node: str, found: Mapping[str, tuple[str, ...]]) -> None:
    """Record the versions of a node that differ from those of the search, or end the search with `InputError`."""
    run, said = context.run, f"node {node}: has other versions than the search ({spell_versions(found)})"
    if context.setup.allow_version_change:
        run.update_manifest(run.manifest.with_other_versions(node, {name: its for name, (_, its) in found.items()}))
        context.print_text(f"{said}; its cells may not be strictly comparable")
        return
    reason = (
        f"{said}, so its cells may not be comparable with the others; install the versions of the search there, or "
        "accept the others with --allow-version-change"
    )
    context.note(reason, SearchPhase.FAILED)
    raise InputError(context.with_resume_command(reason))


def _announce(context: SearchContext, resources: Resources, is_resumed: bool) -> None:
    """Print the data, the space, the resources and the run directory of a search."""
    setup, run = context.setup, context.run
    dataset, space = setup.dataset, setup.space
    racing = "racing" if setup.racing else "no racing"
    share = f", {resources.gpus_per_cell:g} of a GPU each" if resources.gpus_per_cell else ""
    context.print_text(
        f"{dataset.schema.name}: {len(dataset.subject_names)} subjects, {len(dataset)} windows, "
        f"{len(dataset.emotions)} emotions; space {space.name}: {space.configurations} configurations × "
        f"{len(dataset.subject_names)} folds × {len(setup.folds[0].splits)} inner splits, "
        f"protocol {setup.protocol}, {racing}; "
        f"{resources.concurrency} cells at a time{share}; seed {setup.seed}"
    )
    for note in setup.notes:
        context.print_text(note)
    for line in describe_budget(setup):
        context.print_text(line)
    if dataset.missing:
        context.print_text(f"missing signals: {dataset.missing}")
    finished = f", {len(run.ledger)} cells are finished" if is_resumed else ""
    context.print(f"run directory: {run.folder}{finished}")


def _checkpoint_store(run: Run, is_external: bool) -> CheckpointStore:
    """Return the store of checkpoints. Nodes of a cluster may not see a directory of this machine."""
    here = run.checkpoints.here
    if here is None:
        return run.checkpoints.with_patience(Patience(END_S))
    store = LocalFolder(here.resolve(), here.parent.resolve())
    return share_folder(store) if is_external else store


def _start_local_cluster(context: SearchContext, folds: tuple[Fold, ...], stack: ExitStack) -> Resources:
    """Settle the resources on this machine and start Ray with them."""
    setup = context.setup
    machine = this_machine(setup.gpus)
    resources = resolve_resources(setup.resources, _gpu_share(setup, folds, machine, in_own_process), machine)
    (node,) = machine.running
    if setup.resources.concurrency is None and resources.concurrency == node.held_in_memory:
        context.print(f"memory holds {resources.concurrency} cells at a time; --concurrency sets another number")
    cpus = (resources.concurrency or 1) * resources.cpus_per_cell
    stack.enter_context(ray_cluster(None, cpus, setup.gpus, context.print))
    return resources


def _join_cluster(context: SearchContext, folds: tuple[Fold, ...], stack: ExitStack) -> Resources:
    """Join a running Ray cluster and settle the resources on it, as large as its autoscaler may make it."""
    setup = context.setup
    stack.enter_context(ray_cluster(setup.address))
    cluster = cluster_machines()
    has_probe = setup.resources.gpus_per_cell is None and cluster.count_cells_per_gpu(setup.resources.cpus_per_cell)
    must_start = has_probe and not any(node.gpus for node in cluster.running)
    if must_start:
        context.print(
            f"waiting up to {PROBE_PATIENCE_S / 60:.0f} minutes for the cluster to start a node with a GPU, to measure "
            "which share of it a cell needs; --gpus-per-cell 0.25 searches without that"
        )
    share = _gpu_share(setup, folds, cluster, partial(_probe_on_gpu_worker, PROBE_PATIENCE_S if must_start else None))
    require_fitting_node(setup.resources, share, cluster)
    if not share and setup.training.engine != CPU:
        raise InputError("precision mixed and compile make cells faster on GPUs only, and no cell gets one; leave them")
    return resolve_resources(setup.resources, share, cluster)


def _probe_on_gpu_worker(patience_s: float | None, function: Callable[..., Any], *arguments: Any) -> Any:
    """Run a function with a whole GPU. Nodes that run may first have to finish other work."""
    try:
        return run_on_worker(function, *arguments, cpus=1, gpus=1, patience_s=patience_s)
    except NoResultError:
        raise SearchError(
            f"no node with a GPU has measured a cell within {PROBE_PATIENCE_S / 60:.0f} minutes; ray status says which "
            "nodes start; a new account of a cloud has no quota for GPUs, and spot machines may be sold out; to search "
            "without GPUs, give --gpus-per-cell 0"
        ) from None


def _gpu_share(setup: SearchSetup, folds: tuple[Fold, ...], machines: Machines, call: Callable[..., CellCost]) -> float:
    """Return the share of a GPU for each cell: the requested one, or one that holds the largest configuration."""
    if setup.resources.gpus_per_cell is not None:
        return setup.resources.gpus_per_cell
    cells_per_gpu = machines.count_cells_per_gpu(setup.resources.cpus_per_cell)
    if not cells_per_gpu:
        return 0.0
    found = call(
        measure_cell,
        thin_dataset(setup.dataset)[0],
        folds[0],
        largest_configuration(setup.space),
        setup.training_on("cuda"),
    )
    return choose_gpu_share(found.gpu_memory, found.gpu_total, cells_per_gpu)


def _read_finished_cells(context: SearchContext) -> tuple[FinishedCells, set[tuple[str, int]]]:
    """Read the finished cells of HeLo and of baselines.

    Damaged files are set aside, and records of cells that failed because of the machine deleted: they run again.
    """
    setup, run = context.setup, context.run
    faults: dict[str, str] = {}
    finished = FinishedCells(setup.space.objective, setup.retry_failed)
    for _, rows in run.ledger.blocks(finished.columns, faults=faults, verify=True):
        finished.add(rows)
    records, baseline_faults = run.ledger.inspect(run.ledger.baseline_parts())
    for name, fault in (faults | baseline_faults).items():
        moved = run.ledger.set_aside(name)
        cells = "its cell runs again" if rows_in(name) == 1 else f"its {rows_in(name)} cells run again"
        context.print(f"{run.ledger.folder.where(name)}: {fault}; moved to {moved}, {cells}")
    number_of = {fold["test"]: number for number, fold in enumerate(run.folds)}
    baselines = {(record.method, number_of[record.fold]): record for record in records}
    again = [key for key, one in baselines.items() if finished.runs_again(one.status, one.fault, one.reason)]
    if finished.again or again:
        count = len(finished.again) + len(again)
        context.print_text(
            f"{count} cells that failed {'' if setup.retry_failed else 'because of the machine '}run again"
        )
        drop_cells(run.ledger, finished.again)
        for method, fold in again:
            run.ledger.folder.delete(f"{part_name(0, fold, method)}.parquet")
    return finished, baselines.keys() - set(again)


def write_tables(context: SearchContext, folds: tuple[Fold, ...]) -> None:
    """Write the tables of a run from its ledger and its dataset."""
    setup, run = context.setup, context.run
    context.check_hold()
    dataset = setup.dataset
    truth = pd.DataFrame(dataset.labels, columns=[Prefix.TRUE + emotion for emotion in dataset.emotions])
    if dataset.groups is not None:
        truth.insert(0, Column.GROUP, dataset.groups)
    baselines = baselines_table(dataset, folds, run.ledger.read_baselines())
    faults = run.write_tables(truth, dataset.subjects, baselines, setup.space.objective, setup.export_predictions)
    for name, fault in faults.items():
        context.print(
            f"{run.ledger.folder.where(name)}: {fault}; its cells are missing in the tables until the search is resumed"
        )
