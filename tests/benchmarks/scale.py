"""What a search of a million cells on a thousand workers asks of the driver, without any training.

    python tests/benchmarks/scale.py [--cells 1000000] [--workers 1000] [--sampler random] [--no-racing]

Cells count configurations × 73 people; with racing about a third of them run. Losses are made up (a configuration's
effect, a person's, and noise), and so are the seconds that a cell takes: the workers live by a virtual clock, only the
planner's own time is measured. Prints one JSON line:

- ``planner`` (CPU time, all of it on one core): cells handed out, and how many a second; its longest pauses in ms (a
  single ask or tell); the share of their time in which the workers had a cell; seconds to restore a planner from half
  of the finished cells and from all; memory of the process with all outcomes, and its peak
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
FAILURES = 1e-4
SEED = 0


def memory(which: str = "VmRSS") -> float:
    """Memory of this process in GB; ``VmHWM`` is its peak so far."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return round(int(next(line for line in lines if line.startswith(which)).split()[1]) / 2**20, 2)


def simulated(cell: PlannedCell) -> tuple[Outcome, float]:
    """What becomes of a cell, and after how many seconds."""
    draw = np.random.default_rng((SEED, cell.configuration, cell.fold))
    params, epochs = cell.params, int(cell.params["epochs"])
    if draw.random() < FAILURES:
        return Outcome(Status.FAILED), 1.0
    quality = 0.1 * abs(math.log10(params["learning_rate"]) + 3) + 0.05 * abs(math.log10(params["ot_entropy"]) + 1.5)
    level = 1 + quality + 0.3 * math.sin(cell.fold) + 0.4 * draw.normal()
    losses = level * (1 + 0.4 * np.exp(-np.arange(epochs + 1) / 6)) + 0.005 * draw.normal(size=epochs + 1)
    curve, best, status = array("d"), math.inf, Status.COMPLETED
    best_epoch = 0
    for epoch, loss in enumerate(losses.tolist()):
        curve.append(loss)
        if loss < best:
            best, best_epoch = loss, epoch
        if epoch < epochs and best > cell.rungs.get(epoch, math.inf):
            status = Status.STOPPED
            break
        if epoch - best_epoch >= params["patience"]:
            break
    return Outcome(status, curve), len(curve) * params["width"] / 64 * float(draw.uniform(1, 3))


class Clock:
    """How often something was called, how long it took in all, and at most."""

    def __init__(self) -> None:
        self.total = self.most = 0.0

    def add(self, started: float) -> None:
        seconds = time.process_time() - started
        self.total += seconds
        self.most = max(self.most, seconds)


def search(planner: Planner, workers: int) -> tuple[dict[tuple[int, int], Outcome], dict[int, Mapping[str, Any]], Any]:
    """All of a search: outcomes in the order of their coming, hyperparameters, and what it took."""
    outcomes: dict[tuple[int, int], Outcome] = {}
    known: dict[int, Mapping[str, Any]] = {}
    running: list[tuple[float, int, PlannedCell, Outcome]] = []
    asks, tells, now, busy, started_cells = Clock(), Clock(), 0.0, 0.0, 0
    while not planner.finished:
        while len(running) < workers:
            started = time.process_time()
            cell = planner.ask()
            asks.add(started)
            if cell is None:
                break
            outcome, seconds = simulated(cell)
            known[cell.configuration] = cell.params
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
        known,
        {
            "cells": len(outcomes),
            "stopped": sum(outcome.status == Status.STOPPED for outcome in outcomes.values()),
            "cells_per_second": round(len(outcomes) / (asks.total + tells.total)),
            "longest_ask_ms": round(1000 * asks.most, 1),
            "longest_tell_ms": round(1000 * tells.most, 1),
            "virtual_hours": round(now / 3600, 1),
            "workers_busy": round(busy / (workers * now), 3),
            "memory_gb": memory(),
        },
    )


def planning(configurations: int, workers: int, sampler: str, protocol: str, racing: bool) -> dict[str, Any]:
    """The planner alone: a whole search, then its return from half of its cells and from all."""
    space = replace(load_space("full"), configurations=configurations, sampler=sampler)
    pace = Pace.for_search(space, FOLDS, workers, protocol, racing)
    outcomes, known, found = search(Planner(space, FOLDS, SEED, protocol, racing, pace), workers)
    for name, count in (("half", len(outcomes) // 2), ("all", len(outcomes))):
        done = dict(islice(outcomes.items(), count))
        params = {number: known[number] for number, _ in done}
        started = time.process_time()
        planner = Planner(space, FOLDS, SEED, protocol, racing, pace, params)
        planner.restore(done)
        found[f"restore_{name}_s"] = round(time.process_time() - started, 2)
        assert planner.finished_cells == count
    assert planner.finished
    return {**found, "peak_gb": memory("VmHWM")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--sampler", choices=SAMPLERS, default="random")
    parser.add_argument("--protocol", choices=enum_values(SearchProtocol), default=SearchProtocol.SHARED)
    parser.add_argument("--no-racing", dest="racing", action="store_false")
    arguments = parser.parse_args()
    configurations = max(1, round(arguments.cells / FOLDS))
    found = planning(configurations, arguments.workers, arguments.sampler, arguments.protocol, arguments.racing)
    print(json.dumps({"benchmark": "scale", **vars(arguments), "configurations": configurations, "planner": found}))


if __name__ == "__main__":
    main()
