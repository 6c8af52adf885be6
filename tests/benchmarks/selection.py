"""How well the inner validation score of a cell predicts its test score: the rank correlation within folds.

    python tests/benchmarks/selection.py [--wesad DIR | --study NAME] [--normalise subject] [--every-fold 3]

In each fold, 40 random configurations of the space ``small`` are trained to their end, without racing. The benchmark
prints one JSON line:

- ``spearman``: Spearman correlation of the validation and the test score over these cells, mean over folds
- ``standard_error``: standard error of that mean
- ``by_fold``: the correlation in each fold, by test subject
- ``average``, ``selected``, ``oracle``: test score of a random configuration, of the one with the best validation
  score, and of the one with the best test score, mean over folds
- ``epochs``, ``seconds``: epochs of all cells, and duration

Without ``--wesad`` and ``--study`` the data are those of `helo.data.simulate`. The cost is that of 40 cells per fold.
``--every-fold N`` uses the folds of every Nth subject only. The subjects of these folds and their data stay the same.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import torch
from scipy.stats import spearmanr
from studies import STUDIES

from helo.configuration import Configuration
from helo.data import Dataset, simulate
from helo.data.wesad import read_feature_table
from helo.evaluation.folds import Fold, loso_folds
from helo.metrics import METRICS
from helo.names import Normalisation, enum_values
from helo.search.planning.space import load_space
from helo.search.planning.space_for_data import space_for_roles
from helo.search.planning.study import ConfigurationSampler
from helo.search.setup.budget import count_training_windows
from helo.settings import TrainingSettings
from helo.training.cell import train_cell


@dataclass(frozen=True)
class Scores:
    """Validation and test score of a cell, as losses, and its epochs."""

    validation: float
    test: float
    epochs: int


def run_cell(dataset: Dataset, settings: TrainingSettings, cell: tuple[Fold, dict[str, Any]]) -> Scores:
    """Train one configuration on one fold."""
    torch.set_num_threads(settings.threads)
    fold, params = cell
    result = train_cell(dataset, fold, Configuration(**params), settings)
    assert result is not None
    loss = METRICS[settings.objective].loss
    return Scores(loss(result.val[settings.objective]), loss(result.test[settings.objective]), result.epochs)


def read_dataset(arguments: argparse.Namespace) -> Dataset:
    """Return the requested dataset."""
    if arguments.wesad is not None:
        return read_feature_table(arguments.wesad)
    if arguments.study is not None:
        return STUDIES[arguments.study].make(arguments.seed)
    return simulate(subjects=15, windows=5, seed=arguments.seed)


def draw_configurations(
    arguments: argparse.Namespace, dataset: Dataset, folds: tuple[Fold, ...]
) -> list[dict[str, Any]]:
    """Return the hyperparameters of random configurations that suit the data."""
    space = space_for_roles(load_space(arguments.space), dataset.schema.roles)
    space = replace(space.resolve(count_training_windows(dataset, folds)), sampler="random", first={})
    sampler = ConfigurationSampler(space, arguments.seed, "selection")
    return [space.full_params(sampler.draw(number)) for number in range(arguments.configurations)]


def summarise(scores: dict[str, list[Scores]]) -> dict[str, Any]:
    """Return the figures of the benchmark from the scores of all cells of each fold."""
    by_fold, average, selected, oracle = {}, [], [], []
    for fold, cells in scores.items():
        test = np.array([cell.test for cell in cells])
        validation = np.array([cell.validation for cell in cells])
        by_fold[fold] = float(spearmanr(validation, test).statistic)
        average.append(test.mean())
        selected.append(test[validation.argmin()])
        oracle.append(test.min())
    correlations = np.array(list(by_fold.values()))
    error = correlations.std(ddof=1) / np.sqrt(len(correlations)) if len(correlations) > 1 else np.nan
    return {
        "spearman": round(float(correlations.mean()), 3),
        "standard_error": None if np.isnan(error) else round(float(error), 3),
        "by_fold": {fold: round(value, 3) for fold, value in by_fold.items()},
        **{
            name: round(float(np.mean(values)), 5)
            for name, values in (("average", average), ("selected", selected), ("oracle", oracle))
        },
    }


def with_progress(results: Iterator[Scores], cells: int) -> Iterator[Scores]:
    """Yield results, and print their number after every 20."""
    for number, result in enumerate(results, start=1):
        if number % 20 == 0:
            print(f"{number} of {cells} cells", file=sys.stderr, flush=True)
        yield result


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    data = parser.add_mutually_exclusive_group()
    data.add_argument("--wesad", type=Path, help="directory with windows.csv and SX/SX_quest.csv")
    data.add_argument("--study", choices=list(STUDIES), help="made-up study of tests/studies.py")
    parser.add_argument("--normalise", choices=enum_values(Normalisation), default=Normalisation.TRAIN.value)
    parser.add_argument("--space", default="small", help="name or file of the search space")
    parser.add_argument("--configurations", type=int, default=40)
    parser.add_argument("--inner-folds", type=int, help="inner splits of a fold; default: that of the search")
    parser.add_argument("--seed", type=int, default=0, help="seed of made-up data, folds, draws and training")
    parser.add_argument("--every-fold", type=int, default=1, help="use the folds of every Nth subject")
    parser.add_argument("--first-fold", type=int, default=0, help="position of the first subject among them")
    parser.add_argument("--processes", type=int, default=2, help="cells that run at a time")
    arguments = parser.parse_args()
    start = time.perf_counter()
    dataset = read_dataset(arguments)
    all_folds = loso_folds(dataset.subject_names, arguments.seed, arguments.inner_folds)
    folds = all_folds[arguments.first_fold :: arguments.every_fold]
    configurations = draw_configurations(arguments, dataset, all_folds)
    cells = [(fold, params) for fold in folds for params in configurations]
    settings = TrainingSettings(seed=arguments.seed, normalise=arguments.normalise)
    with ProcessPoolExecutor(arguments.processes) as pool:
        results = list(with_progress(pool.map(partial(run_cell, dataset, settings), cells), len(cells)))
    scores: dict[str, list[Scores]] = {}
    for (fold, _), result in zip(cells, results, strict=True):
        scores.setdefault(fold.test, []).append(result)
    answer = {
        "benchmark": "selection",
        "dataset": dataset.schema.name,
        **{name: getattr(arguments, name) for name in ("normalise", "space", "configurations", "inner_folds", "seed")},
        **summarise(scores),
        "epochs": sum(result.epochs for result in results),
        "seconds": round(time.perf_counter() - start, 1),
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
