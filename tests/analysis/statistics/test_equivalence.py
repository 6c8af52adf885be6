"""Practical equivalence: against another implementation, and in its limits."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from baycomp import SignedRankTest

from helo.analysis.statistics.equivalence import FEWEST, REGION, SURE, bayesian_signed_rank, compare_practically


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("shift", [-0.02, 0.0, 0.03])
def test_probabilities_agree_with_baycomp(seed: int, shift: float) -> None:
    values = np.random.default_rng(seed).normal(shift, 0.03, 12)
    ours = bayesian_signed_rank(values)
    left, rope, right = SignedRankTest.probs(np.zeros(12), values, rope=REGION, nsamples=4000, random_state=1)
    # baycomp names the sides after its arguments: the second one is larger on the right.
    assert (ours.worse, ours.same, ours.better) == pytest.approx((left, rope, right), abs=0.03)
    assert sum(ours) == pytest.approx(1)


def test_many_small_differences_are_the_same_and_many_large_ones_are_not() -> None:
    rng = np.random.default_rng(0)
    assert bayesian_signed_rank(rng.normal(0, REGION / 4, 20)).same >= SURE
    assert bayesian_signed_rank(rng.normal(5 * REGION, REGION, 20)).better >= SURE
    assert bayesian_signed_rank(rng.normal(-5 * REGION, REGION, 20)).worse >= SURE


def test_few_wide_differences_decide_nothing() -> None:
    values = np.random.default_rng(1).normal(0, 10 * REGION, 8)
    assert max(bayesian_signed_rank(values)) < SURE


def test_signs_may_be_turned() -> None:
    values = np.random.default_rng(2).normal(REGION, 2 * REGION, 15)
    one, turned = bayesian_signed_rank(values), bayesian_signed_rank(-values)
    assert (one.better, one.same, one.worse) == pytest.approx((turned.worse, turned.same, turned.better), abs=0.02)


@pytest.mark.parametrize("values", [[], [0.1] * (FEWEST - 1), [0.1, 0.2, float("nan"), 0.1, 0.1], [np.inf] * 6])
def test_what_cannot_be_judged_is_unknown(values: list[float]) -> None:
    assert np.isnan(bayesian_signed_rank(values)).all()


def test_each_reference_is_compared_on_the_scale_of_the_train_mean() -> None:
    rng = np.random.default_rng(4)
    subjects, base = [f"S{number}" for number in range(15)], rng.uniform(0.5, 1.5, 15)
    losses = {
        "per_fold_selection": 0.80 * base,
        "train_mean": base,
        "ridge": 0.80 * base + rng.normal(0, 0.002, 15),
        "knn": 0.5 * base,
    }
    parts = [pd.DataFrame({"estimate": name, "fold": subjects, "kl": values}) for name, values in losses.items()]
    table = compare_practically(pd.concat(parts, ignore_index=True), "kl").set_index("reference")
    assert list(table.index) == ["train_mean", "knn", "ridge"]
    assert table.loc["train_mean", "difference"] == pytest.approx(0.2)
    assert table.loc["train_mean", "p_better"] >= SURE
    assert table.loc["ridge", "p_same"] >= SURE
    assert table.loc["knn", "p_worse"] >= SURE
