"""Estimates of generalisation to a new subject, from the tables of a run. Pure functions on DataFrames.

A fold has one test subject, so a score per fold is a score per subject; means, intervals and counts are over
subjects. Cells that failed never count; cells that a rung stopped count for the single configuration alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import bootstrap

from helo.metrics import METRICS
from helo.names import FITTED_BASELINES, SCORED, Column, Estimate, Prefix, Status
from helo.run.selection import best_overall, best_per_fold

SUMMARY_COLUMNS = (Column.ESTIMATE, Column.METRIC, "mean", "std", "ci_low", "ci_high", "subjects", Column.SKILL)
"""Columns of ``summary.parquet``."""

CONFIDENCE = 0.95
RESAMPLES = 9999
_BATCH = 500_000
"""How many resampled scores are in memory at a time."""

_SEARCHED = (Estimate.PER_FOLD_SELECTION, Estimate.SINGLE_CONFIGURATION, Estimate.ORACLE)
_KNOWN_METHODS = (Estimate.TRAIN_MEAN, Estimate.UNIFORM, *FITTED_BASELINES, Estimate.BEST_POSSIBLE)


def completed(cells: pd.DataFrame) -> pd.DataFrame:
    """The rows of ``cells.parquet`` whose cell ran to its end."""
    return cells[cells[Column.STATUS] == Status.COMPLETED]


def scored(cells: pd.DataFrame) -> pd.DataFrame:
    """The rows of ``cells.parquet`` that have scores: all but the failed ones."""
    return cells[cells[Column.STATUS].isin(SCORED)]


def count_unconverged(epochs: pd.DataFrame) -> pd.Series:
    """For each cell, how many transport plans of its worst epoch were no solutions; indexed by configuration, fold."""
    return epochs.groupby([Column.CONFIGURATION, Column.FOLD], sort=False)[Column.UNCONVERGED].max()


def empty_baselines() -> pd.DataFrame:
    """An empty ``baselines.parquet``, for runs that have none."""
    scores = [Prefix.TEST + metric for metric in METRICS]
    return pd.DataFrame(columns=[Column.METHOD, Column.FOLD, *scores]).astype(dict.fromkeys(scores, float))


def method_names(baselines: pd.DataFrame) -> list[str]:
    """The methods of the baselines table: those every run has first, then in the table's order."""
    found = list(dict.fromkeys(baselines[Column.METHOD].astype(str)))
    return [name for name in _KNOWN_METHODS if name in found] + [n for n in found if n not in _KNOWN_METHODS]


def subject_scores(
    cells: pd.DataFrame, baselines: pd.DataFrame, objective: str, folds: int | None = None
) -> pd.DataFrame:
    """Test scores of every estimate, a row per estimate and test subject.

    - `cells`, `baselines`: as in ``cells.parquet`` and ``baselines.parquet``
    - `objective`: the metric whose inner validation score selects
    - `folds`: how many folds the run has; with it, ``single_configuration`` must have scores in them all and
      not only those that `cells` happens to know (default: those in `cells`)

    Returns columns ``estimate``, ``fold`` and one per metric. A fold in which an estimate has no completed
    cell has no row. ``oracle`` takes the best test score of a fold for each metric by itself.
    """
    done = completed(cells)
    overall = best_overall(cells, objective, cells[Column.FOLD].nunique() if folds is None else folds)
    everywhere = {} if overall is None else {str(fold): overall for fold in cells[Column.FOLD].unique()}
    parts = [
        _named(Estimate.PER_FOLD_SELECTION, chosen_cells(done, best_per_fold(cells, objective))),
        _named(Estimate.SINGLE_CONFIGURATION, chosen_cells(scored(cells), everywhere)),
        _named(Estimate.ORACLE, _best_test_scores(done)),
    ]
    parts += [_named(name, baselines[baselines[Column.METHOD] == name]) for name in method_names(baselines)]
    return pd.concat([part for part in parts if len(part)] or [_named(Estimate.ORACLE, done[:0])], ignore_index=True)


