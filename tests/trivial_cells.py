"""Cells that train nothing, for tests and benchmarks of everything around them."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from ray import cloudpickle

from helo.configuration import Configuration
from helo.data import Dataset, simulate
from helo.evaluation.folds import Fold, loso_folds
from helo.metrics import METRICS
from helo.names import Column, Prefix
from helo.search.execution.cells import CellSettings
from helo.search.planning.pace import Pace
from helo.search.planning.planner import Planner
from helo.search.planning.space import Range, Space
from helo.settings import TrainingSettings
from helo.training.cell import CellResult, Checkpointer

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import this module

FOLDS = 50

CONCURRENCY = 2


def trivial_result(dataset: Dataset, fold: Fold, loss: float, epochs: int) -> CellResult:
    """Return a result without training: this loss before training and after each epoch, and uniform predictions."""
    rows = dataset.rows((fold.test,))
    scores = dict.fromkeys(METRICS, loss)
    validation = {Prefix.VAL + name: loss for name in METRICS}
    return CellResult(
        stopped=False,
        epochs=epochs,
        best_epoch=0,
        val=scores,
        test=scores,
        history=tuple({Column.EPOCH: epoch, **validation} for epoch in range(epochs + 1)),
        first_losses=(loss,) * (epochs + 1),
        windows=rows.astype(np.int64),
        predictions=np.full((len(rows), len(dataset.emotions)), 1 / len(dataset.emotions), dtype=np.float32),
    )


def train_trivial(
    dataset: Dataset,
    fold: Fold,
    configuration: Configuration,
    settings: TrainingSettings,
    rungs: Mapping[int, float],
    checkpointer: Checkpointer | None,
) -> CellResult:
    """Return the result of a cell of 20 epochs. All losses are equal, so that racing drops no configuration."""
    return trivial_result(dataset, fold, loss=0.5, epochs=20)


SETTINGS = CellSettings(train=train_trivial)


def trivial_folds() -> tuple[Dataset, tuple[Fold, ...]]:
    """Return a small simulated dataset and its folds."""
    data = simulate(subjects=FOLDS, clips=2, windows=5, emotions=3)
    return data, loso_folds(data.subject_names, 0)


def plan_trivial(cells: int) -> Planner:
    """Return the planner of a search with this number of cells, a multiple of `FOLDS`."""
    space = Space("trivial", cells // FOLDS, {"dropout": Range(0.1, 0.5, False, False)}, sampler="random")
    return Planner(space, FOLDS, seed=0, pace=Pace.for_search(space, FOLDS, CONCURRENCY, "shared", True))


def read_memory() -> float:
    """Return the memory of this process in MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
