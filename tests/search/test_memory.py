"""Cells of a node share one copy of the data, so the memory of a further cell does not grow with the data."""

from __future__ import annotations

import sys

import numpy as np
import psutil
import pytest
import ray
from ray import cloudpickle

from helo.configuration import Configuration
from helo.data.dataset import Dataset
from helo.data.schema import Modality, Schema
from helo.evaluation.folds import Fold, SplitData, loso_folds, split_data
from helo.search.execution.connection import SharedDataset, ray_cluster
from helo.settings import TrainingSettings
from helo.training.cell import CellTraining

pytestmark = pytest.mark.slow

# By value: workers cannot import this module where a package in the environment is called "tests", too.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

COLUMNS = {"eeg": 90, "face": 768}
SMALL = Configuration(width=8, heads=2, batch_size=64)


def noise(windows: int) -> Dataset:
    generator = np.random.default_rng(0)
    names = {name: tuple(f"{name}_{number}" for number in range(count)) for name, count in COLUMNS.items()}
    schema = Schema(
        "noise",
        (
            Modality("eeg", "physiological", names["eeg"], 18, main=True),
            Modality("face", "behavioural", names["face"], 1),
        ),
        {"joy": "joy", "fear": "fear"},
    )
    return Dataset(
        schema,
        np.array([f"P{number * 10 // windows}" for number in range(windows)]),
        generator.standard_normal((windows, sum(COLUMNS.values())), dtype=np.float32),
        generator.dirichlet(np.ones(2), windows),
    )


def members_of(dataset: Dataset, fold: Fold) -> list[SplitData]:
    return [split_data(dataset, fold, split, "train") for split in fold.splits]


def cell(dataset: Dataset, fold: Fold) -> tuple[int, bool, bool]:
    """Return the bytes that a cell adds, whether it scales features when used, and whether they are writeable."""
    import torch

    torch.set_num_threads(1)
    # Train one epoch before the measurement, because the first step of a process loads libraries.
    warm = noise(40)
    before_data = members_of(warm, loso_folds(warm.subject_names, 0, inner_folds=1)[0])
    CellTraining(warm.schema, before_data, SMALL, TrainingSettings()).run_epoch()
    before = psutil.Process().memory_full_info().uss
    training = CellTraining(dataset.schema, members_of(dataset, fold), SMALL, TrainingSettings()).current
    for positions in torch.arange(1024).split(64):
        training.step(positions.unsqueeze(0), torch.full((1, 64), 1 / 64))
    taken = psutil.Process().memory_full_info().uss - before
    return taken, training.windows.resident is None, dataset.features.flags.writeable


def test_a_further_cell_has_no_copy_of_the_data() -> None:
    dataset = noise(60_000)
    size = dataset.features.nbytes
    assert size > 200e6
    folds = loso_folds(dataset.subject_names, 0, inner_folds=1)
    with ray_cluster(None, 2):
        shared = SharedDataset(dataset)
        task = ray.remote(cell).options(num_cpus=1)
        found = ray.get([task.remote(shared.reference, fold) for fold in folds[:2]])
    print(f"data {size / 2**20:.0f} MiB, each cell {[round(taken / 2**20) for taken, _, _ in found]} MiB")
    for taken, scaled_when_used, writeable in found:
        assert scaled_when_used
        assert not writeable
        assert taken < 0.75 * size  # its windows, the fit of its linear models, and SciPy
