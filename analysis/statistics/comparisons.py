"""What a run shows beyond chance: tests over test subjects, and how optimistic the oracle is. Pure functions.

All take the table of `helo.analysis.statistics.estimates.subject_scores`: ``estimate``, ``fold`` (the test subject) and
a column per metric. A subject is one draw of a person; its scores under two methods are a pair. The practice
followed is
that of J. Demšar, "Statistical comparisons of classifiers over multiple data sets", JMLR 2006: Friedman's test first,
then Wilcoxon's on pairs, corrected by Holm. Post-hoc tests on mean ranks depend on which other methods are in the pool
(A. Benavoli et al., JMLR 17(5), 2016), so `ranks` is for illustration alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from helo.analysis.statistics.estimates import bootstrap_intervals, by_subject, skill
from helo.analysis.statistics.quiet import quiet
from helo.analysis.statistics.signed_rank import ALPHA, FEW, RESAMPLES, holm_correction, signed_rank_test
from numpy.typing import NDArray

from helo.errors import InputError
from helo.metrics import METRICS
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
"""Columns of `comparisons`."""

FRIEDMAN_COLUMNS = (Column.METRIC, "methods", "subjects", "statistic", "p", "kendall_w")
"""Columns of `friedman`."""

OPTIMISM_COLUMNS = (Column.METRIC, "subjects", "score", "gap", "gap_low", "gap_high", "per_cent")
"""Columns of `optimism`."""

FEWEST_METHODS = 3
FEWEST_SUBJECTS = 3
FEWEST_RANKED = 5
"""What Friedman's test needs to say anything, and how many subjects autorank wants."""

# No one has to beat these: the search itself in another form, and what no one can reach or report.
_NO_REFERENCE = (Estimate.PER_FOLD_SELECTION, Estimate.SINGLE_CONFIGURATION, Estimate.ORACLE, Estimate.BEST_POSSIBLE)


def references(scores: pd.DataFrame) -> list[str]:
    """What the search is compared with: ``train_mean``, ``uniform``, the fitted baselines, then any others.

    ``single_configuration`` is not among them: it is the search once more, and a larger family asks more of every p.
    """
    found = dict.fromkeys(scores[Column.ESTIMATE].astype(str))
    known = [name for name in (Estimate.TRAIN_MEAN, Estimate.UNIFORM, *FITTED_BASELINES) if name in found]
    return known + [name for name in found if name not in (*known, *_NO_REFERENCE)]


