"""What each part of a model is worth: the variants of a space, compared on the same subjects. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import pandas as pd

from analysis.estimates import completed, gain, interval
from helo.names import FOLD, METRICS, PARAM, TEST

VARIANT: Final = "variant"


def ablation(cells: pd.DataFrame, variants: Mapping[str, Mapping[str, Any]], objective: str) -> pd.DataFrame:
    """A row per variant, in the order of the space.

    - a column per metric: the mean test score over the subjects that all variants have
    - ``subjects``: how many these are
    - ``loss``, ``loss_low``, ``loss_high``: by how much `objective` is worse than with the first variant, the mean
      over subjects with its 95 % bootstrap interval; NaN for the first
    - ``worse``: for how many subjects it is

    `cells` has the columns of ``cells.parquet``; only cells that ran to their end count.
    """
    done = completed(cells)
    of_variant = {name: done[_made_with(done, values)].set_index(FOLD) for name, values in variants.items()}
    shared = set.intersection(*(set(rows.index) for rows in of_variant.values())) if of_variant else set()
    subjects = sorted(shared)
    found = []
    whole = None
    for name, rows in of_variant.items():
        scores = rows.loc[subjects]
        row: dict[str, Any] = {VARIANT: name, **{metric: scores[TEST + metric].mean() for metric in METRICS}}
        row["subjects"] = len(subjects)
        if whole is None:
            whole = scores
        else:
            loss = gain(whole[TEST + objective], scores[TEST + objective], objective)
            low, high = interval(loss.to_numpy(float))
            row |= {"loss": loss.mean(), "loss_low": low, "loss_high": high, "worse": int((loss > 0).sum())}
        found.append(row)
    columns = [VARIANT, *METRICS, "subjects", "loss", "loss_low", "loss_high", "worse"]
    return pd.DataFrame(found).reindex(columns=columns)


def _made_with(cells: pd.DataFrame, values: Mapping[str, Any]) -> pd.Series:
    same = pd.Series(True, index=cells.index)
    for name, value in values.items():
        same &= cells[PARAM + name] == value
    return same
