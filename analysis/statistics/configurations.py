"""The configurations of a run: their mean scores, adjusted for folds, and how often each was selected.

Racing may stop a configuration after its first folds. Its plain mean is then over fewer subjects than the mean of a
configuration that ran in all folds. Means are therefore adjusted for the folds. Pure functions on DataFrames.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from helo.analysis.statistics.estimates import completed, scored
from helo.metrics import METRICS
from helo.names import Column, Prefix, Status
from helo.run.selection import best_per_fold, recommended

NOT_FOR_CHOOSING: Final = "not for choosing"
"""Label of the test scores of configurations in tables."""


def score_matrix(cells: pd.DataFrame, objective: str, side: str = Prefix.VAL) -> pd.DataFrame:
    """Return the scores of completed and stopped cells as a matrix.

    Parameters
    ----------
    cells : DataFrame
        Columns of ``cells.parquet``.
    objective : str
        Metric of the scores.
    side : {Prefix.VAL, Prefix.TEST}
        Whether to return inner validation scores or test scores.

    Returns
    -------
    DataFrame of shape (configurations, folds)
        Scores, NaN where a configuration has no score in a fold. Indexed by configuration; columns are the folds
        with scores.
    """
    rows = np.unique(cells[Column.CONFIGURATION])
    done = scored(cells).dropna(subset=[side + objective])
    folds = np.unique(done[Column.FOLD].astype(str))
    scores = np.full((len(rows), len(folds)), np.nan)
    places = np.searchsorted(rows, done[Column.CONFIGURATION]), np.searchsorted(folds, done[Column.FOLD].astype(str))
    scores[places] = done[side + objective]
    return pd.DataFrame(
        scores, index=pd.Index(rows, name=Column.CONFIGURATION), columns=pd.Index(folds, name=Column.FOLD)
    )


def adjust_means(scores: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean of each configuration, adjusted for the folds in which it ran, and its standard error.

    The model ``y[c, f] = a[c] + b[f]`` is fitted by least squares to the scores ``y``. The adjusted mean is
    ``a[c]`` plus the mean of ``b`` over folds: the estimated marginal mean of S. R. Searle, F. M. Speed and G. A.
    Milliken, "Population marginal means in the linear model", The American Statistician 34(4), 1980. For a
    configuration with a score in every fold it is the plain mean.

    Two configurations are comparable only if they share a fold or are linked by a chain of configurations that share
    folds. Otherwise the table consists of separate blocks; under the protocol ``nested`` each fold is a block. The
    configurations of each block are assumed to be equally good on average. Under ``nested`` the adjusted mean is
    therefore the score, minus the mean of its fold, plus the mean of these fold means.

    The standard error is that of the fit. It states how precisely configurations can be compared on these folds, not
    how precisely the mean is known for new subjects.

    Parameters
    ----------
    scores : ndarray of shape (configurations, folds)
        Scores, NaN where a configuration has no score.

    Returns
    -------
    means : ndarray of shape (configurations,)
        Adjusted means. NaN for a configuration without scores. A configuration with an infinite score has an
        infinite mean and is left out of the fit.
    errors : ndarray of shape (configurations,)
        Standard errors. NaN if the fit has no residual degrees of freedom, as under ``nested``.
    """
    infinite = np.atleast_1d(np.isinf(scores).any(axis=1))
    observed = np.isfinite(scores) & ~infinite[:, None]
    means, errors = np.full((2, len(scores)), np.nan)
    means[infinite] = np.where(np.isposinf(scores[infinite]).any(axis=1), np.inf, -np.inf)
    rows, columns = observed.any(axis=1), observed.any(axis=0)
    if not rows.any():
        return means, errors
    design = observed[rows][:, columns].astype(float)
    y = np.where(observed, scores, 0.0)[rows][:, columns]
    count = design.sum(axis=1)
    plain = y.sum(axis=1) / count
    weights = design / count[:, None]  # (configurations, folds): weight of each fold in the plain mean
    # Eliminating `a` from the normal equations leaves one equation per fold. The matrix is singular once per block,
    # because `b` is determined up to a constant; the pseudo-inverse sets the mean of `b` to 0 in each block.
    inverse = np.linalg.pinv(np.diag(design.sum(axis=0)) - design.T @ weights, hermitian=True)
    b = inverse @ (y.sum(axis=0) - design.T @ plain)
    blocks, of_configuration, of_fold = _blocks(design > 0)
    inside = np.equal.outer(of_configuration, of_fold) / np.bincount(of_fold)[of_configuration, None]
    contrast = inside - weights
    adjusted = plain + contrast @ b
    if blocks > 1:
        block_means = np.bincount(of_configuration, adjusted) / np.bincount(of_configuration)
        folds = np.bincount(of_fold)
        adjusted = adjusted + (block_means @ folds / folds.sum() - block_means)[of_configuration]
    means[rows] = adjusted
    degrees_of_freedom = int(design.sum()) - len(design) - design.shape[1] + blocks
    if degrees_of_freedom > 0:
        residual = (y - (plain - weights @ b)[:, None] - b) * design
        variance = (residual**2).sum() / degrees_of_freedom
        errors[rows] = np.sqrt(variance * (1 / count + ((contrast @ inverse) * contrast).sum(axis=1)))
    return means, errors