def compare_with_references(scores: pd.DataFrame, metrics: Iterable[str] = METRICS) -> pd.DataFrame:
    """``per_fold_selection`` against every reference on the subjects that both have: a row per metric and reference.

    - ``subjects``; ``score``, ``reference_score``: their means over them
    - ``gain``, ``gain_low``, ``gain_high``: how much better the search is, the mean over subjects with its 95 %
      bootstrap interval; above 0 the search is better, whatever the metric's direction
    - ``better``: for how many subjects it is
    - ``statistic``, ``p``, ``effect``: see `helo.analysis.statistics.signed_rank.signed_rank_test`; the effect is
      above 0
      where the search is better
    - ``p_holm``: Holm's correction of ``p``; the family is all references on this metric but ``train_mean``, whose
      comparison is the one that the verdict rests on: it is settled beforehand and stands alone, uncorrected

    With one subject there is no interval and no test (NaN), with none no gain either. Two infinite scores are equal.
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
        settled = [row | {"p_holm": row["p"]} for row in family if row[Column.REFERENCE] == Estimate.TRAIN_MEAN]
        rows += settled + _corrected([row for row in family if row[Column.REFERENCE] != Estimate.TRAIN_MEAN])
    for row, (low, high) in zip(rows, bootstrap_intervals(gains), strict=True):
        row |= {"gain_low": low, "gain_high": high}
    return pd.DataFrame(rows, columns=list(COMPARISON_COLUMNS))


def count_corrected(table: pd.DataFrame) -> int:
    """Over how many references Holm corrects in a table of `comparisons`: all but ``train_mean``."""
    return int((table[Column.REFERENCE].drop_duplicates() != Estimate.TRAIN_MEAN).sum())


def compare_across_runs(scores: Mapping[str, pd.DataFrame], metric: str) -> pd.DataFrame:
    """``per_fold_selection`` of each run against that of the first one, on the subjects that both have.

    `scores`: name of a run → its table of scores. A row per run but the first: ``run`` and the columns of
    `comparisons`; Holm's family is these runs. Runs on other people share no subject: then all is NaN.
    """
    first, *others = scores
    wide = pd.DataFrame(
        {
            name: table[table[Column.ESTIMATE] == Estimate.PER_FOLD_SELECTION].set_index(Column.FOLD)[metric]
            for name, table in scores.items()
        }
    )
    found = [_compared(wide, name, first, metric) for name in others]
    rows = _corrected(
        [
            {"run": name, Column.METRIC: metric, Column.REFERENCE: first, **row}
            for name, (row, _) in zip(others, found, strict=True)
        ]
    )
    for row, (low, high) in zip(rows, bootstrap_intervals([difference for _, difference in found]), strict=True):
        row |= {"gain_low": low, "gain_high": high}
    return pd.DataFrame(rows, columns=["run", *COMPARISON_COLUMNS])


def _compared(
    wide: pd.DataFrame, judged: str, reference: str, metric: str
) -> tuple[dict[str, Any], NDArray[np.float64]]:
    """One comparison without its interval and correction, and the differences that it rests on."""
    both, difference = _differences(wide, judged, reference, metric)
    statistic, p, effect = signed_rank_test(difference)
    row = {"subjects": len(both), "score": both[judged].mean(), "reference_score": both[reference].mean()}
    row |= {"gain": _mean(difference), "better": int((difference > 0).sum())}
    return row | {"statistic": statistic, "p": p, "effect": effect}, difference


def _corrected(family: list[dict[str, Any]]) -> list[dict[str, Any]]:
    corrections = holm_correction([row["p"] for row in family])
    return [row | {"p_holm": corrected} for row, corrected in zip(family, corrections, strict=True)]


def friedman_test(scores: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Whether any of the methods differ: Friedman's test, a row per metric.

    Of n subjects the k methods are ranked; if all are alike, every order of a subject's ranks is as likely. The
    methods are ``per_fold_selection`` and those references that have all its subjects.

    - ``methods``, ``subjects``: k and n
    - ``statistic``: Friedman's chi square; ``p``: below 20 subjects from 9,999 permutations of each subject's scores
      (drawn by `seed`), else that of chi square with k - 1 degrees of freedom
    - ``kendall_w``: the effect size, chi square / (n (k - 1)): 0 no agreement on the order of methods, 1 all agree

    With fewer than 3 methods or 3 subjects the test is NaN.
    """
    rows = []
    for metric in METRICS:
        pool = _pool(scores, metric)
        subjects, methods = pool.shape
        found = (np.nan, np.nan, np.nan)
        if methods >= FEWEST_METHODS and subjects >= FEWEST_SUBJECTS:
            found = _friedman(pool.to_numpy(float), seed)
        rows.append((metric, methods, subjects, *found))
    return pd.DataFrame(rows, columns=list(FRIEDMAN_COLUMNS))


def _friedman(table: NDArray[np.float64], seed: int) -> tuple[float, float, float]:
    from scipy.stats import friedmanchisquare, permutation_test, rankdata

    subjects, methods = table.shape
    ranks = rankdata(table, axis=1)
    if (ranks == ranks[:, :1]).all():  # 0 / 0: no method is above another anywhere
        return 0.0, 1.0, 0.0
    statistic, p = friedmanchisquare(*ranks.T)
    if subjects < FEW:
        # Chi square grows with the sum of squared rank sums, whatever the ties: they stay what they are.
        found = permutation_test(
            tuple(ranks.T),
            lambda *drawn, axis: sum(of_method.sum(axis=axis) ** 2 for of_method in drawn),
            permutation_type="samples",
            alternative="greater",
            n_resamples=RESAMPLES,
            vectorized=True,
            rng=np.random.default_rng(seed),
        )
        p = found.pvalue
    return float(statistic), float(p), float(statistic / (subjects * (methods - 1)))


