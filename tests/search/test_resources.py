"""How many cells at a time: what fits, and never more than fits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helo.errors import InputError
from helo.search.resources import MARGIN, Resources, round_down, settle, share_that_fits

GIB = 2**30


@given(st.integers(1, 80 * GIB), st.integers(1, 141 * GIB), st.integers(1, 64))
def test_as_many_cells_as_a_gpu_holds(need: int, total: int, cells_per_gpu: int) -> None:
    if need > total:
        with pytest.raises(InputError, match="the largest configuration needs"):
            share_that_fits(need, total, cells_per_gpu)
        return
    share = share_that_fits(need, total, cells_per_gpu)
    parts = settle(Resources(None, 1, None), share, cpus=10_000, gpus=1).concurrency
    assert parts is not None
    assert 1 <= parts <= cells_per_gpu
    assert parts == 1 or parts * need * MARGIN <= total
    assert parts == cells_per_gpu or (parts + 1) * need * MARGIN > total * (1 - 1e-9)


def test_a_configuration_that_no_gpu_holds_is_refused_in_gib() -> None:
    with pytest.raises(InputError) as caught:
        share_that_fits(3 * GIB, 2 * GIB, 1)
    assert str(caught.value) == "the largest configuration needs 3.0 GiB, a GPU here has 2.0"


def test_the_margin_costs_room_but_no_cell_that_fits() -> None:
    assert share_that_fits(90, 100, 8) == 1.0
    assert share_that_fits(50, 100, 8) == 1.0  # two would fit to the byte, and not with the margin
    assert share_that_fits(40, 100, 8) == 0.5


@given(st.floats(1e-4, 1.0))
def test_round_down_keeps_four_decimals_and_never_rounds_up(share: float) -> None:
    rounded = round_down(share)
    assert 0 <= share - rounded < 1.001e-4
    assert rounded == round(rounded, 4)


@pytest.mark.parametrize("parts", range(1, 65))
def test_equal_parts_of_a_gpu_all_fit(parts: int) -> None:
    share = round_down(1 / parts)
    assert share * parts <= 1
    assert settle(Resources(None, 1, None), share, cpus=1000, gpus=1) == Resources(parts, 1, share)


@pytest.mark.parametrize(
    ("wish", "share", "cpus", "gpus", "concurrency"),
    [
        (Resources(None, 1, None), 0.0, 8, 0, 8),
        (Resources(None, 3, None), 0.0, 8, 0, 2),
        (Resources(None, 16, None), 0.0, 8, 0, 1),
        (Resources(None, 2, None), 0.25, 16, 1, 4),
        (Resources(None, 2, None), 0.25, 6, 1, 3),
        (Resources(None, 1, None), 0.25, 100, 3, 12),
        (Resources(None, 1, None), 2.0, 100, 8, 4),
        (Resources(None, 1, None), 2.0, 100, 1, 1),
        (Resources(None, 1, 0.0), 0.0, 8, 1, 8),
        (Resources(5, 2, None), 0.25, 2, 1, 5),
    ],
)
def test_settle(wish: Resources, share: float, cpus: int, gpus: float, concurrency: int) -> None:
    assert settle(wish, share, cpus, gpus) == Resources(concurrency, wish.cpus_per_cell, share)