def _blocks(observed: NDArray[np.bool_]) -> tuple[int, NDArray[np.int32], NDArray[np.int32]]:
    """Return the number of blocks, the block of each configuration and the block of each fold."""
    rows, columns = observed.shape
    c, f = np.nonzero(observed)
    links = csr_array((np.ones(len(c)), (c, f + rows)), shape=(rows + columns, rows + columns))
    count, blocks = connected_components(links, directed=False)
    return int(count), blocks[:rows], blocks[rows:]


def adjusted_means(cells: pd.DataFrame, objective: str, side: str = Prefix.VAL) -> pd.DataFrame:
    """Return the adjusted mean score of each configuration and its standard error, see `adjust_means`.

    A cell that racing stopped counts with its best score so far. Further training could only have improved it.

    Parameters
    ----------
    cells : DataFrame
        Columns of ``cells.parquet``.
    objective : str
        Metric of the scores.
    side : {Prefix.VAL, Prefix.TEST}
        Whether to use inner validation scores or test scores.

    Returns
    -------
    DataFrame
        Indexed by configuration, with columns ``mean``, ``error`` and ``folds`` (the number of folds with a score).

    Examples
    --------
    >>> cells = pd.DataFrame({"configuration": [0, 0, 1], "fold": ["S2", "S3", "S2"], "status": "completed",
    ...                       "val_kl": [0.1, 0.3, 0.2]})  # S3 is harder: 1 would have had 0.4 there
    >>> adjusted_means(cells, "kl")["mean"].round(3).to_dict()
    {0: 0.2, 1: 0.3}
    """
    scores = score_matrix(cells, objective, side)
    means, errors = adjust_means(scores.to_numpy())
    return pd.DataFrame(
        {"mean": means, Column.ERROR: errors, Column.FOLDS: scores.notna().sum(axis=1)}, index=scores.index
    )


def configurations_table(cells: pd.DataFrame, objective: str, nested: bool, folds: int | None = None) -> pd.DataFrame:
    """Return the hyperparameters, mean scores and selection counts of each configuration.

    Parameters
    ----------
    cells : DataFrame
        Columns of ``cells.parquet``.
    objective : str
        Metric of the search.
    nested : bool
        Whether the protocol is ``nested``, which determines the recommended configuration.
    folds : int, optional
        Number of folds of the run (default: the number of folds in `cells`).

    Returns
    -------
    DataFrame
        A row per configuration in ascending order, with columns:

        - ``configuration`` and the ``param_`` columns
        - ``folds``: number of folds with an inner validation score
        - ``completed``, ``stopped``, ``failed``: number of cells with this status
        - ``adjusted_val_<objective>``, ``error``: adjusted mean of the inner validation scores and its standard
          error, see `adjusted_means`
        - ``adjusted_test_<objective>``: adjusted mean of the test scores, `NOT_FOR_CHOOSING`
        - ``chosen``: number of folds that select the configuration, by inner validation score
        - ``best_on_test``: number of folds in which the configuration has the best test score
        - ``recommended``: whether this is the configuration to deploy
    """
    params = [name for name in cells.columns if name.startswith(Prefix.PARAM)]
    table = (
        cells[[Column.CONFIGURATION, *params]]
        .drop_duplicates(Column.CONFIGURATION)
        .set_index(Column.CONFIGURATION)
        .sort_index()
    )
    validation, test = adjusted_means(cells, objective), adjusted_means(cells, objective, Prefix.TEST)
    table[Column.FOLDS] = validation[Column.FOLDS]
    for status in (Status.COMPLETED, Status.STOPPED, Status.FAILED):
        table[status] = (
            cells[cells[Column.STATUS] == status]
            .groupby(Column.CONFIGURATION)
            .size()
            .reindex(table.index, fill_value=0)
        )
    table[Prefix.ADJUSTED + Prefix.VAL + objective] = validation["mean"]
    table[Column.ERROR] = validation[Column.ERROR]
    table[Prefix.ADJUSTED + Prefix.TEST + objective] = test["mean"]
    for column, choice in (
        (Column.CHOSEN, best_per_fold(cells, objective)),
        (Column.BEST_ON_TEST, _best_on_test(cells, objective)),
    ):
        table[column] = pd.Series(choice, dtype=int).value_counts().reindex(table.index, fill_value=0)
    to_deploy = recommended(cells, objective, cells[Column.FOLD].nunique() if folds is None else folds, nested)
    table[Column.RECOMMENDED] = table.index == to_deploy
    return table.reset_index()


def _best_on_test(cells: pd.DataFrame, objective: str) -> Mapping[str, int]:
    """Return fold → configuration with the best test score, the smallest number on ties. For information only."""
    done = completed(cells).dropna(subset=[Prefix.TEST + objective])
    ranked = done.sort_values(Column.CONFIGURATION, kind="stable").sort_values(
        Prefix.TEST + objective, ascending=not METRICS[objective].higher_is_better, kind="stable"
    )
    first = ranked.drop_duplicates(Column.FOLD)
    return dict(zip(first[Column.FOLD], first[Column.CONFIGURATION], strict=True))
