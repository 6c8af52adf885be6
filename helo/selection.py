"""Which configuration a finished search would use. Reads inner validation scores, never test scores."""

from __future__ import annotations

import pandas as pd

from helo.names import COMPLETED, CONFIGURATION, FOLD, HIGHER_IS_BETTER, STATUS, VAL


def _completed(cells: pd.DataFrame, objective: str) -> pd.DataFrame:
    done = cells[(cells[STATUS] == COMPLETED) & cells[VAL + objective].notna()]
    loss = done[VAL + objective] * (-1 if objective in HIGHER_IS_BETTER else 1)
    return done[[CONFIGURATION, FOLD]].assign(loss=loss)


def best_per_fold(cells: pd.DataFrame, objective: str) -> dict[str, int]:
    """In each fold, the configuration with the best inner validation score (the first among equals).

    `cells` has the columns of ``cells.parquet``; folds without a completed cell are left out.

    >>> cells = pd.DataFrame({"configuration": [0, 1], "fold": ["S2", "S2"], "status": "completed",
    ...                       "val_kl": [0.2, 0.1]})
    >>> best_per_fold(cells, "kl")
    {'S2': 1}
    """
    ranked = _completed(cells, objective).sort_values(["loss", CONFIGURATION], kind="stable")
    first = ranked.drop_duplicates(FOLD)
    return {
        str(fold): int(configuration) for fold, configuration in zip(first[FOLD], first[CONFIGURATION], strict=True)
    }


def best_overall(cells: pd.DataFrame, objective: str, folds: int) -> int | None:
    """The configuration with the best mean inner validation score over all folds: the one to deploy.

    Only configurations that completed all `folds` folds of the run count: a mean over fewer compares
    different people. None if there is no such configuration.
    """
    done = _completed(cells, objective)
    means = done.groupby(CONFIGURATION)["loss"].agg(["mean", "size"])
    whole = means[means["size"] == folds]
    return None if whole.empty else int(whole["mean"].idxmin())
