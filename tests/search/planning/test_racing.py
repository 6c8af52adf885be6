"""Tests of racing: the folds of looks, and which configurations are dropped."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helo.search.planning.racing import MAX_LOOK_LEVEL, MIN_FIRST_LOOK, RACE_LEVEL, Looks, find_inferior


@pytest.mark.parametrize("folds", range(1, 200))
def test_looks_double_and_can_reject(folds: int) -> None:
    found = Looks.for_folds(folds)
    assert all(later == 2 * earlier for earlier, later in zip(found.folds, found.folds[1:], strict=False))
    assert all(MIN_FIRST_LOOK <= look < folds for look in found.folds)
    assert found.level <= MAX_LOOK_LEVEL
    assert found.level * len(found.folds) <= RACE_LEVEL
    if found.folds:
        assert 2 * found.folds[-1] >= folds  # no look is missing at the end
        assert 2.0 ** -found.folds[0] < found.level  # rejected if all folds agree


@pytest.mark.parametrize(
    ("folds", "expected"),
    [
        (1, Looks((), 0.1)),
        (4, Looks((), 0.1)),
        (5, Looks((4,), 0.1)),
        (8, Looks((4,), 0.1)),
        (9, Looks((4, 8), 0.1)),
        (15, Looks((4, 8), 0.1)),
        (17, Looks((4, 8, 16), RACE_LEVEL / 3)),
        (73, Looks((5, 10, 20, 40), 0.05)),
    ],
)
def test_looks(folds: int, expected: Looks) -> None:
    assert Looks.for_folds(folds) == expected


def test_first_look_is_the_earliest_that_can_reject() -> None:
    """If the first look is later than `MIN_FIRST_LOOK`, a look one fold earlier could not drop a configuration."""
    later = [
        folds
        for folds in range(1, 500)
        if Looks.for_folds(folds).folds and Looks.for_folds(folds).folds[0] > MIN_FIRST_LOOK
    ]
    assert later
    for folds in later:
        first = Looks.for_folds(folds).folds[0] - 1
        count = sum(first * 2**power < folds for power in range(32))
        assert 2.0**-first >= min(MAX_LOOK_LEVEL, RACE_LEVEL / count)


def test_worse_on_every_subject_is_inferior() -> None:
    best = [0.1, 0.2, 0.3, 0.2, 0.1]
    worse = [loss + 0.01 for loss in best]
    assert find_inferior({0: best, 1: worse}, level=0.05) == {1}
    assert find_inferior({0: worse, 1: best}, level=0.05) == {0}


def test_p_value_equal_to_the_level_is_not_inferior() -> None:
    for folds in (4, 5, 6):
        pair = {0: [0.0] * folds, 1: [float(step) for step in range(1, folds + 1)]}
        assert find_inferior(pair, 2.0**-folds) == set()
        assert find_inferior(pair, 2.0**-folds * 1.001) == {1}


def test_worse_on_some_subjects_is_not_inferior() -> None:
    best = [0.0, 0.0, 0.0, 0.0, 0.0]
    assert find_inferior({0: best, 1: [1.0, 1.0, -0.5, -0.5, 1.0]}, level=0.1) == set()
    assert find_inferior({0: best, 1: [0.0, 0.0, 0.0, 0.0, 9.0]}, level=0.1) == set()  # one bad subject


def test_folds_without_a_difference_count_for_both_sides() -> None:
    """If ties were left out, four folds that agree would suffice, whatever the number of ties."""
    assert find_inferior({0: [0.0] * 16, 1: [0.0] * 12 + [1.0, 2.0, 3.0, 4.0]}, level=0.05) == set()
    assert find_inferior({0: [0.0] * 16, 1: [0.0] * 11 + [1.0, 2.0, 3.0, 4.0, 5.0]}, level=0.05) == {1}


def test_best_mean_is_kept_although_it_is_worse_on_most_subjects() -> None:
    """It is far better in one fold. Every configuration is compared with the best mean only."""
    losses = {0: [0.9] * 7 + [9.0], 1: [1.0] * 7 + [0.0]}
    assert find_inferior(losses, level=0.1) == set()


def test_equal_configurations_are_not_inferior() -> None:
    assert find_inferior({4: [1.0] * 6, 2: [1.0] * 6, 3: [1.0] * 6}, level=0.1) == set()
    assert find_inferior({4: [1.0] * 6, 2: [1.0] * 6, 3: [2.0] * 6}, level=0.1) == {3}
    # Equal on average, but slightly worse in nearly every fold: the test alone would reject.
    assert find_inferior({0: [0.0] * 16, 1: [1.0] * 15 + [-15.0]}, level=0.1) == set()


def test_empty_race_and_single_configuration() -> None:
    assert find_inferior({}, level=0.1) == set()
    assert find_inferior({7: [9.0] * 6}, level=0.1) == set()


def test_offset_of_a_subject_has_no_effect() -> None:
    """Only differences matter: an offset that a subject adds to all losses cancels."""
    generator = np.random.default_rng(0)
    table = generator.integers(0, 64, size=(12, 8)) / 64 + np.arange(12)[:, None] / 32  # exact in binary
    plain = find_inferior(dict(enumerate(table.tolist())), 0.1)
    offsets = generator.integers(0, 1024, size=8) / 8
    assert find_inferior(dict(enumerate((table + offsets).tolist())), 0.1) == plain
    assert find_inferior(dict(enumerate(table[:, ::-1].tolist())), 0.1) == plain
    assert 0 < len(plain) < 11


@settings(max_examples=25, deadline=None)
@given(
    st.integers(4, 10).flatmap(
        lambda folds: st.dictionaries(
            st.integers(0, 50),
            st.lists(st.floats(-5, 5, width=32), min_size=folds, max_size=folds),
            min_size=1,
            max_size=6,
        )
    ),
    st.sampled_from([0.05, 0.1]),
)
def test_best_is_never_inferior_and_inferior_ones_have_a_worse_mean(
    losses: dict[int, list[float]], level: float
) -> None:
    means = {number: float(np.mean(values)) for number, values in losses.items()}
    found = find_inferior(losses, level)
    assert found < set(losses)
    assert all(means[number] > min(means.values()) for number in found)
    assert found <= find_inferior(losses, 2 * level)
    # Each decision depends on the best configuration only, and not on the others.
    best = min(means, key=lambda number: (means[number], number))
    assert found == {n for n in losses if n != best and find_inferior({best: losses[best], n: losses[n]}, level) == {n}}
