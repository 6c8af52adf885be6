"""An ablation in words: what each variant changes, and what a row of its table says; for terminal and report."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, NamedTuple

import pandas as pd
from helo.analysis.statistics.signed_rank import ALPHA
from helo.analysis.wording import effect_size, p_value, powerless, signed

from helo.metrics import METRICS


class Difference(NamedTuple):
    """What a row of the `ablation` table says against the first variant, in words; dashes where it says nothing."""

    lost: str
    between: str
    worse: str
    p: str
    effect: str


def difference(row: Mapping[Hashable, Any]) -> Difference:
    """The words for one row of the `ablation` table, the same for the terminal and the report."""
    if pd.isna(row["loss"]):
        return Difference(*["–"] * len(Difference._fields))
    return Difference(
        signed(row["loss"]),
        f"{signed(row['loss_low'])} to {signed(row['loss_high'])}",
        f"{row['worse']:.0f} of {row['subjects']}",
        p_value(row["p_holm"]),
        effect_size(row["effect"]),
    )


def explanation(table: pd.DataFrame, objective: str, first: str) -> str:
    """What the columns of the `ablation` table mean; `first` names the first variant."""
    subjects, others = int(table["subjects"].max()), len(table) - 1
    return (
        f"Mean test scores over the subjects that a variant shares with {first}. Lost: by how much"
        f" {METRICS[objective].label} is worse on them than with it (+ is worse), with the 95 % bootstrap interval over"
        f" subjects; p: Wilcoxon's signed-rank test over subjects, by Holm's correction for {others} variants; effect:"
        f" from -1 (better for all) to +1 (worse for all), of subjects for whom it differs. Where p is {ALPHA} or more,"
        f" no difference could be shown{powerless(subjects, others)}."
    )


def changes(variants: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """What each variant changes against the first one, in words."""
    whole: Mapping[str, Any] = next(iter(variants.values()), {})
    return {
        name: ", ".join(f"{key} {value}" for key, value in values.items() if value != whole[key]) or "-"
        for name, values in variants.items()
    }
