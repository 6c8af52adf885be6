"""Memory that each further cell takes of a node, beside what a script takes that gives every process its own data.

    python tests/benchmarks/memory.py --windows 1000000 --cells 2

writes a dataset of DMER's layout (913 features) if ``--data`` names none, reads it, shares it through Ray's object
store and lets some cells train on it at the same time: a few steps, and a look at all validation windows. Beside
them a process that reads the dataset by pandas and scales its training windows, as a plain script would. Prints one
JSON line: bytes of memory that a process has for itself (unique set size, what it holds before it touches the data
taken off), and the ratio.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from helo.configuration import Configuration
from helo.data import Dataset, read_dataset
from helo.evaluation.folds import Fold, loso_folds, split_data
from helo.names import FileName
from helo.settings import TrainingSettings

LAYOUT = {
    "eeg": ("physiological", 18, 90),
    "gsr": ("physiological", 1, 28),
    "ppg": ("physiological", 1, 27),
    "video": ("behavioural", 1, 768),
}
SUBJECTS, EMOTIONS, STEPS, BLOCK = 73, 10, 10, 20_000
SMALL = Configuration(width=16, heads=2, batch_size=128)


def write(folder: Path, windows: int) -> None:
    """A dataset of noise, block by block: it is never in memory as a whole."""
    columns = {name: [f"{name}_{i}" for i in range(count)] for name, (_, _, count) in LAYOUT.items()}
    features = [column for names in columns.values() for column in names]
    emotions = [f"emotion_{i}" for i in range(EMOTIONS)]
    draw = np.random.default_rng(0)
    writer: pq.ParquetWriter | None = None
    for start in range(0, windows, BLOCK):
        count = min(BLOCK, windows - start)
        who = [f"P{(start + i) * SUBJECTS // windows:02d}" for i in range(count)]
        values = draw.standard_normal((count, len(features)), dtype=np.float32)
        labels = draw.dirichlet(np.ones(EMOTIONS), count)
        table = pa.table(
            {"subject": who, **dict(zip(features, values.T, strict=True)), **dict(zip(emotions, labels.T, strict=True))}
        )
        writer = writer or pq.ParquetWriter(folder / FileName.WINDOWS, table.schema, use_dictionary=False)
        writer.write_table(table)
    assert writer is not None
    writer.close()
    modalities = {
        name: {"role": role, "tokens": tokens, "columns": columns[name], **({"main": True} if name == "eeg" else {})}
        for name, (role, tokens, _) in LAYOUT.items()
    }
    schema = {"name": "noise", "modalities": modalities, "emotions": {name: name for name in emotions}}
    (folder / FileName.SCHEMA).write_text(yaml.safe_dump(schema), encoding="utf-8")


def own_bytes() -> int:
    """Return the memory of this process that no other process shares."""
    return int(psutil.Process().memory_full_info().uss)


def a_cell(dataset: Dataset, fold: Fold) -> dict[str, float]:
    """Train a few steps on a fold, and score its validation windows, as a cell does."""
    import torch

    from helo.training.cell import CellTraining

    torch.set_num_threads(1)
    before = psutil.Process().memory_full_info()
    data = [split_data(dataset, fold, split, "train") for split in fold.splits]
    training = CellTraining(dataset.schema, data, SMALL, TrainingSettings()).current
    size, members = SMALL.batch_size, len(data)
    for _ in range(STEPS):
        positions = torch.stack([torch.randperm(count)[:size] for count in training.windows.sizes])
        training.step(positions, torch.full((members, size), 1 / size))
    return {"own": own_bytes() - before.uss, "peak": _peak()}


def a_script(folder: Path, fold: Fold) -> dict[str, float]:
    """What each process of a plain script holds: the table, and its scaled training windows."""
    import pandas as pd
    import torch

    before = own_bytes()
    table = pd.read_parquet(folder / FileName.WINDOWS)
    train = table[table["subject"].isin(fold.splits[0].train)]
    values = train[[name for name in table.columns if "_" in name and "emotion" not in name]].to_numpy(np.float32)
    features = torch.from_numpy((values - values.mean(axis=0)) / values.std(axis=0))
    return {"own": own_bytes() - before, "peak": _peak(), "windows": len(features)}


def _peak() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(folder: Path, cells: int) -> dict[str, Any]:
    """Read, share, and let `cells` cells work at the same time."""
    import ray

    from helo.search.execution.connection import SharedDataset, ray_cluster

    started, before = time.perf_counter(), own_bytes()
    dataset = read_dataset(folder)
    reading = time.perf_counter() - started
    driver, peak = own_bytes() - before, _peak()
    folds = loso_folds(dataset.subject_names, 0)
    with ray_cluster(None, cells):
        shared = SharedDataset(dataset)
        started = time.perf_counter()
        task = ray.remote(a_cell).options(num_cpus=1)
        found = ray.get([task.remote(shared.reference, folds[number]) for number in range(cells)])
        working = time.perf_counter() - started
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        script = pool.submit(a_script, folder, folds[0]).result()
    each = max(one["own"] for one in found)
    return {
        "windows": len(dataset),
        "data_bytes": dataset.features.nbytes,
        "reading_s": round(reading, 1),
        "driver_bytes": driver,
        "driver_peak_bytes": peak,
        "cells_s": round(working, 1),
        "cell_bytes": each,
        "script_bytes": script["own"],
        "script_peak_bytes": script["peak"],
        "ratio": round(script["own"] / each, 1),
    }


def main() -> None:
    """Print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--windows", type=int, default=100_000)
    parser.add_argument("--cells", type=int, default=2)
    parser.add_argument("--data", type=Path, help="dataset directory to use instead")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = arguments.data or Path(made)
        if arguments.data is None:
            write(folder, arguments.windows)
        print(json.dumps(measure(folder, arguments.cells)))


if __name__ == "__main__":
    main()
