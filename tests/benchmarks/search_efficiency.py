"""Benchmark of racing and rungs: saved epochs and lost score, on real and simulated subjects.

    python tests/benchmarks/search_efficiency.py [--wesad DIR] [--seeds 0 1 2 3 4] [--keep DIR] [--every-fold 3]

The benchmark trains all members of all cells, without racing. Then it replays the search with racing: a planner with
racing and rungs takes the losses that the recorded cells had at its rungs. This gives the cells of a raced search,
because draws are random, both searches have the same configurations, and a member does not depend on the number of
members that are trained together. ``--check`` trains the cells of the raced search of the first seed too, and
compares them with the replay.

One JSON line is printed. For each dataset, over seeds (folds, draws and training differ between them):

- ``epochs``: trained epochs of the raced search, summed over members, as a share of those of all cells (target: at
  most 0.30)
- ``cells``, ``whole``: cells of the raced search, and its cells with all members, as shares of all cells
- ``kl``, ``chebyshev``: relative change of the mean test score of `per_fold_selection` (target: at most +0.01)
- ``kl_standard_error``: standard error of ``kl`` over seeds
- ``cpu_seconds_per_cell``: CPU time of a cell with all its members
- ``by_seed``, ``columns``: table of all figures with one row per seed

Cost: 16 configurations × folds × seeds cells per dataset. With 15 folds and 5 seeds these are 1,200 cells.
``--every-fold 3`` uses the folds of every third subject only, ``--every-window 4`` uses every fourth window of WESAD
(default: every second, so that windows do not overlap), and ``--epochs 0.5`` halves the training of each model. With
``--keep`` finished cells are stored in a directory, and are not trained again by the same options. Cells of another
version of the package are not recognised: use a new directory.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
import torch

from helo.configuration import Configuration
from helo.data import Dataset, simulate
from helo.data.wesad import read_feature_table
from helo.evaluation.folds import Fold, folds_digest, loso_folds
from helo.metrics import METRICS
from helo.names import Column, Normalisation, Prefix, SearchProtocol, Status, enum_values
from helo.run.selection import best_per_fold
from helo.search.planning.outcome import Outcome
from helo.search.planning.pace import Pace
from helo.search.planning.planner import PlannedCell, Planner
from helo.search.planning.space import Space, load_space
from helo.search.setup.budget import count_training_windows
from helo.settings import TrainingSettings
from helo.training.cell import first_members, train_cell

SPACE = Path(__file__).with_name("efficiency.yaml")
CONCURRENCY = 2
SUBJECTS = 15
"""Default number of simulated subjects."""

TESTED = ("kl", "chebyshev")
"""Metrics of the test subject in the answer."""


@dataclass(frozen=True)
class Trained:
    """A cell with all its members.

    Attributes
    ----------
    configuration : int
        Number of the configuration.
    fold : str
        Test subject.
    members, epochs : int
        Number of members, and of epochs, summed over them.
    first_losses : sequence of float
        Out-of-fold loss of the first members by epoch.
    start, loss : float
        Out-of-fold loss of all members at epoch 0, and in the end.
    first_share : float
        Share of the inner validation subjects that belong to the first members.
    test : dict
        Metric → test score.
    cpu_seconds : float
        CPU time of the training.
    """

    configuration: int
    fold: str
    members: int
    epochs: int
    first_losses: Sequence[float]
    start: float
    loss: float
    first_share: float
    test: dict[str, float]
    cpu_seconds: float

    def stopped_at(self, rung: int) -> Outcome:
        """Return the outcome if a rung stops the cell; members that are not trained then count with epoch 0."""
        seen = self.first_losses[: rung + 1]
        return Outcome(Status.STOPPED, seen, self.start + self.first_share * (seen[-1] - seen[0]))


@dataclass(frozen=True)
class Problem:
    """One exhaustive search: dataset, folds, space and settings."""

    dataset: Dataset
    folds: tuple[Fold, ...]
    space: Space
    settings: TrainingSettings
    protocol: str

    def planner(self, racing: bool) -> Planner:
        """Return the planner of the search on these folds."""
        pace = Pace.for_search(self.space, len(self.folds), CONCURRENCY, self.protocol, racing)
        return Planner(self.space, len(self.folds), self.settings.seed, self.protocol, racing, pace)

    @property
    def digest(self) -> str:
        """Hash of everything that the cells depend on."""
        parts = [self.dataset.digest, folds_digest(self.folds), self.space.as_dict(), asdict(self.settings)]
        return hashlib.sha256(json.dumps([*parts, self.protocol], sort_keys=True).encode()).hexdigest()[:12]

    def all_cells(self) -> list[PlannedCell]:
        """Return all cells. Random draws do not depend on outcomes, so each cell gets the same one."""
        planner = self.planner(racing=False)
        cells = []
        while (cell := planner.ask()) is not None:
            cells.append(cell)
            planner.tell(cell, Outcome(Status.COMPLETED, (0.0,), 0.0))
        assert planner.finished
        return cells


def train(problem: Problem, cell: PlannedCell) -> Trained:
    """Train all members of a cell."""
    torch.set_num_threads(1)
    fold, start = problem.folds[cell.fold], time.process_time()
    result = train_cell(problem.dataset, fold, Configuration(**cell.params), problem.settings)
    assert result is not None
    objective = problem.settings.objective
    loss = METRICS[objective].loss
    validating = [len(split.validation) for split in fold.splits]
    return Trained(
        configuration=cell.configuration,
        fold=fold.test,
        members=len(fold.splits),
        epochs=result.epochs,
        first_losses=list(result.first_losses),
        start=float(loss(result.history[0][Prefix.VAL + objective])),
        loss=float(loss(result.val[objective])),
        first_share=sum(validating[: first_members(len(validating))]) / sum(validating),
        test={metric: result.test[metric] for metric in TESTED},
        cpu_seconds=time.process_time() - start,
    )


def train_all(problem: Problem, file: Path, processes: int) -> list[Trained]:
    """Return all cells, trained now or read from a file with a JSON line per cell. New cells are added to the file."""
    trained = [Trained(**json.loads(line)) for line in file.read_text().splitlines()] if file.exists() else []
    stored = {(cell.configuration, cell.fold) for cell in trained}
    cells = [cell for cell in problem.all_cells() if (cell.configuration, problem.folds[cell.fold].test) not in stored]
    with ProcessPoolExecutor(processes) as pool, file.open("a", encoding="utf-8") as lines:
        for future in as_completed([pool.submit(train, problem, cell) for cell in cells]):
            trained.append(future.result())
            print(json.dumps(asdict(trained[-1])), file=lines, flush=True)
            if len(trained) % 20 == 0:
                print(f"{file.stem}: {len(trained)} of {len(stored) + len(cells)} cells", file=sys.stderr, flush=True)
    return trained


def replay(problem: Problem, trained: Sequence[Trained]) -> pd.DataFrame:
    """Return the cells of the search with racing and rungs: configuration, fold, status, epochs, losses and scores."""
    cell_of = {(cell.configuration, cell.fold): cell for cell in trained}
    planner, rows = problem.planner(racing=True), []
    while (planned := planner.ask()) is not None:
        cell = cell_of[planned.configuration, problem.folds[planned.fold].test]
        outcome, epochs = Outcome(Status.COMPLETED, cell.first_losses, cell.loss), cell.epochs
        first = first_members(cell.members)
        for rung, limit in sorted(planned.rungs.items()):
            if first < cell.members and cell.first_losses[rung] > limit:
                outcome, epochs = cell.stopped_at(rung), first * rung
                break
        planner.tell(planned, outcome)
        rows.append(as_row(cell, outcome, epochs, problem.settings.objective))
    assert planner.finished
    return pd.DataFrame(rows)


def as_row(cell: Trained, outcome: Outcome, epochs: int, objective: str) -> dict[str, Any]:
    """Return a row with the columns of ``cells.parquet`` that selection needs. Losses are scores of `objective`."""
    assert outcome.loss is not None
    return {
        Column.CONFIGURATION: cell.configuration,
        Column.FOLD: cell.fold,
        Column.STATUS: outcome.status,
        Column.EPOCHS: epochs,
        Prefix.VAL + objective: float(METRICS[objective].loss(outcome.loss)),
        **{Prefix.TEST + metric: score for metric, score in cell.test.items()},
    }


def selected_score(cells: pd.DataFrame, problem: Problem, metric: str) -> float:
    """Return the mean test score of `per_fold_selection`."""
    choice = best_per_fold(cells, problem.settings.objective)
    assert len(choice) == len(problem.folds)
    return float(cells[cells[Column.CONFIGURATION] == cells[Column.FOLD].map(choice)][Prefix.TEST + metric].mean())


def compare(problem: Problem, trained: Sequence[Trained], raced: pd.DataFrame) -> dict[str, float]:
    """Return the figures of one seed: shares of epochs and cells, and the test scores of both searches."""
    objective = problem.settings.objective
    whole = pd.DataFrame(
        [as_row(cell, Outcome(Status.COMPLETED, loss=cell.loss), cell.epochs, objective) for cell in trained]
    )
    found = {
        "epochs": raced[Column.EPOCHS].sum() / whole[Column.EPOCHS].sum(),
        "cells": len(raced) / len(whole),
        "whole": (raced[Column.STATUS] == Status.COMPLETED).sum() / len(whole),
    }
    for metric in TESTED:
        found[f"{metric}_whole"] = selected_score(whole, problem, metric)
        found[f"{metric}_raced"] = selected_score(raced, problem, metric)
    return found | {"cpu_seconds_per_cell": float(np.mean([cell.cpu_seconds for cell in trained]))}


def check_replay(problem: Problem, trained: Sequence[Trained], raced: pd.DataFrame) -> None:
    """Train the cells of the raced search with their rungs; raise `AssertionError` if the replay has other cells."""
    objective = problem.settings.objective
    cell_of = {(cell.configuration, cell.fold): cell for cell in trained}
    planner, rows = problem.planner(racing=True), []
    while (planned := planner.ask()) is not None:
        fold = problem.folds[planned.fold]
        result = train_cell(
            problem.dataset, fold, Configuration(**planned.params), problem.settings, rungs=planned.rungs
        )
        assert result is not None
        status = Status.STOPPED if result.stopped else Status.COMPLETED
        outcome = Outcome(status, result.first_losses, float(METRICS[objective].loss(result.val[objective])))
        planner.tell(planned, outcome)
        rows.append(as_row(cell_of[planned.configuration, fold.test], outcome, result.epochs, objective))
    # Members that are trained together and apart differ in their last digits.
    pd.testing.assert_frame_equal(pd.DataFrame(rows), raced, rtol=1e-4)


def datasets(arguments: argparse.Namespace) -> Iterator[tuple[str, Dataset]]:
    """Yield the requested datasets with their names."""
    if arguments.wesad is not None:
        dataset, step = read_feature_table(arguments.wesad), arguments.every_window
        groups = None if dataset.groups is None else dataset.groups[::step]
        yield (
            "wesad",
            replace(
                dataset,
                subjects=dataset.subjects[::step],
                groups=groups,
                features=dataset.features[::step],
                labels=dataset.labels[::step],
            ),
        )
    if not arguments.wesad_only:
        yield "simulated", simulate(subjects=arguments.subjects, windows=5)


def make_problem(dataset: Dataset, seed: int, arguments: argparse.Namespace) -> Problem:
    """Return the exhaustive search of a seed."""
    all_folds = loso_folds(dataset.subject_names, seed, arguments.inner_folds)
    space = load_space(str(arguments.space)).resolve(count_training_windows(dataset, all_folds))
    epochs = max(1, round(arguments.epochs * space.fixed["epochs"]))
    space = replace(
        space,
        sampler="random",
        configurations=arguments.configurations or space.configurations,
        fixed={**space.fixed, "epochs": epochs},
    )
    settings = TrainingSettings(seed=seed, normalise=arguments.normalise, objective=space.objective)
    return Problem(dataset, all_folds[:: arguments.every_fold], space, settings, arguments.protocol)


def summarise(rows: pd.DataFrame) -> dict[str, Any]:
    """Return the figures of a dataset from those of its seeds."""
    mean = rows.mean()
    change = {metric: rows[f"{metric}_raced"] / rows[f"{metric}_whole"] - 1 for metric in TESTED}
    return {
        **{name: round(float(mean[name]), 3) for name in ("epochs", "cells", "whole")},
        **{metric: round(float(values.mean()), 4) for metric, values in change.items()},
        "kl_standard_error": round(float(change["kl"].sem()), 4) if len(rows) > 1 else None,
        "cpu_seconds_per_cell": round(float(mean["cpu_seconds_per_cell"]), 1),
        "by_seed": np.round(rows.to_numpy(), 5).tolist(),
        "columns": list(rows.columns),
    }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--wesad", type=Path, help="directory with windows.csv and SX/SX_quest.csv")
    parser.add_argument("--wesad-only", action="store_true", help="leave out the simulated subjects")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--protocol", choices=enum_values(SearchProtocol), default=SearchProtocol.SHARED.value)
    parser.add_argument("--normalise", choices=enum_values(Normalisation), default=Normalisation.TRAIN.value)
    parser.add_argument("--space", type=Path, default=SPACE, help="name or file of the search space")
    parser.add_argument("--inner-folds", type=int, help="inner splits of a fold; default: that of the search")
    parser.add_argument("--configurations", type=int, help="default: that of the space")
    parser.add_argument("--epochs", type=float, default=1.0, help="epochs, as a share of those of the space")
    parser.add_argument("--every-fold", type=int, default=1, help="use the folds of every Nth subject")
    parser.add_argument("--every-window", type=int, default=2, help="use every Nth window of WESAD")
    parser.add_argument("--subjects", type=int, default=SUBJECTS, help="number of simulated subjects")
    parser.add_argument("--processes", type=int, default=2, help="cells that run at a time")
    parser.add_argument("--keep", type=Path, help="directory in which finished cells are stored")
    parser.add_argument("--check", action="store_true", help="train the raced search of the first seed too")
    arguments = parser.parse_args()
    settings = ("seeds", "protocol", "normalise", "every_fold", "every_window", "epochs")
    answer: dict[str, object] = {name: getattr(arguments, name) for name in settings}
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        for name, dataset in datasets(arguments):
            rows = []
            for place, seed in enumerate(arguments.seeds):
                problem = make_problem(dataset, seed, arguments)
                file = folder / f"{name}-{seed}-{problem.digest}.jsonl"
                trained = train_all(problem, file, arguments.processes)
                raced = replay(problem, trained)
                if arguments.check and not place:
                    check_replay(problem, trained, raced)
                rows.append(compare(problem, trained, raced))
            answer[name] = summarise(pd.DataFrame(rows))
    print(json.dumps({"benchmark": "search_efficiency", **answer}))


if __name__ == "__main__":
    main()
