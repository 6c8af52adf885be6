"""Statistical comparisons of methods over test subjects, and the optimism of the oracle. Pure functions.

All functions take the table of `helo.analysis.statistics.estimates.subject_scores`, with columns ``estimate``,
``fold`` (the test subject) and one per metric. The sampling unit is the subject, and the scores of two methods on one
subject are a pair. The procedure follows J. Demšar, "Statistical comparisons of classifiers over multiple data sets",
JMLR 7, 2006: Friedman's test, then Wilcoxon's signed-rank test on pairs, corrected by Holm. Post-hoc tests on mean
ranks depend on the other methods in the pool (A. Benavoli et al., JMLR 17(5), 2016), so `rank_methods` is for
illustration only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from helo.analysis.statistics.common_subjects import common_across_runs
from helo.analysis.statistics.estimates import SEARCHED, bootstrap_intervals, by_subject, skill
from helo.analysis.statistics.quiet import quiet
from helo.analysis.statistics.signed_rank import ALPHA, FEW, RESAMPLES, holm_correction, signed_rank_test
from helo.errors import InputError
from helo.metrics import METRICS, without_rounding
from helo.names import FITTED_BASELINES, Column, Estimate

COMPARISON_COLUMNS = (
    Column.METRIC,
    Column.REFERENCE,
    "subjects",
    "score",
    "reference_score",
    "gain",
    "gain_low",
    "gain_high",
    "better",
    "statistic",
    "p",
    "p_holm",
    "effect",
)
"""Columns of `compare_with_references`."""

FRIEDMAN_COLUMNS = (Column.METRIC, "methods", "subjects", "statistic", "p", "kendall_w")
"""Columns of `friedman_test`."""

OPTIMISM_COLUMNS = (Column.METRIC, "subjects", "score", "gap", "gap_low", "gap_high", "per_cent")
"""Columns of `measure_optimism`."""

FEWEST_METHODS = 3
"""Minimum number of methods for Friedman's test and mean ranks."""

FEWEST_SUBJECTS = 3
"""Minimum number of subjects for Friedman's test."""

FEWEST_RANKED = 5
"""Minimum number of subjects for mean ranks, as autorank requires."""

# The search itself in another form, and bounds that use test scores.
_NO_REFERENCE = (*SEARCHED, Estimate.BEST_POSSIBLE)


def references(scores: pd.DataFrame) -> list[str]:
    """Return the references of the search: ``train_mean``, ``uniform``, the fitted baselines, then other methods.

    ``single_configuration`` and ``ensemble`` are no references: they are other results of the same search, and a
    larger family makes the correction stricter.

    Parameters
    ----------
    scores : DataFrame
        See the module.

    Returns
    -------
    list of str
        Names of estimates in `scores`.
    """
    estimates = dict.fromkeys(scores[Column.ESTIMATE].astype(str))
    first = [name for name in (Estimate.TRAIN_MEAN, Estimate.UNIFORM, *FITTED_BASELINES) if name in estimates]
    return first + [name for name in estimates if name not in (*first, *_NO_REFERENCE)]


