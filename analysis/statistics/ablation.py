"""Ablation: comparison of the variants of a search space on the same subjects. Pure functions."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

import pandas as pd

from helo.analysis.statistics.common_subjects import common_subjects
from helo.analysis.statistics.estimates import bootstrap_interval, completed
from helo.analysis.statistics.signed_rank import holm_correction, signed_rank_test
from helo.metrics import METRICS
from helo.names import Column, Prefix

VARIANT: Final = "variant"
"""Column with the name of the variant."""


def compare_variants(
    cells: pd.DataFrame,
    variants: Mapping[str, Mapping[str, Any]],
    objective: str,
    subjects: Collection[str] | None = None,
) -> pd.DataFrame:
    """Compare each variant with the first variant, on the same subjects.

    Parameters
    ----------
    cells : DataFrame
        Columns of ``cells.parquet``. Only completed cells are used.
    variants : mapping
        Name of a variant → its hyperparameters, as in the space.
    objective : str
        Metric to compare on.
    subjects : collection of str, optional
        Subjects to compare (default: those that `helo.analysis.statistics.common_subjects.common_subjects` finds).

    Returns
    -------
    DataFrame
        A row per variant in the order of the space, with columns:

        - ``variant``
        - one per metric: mean test score over the compared subjects
        - ``subjects``: number of compared subjects; 0 for a variant that lacks one of them, whose scores are NaN
        - ``loss``, ``loss_low``, ``loss_high``: by how much the variant is worse than the first variant: the mean
          over subjects with its 95 % bootstrap interval
        - ``worse``: number of subjects for which the variant is worse
        - ``p``, ``effect``: test of the losses, see `helo.analysis.statistics.signed_rank.signed_rank_test`;
          ``effect`` is above 0 if the first variant is better
        - ``p_holm``: ``p`` corrected by Holm. The family is all variants except the first.

        The comparison of the first variant with itself is NaN.
    """
    done = completed(cells)
    by_variant = subjects_by_variant(cells, variants)
    compared = common_subjects(by_variant).subjects if subjects is None else frozenset(subjects)
    done = done[done[Column.FOLD].isin(compared)]
    first: pd.DataFrame | None = None
    rows = []
    for name, params in variants.items():
        is_this = _has_params(done, params) if compared <= by_variant[name] else pd.Series(False, index=done.index)
        scores = done[is_this].set_index(Column.FOLD).sort_index()
        row: dict[str, Any] = {VARIANT: name}
        if first is None:
            first = scores
        elif len(first):
            reference, score = (rows_of[Prefix.TEST + objective] for rows_of in (first.loc[scores.index], scores))
            loss = pd.Series(METRICS[objective].resolved_improvement(reference, score))
            low, high = bootstrap_interval(loss.to_numpy(float))
            _, p, effect = signed_rank_test(loss)
            row |= {"loss": loss.mean(), "loss_low": low, "loss_high": high, "worse": int((loss > 0).sum())}
            row |= {"p": p, "effect": effect}
        row |= {metric: scores[Prefix.TEST + metric].mean() for metric in METRICS} | {"subjects": len(scores)}
        rows.append(row)
    columns = [VARIANT, *METRICS, "subjects", "loss", "loss_low", "loss_high", "worse", "p", "p_holm", "effect"]
    table = pd.DataFrame(rows).reindex(columns=columns)
    return table.assign(p_holm=holm_correction(table["p"]))


def subjects_by_variant(cells: pd.DataFrame, variants: Mapping[str, Mapping[str, Any]]) -> dict[str, frozenset[str]]:
    """Return the subjects for which each variant has a completed cell.

    Parameters
    ----------
    cells : DataFrame
        Columns of ``cells.parquet``.
    variants : mapping
        Name of a variant → its hyperparameters, as in the space.

    Returns
    -------
    dict of str to frozenset of str
        Variant → subjects, in the order of the space.
    """
    done = completed(cells)
    return {name: frozenset(done[_has_params(done, params)][Column.FOLD]) for name, params in variants.items()}


def variant_of(params: Mapping[str, Any], variants: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the name of the variant with the given hyperparameters.

    Parameters
    ----------
    params : mapping
        Values of the ``param_`` columns of a cell.
    variants : mapping
        Name of a variant → its hyperparameters, as in the space.

    Returns
    -------
    str
        Name of the first match; empty without a match.
    """
    for name, values in variants.items():
        if all(params.get(Prefix.PARAM + key) == value for key, value in values.items()):
            return name
    return ""


def _has_params(cells: pd.DataFrame, params: Mapping[str, Any]) -> pd.Series:
    """Return whether each cell has the given hyperparameters."""
    same = pd.Series(True, index=cells.index)
    for name, value in params.items():
        same &= cells[Prefix.PARAM + name] == value if Prefix.PARAM + name in cells else False
    return same


def first_variant_cells(cells: pd.DataFrame, variants: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Return the completed cells of the first variant, the reference of `compare_variants`.

    Parameters
    ----------
    cells : DataFrame
        Columns of ``cells.parquet``.
    variants : mapping
        Name of a variant → its hyperparameters, as in the space.

    Returns
    -------
    DataFrame
        Rows of `cells`.
    """
    done = completed(cells)
    return done[_has_params(done, next(iter(variants.values())))]
