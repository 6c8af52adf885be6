"""What one cell costs, measured before many are paid for: seconds of an epoch, and memory."""

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
"""What a process takes of a GPU before its first tensor (CUDA context, kernels): torch does not count it."""

SAMPLES = 3
"""Configurations timed for a plan, besides the largest one."""

STEPS = 32
"""Training steps that are timed, of those of an epoch; as many before them warm up."""

PROBED = 20_000
"""Windows of a large dataset that a probe looks at."""

_TRANSPORTS = (TransportKind.NONE, TransportKind.LINEAR, TransportKind.GROMOV, TransportKind.FUSED)

GROWS = ("width", "attention_depth", "batch_size", "heads", "transport")
"""Hyperparameters that take more memory when they are larger; transport in the order of `_TRANSPORTS`."""


@dataclass(frozen=True)
class Measured:
    """One cell's cost: seconds of an epoch, bytes of main memory and of the GPU (with its context)."""

    seconds_per_epoch: float
    memory: int
    gpu_memory: int = 0
    gpu_total: int = 0


def largest(space: Space) -> dict[str, Any]:
    """The configuration of a space that needs most memory."""
    if space.variants:
        return max((space.params(values) for values in space.variants.values()), key=_weight)
    drawn = study.Draws(space, 0, "largest").draw(0)
    for name in GROWS:
        entry = space.searched.get(name)
        if entry is not None:
            drawn[name] = entry.high if isinstance(entry, Range) else max(entry.values, key=_rank)
    return space.params(drawn)


def _rank(value: Any) -> float:
    return _TRANSPORTS.index(value) if value in _TRANSPORTS else value


def _weight(params: dict[str, Any]) -> tuple[float, float]:
    """Roughly what a step of training holds in memory; transport counts where the rest is the same."""
    tokens = params["width"] * (1 + params["attention_depth"]) * params["batch_size"]
    return tokens if params["modalities"] == ModalitySelection.BOTH else 0, _rank(params["transport"])


def samples(space: Space, seed: int) -> list[dict[str, Any]]:
    """A few configurations as the search would draw them, to be timed."""
    draws = study.Draws(space, seed, "probe")
    return [space.params(draws.draw(number + 1)) for number in range(SAMPLES)]


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
    """Keep a new process from importing the caller's script: without a guard it would start its search in there."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
