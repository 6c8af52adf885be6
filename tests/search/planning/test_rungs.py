"""Rungs: which epochs are compared, with whom, and who goes on."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helo.search.planning.rungs import MIN_CELLS_AT_RUNG, REDUCTION_FACTOR, FoldRungs, rung_epochs


def limits(curves: Sequence[Sequence[float]], finished: Sequence[bool], epochs: int) -> dict[int, float]:
    """What the rivals leave to a cell; asked for before and after the last of them comes."""
    rivals, late = FoldRungs(), FoldRungs()
    for curve, ended in zip(curves, finished, strict=True):
        rivals.limits(epochs)
        rivals.add(curve, ended)
        late.add(curve, ended)
    found = rivals.limits(epochs)
    assert late.limits(epochs) == found
    return found


def flat(*losses: float, epochs: int = 8) -> list[list[float]]:
    """FoldRungs whose loss is the same in every epoch."""
    return [[loss] * (epochs + 1) for loss in losses]


@pytest.mark.parametrize(
    ("epochs", "expected"),
    [(1, ()), (2, (1,)), (3, (1,)), (4, (1, 2)), (5, (1, 2)), (8, (2, 4)), (16, (4, 8)), (100, (25, 50))],
)
def test_rung_epochs(epochs: int, expected: tuple[int, ...]) -> None:
    assert rung_epochs(epochs) == expected


@given(st.integers(1, 10_000))
def test_rungs_lie_between_the_start_and_the_end(epochs: int) -> None:
    found = rung_epochs(epochs)
    assert list(found) == sorted(set(found))
    assert all(0 < rung < epochs for rung in found)


def test_a_rival_counts_with_its_best_epoch_up_to_the_rung() -> None:
    curves = [[9.0, 3.0, 5.0, 1.0, 0.0], [9.0, 8.0, 4.0, 7.0, 6.0]]
    assert limits(curves, [True, True], 4) == {1: 3.0, 2: 3.0}
    assert limits(curves, [True, True], 6) == {1: 3.0, 3: 1.0}


def test_too_few_rivals_stop_nobody() -> None:
    assert MIN_CELLS_AT_RUNG == 2
    assert limits([], [], 8) == {}
    assert limits(flat(1.0), [True], 8) == {}
    assert limits(flat(1.0, 2.0), [True, True], 8) == {2: 1.0, 4: 1.0}


def test_one_in_four_goes_on() -> None:
    """The cell itself is one of them: of seven rivals and it, two."""
    assert limits(flat(*range(1, 8)), [True] * 7, 8) == {2: 2, 4: 2}
    assert limits(flat(*range(1, 4)), [True] * 3, 8) == {2: 1, 4: 1}
    assert limits(flat(*range(1, 5)), [True] * 4, 8) == {2: 2, 4: 2}


def test_a_rival_that_stopped_before_a_rung_is_none_there() -> None:
    curves = [*flat(5.0, 6.0), [1.0, 1.0, 1.0]]
    assert limits(curves, [True, True, False], 8) == {2: 1.0, 4: 5.0}  # it came to epoch 2 and no further
    assert limits([*flat(5.0), [1.0, 1.0, 1.0]], [True, False], 8) == {2: 1.0}


def test_a_rival_whose_patience_ended_counts_with_its_best_at_every_rung() -> None:
    curves = [*flat(5.0), [1.0, 2.0]]
    assert limits(curves, [True, True], 8) == {2: 1.0, 4: 1.0}


def test_rivals_may_have_more_or_fewer_epochs() -> None:
    curves = [[3.0, 2.0], [float(loss) for loss in range(200, 0, -1)]]
    assert limits(curves, [True, True], 100) == {25: 2.0, 50: 2.0}


@given(st.lists(st.floats(-5, 5), min_size=MIN_CELLS_AT_RUNG, max_size=40), st.floats(-5, 5))
def test_a_cell_goes_on_if_it_is_among_the_best_quarter(losses: list[float], mine: float) -> None:
    limit = limits(flat(*losses), [True] * len(losses), 8)[2]
    better = sum(loss < mine for loss in losses)
    assert (mine <= limit) is (better < math.ceil((len(losses) + 1) / REDUCTION_FACTOR))


@given(st.permutations([(1.0, True), (2.0, False), (3.0, True), (4.0, False), (5.0, True), (7.0, True)]))
def test_the_order_of_rivals_does_not_matter(rivals: list[tuple[float, bool]]) -> None:
    curves, finished = flat(*(loss for loss, _ in rivals), epochs=3), [ended for _, ended in rivals]
    # Epoch 2: all six, the two best go on; epoch 4: those that stopped at epoch 3 are out, four are left.
    assert limits(curves, finished, 8) == {2: 2.0, 4: 3.0}
