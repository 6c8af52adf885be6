"""Estimates of generalisation to a new subject, from the tables of a run. Pure functions on DataFrames.

Each fold has one test subject, so a score per fold is a score per subject. Means, intervals and counts are over
subjects. Failed cells are always left out. Cells stopped by racing count for ``single_configuration`` only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import bootstrap

from helo.metrics import METRICS, equal_scores
from helo.names import FITTED_BASELINES, SCORED, Column, Estimate, Prefix, Status
from helo.run.ensemble.fold_ensembles import ensemble_table
from helo.run.selection import best_overall, best_per_fold

SUMMARY_COLUMNS = (Column.ESTIMATE, Column.METRIC, "mean", "std", "ci_low", "ci_high", "subjects", Column.SKILL)
"""Columns of ``summary.parquet`` and ``summary_by_group.parquet``."""

CONFIDENCE = 0.95
"""Level of all confidence intervals."""

RESAMPLES = 9999
"""Number of bootstrap resamples."""

_BATCH = 500_000
"""Maximum number of resampled scores in memory at a time."""

SEARCHED = (Estimate.PER_FOLD_SELECTION, Estimate.SINGLE_CONFIGURATION, Estimate.ENSEMBLE, Estimate.ORACLE)
"""Estimates from the cells of the search, in the order of every table."""

_KNOWN_METHODS = (Estimate.TRAIN_MEAN, Estimate.UNIFORM, *FITTED_BASELINES, Estimate.BEST_POSSIBLE)


def completed(cells: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of completed cells; `cells` has the columns of ``cells.parquet``."""
    return cells[cells[Column.STATUS] == Status.COMPLETED]


