"""What a comparison shows, and the interval of a skill."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import bootstrap

from helo.analysis.statistics.finding import Finding, fewest_subjects, judge_difference, skill_interval


@pytest.mark.parametrize(
    ("subjects", "gain", "p", "effect", "finding"),
    [
        (15, 0.01, 0.01, 0.7, Finding.BETTER),
        (15, -0.01, 0.01, -0.7, Finding.WORSE),
        (15, 0.01, 0.05, 0.5, Finding.UNCLEAR),
        (15, 0.01, 0.01, -0.7, Finding.UNCLEAR),  # the mean and most subjects disagree
        (15, 0.01, math.nan, math.nan, Finding.UNCLEAR),
        (5, 0.01, 0.0625, 1.0, Finding.TOO_FEW),
        (0, math.nan, math.nan, math.nan, Finding.UNTESTED),
    ],
)
def test_a_finding_has_a_direction_and_enough_subjects(
    subjects: int, gain: float, p: float, effect: float, finding: Finding
) -> None:
    assert judge_difference(subjects, gain, p, effect) == finding


def test_fewer_subjects_cannot_be_significant() -> None:
    assert judge_difference(fewest_subjects() - 1, 0.1, 0.01, 1.0) == Finding.TOO_FEW
    assert judge_difference(fewest_subjects(), 0.1, 0.01, 1.0) == Finding.BETTER


@pytest.mark.parametrize("metric", ["kl", "cosine"])
def test_the_interval_of_a_skill_agrees_with_scipy(metric: str) -> None:
    rng = np.random.default_rng(0)
    both = pd.DataFrame(rng.uniform(0.1, 0.8, (20, 2)), columns=["search", "train_mean"])
    perfect = 0.0 if metric == "kl" else 1.0

    def skill(search: np.ndarray, mean: np.ndarray, axis: int) -> np.ndarray:
        return 1 - (search.mean(axis) - perfect) / (mean.mean(axis) - perfect)

    expected = bootstrap(
        (both["search"], both["train_mean"]), skill, paired=True, vectorized=True, method="percentile", rng=rng
    ).confidence_interval
    low, high = skill_interval(both, metric)
    width = expected.high - expected.low
    assert low == pytest.approx(expected.low, abs=0.05 * width)
    assert high == pytest.approx(expected.high, abs=0.05 * width)


@pytest.mark.parametrize("rows", [[], [(0.1, 0.2)], [(0.1, 0.2), (math.inf, 0.2)], [(0.1, 0.0), (0.1, 0.0)]])
def test_there_is_no_interval_of_an_undefined_skill(rows: list[tuple[float, float]]) -> None:
    assert all(map(math.isnan, skill_interval(pd.DataFrame(rows, columns=["search", "train_mean"]), "kl")))