def variant_scores(cells: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """Scores in which some cells stand in place of what the search would choose."""
    others = scores[scores[Column.ESTIMATE] != Estimate.PER_FOLD_SELECTION]
    return pd.concat([_named(Estimate.PER_FOLD_SELECTION, cells), others], ignore_index=True)


def chosen_cells(cells: pd.DataFrame, choice: Mapping[str, int]) -> pd.DataFrame:
    """The rows of `cells` whose configuration is the one chosen for their fold."""
    return cells[cells[Column.CONFIGURATION] == cells[Column.FOLD].map(dict(choice))]


def _best_test_scores(done: pd.DataFrame) -> pd.DataFrame:
    best = {Prefix.TEST + metric: "max" if METRICS[metric].higher_is_better else "min" for metric in METRICS}
    return done.groupby(Column.FOLD, sort=False).agg(best).reset_index()


def _named(estimate: str, rows: pd.DataFrame) -> pd.DataFrame:
    wanted = rows[[Column.FOLD, *(Prefix.TEST + metric for metric in METRICS)]]
    scores = wanted.rename(columns=lambda column: column.removeprefix(Prefix.TEST))
    scores.insert(0, Column.ESTIMATE, estimate)
    return scores.astype({Column.FOLD: str} | dict.fromkeys(METRICS, float))


def summarise(cells: pd.DataFrame, baselines: pd.DataFrame, objective: str, folds: int, seed: int = 0) -> pd.DataFrame:
    """The estimates of a run, a row per estimate and metric: ``summary.parquet``.

    Estimates in this order: ``per_fold_selection``, ``single_configuration``, ``oracle``, then the methods of
    `baselines`. Columns:

    - ``mean``, ``std``: over subjects (ddof 1); NaN without subjects, ``std`` also with one
    - ``ci_low``, ``ci_high``: 95 % percentile bootstrap interval of the mean over subjects (see `interval`)
    - ``subjects``: how many subjects have this score; fewer than `folds` says that cells are missing
    - ``skill``: of the mean against ``train_mean`` on the same subjects (see `skill`); NaN without it

    `folds` is the number of folds of the run; ``single_configuration`` needs a configuration with
    scores in them all, and is NaN with 0 subjects while there is none. `seed` fixes the bootstrap.
    """
    scores = subject_scores(cells, baselines, objective, folds)
    reference = scores[scores[Column.ESTIMATE] == Estimate.TRAIN_MEAN].set_index(Column.FOLD)
    rows: list[tuple[Any, ...]] = []
    samples = []
    for estimate in (*_SEARCHED, *method_names(baselines)):
        # Sorted, so that the bootstrap draws the same subjects for every estimate and order of the tables.
        of_estimate = scores[scores[Column.ESTIMATE] == estimate].set_index(Column.FOLD).sort_index()
        for metric in METRICS:
            values = of_estimate[metric].dropna()
            same_subjects = reference[metric].reindex(values.index)
            mean = values.mean()
            relative = skill(mean, same_subjects.mean(), metric) if same_subjects.notna().all() else np.nan
            rows.append((estimate, metric, mean, values.std(ddof=1), len(values), relative))
            samples.append(values.to_numpy(float))
    table = [
        (*row[:4], low, high, *row[4:])
        for row, (low, high) in zip(rows, bootstrap_intervals(samples, seed), strict=True)
    ]
    return pd.DataFrame(table, columns=list(SUMMARY_COLUMNS))


def bootstrap_interval(values: NDArray[np.float64], seed: int = 0) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the mean of `values`, shape (subjects,).

    One subject says nothing about the spread between subjects, and an infinite score has no mean: both give
    (NaN, NaN). Equal scores give that score twice. The same seed and number of subjects draw the same
    resamples, so the intervals of two estimates can be compared.

    >>> bootstrap_interval(np.array([0.25, 0.25, 0.25]))
    (0.25, 0.25)
    >>> bootstrap_interval(np.array([0.25]))
    (nan, nan)
    """
    return bootstrap_intervals([values], seed)[0]


def bootstrap_intervals(samples: Sequence[NDArray[np.float64]], seed: int = 0) -> list[tuple[float, float]]:
    """The `interval` of each sample, a pair for each; the samples may differ in their number of subjects.

    Samples of the same size are resampled together, which is many times faster and gives the same numbers.
    """
    found = [(np.nan, np.nan)] * len(samples)
    sizes: dict[int, list[int]] = {}
    for place, values in enumerate(samples):
        if len(values) < 2 or not np.isfinite(values).all():
            continue
        if np.ptp(values) == 0:
            found[place] = float(values[0]), float(values[0])
        else:
            sizes.setdefault(len(values), []).append(place)
    for size, places in sizes.items():
        drawn = bootstrap(
            (np.stack([samples[place] for place in places]),),
            _mean,
            axis=-1,
            n_resamples=RESAMPLES,
            batch=max(1, _BATCH // (size * len(places))),
            confidence_level=CONFIDENCE,
            method="percentile",
            rng=np.random.default_rng(seed),
        ).confidence_interval
        for place, low, high in zip(places, drawn.low, drawn.high, strict=True):
            found[place] = float(low), float(high)
    return found


def _mean(values: NDArray[np.float64], axis: int) -> Any:
    # Contiguous, so that numpy adds up in the same order whatever lies beside a sample.
    return np.mean(np.ascontiguousarray(values), axis=axis)


def skill(score: float, reference: float, metric: str) -> float:
    """How much of the way from the reference to a perfect score: 1 perfect, 0 no better, below 0 worse.

    Distances: 1 - score / reference. Similarities: (score - reference) / (1 - reference). NaN where the
    reference is perfect already, or unknown.

    >>> skill(0.05, 0.1, "kl")
    0.5
    >>> skill(0.75, 0.5, "cosine")
    0.5
    """
    best = 1.0 if METRICS[metric].higher_is_better else 0.0
    if not abs(best - reference) > 0:  # also where the reference is NaN
        return np.nan
    return float(1 - (best - score) / (best - reference))


def by_subject(scores: pd.DataFrame, metric: str) -> pd.DataFrame:
    """One metric of `subject_scores`: a row per subject, a column per estimate."""
    return scores.pivot(index=Column.FOLD, columns=Column.ESTIMATE, values=metric)


def paired(scores: pd.DataFrame, metric: str, *estimates: str) -> pd.DataFrame:
    """One metric of the subjects that all `estimates` have: indexed by fold, a column per estimate.

    `scores` comes from `subject_scores`; an estimate that it does not have leaves no subject.
    """
    wide = by_subject(scores, metric)
    return wide.reindex(columns=list(estimates)).dropna()


def best_fitted_baseline(scores: pd.DataFrame, metric: str) -> str:
    """The fitted baseline with the best mean test score over the subjects of ``per_fold_selection``; empty without one.

    Of those that have all these subjects: one that failed on the hardest would look best. To be chosen by its test
    score favours it.
    """
    wide = by_subject(scores, metric)
    if Estimate.PER_FOLD_SELECTION not in wide:
        return ""
    judged = wide[wide[Estimate.PER_FOLD_SELECTION].notna()]
    means = judged[[name for name in FITTED_BASELINES if name in wide]].mean(skipna=False).dropna()
    if means.empty:
        return ""
    return str(means.idxmax() if METRICS[metric].higher_is_better else means.idxmin())
