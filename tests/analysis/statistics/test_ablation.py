"""The ablation table: the same subjects for all variants, and losses with their sign."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import wilcoxon
from statsmodels.stats.multitest import multipletests

from helo.analysis.statistics.ablation import compare_variants, first_variant_cells, variant_of
from helo.analysis.statistics.estimates import variant_scores
from helo.analysis.wording import describe_variants, loss_words, verdict
from helo.metrics import METRICS

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
    table = compare_variants(cells(LOSSES), VARIANTS, "kl")
    assert table["variant"].tolist() == list(VARIANTS)
    np.testing.assert_allclose(table["kl"], [0.2, 0.3, 0.5 / 3])
    np.testing.assert_allclose(table["loss"], [np.nan, 0.1, -0.1 / 3])
    assert table["worse"].tolist()[1:] == [2, 0]
    assert (table["subjects"] == 3).all()
    assert (table["loss_low"][1:] <= table["loss"][1:]).all()
    assert (table["loss_high"][1:] >= table["loss"][1:]).all()


def test_tests_of_losses_agree_with_scipy_and_statsmodels() -> None:
    rng = np.random.default_rng(0)
    whole = rng.uniform(0.1, 0.3, 12)
    losses = {
        "whole": whole.tolist(),
        "no transport": (whole + rng.uniform(0, 0.1, 12)).tolist(),
        "no alignment": (whole + rng.normal(0, 0.1, 12)).tolist(),
    }
    table = compare_variants(cells(losses), VARIANTS, "kl")
    p = [wilcoxon(np.array(losses[name]) - whole).pvalue for name in ("no transport", "no alignment")]
    np.testing.assert_allclose(table["p"], [np.nan, *p])
    np.testing.assert_allclose(table["p_holm"], [np.nan, *multipletests(p, method="holm")[1]])
    assert table["effect"][1] == 1  # worse for all: the first one is better
    assert loss_words(table.to_dict("records")[0]) == ("–",) * 5
    message = loss_words(table.to_dict("records")[1])
    assert message.lost.startswith("+")
    assert (message.worse, message.p, message.effect) == ("12 of 12", "< 0.001", "+1.00")


def test_equal_variants_have_no_loss() -> None:
    table = compare_variants(cells(dict.fromkeys(VARIANTS, LOSSES["whole"])), VARIANTS, "kl")
    assert table["p_holm"].tolist()[1:] == [1, 1]
    assert table["effect"].tolist()[1:] == [0, 0]


def test_lower_similarity_is_a_loss() -> None:
    assert compare_variants(cells(LOSSES), VARIANTS, "cosine")["loss"].tolist()[1:] == pytest.approx([-0.1, 0.1 / 3])


def test_variants_are_compared_on_common_subjects() -> None:
    """A cell that failed, or a run that was cut short: all rows are about the subjects that all variants have."""
    some = cells(LOSSES)
    some.loc[(some["configuration"] == 2) & (some["fold"] == "S2"), "status"] = "failed"
    table = compare_variants(some, VARIANTS, "kl")
    assert table["subjects"].tolist() == [2, 2, 2]
    np.testing.assert_allclose(table["kl"], [0.15, 0.2, 0.1])
    np.testing.assert_allclose(table["loss"], [np.nan, 0.05, -0.05])


def test_variant_without_cells_leaves_the_scores_of_other_variants() -> None:
    table = compare_variants(cells({name: LOSSES[name] for name in ("whole", "no transport")}), VARIANTS, "kl")
    assert table["subjects"].tolist() == [3, 3, 0]
    np.testing.assert_allclose(table["kl"], [0.2, 0.3, np.nan])
    assert table["worse"].tolist()[1:] == [2, 0]


def test_without_cells_of_the_first_variant_nothing_is_lost() -> None:
    some = cells({name: LOSSES[name] for name in ("no transport", "no alignment")})
    some["configuration"] += 1
    table = compare_variants(some, VARIANTS, "kl")
    assert table["subjects"].tolist() == [0, 3, 3]
    assert table[["loss", "worse", "p", "p_holm"]].isna().all(axis=None)


def test_variants_are_named_and_described() -> None:
    params = {"param_transport": "none", "param_alignment_weight": 1.0, "param_width": 8}
    assert variant_of(params, VARIANTS) == "no transport"
    assert variant_of({**params, "param_alignment_weight": 0.5}, VARIANTS) == ""
    assert describe_variants(VARIANTS) == {
        "whole": "-",
        "no transport": "transport none",
        "no alignment": "alignment_weight 0.0",
    }


def test_the_verdict_is_about_the_first_variant() -> None:
    found = cells(LOSSES)
    chosen = pd.DataFrame({"estimate": "per_fold_selection", "fold": ["S0"], **{m: [0.9] for m in METRICS}})
    trivial = pd.DataFrame({"estimate": "train_mean", "fold": ["S0", "S1", "S2"], **{m: [0.25] * 3 for m in METRICS}})
    scores = variant_scores(first_variant_cells(found, VARIANTS), pd.concat([chosen, trivial]))
    message = verdict(scores, "kl", "the first variant (whole)")
    assert "On KL, the first variant (whole) beats the train mean" in message
    assert "for 2 of 3 subjects (mean 0.2000 against 0.2500" in message
