"""The subjects that every row of a table has, so that no table, figure or sentence compares different people.

While a search runs, or where cells or baselines failed, estimates have scores of different subjects. Their means are
then not comparable. `common_subjects` finds the subjects to compare; everything that averages over subjects uses them.
Pure functions.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, NamedTuple

import pandas as pd

from helo.metrics import METRICS
from helo.names import Column, Estimate

LEAST_SHARE: Final = 0.5
"""Share of the subjects of the first row that must remain. A row that would leave fewer is left out."""


class CommonSubjects(NamedTuple):
    """Subjects that all compared rows have.

    Attributes
    ----------
    subjects : frozenset of str
        The subjects.
    rows : tuple of str
        Names of the compared rows.
    left_out : mapping of str to int
        Name of each row that is not compared → number of the common subjects that it has.
    limiting : mapping of str to int
        Name of each compared row that lacks subjects of the first row → number of these subjects.
    """

    subjects: frozenset[str]
    rows: tuple[str, ...]
    left_out: Mapping[str, int]
    limiting: Mapping[str, int]


def common_subjects(by_row: Mapping[str, Collection[str]]) -> CommonSubjects:
    """Return the subjects that all rows of a table have, and the rows that are left out.

    Rows without subjects are left out. The first other row counts most: a row that would leave fewer than
    `LEAST_SHARE` of its subjects is left out too, so that a baseline that failed on most subjects does not empty the
    table.

    Parameters
    ----------
    by_row : mapping of str to collection of str
        Name of a row → its subjects, in the order of the table.

    Returns
    -------
    CommonSubjects

    Examples
    --------
    >>> found = common_subjects({"search": "ABCD", "mean": "ABCDE", "ridge": "ABC", "mlp": "D", "knn": ""})
    >>> sorted(found.subjects), found.rows
    (['A', 'B', 'C'], ('search', 'mean', 'ridge'))
    >>> dict(found.left_out), dict(found.limiting)
    ({'mlp': 0, 'knn': 0}, {'ridge': 1})
    """
    first = common = frozenset(next((subjects for subjects in by_row.values() if subjects), ()))
    for subjects in by_row.values():
        remaining = common.intersection(subjects)
        if remaining and len(remaining) >= LEAST_SHARE * len(first):
            common = remaining
    rows = tuple(name for name, subjects in by_row.items() if common and common.issubset(subjects))
    return CommonSubjects(
        common,
        rows,
        {name: len(common.intersection(subjects)) for name, subjects in by_row.items() if name not in rows},
        {name: missing for name in rows if (missing := len(first.difference(by_row[name])))},
    )


def subjects_by_estimate(scores: pd.DataFrame) -> dict[str, frozenset[str]]:
    """Return the subjects for which each estimate has all scores.

    Parameters
    ----------
    scores : DataFrame
        As from `helo.analysis.statistics.estimates.subject_scores`.

    Returns
    -------
    dict of str to frozenset of str
        Estimate → subjects, in the order of `scores`.
    """
    metrics = [metric for metric in METRICS if metric in scores]
    whole = scores[scores[metrics].notna().all(axis=1)]
    of_estimate = whole.groupby(Column.ESTIMATE, sort=False)[Column.FOLD].agg(frozenset)
    names = dict.fromkeys(scores[Column.ESTIMATE].astype(str))
    return {name: of_estimate.get(name, frozenset()) for name in names}


def keep_common(scores: pd.DataFrame, common: CommonSubjects) -> pd.DataFrame:
    """Return the scores of the compared rows on the common subjects.

    Parameters
    ----------
    scores : DataFrame
        As from `helo.analysis.statistics.estimates.subject_scores`.
    common : CommonSubjects
        Result of `common_subjects`.

    Returns
    -------
    DataFrame
        Rows of `scores`.
    """
    kept = scores[Column.ESTIMATE].isin(common.rows) & scores[Column.FOLD].isin(common.subjects)
    return scores[kept].reset_index(drop=True)


def common_across_runs(scores: Mapping[str, pd.DataFrame]) -> CommonSubjects:
    """Return the subjects for which all runs have a score of ``per_fold_selection``.

    Parameters
    ----------
    scores : mapping of str to DataFrame
        Name of a run → its scores, as from `keep_common`.

    Returns
    -------
    CommonSubjects
        Its rows are the runs.
    """
    return common_subjects(
        {name: subjects_by_estimate(table).get(Estimate.PER_FOLD_SELECTION, ()) for name, table in scores.items()}
    )
