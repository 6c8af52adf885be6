"""Codes for missing values, and one person under several names."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from helo.data.dataset import Dataset
from helo.data.simulated import simulate
from helo.data.suspects import find_missing_codes, find_shared_persons

DATASET = simulate(subjects=3, clips=2, windows=5)


def with_values(first: float, *values: float) -> Dataset:
    features = DATASET.features.copy()
    features[:, 0] = np.linspace(50, 180, len(features))
    features[: 1 + len(values), 0] = [first, *values]
    return replace(DATASET, features=features)


@pytest.mark.parametrize("code", [-999, -99, 9999, -32768])
def test_codes_for_missing_values(code: float) -> None:
    assert find_missing_codes(with_values(code, code, np.nan)) == {"ecg_0": (code, 2)}


def test_values_that_belong_to_the_others() -> None:
    assert find_missing_codes(DATASET) == {}
    assert find_missing_codes(with_values(99)) == {}
    assert find_missing_codes(with_values(999, 980, 700, 400)) == {}
    assert find_missing_codes(with_values(-99, -98, -50, 0)) == {}


@pytest.mark.parametrize(
    ("names", "groups"),
    [
        (["1", "001", "1.0", "2"], [("1", "001", "1.0")]),
        (["S01", "s1", "S10"], [("S01", "s1")]),
        (["S2_ses1", "S2_ses2", "S3_ses1"], [("S2_ses1", "S2_ses2")]),
        (["a-day1", "a Day 02", "b_run3", "b_trial_4"], [("a-day1", "a Day 02"), ("b_run3", "b_trial_4")]),
        (["S2", "S3", "P1_a", "P1_b", "day1", "day2", "1.5", "1.05", "10", "100"], []),
    ],
)
def test_persons_under_several_names(names: list[str], groups: list[tuple[str, ...]]) -> None:
    assert find_shared_persons(names) == groups
