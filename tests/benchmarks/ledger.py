"""A ledger of a million cells: written, read by a resumed search, and made into tables.

    python tests/benchmarks/ledger.py [--cells 1000000] [--appended 2000] [--folder DIR]

A simulated search (73 subjects, 30 epochs a cell; nothing is trained) has its cells in packs, as the search's own
writer leaves them. Three things are measured, each in its own process because memory is measured too: appending cells
one by one while they are packed (cells per second); writing ``cells.parquet`` from the ledger and reading it; and
resuming a search (reading the ledger and restoring the planner). The alternative is one file per cell, as most tools
write it, read one after the other. It is measured on some of the cells and given as a ratio. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from helo.metrics import METRICS
from helo.names import Column, TableName
from helo.run.directory import Run
from helo.run.ledger import HISTORY_COLUMNS, PACK, ROW, CellRecord, Ledger, LedgerWriter, rows_of
from helo.run.ledger.file_names import pack_name
from helo.run.manifest import Manifest
from helo.run.tables import CELL_COLUMNS, cells_table
from helo.search.planning.planner import Planner
from helo.search.planning.space import Range, Space
from helo.search.setup.finished import FinishedCells
from helo.storage import LocalFolder

SUBJECTS, EPOCHS, WINDOWS, EMOTIONS = 73, 30, 8, 6
SEARCHED = {
    "ot_entropy": Range(1e-3, 1.0, log=True, whole=False),
    "alignment_weight": Range(1e-3, 1.0, log=True, whole=False),
    "learning_rate": Range(1e-4, 1e-2, log=True, whole=False),
    "dropout": Range(0.0, 0.5, log=False, whole=False),
    "attention_depth": Range(1, 4, log=False, whole=True),
}
FIXED = {"epochs": EPOCHS, "width": 64, "heads": 4, "transport": "fused", "label_attention": "correlated"}
WHEN = datetime(2026, 1, 2, tzinfo=UTC)


def cell(configuration: int, fold: int, rng: np.random.Generator) -> CellRecord:
    """A finished cell that could have been."""
    params = {name: float(rng.uniform(entry.low, entry.high)) for name, entry in SEARCHED.items()}
    scores = dict(zip(METRICS, rng.uniform(0.05, 0.5, len(METRICS)).tolist(), strict=True))
    losses = rng.uniform(0.05, 0.5, (EPOCHS, len(HISTORY_COLUMNS))).astype(np.float32)
    history = tuple(
        {Column.EPOCH: epoch, **dict(zip(HISTORY_COLUMNS, row, strict=True))}
        for epoch, row in enumerate(losses.tolist())
    )
    return CellRecord(
        configuration,
        f"S{fold:02d}",
        {**params, **FIXED, "attention_depth": 2},
        "completed",
        EPOCHS,
        31.5,
        f"node-{fold}",
        WHEN,
        WHEN,
        7,
        None,
        scores,
        scores,
        history,
        tuple(row[0] for row in losses.tolist()),
        windows=np.arange(WINDOWS),
        predictions=rng.dirichlet(np.ones(EMOTIONS), WINDOWS).astype(np.float32),
        correlation=np.eye(EMOTIONS, dtype=np.float32),
        plan=np.full((3, 4), 1 / 12, np.float32),
    )


def fill(ledger: Ledger, cells: int) -> None:
    """Packs of so many cells: the rows of one pack under new names, with losses of their own."""
    rng = np.random.default_rng(0)
    template = rows_of([(number % SUBJECTS, cell(0, number % SUBJECTS, rng)) for number in range(PACK)])
    texts = template["params"].to_pylist()
    for number in range(cells // PACK):
        places = np.arange(number * PACK, (number + 1) * PACK)
        configurations, folds = (places // SUBJECTS).astype(np.int32), (places % SUBJECTS).astype(np.int32)
        shuffled = template.take(pa.array(rng.permutation(PACK)))
        columns = {
            "configuration": pa.array(configurations),
            "fold": pa.array([f"S{fold:02d}" for fold in folds]),
            "fold_number": pa.array(folds),
            # as many as configurations, and none twice
            "params": pa.array([texts[one % PACK][:-1] + f', "seed": {one}}}' for one in configurations.tolist()]),
        }
        for name, values in columns.items():
            shuffled = shuffled.set_column(ROW.get_field_index(name), ROW.field(name), values)
        name = pack_name(number + 1, PACK, "simulated")
        ledger.folder.write(name, ledger.encode(shuffled, ROW, name))


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds and answer."""
    started = time.perf_counter()
    answer = function()
    return time.perf_counter() - started, answer


