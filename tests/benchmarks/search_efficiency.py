"""Benchmark of racing and rungs: saved epochs and lost score, on real and simulated subjects.

``python tests/benchmarks/search_efficiency.py [--wesad DIR] [--seeds 0 1 2 3 4] [--keep DIR]`` prints one JSON line.
For each dataset, over seeds (folds, draws and training differ between them):

- ``epochs``: trained epochs with racing and rungs, as a share of those without (target: at most 0.35)
- ``cells``: the same for cells
- ``chebyshev``: relative change of the mean Chebyshev distance of `per_fold_selection` (target: at most +0.01)
- ``kl``: the same for the KL divergence, which is the objective of both searches
- ``by_seed``, ``columns``: table of all figures with one row per seed

The search without racing runs on Ray. The raced search is replayed: a planner with racing takes the outcomes of the
recorded cells. This gives the same values, because draws are random and both searches have the same configurations.
With ``--check`` the raced search of the first seed runs on Ray too, and is compared with the replay cell by cell. Only
every second window of WESAD is used, so that windows do not overlap and a cell is cheap. With ``--keep`` the runs are
stored in a directory, and resumed from there if they exist.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from rich.console import Console

from helo.data import Dataset, simulate
from helo.data.wesad import read_feature_table
from helo.evaluation.folds import loso_folds
from helo.metrics import METRICS
from helo.names import Column, Prefix, Status, TableName
from helo.run.directory import Run
from helo.run.ledger import CellRecord, rows_of
from helo.run.selection import best_per_fold
from helo.run.tables import cells_table
from helo.search.context import SearchContext
from helo.search.driver import run_remaining_cells
from helo.search.planning.outcome import Outcome
from helo.search.planning.pace import Pace
from helo.search.planning.planner import Planner
from helo.search.planning.space import read_space
from helo.search.setup.resume import restore_setup
from helo.search.setup.search_setup import SearchSetup
from helo.search.sizing.resources import Resources
from helo.settings import TrainingSettings
from helo.storage import LocalFolder

SPACE = read_space(Path(__file__).with_name("efficiency.yaml"))
CONCURRENCY = 2
SUBJECTS = 15


def take_every_second(dataset: Dataset) -> Dataset:
    """Return a dataset with every second window."""
    groups = None if dataset.groups is None else dataset.groups[::2]
    return replace(
        dataset,
        subjects=dataset.subjects[::2],
        groups=groups,
        features=dataset.features[::2],
        labels=dataset.labels[::2],
    )


def complete_run(dataset: Dataset, seed: int, out: Path, racing: bool) -> Run:
    """Run a search on Ray, or resume it if `out` exists, and return its complete run."""
    resources = Resources(CONCURRENCY, 1, 0.0)
    if out.exists():
        found: Run | None = Run.open(out)
        setup = restore_setup(Run.open(out), dataset, resources)
    else:
        found, training = None, TrainingSettings(seed=seed)
        setup = SearchSetup(dataset, SPACE, LocalFolder(out), training, resources, racing=racing)
    context = SearchContext(setup, Console(stderr=True), run=found)
    assert run_remaining_cells(context)
    return context.run


def replay_with_racing(dataset: Dataset, seed: int, whole: Mapping[tuple[int, str], CellRecord]) -> list[CellRecord]:
    """Return the records of the search with racing. `whole` has those of the search without, by (number, fold)."""
    folds = loso_folds(dataset.subject_names, seed)
    pace = Pace.for_search(SPACE, len(folds), CONCURRENCY, "shared", racing=True)
    planner = Planner(SPACE, len(folds), seed, pace=pace)
    records = []
    while (cell := planner.ask()) is not None:
        record = whole[cell.configuration, folds[cell.fold].test]
        assert dict(record.params) == dict(cell.params)
        curve = Outcome.of_record(record, SPACE.objective).curve
        for rung, limit in sorted(cell.rungs.items()):
            if rung < record.epochs and min(curve[: rung + 1]) > limit:
                seen = record.history[: rung + 1]
                best = min(seen, key=lambda row: row[Prefix.VAL + SPACE.objective])
                val = {metric: best[Prefix.VAL + metric] for metric in METRICS}
                record = replace(record, status=Status.STOPPED, epochs=rung, history=seen, val=val)
                break
        records.append(record)
        planner.tell(cell, Outcome.of_record(record, SPACE.objective))
    assert planner.finished
    return records


def selected_score(cells: pd.DataFrame, metric: str) -> float:
    """Return the mean test score of `per_fold_selection`."""
    choice = best_per_fold(cells, SPACE.objective)
    assert len(choice) == SUBJECTS
    return float(cells[cells[Column.CONFIGURATION] == cells[Column.FOLD].map(choice)][Prefix.TEST + metric].mean())


def compare(dataset: Dataset, seed: int, out: Path, check: bool) -> dict[str, float]:
    """Return the figures of one seed: shares of epochs and cells, and two metrics of both searches."""
    records = complete_run(dataset, seed, out / f"whole-{seed}", racing=False).ledger.read()
    few = replay_with_racing(dataset, seed, {(record.configuration, record.fold): record for record in records})
    if check:
        real = complete_run(dataset, seed, out / f"raced-{seed}", racing=True).table(TableName.CELLS)
        keys = [Column.CONFIGURATION, Column.FOLD, "status", "epochs", *(Prefix.VAL + metric for metric in METRICS)]
        expected = (
            cells_table(rows_of(enumerate(few)))
            .sort_values([Column.CONFIGURATION, Column.FOLD])[keys]
            .reset_index(drop=True)
        )
        pd.testing.assert_frame_equal(
            real.sort_values([Column.CONFIGURATION, Column.FOLD])[keys].reset_index(drop=True), expected
        )
    all_cells, few_cells = (cells_table(rows_of(enumerate(found))) for found in (records, few))
    found = {
        "epochs": sum(record.epochs for record in few) / sum(record.epochs for record in records),
        "cells": len(few) / len(records),
    }
    for metric in ("chebyshev", "kl"):
        found |= {
            f"{metric}_whole": selected_score(all_cells, metric),
            f"{metric}_raced": selected_score(few_cells, metric),
        }
    return found


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--wesad", type=Path, help="directory with windows.csv and SX/SX_quest.csv")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--keep", type=Path, help="directory in which the runs are kept")
    parser.add_argument("--check", action="store_true", help="run the raced search of the first seed on Ray too")
    arguments = parser.parse_args()
    data = {"simulated": simulate(subjects=SUBJECTS, windows=5)}
    if arguments.wesad is not None:
        data = {"wesad": take_every_second(read_feature_table(arguments.wesad)), **data}
    answer: dict[str, object] = {"benchmark": "search_efficiency", "seeds": arguments.seeds}
    with tempfile.TemporaryDirectory() as scratch:
        for name, dataset in data.items():
            out = (arguments.keep or Path(scratch)) / name
            rows = pd.DataFrame(
                [
                    compare(dataset, seed, out, arguments.check and not place)
                    for place, seed in enumerate(arguments.seeds)
                ]
            )
            mean = rows.mean()
            answer[name] = {
                "epochs": round(mean["epochs"], 3),
                "cells": round(mean["cells"], 3),
                **{
                    metric: round(mean[f"{metric}_raced"] / mean[f"{metric}_whole"] - 1, 4)
                    for metric in ("chebyshev", "kl")
                },
                "by_seed": np.round(rows.to_numpy(), 5).tolist(),
                "columns": list(rows.columns),
            }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