class Ranks(NamedTuple):
    """Mean ranks of methods over subjects, the best first.

    - `methods`, `mean_ranks`: 1 is best
    - `critical_difference`: Nemenyi's: mean ranks that are further apart differ at p < 0.05
    - `groups`: positions (first, last) of methods that lie within it, the longest such stretches only
    """

    metric: str
    subjects: int
    methods: tuple[str, ...]
    mean_ranks: tuple[float, ...]
    critical_difference: float
    groups: tuple[tuple[int, int], ...]


def rank_methods(scores: pd.DataFrame, metric: str) -> Ranks:
    """Mean ranks of `friedman`'s methods on one metric, with Nemenyi's critical difference, by autorank.

    For illustration: a mean rank depends on which other methods are in the pool, so judge by `comparisons`.
    Raise `InputError` with fewer than 3 methods or 5 subjects.
    """
    pool = _pool(scores, metric)
    if len(pool) < FEWEST_RANKED or pool.shape[1] < FEWEST_METHODS:
        raise InputError(
            f"mean ranks need at least {FEWEST_METHODS} methods and {FEWEST_RANKED} subjects that all of them have,"
            f" got {pool.shape[1]} and {len(pool)}"
        )
    found = _autorank(pool, "descending" if METRICS[metric].higher_is_better else "ascending")
    mean_ranks = found.rankdf["meanrank"].astype(float).sort_values(kind="stable")
    values = mean_ranks.tolist()
    limit = float(found.cd)
    groups: list[tuple[int, int]] = []
    for first, rank in enumerate(values):
        last = max(place for place, other in enumerate(values) if other - rank <= limit)
        if last > first and (not groups or last > groups[-1][1]):
            groups.append((first, last))
    return Ranks(metric, len(pool), tuple(map(str, mean_ranks.index)), tuple(values), limit, tuple(groups))


def _autorank(pool: pd.DataFrame, order: str) -> Any:
    from scipy.stats import rankdata

    # Ranks of all scores together keep each subject's order, and infinite scores out of sums that are not used here.
    ranked = pd.DataFrame(rankdata(pool.to_numpy(float)).reshape(pool.shape), columns=list(pool.columns))
    with quiet():  # it warns of tests for a normal distribution, which decide nothing here
        from autorank import autorank

        return autorank(ranked, alpha=ALPHA, order=order, force_mode="nonparametric")


def measure_optimism(scores: pd.DataFrame) -> pd.DataFrame:
    """How much better the result would look, had test scores chosen: ``oracle`` against ``per_fold_selection``.

    A row per metric: ``subjects``; ``score``, the mean of ``per_fold_selection`` over them; ``gap``, by how much the
    oracle is better (never below 0), with its 95 % bootstrap interval ``gap_low`` to ``gap_high``; ``per_cent``, the
    gap as a share of the score, in per cent.
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
    """A row per estimate and test subject: ``subject``, ``estimate``, the six metrics, ``skill``.

    ``skill`` is that of `objective` against ``train_mean`` on the same subject; NaN without it.
    """
    reference = scores[scores[Column.ESTIMATE] == Estimate.TRAIN_MEAN].set_index(Column.FOLD)[objective]
    pairs = zip(scores[objective], reference.reindex(scores[Column.FOLD]), strict=True)
    table = scores.assign(**{Column.SKILL: [skill(score, other, objective) for score, other in pairs]})
    return table.rename(columns={Column.FOLD: Column.SUBJECT})[
        [Column.SUBJECT, Column.ESTIMATE, *METRICS, Column.SKILL]
    ].reset_index(drop=True)


def _differences(
    wide: pd.DataFrame, judged: str, reference: str, metric: str
) -> tuple[pd.DataFrame, NDArray[np.float64]]:
    """The scores of subjects that both have, and by how much `judged` is better."""
    both = wide.reindex(columns=[judged, reference]).dropna()
    difference = METRICS[metric].improvement(both[judged], both[reference])
    return both, difference.mask(both[judged] == both[reference], 0.0).to_numpy(float)


def _mean(values: NDArray[np.float64]) -> float:
    return float(pd.Series(values, dtype=float).mean())  # without a warning where there is none


def _pool(scores: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Subjects of ``per_fold_selection`` × it and the references that have them all."""
    wide = by_subject(scores, metric).reindex(columns=[Estimate.PER_FOLD_SELECTION, *references(scores)])
    return wide[wide[Estimate.PER_FOLD_SELECTION].notna()].dropna(axis="columns")