def compare_with_references(scores: pd.DataFrame, metrics: Iterable[str] = METRICS) -> pd.DataFrame:
    """Compare ``per_fold_selection`` with every reference, on the subjects for which both have scores.

    Parameters
    ----------
    scores : DataFrame
        See the module.
    metrics : iterable of str, optional
        Metrics to compare on (default: all six).

    Returns
    -------
    DataFrame
        A row per metric and reference, with columns:

        - ``metric``, ``reference``
        - ``subjects``: number of common subjects
        - ``score``, ``reference_score``: means over these subjects
        - ``gain``, ``gain_low``, ``gain_high``: mean improvement over subjects with its 95 % bootstrap interval;
          above 0 if the search is better, for every metric
        - ``better``: number of subjects for which the search is better
        - ``statistic``, ``p``, ``effect``: see `helo.analysis.statistics.signed_rank.signed_rank_test`; ``effect``
          is above 0 if the search is better
        - ``p_holm``: ``p`` corrected by Holm. The family is all references on this metric except ``train_mean``. The
          comparison with ``train_mean`` decides the verdict: it is fixed in advance and stays uncorrected.

        With one common subject, interval and test are NaN. Without common subjects, the gain is NaN as well. Scores
        are equal within `helo.metrics.RESOLUTION`, and so are two infinite ones.
    """
    rows: list[dict[str, Any]] = []
    gains: list[NDArray[np.float64]] = []
    for metric in metrics:
        wide = by_subject(scores, metric)
        family: list[dict[str, Any]] = []
        for reference in references(scores):
            row, difference = _compared(wide, Estimate.PER_FOLD_SELECTION, reference, metric)
            gains.append(difference)
            family.append({Column.METRIC: metric, Column.REFERENCE: reference, **row})
        planned = [row | {"p_holm": row["p"]} for row in family if row[Column.REFERENCE] == Estimate.TRAIN_MEAN]
        rows += planned + _corrected([row for row in family if row[Column.REFERENCE] != Estimate.TRAIN_MEAN])
    for row, (low, high) in zip(rows, bootstrap_intervals(gains), strict=True):
        row |= {"gain_low": low, "gain_high": high}
    return pd.DataFrame(rows, columns=list(COMPARISON_COLUMNS))


def count_corrected(table: pd.DataFrame) -> int:
    """Return the size of Holm's family in a table of `compare_with_references`: all references but ``train_mean``."""
    return int((table[Column.REFERENCE].drop_duplicates() != Estimate.TRAIN_MEAN).sum())


def compare_across_runs(scores: Mapping[str, pd.DataFrame], metric: str) -> pd.DataFrame:
    """Compare ``per_fold_selection`` of each run with that of the first run, on the subjects that all runs have.

    Parameters
    ----------
    scores : mapping of str to DataFrame
        Name of a run → its scores, see the module.
    metric : str
        Metric to compare on.

    Returns
    -------
    DataFrame
        A row per run except the first, with the column ``run`` and the columns of `compare_with_references`. Holm's
        family is these runs. The comparison of a run that `common_across_runs` leaves out is NaN.
    """
    first, *later = scores
    common = common_across_runs(scores)
    by_run = {name: by_subject(scores[name], metric)[Estimate.PER_FOLD_SELECTION] for name in common.rows}
    wide = pd.DataFrame(by_run).reindex(sorted(common.subjects))
    compared = [_compared(wide, name, first, metric) for name in later]
    rows = _corrected(
        [
            {"run": name, Column.METRIC: metric, Column.REFERENCE: first, **row}
            for name, (row, _) in zip(later, compared, strict=True)
        ]
    )
    for row, (low, high) in zip(rows, bootstrap_intervals([difference for _, difference in compared]), strict=True):
        row |= {"gain_low": low, "gain_high": high}
    return pd.DataFrame(rows, columns=["run", *COMPARISON_COLUMNS])


def _compared(
    wide: pd.DataFrame, judged: str, reference: str, metric: str
) -> tuple[dict[str, Any], NDArray[np.float64]]:
    """Return one comparison without interval and correction, and its differences, shape (subjects,)."""
    both, difference = _differences(wide, judged, reference, metric)
    statistic, p, effect = signed_rank_test(difference)
    row = {"subjects": len(both), "score": both[judged].mean(), "reference_score": both[reference].mean()}
    row |= {"gain": _mean(difference), "better": int((difference > 0).sum())}
    return row | {"statistic": statistic, "p": p, "effect": effect}, difference


def _corrected(family: list[dict[str, Any]]) -> list[dict[str, Any]]:
    corrections = holm_correction([row["p"] for row in family])
    return [row | {"p_holm": corrected} for row, corrected in zip(family, corrections, strict=True)]


