"""What racing and rungs save, and what they cost: the same search with and without them, on real and simulated people.

``python tests/benchmarks/search_efficiency.py [--wesad DIR] [--seeds 0 1 2 3 4] [--keep DIR]`` prints one JSON line.
For each data set, over seeds (folds, draws and training all differ):

- ``epochs``: epochs trained with racing and rungs, as a share of those without (target: at most 0.35)
- ``chebyshev``: relative change of the mean `per_fold_selection` Chebyshev (target: at most +0.01)
- ``kl``: the same of KL, on which both searches select

The search without racing is run for real. The raced one trains a part of the same cells, each to the same
values (the draws are random ones, so both have the same configurations): its planner is led through the
recorded cells. With ``--check`` the raced search of the first seed is run for real, too, and compared cell by
cell. Every second of WESAD's windows is taken, so that none overlap and a cell is cheap. With ``--keep`` the
searches stay there, and are gone on with if they are there already.
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
from helo.search.driver import run_search
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


def every_second(dataset: Dataset) -> Dataset:
    """Half of the windows."""
    groups = None if dataset.groups is None else dataset.groups[::2]
    return replace(
        dataset,
        subjects=dataset.subjects[::2],
        groups=groups,
        features=dataset.features[::2],
        labels=dataset.labels[::2],
    )


def search(dataset: Dataset, seed: int, out: Path, racing: bool) -> Run:
    """A search for real, or what is left of it."""
    wish = Resources(CONCURRENCY, 1, 0.0)
    if out.exists():
        found: Run | None = Run.open(out)
        setup = restore_setup(Run.open(out), dataset, wish)
    else:
        found, setup = (
            None,
            SearchSetup(dataset, SPACE, LocalFolder(out), TrainingSettings(seed=seed), wish, racing=racing),
        )
    context = SearchContext(setup, Console(stderr=True), run=found)
    assert run_search(context)
    return context.run


def raced(dataset: Dataset, seed: int, whole: Mapping[tuple[int, str], CellRecord]) -> list[CellRecord]:
    """What the raced search records: a planner led through the cells of the one without racing."""
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


def score(cells: pd.DataFrame, metric: str) -> float:
    """Mean test score of `per_fold_selection`."""
    choice = best_per_fold(cells, SPACE.objective)
    assert len(choice) == SUBJECTS
    return float(cells[cells[Column.CONFIGURATION] == cells[Column.FOLD].map(choice)][Prefix.TEST + metric].mean())


def compare(dataset: Dataset, seed: int, out: Path, check: bool) -> dict[str, float]:
    """One seed: the share of epochs, and both scores of both searches."""
    records = search(dataset, seed, out / f"whole-{seed}", racing=False).ledger.read()
    few = raced(dataset, seed, {(record.configuration, record.fold): record for record in records})
    if check:
        real = search(dataset, seed, out / f"raced-{seed}", racing=True).table(TableName.CELLS)
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
        found |= {f"{metric}_whole": score(all_cells, metric), f"{metric}_raced": score(few_cells, metric)}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--wesad", type=Path, help="folder with windows.csv and SX/SX_quest.csv")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    data = {"simulated": simulate(subjects=SUBJECTS, windows=5)}
    if arguments.wesad is not None:
        data = {"wesad": every_second(read_feature_table(arguments.wesad)), **data}
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
