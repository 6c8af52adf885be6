"""A search from start to end: dataset and space in, a run directory with all its tables out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from rich.console import Console

from helo.baselines import baselines_table
from helo.data.dataset import Dataset
from helo.folds import Fold, folds_as_json, loso_folds
from helo.names import GROUP, NORMALISE_TRAIN, TRUE
from helo.run import Run
from helo.search.cells import CellSettings
from helo.search.manifest import build_manifest
from helo.search.planner import Planner
from helo.search.progress import SearchProgress
from helo.search.space import Space
from helo.search.tune import Resources, ray_cluster, run_cells


@dataclass(frozen=True)
class SearchPlan:
    """Everything that decides what a search computes, and on what it runs."""

    dataset: Dataset
    space: Space
    out: Path
    seed: int
    resources: Resources
    normalise: str = NORMALISE_TRAIN
    address: str | None = None
    gpus: int = 0
    command: str = ""


def run_search(plan: SearchPlan, console: Console, announce: Callable[[Run], None]) -> tuple[Run, bool]:
    """Run every cell, then write the run's tables. Returns the run and whether it is complete.

    `announce` is called when the run directory is there. An interrupted search leaves the tables of the
    cells that finished.
    """
    folds = loso_folds(plan.dataset.subject_names, plan.seed)
    planner = Planner(plan.space, len(folds), plan.seed)
    settings = CellSettings(
        seed=plan.seed,
        normalise=plan.normalise,
        objective=plan.space.objective,
        threads=plan.resources.cpus_per_cell,
        use_gpu=plan.resources.gpus_per_cell > 0,
    )
    with ray_cluster(plan.address, plan.resources, plan.gpus):  # first: without a cluster nothing is written
        run = Run.create(plan.out, build_manifest(plan, folds), folds_as_json(folds))
        announce(run)
        try:
            with SearchProgress(planner.total, plan.space.objective, console) as progress:
                complete = run_cells(planner, plan.dataset, folds, settings, run.ledger, progress, plan.resources)
        finally:
            write_tables(run, plan.dataset, folds, plan.space.objective)
    return run, complete


def write_tables(run: Run, dataset: Dataset, folds: tuple[Fold, ...], objective: str) -> None:
    """Make the run's tables from its ledger and its dataset."""
    truth = pd.DataFrame(dataset.labels, columns=[TRUE + emotion for emotion in dataset.emotions])
    if dataset.groups is not None:
        truth.insert(0, GROUP, dataset.groups)
    run.write_tables(truth, baselines_table(dataset, folds), objective)
