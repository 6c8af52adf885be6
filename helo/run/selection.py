"""Selection of configurations from the inner validation scores of cells. Test scores are never read."""

from __future__ import annotations

import numpy as np
import pandas as pd

from helo.metrics import METRICS
from helo.names import SCORED, Column, Estimate, Prefix, Status


def _losses(cells: pd.DataFrame, objective: str, statuses: tuple[str, ...]) -> pd.DataFrame:
    """Return configuration, fold and validation loss of the cells with a score and one of the statuses."""
    scored = cells[cells[Column.STATUS].isin(statuses) & cells[Prefix.VAL + objective].notna()]
    loss = scored[Prefix.VAL + objective] * (-1 if METRICS[objective].higher_is_better else 1)
    return scored[[Column.CONFIGURATION, Column.FOLD]].assign(loss=loss)


def best_per_fold(cells: pd.DataFrame, objective: str) -> dict[str, int]:
    """Return the configuration with the best inner validation score in each fold.

    Only completed cells count. A cell that a rung stopped is never selected. Ties go to the lowest number.

    Parameters
    ----------
    cells : DataFrame
        A row per cell, with the columns of ``cells.parquet``.
    objective : str
        Name of a metric.

    Returns
    -------
    dict
        Test subject of a fold → configuration. Folds without a completed cell are left out.

    Examples
    --------
    >>> cells = pd.DataFrame({"configuration": [0, 1], "fold": ["S2", "S2"], "status": "completed",
    ...                       "val_kl": [0.2, 0.1]})
    >>> best_per_fold(cells, "kl")
    {'S2': 1}
    """
    return {fold: found[0] for fold, found in rank_per_fold(cells, objective, 1).items()}


def rank_per_fold(cells: pd.DataFrame, objective: str, count: int) -> dict[str, list[int]]:
    """Return the configurations with the best inner validation scores in each fold, best first.

    Only completed cells count. Among equal scores, the lowest number comes first.

    Parameters
    ----------
    cells : DataFrame
        A row per cell, with the columns of ``cells.parquet``.
    objective : str
        Name of a metric.
    count : int
        Maximum number of configurations of a fold.

    Returns
    -------
    dict
        Test subject of a fold → configurations. Folds without a completed cell are left out.
    """
    ranked = _losses(cells, objective, (Status.COMPLETED,)).sort_values(["loss", Column.CONFIGURATION], kind="stable")
    first = ranked.groupby(Column.FOLD, sort=False).head(count)
    found: dict[str, list[int]] = {}
    for fold, configuration in zip(first[Column.FOLD], first[Column.CONFIGURATION], strict=True):
        found.setdefault(str(fold), []).append(int(configuration))
    return found


def best_overall(cells: pd.DataFrame, objective: str, folds: int) -> int | None:
    """Return the configuration with the best mean inner validation score over all folds.

    Only configurations with a score in every fold count, because means over different folds compare different
    people. A stopped cell counts with the best score before its stop. Further epochs could only have improved that
    score, so a stop never favours its configuration.

    Parameters
    ----------
    cells : DataFrame
        A row per cell, with the columns of ``cells.parquet``.
    objective : str
        Name of a metric.
    folds : int
        Number of folds of the run.

    Returns
    -------
    int or None
        Configuration to deploy, or None if no configuration has a score in every fold.
    """
    done = _losses(cells, objective, SCORED)
    means = done.groupby(Column.CONFIGURATION)["loss"].agg(["mean", "size"])
    whole = means[means["size"] == folds]
    return None if whole.empty else int(whole["mean"].idxmin())


def selected_cells(cells: pd.DataFrame, objective: str, folds: int) -> set[tuple[int, str]]:
    """Return the cells of the configurations that are best in their fold or over all folds.

    Parameters
    ----------
    cells : DataFrame
        A row per cell, with the columns of ``cells.parquet``.
    objective : str
        Name of a metric.
    folds : int
        Number of folds of the run.

    Returns
    -------
    set of tuple
        Configuration and test subject of each selected cell.
    """
    selected = {(configuration, fold) for fold, configuration in best_per_fold(cells, objective).items()}
    overall = best_overall(cells, objective, folds)
    if overall is not None:
        selected |= {(overall, fold) for fold in cells[Column.FOLD].unique()}
    return selected


def mark_estimates(predictions: pd.DataFrame, cells: pd.DataFrame, objective: str, folds: int) -> pd.DataFrame:
    """Add the columns ``per_fold_selection`` and ``single_configuration`` to predictions of selected cells.

    Parameters
    ----------
    predictions : DataFrame
        Rows with configuration and fold.
    cells : DataFrame
        A row per cell, with the columns of ``cells.parquet``.
    objective : str
        Name of a metric.
    folds : int
        Number of folds of the run.

    Returns
    -------
    DataFrame
        The predictions, with two columns that say whether a row belongs to each estimate. A row may belong to both.
    """
    best, overall = best_per_fold(cells, objective), best_overall(cells, objective, folds)
    configurations = predictions[Column.CONFIGURATION]
    marks = {
        Estimate.PER_FOLD_SELECTION: configurations == predictions[Column.FOLD].map(best),
        Estimate.SINGLE_CONFIGURATION: configurations == overall,
    }
    marked = predictions.copy()
    for place, (estimate, mark) in enumerate(marks.items(), start=2):
        marked.insert(place, str(estimate), mark.astype(bool))
    return marked


def medoid(cells: pd.DataFrame, objective: str) -> int | None:
    """Return the medoid of the configurations that the folds select, which is deployed after a nested search.

    The distance of two configurations is the sum over their hyperparameters. Numbers are compared by their ranks among
    the selected configurations, so units and logarithms do not matter. Other values are either equal or different.
    The score of this configuration on new people has not been estimated. The estimate is that of the whole search.

    Parameters
    ----------
    cells : DataFrame
        A row per cell, with the columns of ``cells.parquet``.
    objective : str
        Name of a metric.

    Returns
    -------
    int or None
        Configuration with the smallest total distance to all others, or None if no fold has a selected configuration.
    """
    chosen = list(best_per_fold(cells, objective).values())
    if not chosen:
        return None
    params = (
        cells.drop_duplicates(Column.CONFIGURATION)
        .set_index(Column.CONFIGURATION)
        .loc[chosen]
        .filter(regex=f"^{Prefix.PARAM}")
    )
    distances = np.zeros(len(chosen))
    for name in params.columns:
        values = params[name]
        if pd.api.types.is_numeric_dtype(values) and values.notna().all():
            ranks = values.rank(pct=True).to_numpy(float)
            distances += np.abs(ranks[:, None] - ranks[None, :]).sum(axis=1)
        else:
            labels = values.astype(str).to_numpy()
            distances += (labels[:, None] != labels[None, :]).sum(axis=1)
    return int(chosen[int(np.argmin(distances))])


def recommended(cells: pd.DataFrame, objective: str, folds: int, nested: bool) -> int | None:
    """Return the configuration to fit with all subjects.

    Parameters
    ----------
    cells : DataFrame
        A row per cell, with the columns of ``cells.parquet``.
    objective : str
        Name of a metric.
    folds : int
        Number of folds of the run.
    nested : bool
        Whether the protocol is nested, so that the `medoid` replaces `best_overall`.

    Returns
    -------
    int or None
        None while no configuration can be recommended.
    """
    return medoid(cells, objective) if nested else best_overall(cells, objective, folds)