def friedman_test(scores: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Test with Friedman's test whether any methods differ.

    The k methods are ranked on each of n subjects. Under the null hypothesis all orders of the ranks of a subject are
    equally likely. The methods are ``per_fold_selection`` and the references with scores of all its subjects.

    Parameters
    ----------
    scores : DataFrame
        See the module.
    seed : int, default 0
        Seed of the permutations.

    Returns
    -------
    DataFrame
        A row per metric, with columns:

        - ``metric``
        - ``methods``, ``subjects``: k and n
        - ``statistic``: Friedman's chi-squared statistic
        - ``p``: from 9,999 permutations of the scores of each subject below 20 subjects, otherwise from the
          chi-squared distribution with k - 1 degrees of freedom
        - ``kendall_w``: Kendall's W, the effect size: statistic / (n (k - 1)), 0 without agreement of the subjects on
          the order of methods, 1 with full agreement

        With fewer than 3 methods or 3 subjects, the last three columns are NaN.
    """
    rows = []
    for metric in METRICS:
        pool = _pool(scores, metric)
        subjects, methods = pool.shape
        result = (np.nan, np.nan, np.nan)
        if methods >= FEWEST_METHODS and subjects >= FEWEST_SUBJECTS:
            result = _friedman(pool.to_numpy(float), seed)
        rows.append((metric, methods, subjects, *result))
    return pd.DataFrame(rows, columns=list(FRIEDMAN_COLUMNS))


def _friedman(table: NDArray[np.float64], seed: int) -> tuple[float, float, float]:
    """Return statistic, p and Kendall's W of scores of shape (subjects, methods)."""
    from scipy.stats import friedmanchisquare, permutation_test, rankdata

    subjects, methods = table.shape
    ranks = rankdata(without_rounding(table), axis=1)
    if (ranks == ranks[:, :1]).all():  # all methods are tied on all subjects: the statistic would be 0 / 0
        return 0.0, 1.0, 0.0
    statistic, p = friedmanchisquare(*ranks.T)
    if subjects < FEW:
        # Permutations within subjects keep the ties, so the statistic increases with the sum of squared rank sums.
        p = permutation_test(
            tuple(ranks.T),
            lambda *drawn, axis: sum(method_ranks.sum(axis=axis) ** 2 for method_ranks in drawn),
            permutation_type="samples",
            alternative="greater",
            n_resamples=RESAMPLES,
            vectorized=True,
            rng=np.random.default_rng(seed),
        ).pvalue
    return float(statistic), float(p), float(statistic / (subjects * (methods - 1)))


class Ranks(NamedTuple):
    """Mean ranks of methods over subjects, best method first.

    Attributes
    ----------
    metric : str
        Metric that the methods are ranked by.
    subjects : int
        Number of subjects.
    methods : tuple of str
        Names of the methods.
    mean_ranks : tuple of float
        Mean rank of each method; 1 is best.
    critical_difference : float
        Nemenyi's critical difference. Mean ranks that differ by more are different at p < 0.05.
    groups : tuple of tuple of int
        Positions (first, last) of methods that differ by no more than the critical difference. A group within
        another group is left out.
    """

    metric: str
    subjects: int
    methods: tuple[str, ...]
    mean_ranks: tuple[float, ...]
    critical_difference: float
    groups: tuple[tuple[int, int], ...]


def rank_methods(scores: pd.DataFrame, metric: str) -> Ranks:
    """Return the mean ranks of the methods of `friedman_test` on one metric.

    The critical difference comes from autorank. Mean ranks depend on the other methods in the pool, so conclusions
    should rest on `compare_with_references`.

    Parameters
    ----------
    scores : DataFrame
        See the module.
    metric : str
        Metric to rank by.

    Returns
    -------
    Ranks
        Mean ranks, critical difference and groups.

    Raises
    ------
    InputError
        With fewer than 3 methods or 5 subjects.
    """
    pool = _pool(scores, metric)
    if len(pool) < FEWEST_RANKED or pool.shape[1] < FEWEST_METHODS:
        raise InputError(
            f"mean ranks need at least {FEWEST_METHODS} methods and {FEWEST_RANKED} subjects that all of them have,"
            f" got {pool.shape[1]} and {len(pool)}"
        )
    result = _autorank(pool, "descending" if METRICS[metric].higher_is_better else "ascending")
    mean_ranks = result.rankdf["meanrank"].astype(float).sort_values(kind="stable")
    values = mean_ranks.tolist()
    critical = float(result.cd)
    groups: list[tuple[int, int]] = []
    for first, rank in enumerate(values):
        last = max(place for place, value in enumerate(values) if value - rank <= critical)
        if last > first and (not groups or last > groups[-1][1]):
            groups.append((first, last))
    return Ranks(metric, len(pool), tuple(map(str, mean_ranks.index)), tuple(values), critical, tuple(groups))


def _autorank(pool: pd.DataFrame, order: str) -> Any:
    from scipy.stats import rankdata

    # Ranks over all scores keep the order within each subject and replace infinite scores, which autorank cannot sum.
    ranked = pd.DataFrame(rankdata(without_rounding(pool)).reshape(pool.shape), columns=list(pool.columns))
    with quiet():  # autorank warns about its normality tests, which `force_mode` makes irrelevant
        from autorank import autorank

        return autorank(ranked, alpha=ALPHA, order=order, force_mode="nonparametric")


def measure_optimism(scores: pd.DataFrame) -> pd.DataFrame:
    """Return by how much ``oracle``, which chooses by test scores, is better than ``per_fold_selection``.

    Parameters
    ----------
    scores : DataFrame
        See the module.

    Returns
    -------
    DataFrame
        A row per metric, with columns:

        - ``metric``
        - ``subjects``: number of subjects for which both have scores
        - ``score``: mean of ``per_fold_selection`` over these subjects
        - ``gap``, ``gap_low``, ``gap_high``: mean improvement of the oracle, at least 0, with its 95 % bootstrap
          interval
        - ``per_cent``: gap in per cent of the score
    """
    rows, gaps = [], []
    for metric in METRICS:
        both, difference = _differences(
            by_subject(scores, metric), Estimate.ORACLE, Estimate.PER_FOLD_SELECTION, metric
        )
        score, gap = both[Estimate.PER_FOLD_SELECTION].mean(), _mean(difference)
        gaps.append(difference)
        rows.append((metric, len(both), score, gap, 100 * gap / score if score else np.nan))
    table = [(*row[:4], low, high, row[4]) for row, (low, high) in zip(rows, bootstrap_intervals(gaps), strict=True)]
    return pd.DataFrame(table, columns=list(OPTIMISM_COLUMNS))


def subject_table(scores: pd.DataFrame, objective: str) -> pd.DataFrame:
    """Return the scores and the skill of every estimate on every test subject.

    Parameters
    ----------
    scores : DataFrame
        See the module.
    objective : str
        Metric of the skill.

    Returns
    -------
    DataFrame
        A row per estimate and test subject, with columns ``subject``, ``estimate``, one per metric, and ``skill``:
        the skill against ``train_mean`` on the same subject, NaN if ``train_mean`` has no score of this subject.
    """
    reference = scores[scores[Column.ESTIMATE] == Estimate.TRAIN_MEAN].set_index(Column.FOLD)[objective]
    pairs = zip(scores[objective], reference.reindex(scores[Column.FOLD]), strict=True)
    table = scores.assign(**{Column.SKILL: [skill(score, baseline, objective) for score, baseline in pairs]})
    return table.rename(columns={Column.FOLD: Column.SUBJECT})[
        [Column.SUBJECT, Column.ESTIMATE, *METRICS, Column.SKILL]
    ].reset_index(drop=True)


def _differences(
    wide: pd.DataFrame, judged: str, reference: str, metric: str
) -> tuple[pd.DataFrame, NDArray[np.float64]]:
    """Return the scores of common subjects, and the improvement of `judged` on `reference`, shape (subjects,)."""
    both = wide.reindex(columns=[judged, reference]).dropna()
    return both, METRICS[metric].resolved_improvement(both[judged], both[reference])


def _mean(values: NDArray[np.float64]) -> float:
    return float(pd.Series(values, dtype=float).mean())  # pandas does not warn about an empty sample


def _pool(scores: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return a row per subject of ``per_fold_selection``, and a column per method with scores of all of them."""
    wide = by_subject(scores, metric).reindex(columns=[Estimate.PER_FOLD_SELECTION, *references(scores)])
    return wide[wide[Estimate.PER_FOLD_SELECTION].notna()].dropna(axis="columns")
