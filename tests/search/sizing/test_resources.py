"""How many cells at a time: what fits, and never more than fits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helo.cluster.filling import Node
from helo.errors import InputError
from helo.search.sizing.resources import (
    MARGIN,
    Machines,
    Resources,
    require_room,
    round_down,
    settle,
    share_that_fits,
)

GIB = 2**30


@given(st.integers(1, 80 * GIB), st.integers(1, 141 * GIB), st.integers(1, 64))
def test_as_many_cells_as_a_gpu_holds(need: int, total: int, cells_per_gpu: int) -> None:
    if need > total:
        with pytest.raises(InputError, match="the largest configuration needs"):
            share_that_fits(need, total, cells_per_gpu)
        return
    share = share_that_fits(need, total, cells_per_gpu)
    parts = settle(Resources(None, 1, None), share, Machines([Node(10_000, 1)])).concurrency
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
    assert settle(Resources(None, 1, None), share, Machines([Node(1000, 1)])) == Resources(parts, 1, share)


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
    assert settle(wish, share, Machines([Node(cpus, gpus)])) == Resources(concurrency, wish.cpus_per_cell, share)


def test_cells_fit_on_nodes_and_not_on_their_sum() -> None:
    quarters = Machines([Node(cpus=1)] * 4)
    assert quarters.fits(1, 0) == 4
    assert quarters.fits(4, 0) == 0
    gpus = Machines([Node(cpus=64), Node(cpus=8, gpus=1), Node(cpus=2, gpus=4)])
    assert gpus.fits(1, 0) == 74
    assert gpus.fits(1, 0.25) == 4 + 2
    assert gpus.fits(1, 2.0) == 2


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3)), max_size=5), st.integers(1, 4), st.integers(1, 5))
def test_shares_are_of_single_gpus(nodes: list[tuple[int, int]], cpus: int, parts: int) -> None:
    """Against handing out one cell after the other."""
    expected = 0
    for node_cpus, node_gpus in nodes:
        left, free = node_cpus, [parts] * node_gpus
        while left >= cpus and any(free):
            left -= cpus
            free[next(number for number, room in enumerate(free) if room)] -= 1
            expected += 1
    machines = Machines([Node(*node) for node in nodes])
    assert machines.fits(cpus, round_down(1 / parts)) == expected


def test_an_autoscaler_counts_with_all_that_it_may_start() -> None:
    groups = [(Node(cpus=8, gpus=1), 4), (Node(cpus=64), 2)]
    cluster = Machines([Node(cpus=0)], groups, most=4)
    assert cluster.fits(1, 0) == 64 + 64 + 8 + 8
    assert cluster.fits(1, 0.5) == 8
    assert cluster.feeds(2) == 4
    assert settle(Resources(None, 1, None), 0.5, cluster).concurrency == 8
    assert Machines([Node(cpus=100)], groups, most=1).fits(1, 0) == 100
    assert Machines([], groups, most=1, head=Node(cpus=3)).fits(1, 0) == 64 + 3


def test_a_cluster_without_room_is_refused_unless_somebody_says_how_many_wait() -> None:
    head = Machines([Node(cpus=0), Node(cpus=1)])
    with pytest.raises(InputError, match=r"no node for a cell \(2 CPUs\)") as caught:
        require_room(Resources(None, 2, None), 0, head)
    assert "--concurrency" in str(caught.value)
    require_room(Resources(3, 2, None), 0, head)
    require_room(Resources(None, 1, None), 0, head)
    require_room(Resources(None, 2, None), 0, Machines(head.now, [(Node(cpus=2), 1)], most=1))
