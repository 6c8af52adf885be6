"""Tests of rungs: their epochs, and the limits that earlier cells set."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helo.search.planning.rungs import MIN_CELLS_AT_RUNG, REDUCTION_FACTOR, FoldRungs, rung_epochs


def limits(curves: Sequence[Sequence[float]], finished: Sequence[bool], epochs: int) -> dict[int, float]:
    """Return the limits for a cell, and check that they do not depend on when limits are read."""
    earlier, late = FoldRungs(), FoldRungs()
    for curve, ended in zip(curves, finished, strict=True):
        earlier.limits(epochs)
        earlier.add(curve, ended)
        late.add(curve, ended)
    found = earlier.limits(epochs)
    assert late.limits(epochs) == found
    return found


def flat(*losses: float, epochs: int = 8) -> list[list[float]]:
    """Return loss curves that are constant over the epochs."""
    return [[loss] * (epochs + 1) for loss in losses]


@pytest.mark.parametrize(
    ("epochs", "expected"),
    [(1, (1,)), (2, (1, 2)), (3, (1, 3)), (4, (1, 2, 4)), (5, (1, 2, 5)), (16, (4, 8, 16)), (100, (25, 50, 100))],
)
def test_rung_epochs(epochs: int, expected: tuple[int, ...]) -> None:
    assert rung_epochs(epochs) == expected


@given(st.integers(1, 10_000))
def test_last_rung_is_the_last_epoch_of_the_first_members(epochs: int) -> None:
    found = rung_epochs(epochs)
    assert list(found) == sorted(set(found))
    assert found[0] > 0
    assert found[-1] == epochs


def test_earlier_cell_counts_with_its_loss_at_the_rung() -> None:
    """Its best epoch up to the rung does not count: the weights of the last epoch are used."""
    curves = [[9.0, 3.0, 5.0, 1.0, 0.0], [9.0, 8.0, 4.0, 7.0, 6.0]]
    assert limits(curves, [True, True], 4) == {1: 3.0, 2: 4.0, 4: 0.0}
    assert limits(curves, [True, True], 3) == {1: 3.0, 3: 1.0}


def test_too_few_earlier_cells_give_no_limit() -> None:
    assert MIN_CELLS_AT_RUNG == 1
    assert limits([], [], 8) == {}
    assert limits(flat(1.0), [True], 8) == {2: 1.0, 4: 1.0, 8: 1.0}
    assert limits([[1.0, 1.0, 1.0]], [False], 8) == {2: 1.0}  # stopped at epoch 2


def test_best_quarter_continues() -> None:
    """The cell itself counts: with seven earlier cells, two of eight continue."""
    assert limits(flat(*range(1, 8)), [True] * 7, 8) == {2: 2, 4: 2, 8: 2}
    assert limits(flat(*range(1, 4)), [True] * 3, 8) == {2: 1, 4: 1, 8: 1}
    assert limits(flat(*range(1, 5)), [True] * 4, 8) == {2: 2, 4: 2, 8: 2}


def test_stopped_cell_does_not_count_at_later_rungs() -> None:
    curves = [*flat(5.0, 6.0), [1.0, 1.0, 1.0]]
    assert limits(curves, [True, True, False], 8) == {2: 1.0, 4: 5.0, 8: 5.0}  # the third cell stopped at epoch 2
    assert limits([*flat(5.0), [1.0, 1.0, 1.0]], [True, False], 8) == {2: 1.0, 4: 5.0, 8: 5.0}


def test_cell_that_stopped_after_all_epochs_of_its_first_members_counts_at_every_rung() -> None:
    assert limits([*flat(5.0, 1.0)], [True, False], 8) == {2: 1.0, 4: 1.0, 8: 1.0}


def test_cell_of_fewer_epochs_counts_at_later_rungs_with_its_last_loss() -> None:
    curves = [*flat(5.0), [1.0, 2.0]]
    assert limits(curves, [True, True], 8) == {2: 2.0, 4: 2.0, 8: 2.0}


def test_earlier_cells_may_have_more_or_fewer_epochs() -> None:
    curves = [[3.0, 2.0], [float(loss) for loss in range(200, 0, -1)]]
    assert limits(curves, [True, True], 100) == {25: 2.0, 50: 2.0, 100: 2.0}


@given(st.lists(st.floats(-5, 5), min_size=MIN_CELLS_AT_RUNG, max_size=40), st.floats(-5, 5))
def test_cell_continues_if_it_is_in_the_best_quarter(losses: list[float], loss_of_cell: float) -> None:
    limit = limits(flat(*losses), [True] * len(losses), 8)[2]
    better = sum(loss < loss_of_cell for loss in losses)
    assert (loss_of_cell <= limit) is (better < math.ceil((len(losses) + 1) / REDUCTION_FACTOR))


@given(st.permutations([(1.0, True), (2.0, False), (3.0, True), (4.0, False), (5.0, True), (7.0, True)]))
def test_order_of_earlier_cells_does_not_matter(earlier: list[tuple[float, bool]]) -> None:
    curves, finished = flat(*(loss for loss, _ in earlier), epochs=3), [ended for _, ended in earlier]
    # At epoch 2 all six count, and the two best continue. After that the four cells that did not stop count.
    assert limits(curves, finished, 8) == {2: 2.0, 4: 3.0, 8: 3.0}
