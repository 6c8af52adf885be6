"""Benchmark of the planner: a search of a million cells on a thousand simulated workers, without training.

    python tests/benchmarks/scale.py [--cells 1000000] [--workers 1000] [--sampler random] [--no-racing]

The number of cells is configurations × 73 subjects. With racing about a ninth of them run. Losses are simulated: an
effect of the configuration, an effect of the subject, and noise. The seconds of a cell are simulated too, on a virtual
clock. Only the time of the planner is measured. The script prints one JSON line with the key ``planner``:

- ``cells``, ``stopped``: finished cells, and those that a rung stopped
- ``cells_per_second``: cells per second of CPU time of the planner (one core)
- ``longest_ask_ms``, ``longest_tell_ms``: longest single call in ms of CPU time
- ``virtual_hours``: duration of the search on the virtual clock
- ``workers_busy``: mean share of the workers that had a cell
- ``restore_half_s``, ``restore_all_s``: seconds to restore a planner from half of the finished cells and from all
- ``memory_gb``, ``peak_gb``: memory of the process with all outcomes, and its peak
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
import time
from array import array
from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from helo.names import SearchProtocol, Status, enum_values
from helo.search.planning.outcome import Outcome
from helo.search.planning.pace import Pace
from helo.search.planning.planner import PlannedCell, Planner
from helo.search.planning.space import SAMPLERS, load_space

FOLDS = 73

MEMBERS, FIRST_MEMBERS = 5, 2
"""Members of a cell, and members that are trained before the cell is compared."""

FAILURE_RATE = 1e-4
"""Probability that a cell fails."""

SEED = 0


def read_memory(which: str = "VmRSS") -> float:
    """Return the memory of this process in GB, or its peak so far with ``VmHWM``."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return round(int(next(line for line in lines if line.startswith(which)).split()[1]) / 2**20, 2)


def simulate_cell(cell: PlannedCell) -> tuple[Outcome, float]:
    """Return the outcome of a cell, and its duration in seconds."""
    draw = np.random.default_rng((SEED, cell.configuration, cell.fold))
    params, epochs = cell.params, int(cell.params["epochs"])
    if draw.random() < FAILURE_RATE:
        return Outcome(Status.FAILED), 1.0
    quality = 0.1 * abs(math.log10(params["learning_rate"]) + 3) + 0.05 * abs(math.log10(params["ot_entropy"]) + 1.5)
    level = 1 + quality + 0.3 * math.sin(cell.fold) + 0.4 * draw.normal()
    losses = level * (1 + 0.4 * np.exp(-np.arange(epochs + 1) / 6)) + 0.005 * draw.normal(size=epochs + 1)
    curve, status = array("d"), Status.COMPLETED
    for epoch, loss in enumerate(losses.tolist()):
        curve.append(loss)
        if loss > cell.rungs.get(epoch, math.inf):
            status = Status.STOPPED
            break
    share = FIRST_MEMBERS / MEMBERS if status == Status.STOPPED else 1.0
    joint = float(losses[len(curve) - 1] * share + losses[0] * (1 - share))
    seconds = len(curve) * share * params["width"] / 64 * float(draw.uniform(1, 3))
    return Outcome(status, curve, joint), seconds


class Stopwatch:
    """CPU time of repeated calls in seconds: total, and longest call."""

    def __init__(self) -> None:
        self.total = self.longest = 0.0

    def add(self, started: float) -> None:
        """Add a call that began at a `time.process_time`."""
        seconds = time.process_time() - started
        self.total += seconds
        self.longest = max(self.longest, seconds)


def simulate_search(
    planner: Planner, workers: int
) -> tuple[dict[tuple[int, int], Outcome], dict[int, Mapping[str, Any]], dict[str, Any]]:
    """Return the outcomes in the order in which cells end, the hyperparameters by configuration, and the figures."""
    outcomes: dict[tuple[int, int], Outcome] = {}
    params: dict[int, Mapping[str, Any]] = {}
    running: list[tuple[float, int, PlannedCell, Outcome]] = []
    asks, tells, now, busy, started_cells = Stopwatch(), Stopwatch(), 0.0, 0.0, 0
    while not planner.finished:
        while len(running) < workers:
            started = time.process_time()
            cell = planner.ask()
            asks.add(started)
            if cell is None:
                break
            outcome, seconds = simulate_cell(cell)
            params[cell.configuration] = cell.params
            started_cells += 1
            busy += seconds
            heapq.heappush(running, (now + seconds, started_cells, cell, outcome))
        now, _, cell, outcome = heapq.heappop(running)
        outcomes[cell.configuration, cell.fold] = outcome
        started = time.process_time()
        planner.tell(cell, outcome)
        tells.add(started)
    return (
        outcomes,
        params,
        {
            "cells": len(outcomes),
            "stopped": sum(outcome.status == Status.STOPPED for outcome in outcomes.values()),
            "cells_per_second": round(len(outcomes) / (asks.total + tells.total)),
            "longest_ask_ms": round(1000 * asks.longest, 1),
            "longest_tell_ms": round(1000 * tells.longest, 1),
            "virtual_hours": round(now / 3600, 1),
            "workers_busy": round(busy / (workers * now), 3),
            "memory_gb": read_memory(),
        },
    )


def measure_planner(configurations: int, workers: int, sampler: str, protocol: str, racing: bool) -> dict[str, Any]:
    """Return the figures of a whole search, and of restoring it from half of its cells and from all."""
    space = replace(load_space("full").resolve(windows=2000), configurations=configurations, sampler=sampler)
    pace = Pace.for_search(space, FOLDS, workers, protocol, racing)
    outcomes, params, found = simulate_search(Planner(space, FOLDS, SEED, protocol, racing, pace), workers)
    for name, count in (("half", len(outcomes) // 2), ("all", len(outcomes))):
        done = dict(islice(outcomes.items(), count))
        recorded = {number: params[number] for number, _ in done}
        started = time.process_time()
        planner = Planner(space, FOLDS, SEED, protocol, racing, pace, recorded)
        planner.restore(done)
        found[f"restore_{name}_s"] = round(time.process_time() - started, 2)
        assert planner.finished_cells == count
    assert planner.finished
    return {**found, "peak_gb": read_memory("VmHWM")}


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--sampler", choices=SAMPLERS, default="random")
    parser.add_argument("--protocol", choices=enum_values(SearchProtocol), default=SearchProtocol.SHARED)
    parser.add_argument("--no-racing", dest="racing", action="store_false")
    arguments = parser.parse_args()
    configurations = max(1, round(arguments.cells / FOLDS))
    found = measure_planner(configurations, arguments.workers, arguments.sampler, arguments.protocol, arguments.racing)
    print(json.dumps({"benchmark": "scale", **vars(arguments), "configurations": configurations, "planner": found}))


if __name__ == "__main__":
    main()
