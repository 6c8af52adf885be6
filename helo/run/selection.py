"""Which configuration a finished search would use. Reads inner validation scores, never test scores."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from helo.metrics import METRICS
from helo.names import SCORED, Column, Prefix, Status


def _losses(cells: pd.DataFrame, objective: str, statuses: tuple[str, ...]) -> pd.DataFrame:
    scored = cells[cells[Column.STATUS].isin(statuses) & cells[Prefix.VAL + objective].notna()]
    loss = scored[Prefix.VAL + objective] * (-1 if METRICS[objective].higher_is_better else 1)
    return scored[[Column.CONFIGURATION, Column.FOLD]].assign(loss=loss)


def best_per_fold(cells: pd.DataFrame, objective: str) -> dict[str, int]:
    """In each fold, the configuration with the best inner validation score (the first among equals).

    `cells` has the columns of ``cells.parquet``. Only cells that ran to their end count: one that a rung
    stopped is never taken. Folds without a completed cell are left out.

    >>> cells = pd.DataFrame({"configuration": [0, 1], "fold": ["S2", "S2"], "status": "completed",
    ...                       "val_kl": [0.2, 0.1]})
    >>> best_per_fold(cells, "kl")
    {'S2': 1}
    """
    ranked = _losses(cells, objective, (Status.COMPLETED,)).sort_values(["loss", Column.CONFIGURATION], kind="stable")
    first = ranked.drop_duplicates(Column.FOLD)
    return {
        str(fold): int(configuration)
        for fold, configuration in zip(first[Column.FOLD], first[Column.CONFIGURATION], strict=True)
    }


def best_overall(cells: pd.DataFrame, objective: str, folds: int) -> int | None:
    """The configuration with the best mean inner validation score over all folds: the one to deploy.

    Only configurations with a score in all `folds` folds of the run count: a mean over fewer compares
    different people. A cell that a rung stopped counts with what it had reached, which training on could
    only have made better: stopping never helps its configuration. None if no configuration has all folds.
    """
    done = _losses(cells, objective, SCORED)
    means = done.groupby(Column.CONFIGURATION)["loss"].agg(["mean", "size"])
    whole = means[means["size"] == folds]
    return None if whole.empty else int(whole["mean"].idxmin())


def medoid(cells: pd.DataFrame, objective: str) -> int | None:
    """Of the configurations chosen in the folds, the one nearest to all others: nested's one to deploy.

    Hyperparameters are compared by their ranks among the chosen ones, so that neither units nor logarithms
    matter, and those that are no numbers by being equal or not. None if no fold has a choice. Nothing is
    known of the score of this one configuration on new people; the estimate is that of the search.
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
    total = np.zeros(len(chosen))
    for name in params.columns:
        values = params[name]
        if pd.api.types.is_numeric_dtype(values) and values.notna().all():
            place = values.rank(pct=True).to_numpy(float)
            total += np.abs(place[:, None] - place[None, :]).sum(axis=1)
        else:
            words = values.astype(str).to_numpy()
            total += (words[:, None] != words[None, :]).sum(axis=1)
    return int(chosen[int(np.argmin(total))])


class Recommendation(NamedTuple):
    """The configuration to deploy, and the epochs to train it on all subjects, when nobody is left to stop it."""

    configuration: int
    epochs: int


def recommended(cells: pd.DataFrame, objective: str, folds: int, nested: bool) -> Recommendation | None:
    """The configuration to fit to all subjects: `best_overall`, or under ``nested`` the `medoid` of the choices.

    Its epochs are the median of those that were best on the inner validation subjects, over the folds in which it ran
    to its end (under ``nested`` that is one): a cell that a rung stopped had no later epochs to be best. None while
    there is none to recommend.
    """
    chosen = medoid(cells, objective) if nested else best_overall(cells, objective, folds)
    if chosen is None:
        return None
    mine = cells[cells[Column.CONFIGURATION] == chosen]
    for status in (Status.COMPLETED, Status.STOPPED):
        epochs = mine[mine[Column.STATUS] == status][Column.BEST_EPOCH].dropna()
        if len(epochs):
            return Recommendation(chosen, round(float(epochs.median())))
    return None
