"""Results of a search that ran with several seeds. Pure functions.

Seeds change folds, draws and training, not the subjects, so runs of different seeds are no independent samples of
people. The sampling unit stays the subject: the scores of a subject are averaged over seeds before any test. What
differs between the seeds says how much the result depends on chance in the method.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import pandas as pd

from helo.analysis.statistics.common_subjects import (
    CommonSubjects,
    common_across_runs,
    common_subjects,
    keep_common,
    subjects_by_estimate,
)
from helo.analysis.statistics.comparisons import compare_with_references
from helo.analysis.statistics.estimates import by_subject, skill
from helo.analysis.statistics.finding import judge_difference
from helo.metrics import METRICS
from helo.names import Column, Estimate

SEED_COLUMNS: Final = (
    Column.SEED,
    Column.METRIC,
    "subjects",
    "score",
    "reference_score",
    Column.SKILL,
    "gain",
    "gain_low",
    "gain_high",
    "better",
    "p",
    "effect",
    "finding",
)
"""Columns of `seed_table`."""

MEAN: Final = "mean over seeds"
"""Entry of the column ``seed`` for scores that are averaged over seeds."""

SPREAD_COLUMNS: Final = (Column.ESTIMATE, Column.METRIC, "mean", "std", "min", "max", "seeds", Column.SKILL)
"""Columns of `spread_table`."""


def common_scores(scores: Mapping[int, pd.DataFrame]) -> tuple[dict[int, pd.DataFrame], CommonSubjects]:
    """Return the scores of the subjects and estimates that all compared seeds have.

    Parameters
    ----------
    scores : mapping of int to DataFrame
        Seed → its scores, as from `helo.analysis.statistics.common_subjects.keep_common`.

    Returns
    -------
    dict of int to DataFrame
        Seed → rows of its scores. A seed that would leave too few subjects is left out.
    CommonSubjects
        Common subjects; its rows are the seeds as texts.
    """
    across = common_across_runs({str(seed): table for seed, table in scores.items()})
    kept = {seed: table for seed, table in scores.items() if str(seed) in across.rows}
    by_seed = [subjects_by_estimate(table) for table in kept.values()]
    if not by_seed:
        return {}, across
    in_all = {
        name: across.subjects.intersection(*(found[name] for found in by_seed))
        for name in by_seed[0]
        if all(name in found for found in by_seed)
    }
    common = common_subjects(in_all)
    return {seed: keep_common(table, common) for seed, table in kept.items()}, across._replace(subjects=common.subjects)


def mean_over_seeds(scores: Mapping[int, pd.DataFrame]) -> pd.DataFrame:
    """Return the scores of each subject, averaged over seeds.

    Parameters
    ----------
    scores : mapping of int to DataFrame
        First result of `common_scores`.

    Returns
    -------
    DataFrame
        Columns of each table: ``estimate``, ``fold`` and one per metric.
    """
    together = pd.concat(scores.values(), ignore_index=True)
    return together.groupby([Column.ESTIMATE, Column.FOLD], sort=False)[list(METRICS)].mean().reset_index()


def seed_table(scores: Mapping[Any, pd.DataFrame]) -> pd.DataFrame:
    """Compare the search with the train mean for each seed.

    Parameters
    ----------
    scores : mapping of int or str to DataFrame
        First result of `common_scores`, or `MEAN` → result of `mean_over_seeds`.

    Returns
    -------
    DataFrame
        A row per seed and metric: ``seed``, ``metric``, ``skill``, ``finding`` (see
        `helo.analysis.statistics.finding.judge_difference`), and columns of
        `helo.analysis.statistics.comparisons.compare_with_references`. Empty without scores of the train mean.
    """
    rows: list[dict[str, Any]] = []
    for seed, table in scores.items():
        compared = compare_with_references(table)
        for row in compared[compared[Column.REFERENCE] == Estimate.TRAIN_MEAN].to_dict("records"):
            known = {str(name): value for name, value in row.items()}
            metric = str(known[Column.METRIC])
            found = judge_difference(int(known["subjects"]), known["gain"], known["p"], known["effect"])
            relative = skill(known["score"], known["reference_score"], metric)
            rows.append(known | {Column.SEED: seed, Column.SKILL: relative, "finding": str(found)})
    return pd.DataFrame(rows, columns=list(SEED_COLUMNS))


def spread_table(scores: Mapping[int, pd.DataFrame]) -> pd.DataFrame:
    """Return the mean score of each estimate and its spread over seeds.

    Parameters
    ----------
    scores : mapping of int to DataFrame
        First result of `common_scores`.

    Returns
    -------
    DataFrame
        A row per estimate and metric: ``mean``, ``std`` (ddof 1, NaN with one seed), ``min`` and ``max`` of the means
        over subjects of each seed, the number of ``seeds``, and the ``skill`` of the mean against ``train_mean``.
    """
    means = {seed: table.groupby(Column.ESTIMATE, sort=False)[list(METRICS)].mean() for seed, table in scores.items()}
    wide = pd.DataFrame({seed: table.stack() for seed, table in means.items()})
    average = wide.mean(axis=1)
    rows = []
    for (estimate, metric), values in wide.iterrows():
        relative = skill(values.mean(), average.get((Estimate.TRAIN_MEAN, metric), float("nan")), metric)
        rows.append(
            (estimate, metric, values.mean(), values.std(ddof=1), values.min(), values.max(), len(values), relative)
        )
    return pd.DataFrame(rows, columns=list(SPREAD_COLUMNS))


def gains_by_seed(scores: Mapping[int, pd.DataFrame], metric: str) -> pd.DataFrame:
    """Return the gain of the search over the train mean for each subject and seed.

    Parameters
    ----------
    scores : mapping of int to DataFrame
        First result of `common_scores`.
    metric : str
        Name of the metric.

    Returns
    -------
    DataFrame
        A row per subject, a column per seed; above 0 where the search is better.
    """
    found = {}
    for seed, table in scores.items():
        wide = by_subject(table, metric).reindex(columns=[Estimate.PER_FOLD_SELECTION, Estimate.TRAIN_MEAN]).dropna()
        improvement = METRICS[metric].resolved_improvement(*(wide[name] for name in wide))
        found[seed] = pd.Series(improvement, index=wide.index, dtype=float)
    return pd.DataFrame(found)