def memory() -> float:
    """Peak memory of this process in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9


def tables(path: Path) -> dict[str, float]:
    """``cells.parquet`` from the ledger, and back."""
    run = Run.open(path)
    written, _ = timed(lambda: run.write_table(TableName.CELLS, cells_table(run.ledger.rows(CELL_COLUMNS))))
    back, found = timed(lambda: run.table(TableName.CELLS))
    return {"rows": len(found), "write_s": written, "read_s": back, "total_s": written + back, "memory_gb": memory()}


def resume(path: Path, cells: int) -> dict[str, float]:
    """Resume a search up to the point where it would hand out the next cell."""
    ledger, finished = Run.open(path).ledger, FinishedCells("kl")

    def read() -> None:
        for _, rows in ledger.blocks(finished.columns, verify=True):
            finished.add(rows)

    def plan() -> Planner:
        configurations = -(-cells // SUBJECTS) + 1000
        space = Space("full", configurations, SEARCHED, FIXED, sampler="random")
        planner = Planner(space, SUBJECTS, 0, racing=False, recorded_params=finished.params)
        planner.restore(finished.outcomes)
        return planner

    reading, _ = timed(read)
    planning, planner = timed(plan)
    assert planner.finished_cells == cells // PACK * PACK
    return {
        "read_s": reading,
        "plan_s": planning,
        "total_s": reading + planning,
        "memory_gb": memory(),
        "cells": planner.finished_cells,
    }


def append(folder: Path, cells: int) -> dict[str, float]:
    """One cell after the other, by the search's own writer; then all are read, and, to compare, file by file."""
    rng = np.random.default_rng(1)
    records = [(number, cell(number, 0, rng)) for number in range(cells)]
    alone = folder / "alone"
    singles = Ledger(alone)
    for _, record in records:
        singles.append(record, 0)
    names = singles.files()
    with LedgerWriter(Ledger(folder / "packed"), pack=cells // 2) as writer:

        def append_all() -> None:
            for _, record in records:
                writer.append(record, 0)

        seconds, _ = timed(append_all)
    one_by_one, _ = timed(lambda: [pq.read_table(alone / name) for name in names])
    packed, _ = timed(lambda: Ledger(folder / "packed").rows(ROW.names))
    return {"cells_per_s": cells / seconds, "packed_reads_faster": one_by_one / packed}


def own_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function returns in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def main() -> None:
    """Run all and print one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=1_000_000)
    parser.add_argument("--appended", type=int, default=2000)
    parser.add_argument("--folder", type=Path, help="where some GB fit (default: a temporary one)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as scratch:
        path = Path(scratch) / "run"
        folds = [{"test": f"S{fold:02d}", "validation": [], "train": []} for fold in range(SUBJECTS)]
        run = Run.create(path, Manifest(identity="simulated"), folds)
        filling, _ = timed(lambda: fill(run.ledger, arguments.cells))
        size = sum(file.stat().st_size for file in LocalFolder(path / "ledger").path.iterdir())
        found = {
            "cells": arguments.cells,
            "ledger_gb": size / 1e9,
            "packs_written_s": filling,
            "tables": own_process(tables, path),
            "resume": own_process(resume, path, arguments.cells),
            "append": own_process(append, Path(scratch), arguments.appended),
        }
    print(json.dumps(found, default=float))


if __name__ == "__main__":
    main()
