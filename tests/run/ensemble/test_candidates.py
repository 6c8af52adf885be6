"""Candidates of an ensemble: every cell that is among the best at the end was among them when it finished."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from helo.run.ensemble.candidates import CandidateCells

# Few different losses, so that there are ties.
CELLS = st.lists(
    st.tuples(st.integers(0, 30), st.integers(0, 2), st.sampled_from([0.1, 0.2, 0.3, 0.4, 0.5])),
    unique_by=lambda cell: cell[:2],
    max_size=60,
)


def best(cells: list[tuple[int, int, float]], size: int) -> set[tuple[int, int]]:
    """The best cells of each fold by loss, then by number."""
    found = set()
    for fold in {fold for _, fold, _ in cells}:
        ranked = sorted((loss, configuration) for configuration, one, loss in cells if one == fold)
        found |= {(configuration, fold) for _, configuration in ranked[:size]}
    return found


@given(CELLS, st.integers(1, 4))
def test_the_best_cells_at_the_end_were_kept_in_any_order(cells: list[tuple[int, int, float]], size: int) -> None:
    candidates = CandidateCells(size)
    kept = {(configuration, fold) for configuration, fold, loss in cells if candidates.add(configuration, fold, loss)}
    assert best(cells, size) <= kept
    rejected = {cell[:2] for cell in cells} - kept
    assert not rejected & best(cells, size)


@given(CELLS, st.integers(0, 60))
def test_a_resumed_search_keeps_the_same_cells(cells: list[tuple[int, int, float]], finished: int) -> None:
    """State that is rebuilt from the finished cells, in another order, decides like the uninterrupted one."""
    whole, resumed = CandidateCells(3), CandidateCells(3)
    for cell in cells[:finished]:
        whole.add(*cell)
    for cell in reversed(cells[:finished]):
        resumed.add(*cell)
    assert [whole.add(*cell) for cell in cells[finished:]] == [resumed.add(*cell) for cell in cells[finished:]]


def test_few_of_many_cells_are_kept_and_a_loss_that_is_not_a_number_never() -> None:
    candidates = CandidateCells(2)
    assert [candidates.add(number, 0, loss) for number, loss in enumerate([0.1, 0.2, 0.3, 0.15, 0.2])] == [
        *(True, True, False, True, False)
    ]
    assert not candidates.add(9, 1, float("nan"))
    assert candidates.add(3, 0, 0.15)  # a cell that is recorded twice
