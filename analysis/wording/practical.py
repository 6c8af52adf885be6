"""What a difference means in practice: equivalence to the best baseline, and what a new person may expect."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

from helo.analysis.statistics.equivalence import REGION, SURE, compare_practically
from helo.analysis.statistics.estimates import by_subject
from helo.analysis.statistics.new_person import LEVEL, loss_bound
from helo.analysis.wording.numbers import count, format_score
from helo.metrics import METRICS
from helo.names import Column, Estimate


def equivalence_note(scores: pd.DataFrame, objective: str, reference: str) -> list[str]:
    """Say whether the search and a reference are practically the same.

    "No significant difference" does not mean that there is none: too few subjects have the same effect. This sentence
    tells the two apart.

    Parameters
    ----------
    scores : pandas.DataFrame
        Result of `helo.analysis.statistics.estimates.subject_scores`.
    objective : str
        Name of the metric to compare on.
    reference : str
        Name of the reference.

    Returns
    -------
    list of str
        One item, or none with too few subjects.
    """
    return describe_equivalence(compare_practically(scores, objective, [reference]).iloc[0].to_dict())


def describe_equivalence(row: Mapping[Hashable, Any]) -> list[str]:
    """Return `equivalence_note` for a row of `helo.analysis.statistics.equivalence.compare_practically`."""
    if math.isnan(row["p_same"]):
        return []
    reference = row[Column.REFERENCE]
    chances = {
        f"practically better than {reference}": row["p_better"],
        f"practically the same as {reference}": row["p_same"],
        f"practically worse than {reference}": row["p_worse"],
    }
    sure = [(words, chance) for words, chance in chances.items() if chance >= SURE]
    region = f"a difference of at most {100 * REGION:g} % of skill counts as none; Bayesian signed-rank test"
    if sure:
        words, chance = sure[0]
        return [f"The search is {words} (probability {_chance(chance)}; {region})."]
    better, same, worse = (_chance(chance) for chance in chances.values())
    return [
        f"Whether the search and {reference} are practically the same is undecided (better {better}, the same {same},"
        f" worse {worse}; {region})."
    ]


def _chance(probability: float) -> str:
    """Return a probability with two decimals that is never 0 or 1.

    >>> _chance(0.973), _chance(0.9999), _chance(0.0)
    ('0.97', '> 0.99', '< 0.01')
    """
    if probability > 0.99:
        return "> 0.99"
    return "< 0.01" if probability < 0.01 else f"{probability:.2f}"


def new_person_note(scores: pd.DataFrame, objective: str) -> list[str]:
    """State a bound on the score of a new person, beside that of the train mean.

    Parameters
    ----------
    scores : pandas.DataFrame
        Result of `helo.analysis.statistics.estimates.subject_scores`.
    objective : str
        Name of the metric.

    Returns
    -------
    list of str
        One item, or none with too few subjects.
    """
    wide, metric = by_subject(scores, objective), METRICS[objective]
    if Estimate.PER_FOLD_SELECTION not in wide:
        return []
    both = [name for name in (Estimate.PER_FOLD_SELECTION, Estimate.TRAIN_MEAN) if name in wide]
    known = wide[both].dropna()
    bounds = [metric.loss(loss_bound(metric.loss(known[name].to_numpy(float)))) for name in both]
    if math.isnan(bounds[0]):
        return []
    side = "at least" if metric.higher_is_better else "at most"
    beside = f"; with the train mean, {side} {format_score(bounds[1])}" if len(bounds) > 1 else ""
    return [
        f"For a new person of the same population, {metric.label} of the search is {side} {format_score(bounds[0])}"
        f" with a probability of {100 * LEVEL:.0f} %{beside} (split-conformal bound from"
        f" {count(len(known), 'subject')}, on average over studies)."
    ]