def scored(cells: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of cells with scores: all except failed cells; `cells` has the columns of ``cells.parquet``."""
    return cells[cells[Column.STATUS].isin(SCORED)]


def count_unconverged(epochs: pd.DataFrame) -> pd.Series:
    """Return the largest number of unconverged transport plans in an epoch, for each cell.

    Parameters
    ----------
    epochs : DataFrame
        Columns of ``epochs.parquet``: ``configuration``, ``fold``, ``unconverged``.

    Returns
    -------
    Series
        Maximum over epochs, indexed by configuration and fold.
    """
    return epochs.groupby([Column.CONFIGURATION, Column.FOLD], sort=False)[Column.UNCONVERGED].max()


def empty_baselines() -> pd.DataFrame:
    """Return an empty table with the columns of ``baselines.parquet``, for runs without this file."""
    scores = [Prefix.TEST + metric for metric in METRICS]
    return pd.DataFrame(columns=[Column.METHOD, Column.FOLD, *scores]).astype(dict.fromkeys(scores, float))


def empty_ensemble() -> pd.DataFrame:
    """Return an empty table with the columns of ``ensemble.parquet``, for runs without this file."""
    return ensemble_table([])


def method_names(baselines: pd.DataFrame) -> list[str]:
    """Return the methods of ``baselines.parquet``: those that this project computes first, then in table order."""
    found = list(dict.fromkeys(baselines[Column.METHOD].astype(str)))
    return [name for name in _KNOWN_METHODS if name in found] + [n for n in found if n not in _KNOWN_METHODS]


def has_scores_by_group(cells: pd.DataFrame) -> bool:
    """Return whether a run has scores by group; `cells` has the columns of ``cells.parquet``."""
    return all(Prefix.TEST_BY_GROUP + metric in cells for metric in METRICS)


def subject_scores(
    cells: pd.DataFrame,
    baselines: pd.DataFrame,
    objective: str,
    folds: int | None = None,
    prefix: str = Prefix.TEST,
    ensemble: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Return the test scores of every estimate on every test subject.

    Parameters
    ----------
    cells : DataFrame
        Columns of ``cells.parquet``.
    baselines : DataFrame
        Columns of ``baselines.parquet``.
    objective : str
        Metric whose inner validation score selects configurations.
    folds : int, optional
        Number of folds of the run. ``single_configuration`` needs scores in all of them. The default is the number
        of folds in `cells`.
    prefix : {Prefix.TEST, Prefix.TEST_BY_GROUP}
        Prefix of the columns to return: scores of windows, or of averages over the windows of each group. The choice
        of configurations does not depend on it.
    ensemble : DataFrame, optional
        Columns of ``ensemble.parquet``.

    Returns
    -------
    DataFrame
        A row per estimate and test subject, with columns ``estimate``, ``fold`` and one per metric. A fold in which
        an estimate has no completed cell has no row. ``oracle`` takes the best test score of the fold, separately
        for each metric.
    """
    done = completed(cells)
    overall = best_overall(cells, objective, cells[Column.FOLD].nunique() if folds is None else folds)
    everywhere = {} if overall is None else {str(fold): overall for fold in cells[Column.FOLD].unique()}
    parts = [
        _named(Estimate.PER_FOLD_SELECTION, chosen_cells(done, best_per_fold(cells, objective)), prefix),
        _named(Estimate.SINGLE_CONFIGURATION, chosen_cells(scored(cells), everywhere), prefix),
        *([] if ensemble is None else [_named(Estimate.ENSEMBLE, ensemble, prefix)]),
        _named(Estimate.ORACLE, _best_test_scores(done, prefix), prefix),
    ]
    parts += [_named(name, baselines[baselines[Column.METHOD] == name], prefix) for name in method_names(baselines)]
    some = [part for part in parts if len(part)] or [_named(Estimate.ORACLE, done[:0], prefix)]
    return pd.concat(some, ignore_index=True)


def variant_scores(cells: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """Return scores in which the given cells replace ``per_fold_selection``.

    Parameters
    ----------
    cells : DataFrame
        Columns of ``cells.parquet``, at most one row per fold.
    scores : DataFrame
        As from `subject_scores`.

    Returns
    -------
    DataFrame
        Same columns as `scores`.
    """
    remaining = scores[scores[Column.ESTIMATE] != Estimate.PER_FOLD_SELECTION]
    return pd.concat([_named(Estimate.PER_FOLD_SELECTION, cells), remaining], ignore_index=True)


def chosen_cells(cells: pd.DataFrame, choice: Mapping[str, int]) -> pd.DataFrame:
    """Return the rows of `cells` with the configuration chosen for their fold; `choice`: fold → configuration."""
    return cells[cells[Column.CONFIGURATION] == cells[Column.FOLD].map(dict(choice))]


def _best_test_scores(done: pd.DataFrame, prefix: str) -> pd.DataFrame:
    best = {prefix + name: "max" if metric.higher_is_better else "min" for name, metric in METRICS.items()}
    return done.groupby(Column.FOLD, sort=False).agg(best).reset_index()


def _named(estimate: str, rows: pd.DataFrame, prefix: str = Prefix.TEST) -> pd.DataFrame:
    """Return columns ``estimate``, ``fold`` and one per metric; scores that `rows` lacks are NaN."""
    scores = rows.reindex(columns=[Column.FOLD, *(prefix + metric for metric in METRICS)])
    scores = scores.rename(columns=lambda column: column.removeprefix(prefix))
    scores.insert(0, Column.ESTIMATE, estimate)
    return scores.astype({Column.FOLD: str} | dict.fromkeys(METRICS, float))


def estimate_names(baselines: pd.DataFrame, ensemble: pd.DataFrame) -> list[str]:
    """Return the estimates of a run in the order of every table.

    Parameters
    ----------
    baselines : DataFrame
        Columns of ``baselines.parquet``.
    ensemble : DataFrame
        Columns of ``ensemble.parquet``. Without rows there is no estimate ``ensemble``.

    Returns
    -------
    list of str
        ``per_fold_selection``, ``single_configuration``, ``ensemble``, ``oracle``, then the methods of `baselines`.
    """
    searched = [name for name in SEARCHED if len(ensemble) or name != Estimate.ENSEMBLE]
    return [*searched, *method_names(baselines)]


def summarise(scores: pd.DataFrame, estimates: Iterable[str], seed: int = 0) -> pd.DataFrame:
    """Return the estimates of a run: the table ``summary.parquet`` or ``summary_by_group.parquet``.

    Parameters
    ----------
    scores : DataFrame
        As from `helo.analysis.statistics.common_subjects.keep_common`, so that all estimates have the same subjects.
    estimates : iterable of str
        Names of the rows.
    seed : int, default 0
        Seed of the bootstrap.

    Returns
    -------
    DataFrame
        A row per estimate and metric, with columns:

        - ``estimate``, ``metric``
        - ``mean``, ``std``: over subjects (ddof 1); NaN without subjects, ``std`` also with one subject
        - ``ci_low``, ``ci_high``: 95 % interval of the mean over subjects, see `bootstrap_interval`
        - ``subjects``: number of subjects; 0 for an estimate without scores
        - ``skill``: skill of the mean against ``train_mean``, see `skill`; NaN without ``train_mean``
    """
    # The bootstrap draws positions: sorted by fold, all estimates are resampled with the same subjects.
    scores = scores.sort_values(Column.FOLD, kind="stable")
    reference = scores[scores[Column.ESTIMATE] == Estimate.TRAIN_MEAN]
    rows: list[tuple[Any, ...]] = []
    samples = []
    for estimate in estimates:
        of_estimate = scores[scores[Column.ESTIMATE] == estimate]
        for metric in METRICS:
            values = of_estimate[metric]
            mean = values.mean()
            relative = skill(mean, reference[metric].mean(), metric) if len(values) else np.nan
            rows.append((estimate, metric, mean, values.std(ddof=1), len(values), relative))
            samples.append(values.to_numpy(float))
    table = [
        (*row[:4], low, high, *row[4:])
        for row, (low, high) in zip(rows, bootstrap_intervals(samples, seed), strict=True)
    ]
    return pd.DataFrame(table, columns=list(SUMMARY_COLUMNS))


def bootstrap_interval(values: NDArray[np.float64], seed: int = 0) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of a mean.

    The same seed and number of subjects give the same resamples, so the intervals of two estimates are comparable.

    Parameters
    ----------
    values : ndarray of shape (subjects,)
        Scores.
    seed : int, default 0
        Seed of the bootstrap.

    Returns
    -------
    tuple of float
        Lower and upper bound. Both are NaN with fewer than two subjects or a score that is not finite. Both equal
        the score if all scores are equal.

    Examples
    --------
    >>> bootstrap_interval(np.array([0.25, 0.25, 0.25]))
    (0.25, 0.25)
    >>> bootstrap_interval(np.array([0.25]))
    (nan, nan)
    """
    return bootstrap_intervals([values], seed)[0]


def bootstrap_intervals(samples: Sequence[NDArray[np.float64]], seed: int = 0) -> list[tuple[float, float]]:
    """Return the interval of each sample, see `bootstrap_interval`.

    Samples of the same size are resampled together: the numbers are the same and the computation is many times faster.

    Parameters
    ----------
    samples : sequence of ndarray of shape (subjects,)
        Scores. The samples may differ in size.
    seed : int, default 0
        Seed of the bootstrap.

    Returns
    -------
    list of tuple of float
        Lower and upper bound of each sample.
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
    # In contiguous memory, NumPy adds in the same order however many samples are resampled together.
    return np.mean(np.ascontiguousarray(values), axis=axis)


def skill(score: float, reference: float, metric: str) -> float:
    """Return the skill of a score: its improvement on the reference, as a share of the largest possible improvement.

    Distances: ``1 - score / reference``. Similarities: ``(score - reference) / (1 - reference)``.

    Parameters
    ----------
    score, reference : float
        Scores on the same subjects.
    metric : str
        Name of the metric.

    Returns
    -------
    float
        1 for a perfect score, 0 for a score that equals the reference, below 0 for a worse score. NaN if the
        reference is NaN, or perfect within `helo.metrics.RESOLUTION`.

    Examples
    --------
    >>> skill(0.05, 0.1, "kl")
    0.5
    >>> skill(0.75, 0.5, "cosine")
    0.5
    """
    perfect = METRICS[metric].perfect
    if np.isnan(reference) or equal_scores(reference, perfect):
        return np.nan
    return float(1 - (perfect - score) / (perfect - reference))


def by_subject(scores: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return one metric of `subject_scores`, with a row per fold and a column per estimate."""
    return scores.pivot(index=Column.FOLD, columns=Column.ESTIMATE, values=metric)


def paired(scores: pd.DataFrame, metric: str, *estimates: str) -> pd.DataFrame:
    """Return one metric of the subjects for which all estimates have a score.

    Parameters
    ----------
    scores : DataFrame
        As from `subject_scores`.
    metric : str
        Name of the metric.
    *estimates : str
        Names of estimates.

    Returns
    -------
    DataFrame
        A row per fold and a column per estimate. Empty if `scores` lacks one of the estimates.
    """
    return by_subject(scores, metric).reindex(columns=list(estimates)).dropna()


def best_fitted_baseline(scores: pd.DataFrame, metric: str) -> str:
    """Return the fitted baseline with the best mean test score over the subjects of ``per_fold_selection``.

    The choice uses test scores and therefore favours the baseline. Only baselines with scores of all these subjects
    take part, because a baseline that failed on the hardest subjects would seem better than it is.

    Parameters
    ----------
    scores : DataFrame
        As from `subject_scores`.
    metric : str
        Name of the metric.

    Returns
    -------
    str
        Name of the method; empty if no fitted baseline takes part.
    """
    wide = by_subject(scores, metric)
    if Estimate.PER_FOLD_SELECTION not in wide:
        return ""
    wide = wide[wide[Estimate.PER_FOLD_SELECTION].notna()]
    means = wide[[name for name in FITTED_BASELINES if name in wide]].mean(skipna=False).dropna()
    if means.empty:
        return ""
    return str(METRICS[metric].loss(means).idxmin())
