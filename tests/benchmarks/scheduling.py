"""Benchmark of the overhead per cell: 5,000 trivial cells, compared with plain Ray Tune trials.

``python tests/benchmarks/scheduling.py [--cells 5000] [--repeats 1]`` prints one JSON line:

- ``ms_per_cell``: wall-clock time per cell, with the start of the actors and the writing of the ledger
- ``last_over_first``: time of the last tenth of the cells divided by that of the first tenth
- ``driver_growth_mb``: growth of the memory of the driver from the 100th cell to the last
- ``plain_ms_per_cell``: the same for a sample of 40 cells as plain Tune trials, each in a new actor
- ``plain_over_ours``: ``plain_ms_per_cell`` divided by ``ms_per_cell``
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

from ray import tune
from rich.console import Console
from trivial_cells import CONCURRENCY, FOLDS, SETTINGS, plan_trivial, read_memory, trivial_folds

from helo.run.ledger import Ledger, LedgerWriter
from helo.search.execution.cells import run_cell
from helo.search.execution.connection import SharedDataset, ray_cluster
from helo.search.execution.progress import SearchProgress
from helo.search.execution.recorder import Reporting
from helo.search.execution.tune import run_cells
from helo.search.planning.planner import Planner
from helo.search.planning.queue import Queue
from helo.search.planning.space import Space

PLAIN_CELLS = 40
"""Number of cells that run as plain trials."""


class Recording(SearchProgress):
    """Progress that records the time in seconds and the memory in MB at each finished cell."""

    def __init__(self, total: int) -> None:
        super().__init__(total, "kl", Console(quiet=True))
        self.records: list[tuple[float, float]] = []

    def cell_finished(self, status: str, total: int, best: tuple[int, float] | None) -> None:
        """Record a finished cell."""
        super().cell_finished(status, total, best)
        self.records.append((time.perf_counter(), read_memory()))


def measure_search(cells: int) -> dict[str, float]:
    """Return the figures of cells that run through the planner, reused actors and the ledger."""
    data, folds = trivial_folds()
    planner = plan_trivial(cells)
    progress = Recording(planner.max_cells)
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        assert run_cells(
            Queue(planner),
            SharedDataset(data),
            folds,
            SETTINGS,
            Reporting(LedgerWriter(Ledger(folder)), progress),
            CONCURRENCY,
        )
        each = (time.perf_counter() - started) / cells
        assert len(Ledger(folder)) == cells
    times = [at for at, _ in progress.records]
    tenth = cells // 10
    return {
        "ms_per_cell": 1000 * each,
        # The first cell waits for the actors to start, so the first tenth is timed from its end.
        "last_over_first": (times[-1] - times[-tenth]) / (times[tenth - 1] - times[0]),
        "driver_growth_mb": progress.records[-1][1] - progress.records[min(100, tenth)][1],
    }


def measure_plain_tune() -> float:
    """Return the milliseconds per cell of plain Ray Tune: one trial per cell, each in a new actor."""
    data, folds = trivial_folds()
    planner = Planner(Space("trivial", 2, {}, sampler="random"), FOLDS, seed=0, racing=False)
    cells = [planner.ask() for _ in range(PLAIN_CELLS)]

    def trial(config: dict[str, int]) -> None:
        cell = cells[config["cell"]]
        assert cell is not None
        run_cell(cell, data, folds, SETTINGS)
        tune.report({"done": 1})

    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        tune.Tuner(
            tune.with_resources(trial, {"cpu": 1}),
            param_space={"cell": tune.grid_search(list(range(PLAIN_CELLS)))},
            tune_config=tune.TuneConfig(max_concurrent_trials=CONCURRENCY, reuse_actors=False),
            run_config=tune.RunConfig(storage_path=folder, verbose=0),
        ).fit()
        return 1000 * (time.perf_counter() - started) / PLAIN_CELLS


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--cells", type=int, default=5000, help=f"number of cells, a multiple of {FOLDS} (default: %(default)s)"
    )
    parser.add_argument("--repeats", type=int, default=1, help="number of measurements; medians are printed")
    arguments = parser.parse_args()
    with ray_cluster(None, CONCURRENCY):
        runs = [(measure_search(arguments.cells), measure_plain_tune()) for _ in range(arguments.repeats)]
    found = {name: round(statistics.median(run[name] for run, _ in runs), 3) for name in runs[0][0]}
    plain = statistics.median(milliseconds for _, milliseconds in runs)
    ratio = statistics.median(milliseconds / run["ms_per_cell"] for run, milliseconds in runs)
    print(
        json.dumps(
            {
                "benchmark": "scheduling",
                "cells": arguments.cells,
                "repeats": arguments.repeats,
                **found,
                "plain_ms_per_cell": round(plain, 1),
                "plain_over_ours": round(ratio, 1),
            }
        )
    )


if __name__ == "__main__":
    main()
