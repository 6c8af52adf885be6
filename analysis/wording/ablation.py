"""An ablation in words: what each variant changes, and what each row of its table shows."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, NamedTuple

import pandas as pd

from helo.analysis.statistics.signed_rank import ALPHA
from helo.analysis.wording.numbers import count, format_difference, format_effect, format_p, power_note
from helo.metrics import METRICS


class LossWords(NamedTuple):
    """Comparison of a variant with the first one as table cells. All are dashes where there is nothing to compare.

    Attributes
    ----------
    lost : str
        Mean increase of the loss over subjects.
    interval : str
        95 % bootstrap interval of that mean.
    worse : str
        Number of subjects for whom the variant is worse, of how many.
    p : str
        p value of Wilcoxon's signed-rank test with Holm's correction.
    effect : str
        Matched-pairs rank-biserial correlation.
    """

    lost: str
    interval: str
    worse: str
    p: str
    effect: str


def loss_words(row: Mapping[Hashable, Any]) -> LossWords:
    """Return the table cells for one row of `helo.analysis.statistics.ablation.compare_variants`."""
    if pd.isna(row["loss"]):
        return LossWords("–", "–", "–", "–", "–")
    return LossWords(
        format_difference(row["loss"]),
        f"{format_difference(row['loss_low'])} to {format_difference(row['loss_high'])}",
        f"{row['worse']:.0f} of {row['subjects']}",
        format_p(row["p_holm"]),
        format_effect(row["effect"]),
    )


def ablation_note(table: pd.DataFrame, objective: str, first: str) -> str:
    """Explain the columns of an ablation table.

    Parameters
    ----------
    table : pandas.DataFrame
        Result of `helo.analysis.statistics.ablation.compare_variants`.
    objective : str
        Name of the metric on which variants are compared.
    first : str
        Words that name the first variant.

    Returns
    -------
    str
    """
    subjects, others = int(table["subjects"].max()), len(table) - 1
    return (
        f"Scores are means over the test subjects that a variant shares with {first}. Lost: mean"
        f" worsening of {METRICS[objective].label} relative to {first} over these subjects (positive is worse), with"
        " its 95 % bootstrap interval. p: Wilcoxon's signed-rank test over subjects, with Holm's correction for"
        f" {count(others, 'variant')}. Effect: from -1 (better for all subjects whose scores differ) to +1 (worse for"
        f" all). Where p is {ALPHA} or more, no difference could be shown{power_note(subjects, others)}."
    )


def describe_variants(variants: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Describe how each variant differs from the first one.

    >>> describe_variants({"whole": {"width": 8, "heads": 2}, "narrow": {"width": 4, "heads": 2}})
    {'whole': '-', 'narrow': 'width 4'}
    """
    first: Mapping[str, Any] = next(iter(variants.values()), {})
    return {
        name: ", ".join(f"{key} {value}" for key, value in values.items() if value != first[key]) or "-"
        for name, values in variants.items()
    }
