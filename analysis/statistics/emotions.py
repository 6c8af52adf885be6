"""Errors of each emotion: of the search and of the train mean, on the same windows. Pure functions on DataFrames.

The error of an emotion on a subject is the mean absolute difference between its predicted and its reported share, over
the windows of the subject. Means, intervals and skills are over subjects.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from helo.analysis.statistics.estimates import CONFIDENCE, RESAMPLES, bootstrap_intervals, chosen_cells
from helo.analysis.statistics.finding import error_skill, error_skill_interval
from helo.errors import InputError
from helo.names import Column, Prefix
from helo.run.selection import best_per_fold

SHARE_COLUMNS: Final = (
    Column.SUBJECT,
    Column.EMOTION,
    Column.WINDOWS,
    "reported",
    "predicted",
    "train_mean",
    "error",
    "train_mean_error",
)
"""Columns of `emotion_shares`."""

EMOTION_COLUMNS: Final = (
    Column.EMOTION,
    "subjects",
    "reported",
    "error",
    "error_low",
    "error_high",
    "train_mean_error",
    "train_mean_error_low",
    "train_mean_error_high",
    Column.SKILL,
    "skill_low",
    "skill_high",
)
"""Columns of `summarise_emotions`."""


def find_emotions(predictions: pd.DataFrame) -> list[str]:
    """Return the names of the emotions in a table of predictions, in the order of the labels."""
    return [str(name).removeprefix(Prefix.TRUE) for name in predictions.columns if name.startswith(Prefix.TRUE)]


def train_means(predictions: pd.DataFrame) -> pd.DataFrame:
    """Return what ``train_mean`` predicts in each fold: the mean label of all windows of the other subjects.

    Parameters
    ----------
    predictions : DataFrame
        Columns of ``predictions.parquet``. Only its labels are used, each window once.

    Returns
    -------
    DataFrame of shape (folds, emotions)
        Indexed by fold, with a column per emotion. NaN if there is a single fold.
    """
    emotions = find_emotions(predictions)
    labels = predictions.drop_duplicates([Column.FOLD, Column.WINDOW]).set_index(Column.FOLD)
    groups = labels[[Prefix.TRUE + emotion for emotion in emotions]].astype(float).groupby(level=0, sort=False)
    sums, sizes = groups.sum(), groups.size()
    others = (sums.sum() - sums).div((sizes.sum() - sizes).replace(0, np.nan), axis=0)
    return others.set_axis(emotions, axis=1)


def emotion_shares(predictions: pd.DataFrame, cells: pd.DataFrame, objective: str) -> pd.DataFrame:
    """Return the reported and predicted share of each emotion and its errors, for each test subject.

    Parameters
    ----------
    predictions : DataFrame
        Columns of ``predictions.parquet``.
    cells : DataFrame
        Columns of ``cells.parquet``.
    objective : str
        Metric whose inner validation score selects a configuration in each fold.

    Returns
    -------
    DataFrame
        A row per test subject and emotion, with columns:

        - ``subject``, ``emotion``
        - ``windows``: number of windows of the subject
        - ``reported``, ``predicted``: means over these windows
        - ``train_mean``: what the train mean predicts in this fold
        - ``error``, ``train_mean_error``: mean absolute errors of the prediction and of the train mean

    Raises
    ------
    InputError
        If there are no predictions of selected configurations.
    """
    rows = chosen_cells(predictions, best_per_fold(cells, objective))
    emotions = find_emotions(predictions)
    if rows.empty or not emotions:
        raise InputError("there are no predictions of selected configurations")
    trivial = train_means(predictions)
    reported, predicted = (
        rows[[prefix + emotion for emotion in emotions]].to_numpy(float) for prefix in (Prefix.TRUE, Prefix.PREDICTED)
    )
    means = trivial.loc[rows[Column.FOLD]].to_numpy()
    places, subjects = pd.factorize(rows[Column.FOLD])

    def over_windows(values: NDArray[np.float64]) -> NDArray[np.float64]:
        means: NDArray[np.float64] = pd.DataFrame(values).groupby(places).mean().to_numpy().ravel()
        return means

    columns = (
        np.repeat(subjects.astype(str), len(emotions)),
        np.tile(emotions, len(subjects)),
        np.repeat(np.bincount(places), len(emotions)),
        over_windows(reported),
        over_windows(predicted),
        trivial.loc[subjects].to_numpy().ravel(),
        over_windows(np.abs(predicted - reported)),
        over_windows(np.abs(means - reported)),
    )
    return pd.DataFrame(dict(zip(SHARE_COLUMNS, columns, strict=True)))


def summarise_emotions(shares: pd.DataFrame) -> pd.DataFrame:
    """Return the error and the skill of each emotion over subjects.

    Parameters
    ----------
    shares : DataFrame
        As from `emotion_shares`, with the same subjects for each emotion.

    Returns
    -------
    DataFrame
        A row per emotion, the largest skill first, with columns:

        - ``emotion``
        - ``subjects``: number of subjects
        - ``reported``: mean reported share
        - ``error``, ``train_mean_error``: mean absolute errors, each with its 95 % bootstrap interval
        - ``skill``: ``1 - error / train_mean_error``, with its 95 % bootstrap interval. NaN if the train mean makes no
          error.
    """
    emotions = list(dict.fromkeys(shares[Column.EMOTION]))
    wide = {
        name: shares.pivot(index=Column.SUBJECT, columns=Column.EMOTION, values=name)[emotions].to_numpy(float).T
        for name in ("reported", "error", "train_mean_error")
    }
    errors, trivial = wide["error"], wide["train_mean_error"]
    intervals = bootstrap_intervals([*errors, *trivial])
    rows = []
    for place, emotion in enumerate(emotions):
        error, reference = float(errors[place].mean()), float(trivial[place].mean())
        skill = error_skill(error, reference)
        between = (np.nan, np.nan) if np.isnan(skill) else error_skill_interval(errors[place], trivial[place])
        of_error, of_reference = intervals[place], intervals[place + len(emotions)]
        first = (emotion, errors.shape[1], float(wide["reported"][place].mean()))
        rows.append((*first, error, *of_error, reference, *of_reference, skill, *between))
    table = pd.DataFrame(rows, columns=list(EMOTION_COLUMNS))
    return table.sort_values(Column.SKILL, ascending=False, kind="stable", ignore_index=True)


def share_intervals(shares: NDArray[np.float64], seed: int = 0) -> NDArray[np.float64]:
    """Return the 95 % percentile bootstrap intervals of mean shares, of all emotions at once.

    Resamples are drawn as numbers of copies of each subject, so that a product of matrices has all their means: figures
    need hundreds of intervals.

    Parameters
    ----------
    shares : ndarray of shape (subjects, emotions)
        Shares, NaN for a subject without windows.
    seed : int, default 0
        Seed of the bootstrap.

    Returns
    -------
    ndarray of shape (2, emotions)
        Lower and upper bounds; NaN with fewer than two subjects.
    """
    known = shares[~np.isnan(shares).any(axis=1)]
    subjects = len(known)
    if subjects < 2:
        return np.full((2, shares.shape[1]), np.nan)
    tail = 50 * (1 - CONFIDENCE)
    means = _draw_copies(subjects, seed) @ known / subjects
    low, high = np.percentile(means, [tail, 100 - tail], axis=0)
    return np.array([low, high])


@lru_cache(maxsize=4)
def _draw_copies(subjects: int, seed: int) -> NDArray[np.float64]:
    """Return the number of copies of each subject in each resample; floats, so that a fast product takes them."""
    drawn = np.random.default_rng(seed).multinomial(subjects, np.full(subjects, 1 / subjects), size=RESAMPLES)
    return drawn.astype(np.float64)
