"""Cost of a cell, measured before a search: seconds per epoch, and memory."""

from __future__ import annotations

import math
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import torch

from helo.configuration import Configuration
from helo.data.dataset import Dataset
from helo.evaluation.folds import Fold, fold_data
from helo.names import ModalitySelection, TransportKind
from helo.search.planning import study
from helo.search.planning.space import Range, Space
from helo.settings import TrainingSettings
from helo.training.cell import CellTraining

CONTEXT_BYTES = 600 * 2**20
"""Bytes of GPU memory of a process before its first tensor (CUDA context, kernels). torch does not count them."""

SAMPLES = 3
"""Number of configurations that are timed for a cost estimate, besides the largest one."""

STEPS = 32
"""Maximum number of training steps that are timed. As many steps before them warm up."""

PROBED = 20_000
"""Maximum number of windows of a dataset that a probe uses."""

_TRANSPORTS = (TransportKind.NONE, TransportKind.LINEAR, TransportKind.GROMOV, TransportKind.FUSED)

GROWS = ("width", "attention_depth", "batch_size", "heads", "transport")
"""Hyperparameters whose larger values need more memory; transport is in the order of `_TRANSPORTS`."""


@dataclass(frozen=True)
class Measured:
    """Cost of a cell: seconds per epoch, bytes of main memory and of GPU memory (CUDA context included)."""

    seconds_per_epoch: float
    memory: int
    gpu_memory: int = 0
    gpu_total: int = 0


def largest(space: Space) -> dict[str, Any]:
    """Return the configuration of a space that needs most memory."""
    if space.variants:
        return max((space.full_params(values) for values in space.variants.values()), key=_weight)
    drawn = study.ConfigurationSampler(space, 0, "largest").draw(0)
    for name in GROWS:
        entry = space.searched.get(name)
        if entry is not None:
            drawn[name] = entry.high if isinstance(entry, Range) else max(entry.values, key=_rank)
    return space.full_params(drawn)


def _rank(value: Any) -> float:
    return _TRANSPORTS.index(value) if value in _TRANSPORTS else value


def _weight(params: dict[str, Any]) -> tuple[float, float]:
    """Return a rough rank of the memory of a training step; transport breaks ties."""
    tokens = params["width"] * (1 + params["attention_depth"]) * params["batch_size"]
    return tokens if params["modalities"] == ModalitySelection.BOTH else 0, _rank(params["transport"])


def samples(space: Space, seed: int) -> list[dict[str, Any]]:
    """Return a few configurations to time, drawn as in the search."""
    draws = study.ConfigurationSampler(space, seed, "probe")
    return [space.full_params(draws.draw(number + 1)) for number in range(SAMPLES)]


def measure(
    dataset: Dataset,
    fold: Fold,
    params: dict[str, Any],
    settings: TrainingSettings,
    share: float = 1.0,
) -> Measured:
    """Train a configuration for some steps after others that warm up, and score once; reckon an epoch from that.

    `dataset` may be `thinned`: the epoch is that of so many times its windows as `share` says. Call it in a process of
    its own: a process's peak memory never goes down again.
    """
    torch.set_num_threads(settings.threads)
    data = fold_data(dataset, fold, settings.normalise)
    configuration = Configuration.from_params(params)
    training = CellTraining(dataset.schema, data, configuration, settings)
    steps = math.ceil(len(data.train) / configuration.batch_size)
    tried = torch.randperm(len(data.train)).tensor_split(steps)[:STEPS]
    training.model.train()
    for batch in tried:
        training.step(batch)
    training.predict(training.validation)
    started = time.perf_counter()
    training.model.train()
    for batch in tried:
        done = training.step(batch)
    done.tolist()  # a GPU is asked, and goes on by itself: only its answer says that it has come so far
    trained = time.perf_counter()
    training.predict(training.validation)
    seconds = ((trained - started) * steps / len(tried) + time.perf_counter() - trained) / share
    # Linux counts in KiB, macOS in bytes.
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    if training.device.type != "cuda":
        return Measured(seconds, memory)
    total = torch.cuda.get_device_properties(training.device).total_memory
    return Measured(seconds, memory, torch.cuda.max_memory_reserved(training.device) + CONTEXT_BYTES, total)


def thinned(dataset: Dataset) -> tuple[Dataset, float]:
    """At most `PROBED` windows of a dataset, of all of its subjects, and their share: enough to time some steps.

    A probe runs elsewhere, and would take a copy of all of a large dataset with it.
    """
    if len(dataset) <= PROBED:
        return dataset, 1.0
    rows = np.linspace(0, len(dataset) - 1, PROBED).astype(np.intp)
    few = Dataset(
        dataset.schema,
        dataset.subjects[rows],
        dataset.features[rows],
        dataset.labels[rows],
        groups=None if dataset.groups is None else dataset.groups[rows],
        best_possible=None if dataset.best_possible is None else dataset.best_possible[rows],
    )
    return few, PROBED / len(dataset)


def in_own_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in a fresh process, so that its memory is measured and given back."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        with _hidden_main():
            answer = pool.submit(function, *arguments)
        return answer.result()


@contextmanager
def _hidden_main() -> Iterator[None]:
    """Keep a new process from importing the caller's script, which would start its search again without a guard."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
