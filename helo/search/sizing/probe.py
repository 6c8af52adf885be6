"""Cost of a cell, measured before a search: seconds per epoch and memory."""

from __future__ import annotations

import multiprocessing
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from helo._processes import hidden_main
from helo.configuration import Configuration
from helo.data.dataset import Dataset
from helo.evaluation.folds import Fold, split_data
from helo.names import ModalitySelection, TransportKind
from helo.search.planning import study
from helo.search.planning.space import Range, Space
from helo.settings import TrainingSettings
from helo.training.cell import CellTraining

CONTEXT_BYTES = 600 * 2**20
"""Bytes of GPU memory of a process before its first tensor (CUDA context, kernels). torch does not count them."""

TIMED_CONFIGURATIONS = 3
"""Number of configurations that are timed for a cost estimate, in addition to the largest one."""

TIMED_STEPS = 32
"""Maximum number of training steps that are timed. The same number of untimed steps comes first, as a warm-up."""

MAX_WINDOWS = 20_000
"""Maximum number of windows of a dataset that a probe uses."""

_TRANSPORTS = (TransportKind.NONE, TransportKind.LINEAR, TransportKind.GROMOV, TransportKind.FUSED)

MEMORY_PARAMS = ("width", "attention_depth", "batch_size", "heads", "transport")
"""Hyperparameters whose larger values need more memory; transport is in the order of `_TRANSPORTS`."""


@dataclass(frozen=True)
class CellCost:
    """Cost of a cell.

    Attributes
    ----------
    seconds_per_epoch : float
        Seconds of one epoch of training, with the validation at its end.
    memory : int
        Bytes of main memory.
    gpu_memory : int
        Bytes of GPU memory, CUDA context included. 0 on a CPU.
    gpu_total : int
        Bytes of memory of the GPU. 0 on a CPU.
    """

    seconds_per_epoch: float
    memory: int
    gpu_memory: int = 0
    gpu_total: int = 0


def largest_configuration(space: Space) -> dict[str, Any]:
    """Return all hyperparameters of the configuration of a space that needs the most memory."""
    if space.variants:
        return max((space.full_params(values) for values in space.variants.values()), key=_weight)
    drawn = study.ConfigurationSampler(space, 0, "largest").draw(0)
    for name in MEMORY_PARAMS:
        entry = space.searched.get(name)
        if entry is not None:
            drawn[name] = entry.high if isinstance(entry, Range) else max(entry.values, key=_rank)
    return space.full_params(drawn)


def _rank(value: Any) -> float:
    """Return a number that orders the values of a hyperparameter by the memory that they need."""
    return _TRANSPORTS.index(value) if value in _TRANSPORTS else value


def _weight(params: dict[str, Any]) -> tuple[bool, float, float]:
    """Return a key that orders configurations roughly by the memory of a training step. Transport breaks ties."""
    tokens = params["width"] * (1 + params["attention_depth"]) * params["batch_size"]
    return params["modalities"] == ModalitySelection.BOTH, tokens, _rank(params["transport"])


def sample_configurations(space: Space, seed: int) -> list[dict[str, Any]]:
    """Return `TIMED_CONFIGURATIONS` configurations, drawn as in the search."""
    draws = study.ConfigurationSampler(space, seed, "probe")
    return [space.full_params(draws.draw(number + 1)) for number in range(TIMED_CONFIGURATIONS)]


def measure_cell(
    dataset: Dataset,
    fold: Fold,
    params: dict[str, Any],
    settings: TrainingSettings,
    window_share: float = 1.0,
) -> CellCost:
    """Measure the cost of a cell: train all its members for a few steps, validate once, and extrapolate to an epoch.

    Call this in a process of its own (see `in_own_process`), because the peak memory of a process never decreases.

    Parameters
    ----------
    dataset : Dataset
        All windows, or those that `thin_dataset` leaves.
    fold : Fold
        Fold of the cell.
    params : dict
        All hyperparameters of the configuration.
    settings : TrainingSettings
        Settings of the search.
    window_share : float
        Number of windows of `dataset` divided by that of the whole dataset.

    Returns
    -------
    CellCost
        Cost on the whole dataset. The memory is that with `dataset`.
    """
    torch.set_num_threads(settings.threads)
    data = [split_data(dataset, fold, split, settings.normalise) for split in fold.splits]
    configuration = Configuration.from_params(params)
    # Without rungs, all members are trained together: the memory is the largest that a cell needs.
    training = CellTraining(dataset.schema, data, configuration, settings).current
    steps, width = training.batches
    tried = [torch.randint(min(training.windows.sizes), (training.members, width)) for _ in range(TIMED_STEPS)]
    tried = [positions.to(training.device) for positions in tried[:steps]]
    weights = torch.full(tried[0].shape, 1 / width, device=training.device)
    training.model.train()
    for positions in tried:
        training.step(positions, weights)
    training.out_of_fold()
    started = time.perf_counter()
    training.model.train()
    for positions in tried:
        done = training.step(positions, weights)
    done.tolist()  # steps on a GPU run asynchronously: wait for the last one
    trained = time.perf_counter()
    training.out_of_fold()
    seconds = ((trained - started) * steps / len(tried) + time.perf_counter() - trained) / window_share
    # ru_maxrss is in KiB on Linux and in bytes on macOS.
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    if training.device.type != "cuda":
        return CellCost(seconds, memory)
    total = torch.cuda.get_device_properties(training.device).total_memory
    return CellCost(seconds, memory, torch.cuda.max_memory_reserved(training.device) + CONTEXT_BYTES, total)


def thin_dataset(dataset: Dataset) -> tuple[Dataset, float]:
    """Return evenly spaced windows of a large dataset, because a probe copies its dataset to another process.

    Parameters
    ----------
    dataset : Dataset
        Whole dataset.

    Returns
    -------
    Dataset
        At most `MAX_WINDOWS` windows.
    float
        Their number divided by that of the whole dataset.
    """
    if len(dataset) <= MAX_WINDOWS:
        return dataset, 1.0
    rows = np.linspace(0, len(dataset) - 1, MAX_WINDOWS).astype(np.intp)
    few = Dataset(
        dataset.schema,
        dataset.subjects[rows],
        dataset.features[rows],
        dataset.labels[rows],
        groups=None if dataset.groups is None else dataset.groups[rows],
        best_possible=None if dataset.best_possible is None else dataset.best_possible[rows],
    )
    return few, MAX_WINDOWS / len(dataset)


def in_own_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in a new process, so that its memory can be measured and is freed afterwards."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        with hidden_main():
            answer = pool.submit(function, *arguments)
        return answer.result()
