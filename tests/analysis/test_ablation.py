"""The ablation table: the same subjects for all variants, and losses with their sign."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.ablation import ablation
from helo.names import METRICS

VARIANTS = {
    "whole": {"transport": "linear", "alignment_weight": 1.0},
    "no transport": {"transport": "none", "alignment_weight": 1.0},
    "no alignment": {"transport": "linear", "alignment_weight": 0.0},
}


def cells(losses: dict[str, list[float]], status: str = "completed") -> pd.DataFrame:
    """A cell per variant and subject, with the test score in all metrics."""
    rows: list[dict[str, Any]] = []
    for number, (name, values) in enumerate(losses.items()):
        for subject, value in enumerate(values):
            params = {f"param_{key}": entry for key, entry in VARIANTS[name].items()}
            scores = {f"test_{metric}": value for metric in METRICS}
            rows.append({"configuration": number, "fold": f"S{subject}", "status": status, **params, **scores})
    return pd.DataFrame(rows)


LOSSES = {"whole": [0.1, 0.2, 0.3], "no transport": [0.2, 0.2, 0.5], "no alignment": [0.1, 0.1, 0.3]}


def test_a_row_per_variant_in_the_order_of_the_space() -> None:
    table = ablation(cells(LOSSES), VARIANTS, "kl")
    assert table["variant"].tolist() == list(VARIANTS)
    np.testing.assert_allclose(table["kl"], [0.2, 0.3, 0.5 / 3])
    np.testing.assert_allclose(table["loss"], [np.nan, 0.1, -0.1 / 3])
    assert table["worse"].tolist()[1:] == [2, 0]
    assert (table["subjects"] == 3).all()
    assert (table["loss_low"][1:] <= table["loss"][1:]).all()
    assert (table["loss_high"][1:] >= table["loss"][1:]).all()


def test_of_a_similarity_less_is_lost() -> None:
    assert ablation(cells(LOSSES), VARIANTS, "cosine")["loss"].tolist()[1:] == pytest.approx([-0.1, 0.1 / 3])


def test_only_subjects_that_all_variants_have_count() -> None:
    some = cells(LOSSES)
    some.loc[(some["configuration"] == 2) & (some["fold"] == "S2"), "status"] = "failed"
    table = ablation(some, VARIANTS, "kl")
    assert (table["subjects"] == 2).all()
    np.testing.assert_allclose(table["kl"], [0.15, 0.2, 0.1])


def test_a_variant_without_cells_leaves_nothing_to_compare() -> None:
    some = cells({name: LOSSES[name] for name in ("whole", "no transport")})
    table = ablation(some, VARIANTS, "kl")
    assert table["kl"].isna().all()
    assert (table["subjects"] == 0).all()
