"""Who a subject is, and what a configuration is: what pages show of a single one. Pure functions on DataFrames."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import pandas as pd

from helo.analysis.statistics.configurations import score_matrix
from helo.analysis.statistics.parameters import find_acting
from helo.metrics import METRICS
from helo.names import Column, Prefix, Status


class SubjectProfile(NamedTuple):
    """A test subject.

    Attributes
    ----------
    name : str
        The subject.
    windows : int or None
        Number of windows, None if unknown.
    groups : mapping of str to int
        Group → number of windows; empty without groups.
    configuration : int or None
        Configuration chosen in its fold, None without one.
    scores : DataFrame
        A row per estimate, with columns ``estimate``, one per metric, and ``skill``.
    shares : DataFrame
        A row per emotion, with columns ``emotion``, ``reported``, ``predicted`` and ``train_mean``.
    """

    name: str
    windows: int | None
    groups: Mapping[str, int]
    configuration: int | None
    scores: pd.DataFrame
    shares: pd.DataFrame


class ConfigurationProfile(NamedTuple):
    """A configuration.

    Attributes
    ----------
    number : int
        Number of the configuration.
    parameters : mapping of str to object
        Hyperparameter → value.
    inactive : frozenset of str
        Hyperparameters that have no effect in this configuration, such as those of the transport without transport.
    validation : float
        Mean inner validation score over the folds in which it has one; NaN without one.
    adjusted : float
        The same, adjusted for these folds.
    rank : int or None
        Rank of `adjusted`, 1 is best; None without a score.
    folds : tuple of str
        Test subjects in whose folds it has a cell.
    counts : mapping of str to int
        Status → number of cells.
    chosen_by : tuple of str
        Test subjects in whose folds it is chosen.
    recommended : bool
        Whether this is the configuration to deploy.
    """

    number: int
    parameters: Mapping[str, Any]
    inactive: frozenset[str]
    validation: float
    adjusted: float
    rank: int | None
    folds: tuple[str, ...]
    counts: Mapping[str, int]
    chosen_by: tuple[str, ...]
    recommended: bool


def describe_subjects(
    subjects: Iterable[str],
    scores: pd.DataFrame,
    choice: Mapping[str, int],
    predictions: pd.DataFrame,
    shares: pd.DataFrame,
) -> list[SubjectProfile]:
    """Return the profiles of test subjects.

    Parameters
    ----------
    subjects : iterable of str
        Subjects to describe.
    scores : DataFrame
        As from `helo.analysis.statistics.comparisons.subject_table`.
    choice : mapping of str to int
        Fold → configuration chosen in it.
    predictions : DataFrame
        Columns of ``predictions.parquet``; empty if the run has none.
    shares : DataFrame
        As from `helo.analysis.statistics.emotions.emotion_shares`; empty if the run has no predictions.

    Returns
    -------
    list of SubjectProfile
    """
    windows = predictions.drop_duplicates([Column.FOLD, Column.WINDOW])
    of_subject = {str(name): rows for name, rows in windows.groupby(Column.FOLD, sort=False)}
    scores_of = {str(name): rows for name, rows in scores.groupby(Column.SUBJECT, sort=False)}
    shares_of = {str(name): rows for name, rows in shares.groupby(Column.SUBJECT, sort=False)}
    found = []
    for name in subjects:
        own = of_subject.get(name)
        groups: dict[str, int] = {}
        if own is not None and Column.GROUP in own:
            groups = {str(group): int(count) for group, count in own[Column.GROUP].value_counts(sort=False).items()}
        found.append(
            SubjectProfile(
                name,
                None if own is None else len(own),
                groups,
                choice.get(name),
                scores_of.get(name, scores[:0]),
                shares_of.get(name, shares[:0]),
            )
        )
    return found


def describe_configurations(
    numbers: Iterable[int], table: pd.DataFrame, cells: pd.DataFrame, objective: str, choice: Mapping[str, int]
) -> list[ConfigurationProfile]:
    """Return the profiles of configurations.

    Parameters
    ----------
    numbers : iterable of int
        Configurations to describe.
    table : DataFrame
        As from `helo.analysis.statistics.configurations.configurations_table`.
    cells : DataFrame
        Columns of ``cells.parquet``.
    objective : str
        Metric of the validation scores.
    choice : mapping of str to int
        Fold → configuration chosen in it.

    Returns
    -------
    list of ConfigurationProfile
    """
    indexed = table.set_index(Column.CONFIGURATION)
    means = score_matrix(cells, objective).mean(axis=1)
    adjusted = indexed[Prefix.ADJUSTED + Prefix.VAL + objective]
    ranks = adjusted.rank(ascending=not METRICS[objective].higher_is_better, method="min")
    params = [name for name in indexed.columns if name.startswith(Prefix.PARAM)]
    acts = find_acting(indexed)
    folds_of = cells.groupby(Column.CONFIGURATION)[Column.FOLD].agg(list)
    found = []
    for number in numbers:
        row = indexed.loc[number]
        values = {name.removeprefix(Prefix.PARAM): table.at[indexed.index.get_loc(number), name] for name in params}
        found.append(
            ConfigurationProfile(
                number,
                values,
                frozenset(name for name in values if not acts.at[number, name]),
                float(means[number]),
                float(row[adjusted.name]),
                None if pd.isna(ranks[number]) else int(ranks[number]),
                tuple(map(str, folds_of[number])),
                {status: int(row[status]) for status in (Status.COMPLETED, Status.STOPPED, Status.FAILED)},
                tuple(fold for fold, chosen in choice.items() if chosen == number),
                bool(row[Column.RECOMMENDED]),
            )
        )
    return found
