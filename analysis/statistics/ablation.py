"""What each part of a model is worth: the variants of a space, compared on the same subjects. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import pandas as pd
from helo.analysis.statistics.estimates import bootstrap_interval, completed
from helo.analysis.statistics.signed_rank import holm_correction, signed_rank_test

from helo.metrics import METRICS
from helo.names import Column, Prefix

VARIANT: Final = "variant"


ROUNDING: Final = 1e-6
"""Scores that differ by less are the same: models compute in float32, and the order of sums may differ."""


def compare_variants(cells: pd.DataFrame, variants: Mapping[str, Mapping[str, Any]], objective: str) -> pd.DataFrame:
    """A row per variant, in the order of the space.

    - a column per metric: the mean test score over the subjects that the variant shares with the first one
    - ``subjects``: how many these are; where variants have different ones, only the losses can be compared
    - ``loss``, ``loss_low``, ``loss_high``: by how much `objective` is worse than with the first variant, the mean
      over subjects with its 95 % bootstrap interval; NaN for the first
    - ``worse``: for how many subjects it is
    - ``p``, ``effect``: Wilcoxon's test of the losses, see `helo.analysis.statistics.signed_rank.signed_rank_test`; the
      effect is above 0 where the first variant is better. ``p_holm``: corrected by Holm, the family is all variants
      but the first

    `cells` has the columns of ``cells.parquet``; only cells that ran to their end count.
    """
    done = completed(cells)
    whole: pd.DataFrame | None = None
    found = []
    for name, values in variants.items():
        scores = done[_made_with(done, values)].set_index(Column.FOLD).sort_index()
        row: dict[str, Any] = {VARIANT: name}
        if whole is None:
            whole = scores
        else:
            scores = scores.loc[scores.index.intersection(whole.index)]
            ours, theirs = whole.loc[scores.index, Prefix.TEST + objective], scores[Prefix.TEST + objective]
            loss = METRICS[objective].improvement(ours, theirs).mask(ours == theirs, 0.0)
            loss = loss.mask(loss.abs() < ROUNDING, 0.0)
            low, high = bootstrap_interval(loss.to_numpy(float))
            _, p, effect = signed_rank_test(loss)
            row |= {"loss": loss.mean(), "loss_low": low, "loss_high": high, "worse": int((loss > 0).sum())}
            row |= {"p": p, "effect": effect}
        row |= {metric: scores[Prefix.TEST + metric].mean() for metric in METRICS} | {"subjects": len(scores)}
        found.append(row)
    columns = [VARIANT, *METRICS, "subjects", "loss", "loss_low", "loss_high", "worse", "p", "p_holm", "effect"]
    table = pd.DataFrame(found).reindex(columns=columns)
    return table.assign(p_holm=holm_correction(table["p"]))


def variant_of(params: Mapping[str, Any], variants: Mapping[str, Mapping[str, Any]]) -> str:
    """The name of the variant that has these ``param_`` columns; empty if none has."""
    for name, values in variants.items():
        if all(params.get(Prefix.PARAM + key) == value for key, value in values.items()):
            return name
    return ""


def _made_with(cells: pd.DataFrame, values: Mapping[str, Any]) -> pd.Series:
    same = pd.Series(True, index=cells.index)
    for name, value in values.items():
        same &= cells[Prefix.PARAM + name] == value if Prefix.PARAM + name in cells else False
    return same


def first_variant_cells(cells: pd.DataFrame, variants: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """The completed cells of the model that the others are compared with."""
    done = completed(cells)
    return done[_made_with(done, next(iter(variants.values())))]
