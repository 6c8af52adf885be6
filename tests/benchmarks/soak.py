"""Benchmark of long searches: what of the driver and of the disk grows with the number of cells.

``python tests/benchmarks/soak.py [--cells 20000]`` runs trivial cells through planner, Ray Tune and a ledger with
packs, and prints one JSON line. It has these figures after 500 cells, after 5,000 and after the last one:

- ``rss_mb``: memory of the driver
- ``descriptors``: open descriptors of the driver
- ``temporary_files``, ``temporary_mb``: files in the temporary folder, with Ray's session, and their size
- ``run_bytes_per_cell``: size of the ledger, divided by its cells
- ``ms_per_cell``: time of each of the last 400 cells
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

from rich.console import Console
from trivial_cells import CONCURRENCY, FOLDS, SETTINGS, plan_trivial, read_memory, trivial_folds

from helo.run.ledger import PACK, Ledger, LedgerWriter
from helo.search.execution.connection import SharedDataset, ray_cluster
from helo.search.execution.progress import SearchProgress
from helo.search.execution.recorder import Reporting
from helo.search.execution.tune import run_cells
from helo.search.planning.queue import Queue

LOOKS = (500, 5000)
"""Numbers of finished cells at which figures are taken, besides the last."""

TIMED = 400
"""Number of cells before a look whose time is taken."""


def files_in(folder: Path) -> list[int]:
    """Return the size of each file below a folder. Files that are deleted meanwhile are left out."""
    found = []
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                found.append(os.lstat(os.path.join(place, name)).st_size)
            except FileNotFoundError:
                continue
    return found


class Looking(SearchProgress):
    """Progress that takes the figures."""

    def __init__(self, cells: int, temporary: Path, run: Path) -> None:
        super().__init__(cells, "kl", Console(quiet=True))
        self._temporary, self._run, self._looks = temporary, run, {*LOOKS, cells}
        self.found: dict[str, dict[str, float]] = {}
        self._count, self._since = 0, 0.0

    def cell_finished(self, status: str, total: int, best: tuple[int, float] | None) -> None:
        """Count a finished cell, and take the figures if it is one of those."""
        super().cell_finished(status, total, best)
        self._count += 1
        if self._count + TIMED in self._looks:
            self._since = time.perf_counter()
        if self._count not in self._looks:
            return
        each = (time.perf_counter() - self._since) / TIMED
        temporary = files_in(self._temporary)
        self.found[f"at_{self._count}"] = {
            "rss_mb": round(read_memory(), 1),
            "descriptors": len(os.listdir("/proc/self/fd")),
            "temporary_files": len(temporary),
            "temporary_mb": round(sum(temporary) / 1e6, 2),
            "run_bytes_per_cell": round(sum(files_in(self._run)) / self._count),
            "ms_per_cell": round(1000 * each, 2),
        }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--cells", type=int, default=20_000, help=f"number of cells, a multiple of {FOLDS} (default: %(default)s)"
    )
    cells = parser.parse_args().cells
    # A short path, because the length of the socket paths in Ray's folder is limited.
    with tempfile.TemporaryDirectory(prefix="soak-") as temporary, tempfile.TemporaryDirectory() as run:
        os.environ["TMPDIR"] = tempfile.tempdir = temporary
        data, folds = trivial_folds()
        planner = plan_trivial(cells)
        progress = Looking(planner.max_cells, Path(temporary), Path(run))
        started = time.perf_counter()
        with ray_cluster(None, CONCURRENCY), LedgerWriter(Ledger(run), PACK) as writer:
            reporting = Reporting(writer, progress)
            assert run_cells(Queue(planner), SharedDataset(data), folds, SETTINGS, reporting, CONCURRENCY)
        seconds = time.perf_counter() - started
        assert len(Ledger(run)) == planner.max_cells
    print(json.dumps({"benchmark": "soak", "cells": cells, "seconds": round(seconds), **progress.found}))


if __name__ == "__main__":
    main()
