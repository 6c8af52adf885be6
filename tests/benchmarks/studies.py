"""HeLo, the best regressor and the best possible score on made-up studies of several shapes, with nested searches.

    python tests/benchmarks/studies.py [--studies classes physiology] [--seeds 0 1] [--normalise subject] [--keep DIR]

The studies are those of ``tests/studies.py``. Each seed makes a new dataset, and is the seed of its search. A search is
``python -m helo.search --protocol nested --space small`` with all baselines. The benchmark prints one JSON line. For
each study:

- ``helo``: KL divergence of `per_fold_selection`, mean over test subjects and seeds
- ``baseline``, ``baseline_name``: the same for the fitted baseline with the best test score of each seed, and its name
- ``train_mean``, ``best_possible``: bounds that every method should stay between
- ``seconds``: duration of a search, with its baselines, report and fitted model
- ``by_seed``: the same figures of each seed

The target is ``helo`` at or below ``baseline``. ``--keep`` stores each run as DIR/STUDY-NORMALISE-SEED.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

import pandas as pd
from studies import STUDIES

import helo
from helo.names import FITTED_BASELINES, Column, Estimate, Normalisation, enum_values

METRIC = "kl"
FIGURES = ("helo", "baseline", "train_mean", "best_possible", "seconds")


def search(name: str, seed: int, out: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the figures of one search."""
    study = replace(STUDIES[name], subjects=arguments.subjects or STUDIES[name].subjects)
    dataset = study.make(seed)
    start = time.perf_counter()
    run = helo.run_search(
        dataset,
        arguments.space,
        out=out,
        protocol="nested",
        seed=seed,
        normalise=arguments.normalise,
        progress=False,
        configurations=arguments.configurations,
        concurrency=arguments.concurrency,
        inner_folds=arguments.inner_folds,
    )
    seconds = time.perf_counter() - start
    rows: pd.DataFrame = run.summary[run.summary[Column.METRIC] == METRIC]
    means = rows.set_index(Column.ESTIMATE)["mean"]
    baselines = means[[method for method in FITTED_BASELINES if method in means.index]]
    return {
        "helo": float(means[Estimate.PER_FOLD_SELECTION]),
        "baseline": float(baselines.min()),
        "baseline_name": str(baselines.idxmin()),
        "train_mean": float(means[Estimate.TRAIN_MEAN]),
        "best_possible": float(means[Estimate.BEST_POSSIBLE]),
        "seconds": seconds,
    }


def rounded(figures: dict[str, Any]) -> dict[str, Any]:
    """Return figures with four significant digits."""
    return {name: float(f"{value:.4g}") if isinstance(value, float) else value for name, value in figures.items()}


def measure(name: str, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the mean figures of a study over seeds, and those of each seed."""
    found = []
    for seed in arguments.seeds:
        found.append(search(name, seed, folder / f"{name}-{arguments.normalise}-{seed}", arguments))
        print(name, seed, rounded(found[-1]), file=sys.stderr, flush=True)
    table = pd.DataFrame(found)
    return {
        **rounded({figure: float(table[figure].mean()) for figure in FIGURES}),
        "baseline_name": table["baseline_name"].mode()[0],
        "by_seed": [rounded(figures) for figures in found],
    }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--studies", nargs="+", choices=list(STUDIES), default=list(STUDIES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--normalise", choices=enum_values(Normalisation), default=Normalisation.TRAIN.value)
    parser.add_argument("--space", default="small", help="name or file of the search space")
    parser.add_argument("--inner-folds", type=int, help="inner splits of a fold; default: that of the search")
    parser.add_argument("--configurations", type=int, help="default: that of the space")
    parser.add_argument("--concurrency", type=int, help="cells that run at a time; default: as many as fit")
    parser.add_argument("--subjects", type=int, help="number of subjects, to try the benchmark; default: all")
    parser.add_argument("--keep", type=Path, help="directory in which the runs are kept")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        answer = {name: measure(name, arguments.keep or Path(scratch), arguments) for name in arguments.studies}
    settings = {name: getattr(arguments, name) for name in ("seeds", "normalise", "space", "inner_folds")}
    print(json.dumps({"benchmark": "studies", **settings, **answer}))


if __name__ == "__main__":
    main()
