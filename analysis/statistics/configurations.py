"""The configurations of a run, a row for each: how good each is on the same footing, and how often it was taken.

Racing drops a configuration after its first folds, and its plain mean is then over other people than that of one that
ran in all folds. Means are therefore adjusted for the folds. Pure functions on DataFrames.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import pandas as pd
from helo.analysis.statistics.estimates import completed, scored
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from helo.metrics import METRICS
from helo.names import Column, Prefix, Status
from helo.run.selection import best_per_fold, recommended

NOT_FOR_CHOOSING: Final = "not for choosing"
"""What a table says beside the test scores of configurations."""


def score_matrix(cells: pd.DataFrame, objective: str, side: str = Prefix.VAL) -> pd.DataFrame:
    """The scores of cells that completed or were stopped, (configurations, folds); NaN where there is none.

    - `cells`: as in ``cells.parquet``; a configuration without any score has a row of NaN
    - `side`: inner validation scores (`VAL`) or test scores (`TEST`)
    """
    rows = np.unique(cells[Column.CONFIGURATION])
    done = scored(cells).dropna(subset=[side + objective])
    folds = np.unique(done[Column.FOLD].astype(str))
    found = np.full((len(rows), len(folds)), np.nan)
    places = np.searchsorted(rows, done[Column.CONFIGURATION]), np.searchsorted(folds, done[Column.FOLD].astype(str))
    found[places] = done[side + objective]
    return pd.DataFrame(
        found, index=pd.Index(rows, name=Column.CONFIGURATION), columns=pd.Index(folds, name=Column.FOLD)
    )


def adjust_means(scores: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean of each configuration as if it had run in every fold, and its standard error; each (configurations,).

    `scores` y, (configurations, folds), NaN where a configuration has no score. Fits, by least squares over what is
    there,

        y[c, f] = a[c] + b[f]

    and returns a[c] + mean over f of b[f], the estimated marginal mean (Searle, Speed and Milliken 1980). For a
    configuration with a score in every fold that is its plain mean.

    What is not identified: two configurations without a common fold, nor a chain of configurations with common folds
    between them, cannot be compared. The table then falls into blocks (under the protocol ``nested`` each fold is
    one), and these are put at the same height: the configurations of every block are taken to be equally good on
    average. Under ``nested`` that makes the score, less the mean of its fold, plus the mean over folds of such means.

    The error is that of the fit, sigma times the root of the diagonal of its covariance: it says how well a
    configuration can be told from others in these folds, not how well its mean is known for new people. NaN where
    every score is needed for the fit (as under ``nested``). A configuration without scores has the mean NaN; one
    with an infinite score has an infinite mean, and has no part in the fit.
    """
    infinite = np.atleast_1d(np.isinf(scores).any(axis=1))
    there = np.isfinite(scores) & ~infinite[:, None]
    means, errors = np.full((2, len(scores)), np.nan)
    means[infinite] = np.where(np.isposinf(scores[infinite]).any(axis=1), np.inf, -np.inf)
    rows, columns = there.any(axis=1), there.any(axis=0)
    if not rows.any():
        return means, errors
    shape = there[rows][:, columns].astype(float)
    y = np.where(there, scores, 0.0)[rows][:, columns]
    count = shape.sum(axis=1)
    plain = y.sum(axis=1) / count
    weights = shape / count[:, None]  # (c, f): how much of the mean of c is of fold f
    # The configurations are eliminated from the normal equations: what is left has a row per fold, and is
    # singular once per block, which the pseudo-inverse takes for a mean of b of 0 there.
    inverse = np.linalg.pinv(np.diag(shape.sum(axis=0)) - shape.T @ weights, hermitian=True)
    b = inverse @ (y.sum(axis=0) - shape.T @ plain)
    blocks, block = _blocks(shape > 0)
    of_fold = block[len(shape) :]
    inside = np.equal.outer(block[: len(shape)], of_fold) / np.bincount(of_fold)[block[: len(shape)], None]
    contrast = inside - weights
    adjusted = plain + contrast @ b
    height = np.bincount(block[: len(shape)], adjusted) / np.bincount(block[: len(shape)])
    folds = np.bincount(of_fold)
    means[rows] = adjusted + (height @ folds / folds.sum() - height)[block[: len(shape)]] if blocks > 1 else adjusted
    left = int(shape.sum()) - len(shape) - shape.shape[1] + blocks
    if left > 0:
        residual = (y - (plain - weights @ b)[:, None] - b) * shape
        variance = (residual**2).sum() / left
        errors[rows] = np.sqrt(variance * (1 / count + ((contrast @ inverse) * contrast).sum(axis=1)))
    return means, errors


def _blocks(there: NDArray[np.bool_]) -> tuple[int, NDArray[np.int32]]:
    """How many blocks without a common fold there are, and the block of each configuration, then of each fold."""
    rows, columns = there.shape
    c, f = np.nonzero(there)
    links = csr_array((np.ones(len(c)), (c, f + rows)), shape=(rows + columns, rows + columns))
    found, of = connected_components(links, directed=False)
    return int(found), of


def adjusted_means(cells: pd.DataFrame, objective: str, side: str = Prefix.VAL) -> pd.DataFrame:
    """Mean score of each configuration, adjusted for the folds that it ran in, and its standard error: see `adjust`.

    Returns columns ``mean``, ``error`` and ``folds`` (with a score), indexed by configuration. A cell that a rung
    stopped counts with the score that it had reached, which training on could only have made better.

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
    """A row per configuration, in the order of their numbers.

    - ``configuration``, its ``param_`` columns
    - ``folds``: in how many it has a validation score; ``completed``, ``stopped``, ``failed``: its cells
    - ``adjusted_val_<objective>``, ``error``: mean inner validation score and standard error (`adjusted_means`)
    - ``adjusted_test_<objective>``: the same of the test scores: `NOT_FOR_CHOOSING`
    - ``chosen``: in how many folds its inner validation score is the best, so that it is the selection
    - ``best_on_test``: in how many folds its test score is the best: what the oracle would take
    - ``recommended``: whether it is the one to deploy

    - `cells`: as in ``cells.parquet``
    - `nested`: whether every fold has configurations of its own; says which is recommended
    - `folds`: how many folds the run has (default: those in `cells`)
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
    table[Column.RECOMMENDED] = table.index == (None if to_deploy is None else to_deploy.configuration)
    return table.reset_index()


def _best_on_test(cells: pd.DataFrame, objective: str) -> Mapping[str, int]:
    """In each fold, the configuration with the best test score, the first among equals: never used to choose."""
    done = completed(cells).dropna(subset=[Prefix.TEST + objective])
    ordered = done.sort_values(Column.CONFIGURATION, kind="stable").sort_values(
        Prefix.TEST + objective, ascending=not METRICS[objective].higher_is_better, kind="stable"
    )
    first = ordered.drop_duplicates(Column.FOLD)
    return dict(zip(first[Column.FOLD], first[Column.CONFIGURATION], strict=True))
