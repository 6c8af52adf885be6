"""Tests of the resources of a cell and of the number of cells that run at the same time."""

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
    choose_gpu_share,
    require_fitting_node,
    resolve_resources,
    round_down,
    this_machine,
)

GIB = 2**30


@given(st.integers(1, 80 * GIB), st.integers(1, 141 * GIB), st.integers(1, 64))
def test_gpu_share_lets_as_many_cells_as_possible_fit(need: int, total: int, cells_per_gpu: int) -> None:
    if need > total:
        with pytest.raises(InputError, match="the largest configuration must fit on a GPU"):
            choose_gpu_share(need, total, cells_per_gpu)
        return
    share = choose_gpu_share(need, total, cells_per_gpu)
    parts = resolve_resources(Resources(None, 1, None), share, Machines([Node(10_000, 1)])).concurrency
    assert parts is not None
    assert 1 <= parts <= cells_per_gpu
    assert parts == 1 or parts * need * MARGIN <= total
    assert parts == cells_per_gpu or (parts + 1) * need * MARGIN > total * (1 - 1e-9)


def test_configuration_larger_than_a_gpu_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        choose_gpu_share(3 * GIB, 2 * GIB, 1)
    assert str(caught.value) == (
        "the largest configuration must fit on a GPU of 2.0 GiB, but it needs 3.0 GiB; make width, attention_depth or "
        "batch_size smaller"
    )


def test_margin_reduces_cells_per_gpu_but_keeps_one() -> None:
    assert choose_gpu_share(90, 100, 8) == 1.0
    assert choose_gpu_share(50, 100, 8) == 1.0  # two cells fit exactly, but not with the margin
    assert choose_gpu_share(40, 100, 8) == 0.5


@given(st.floats(1e-4, 1.0))
def test_round_down_keeps_four_decimals_and_never_rounds_up(share: float) -> None:
    rounded = round_down(share)
    assert 0 <= share - rounded < 1.001e-4
    assert rounded == round(rounded, 4)


@pytest.mark.parametrize("parts", range(1, 65))
def test_equal_parts_of_a_gpu_all_fit(parts: int) -> None:
    share = round_down(1 / parts)
    assert share * parts <= 1
    assert resolve_resources(Resources(None, 1, None), share, Machines([Node(1000, 1)])) == Resources(parts, 1, share)


@pytest.mark.parametrize(
    ("requested", "share", "cpus", "gpus", "concurrency"),
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
def test_resolve_resources(requested: Resources, share: float, cpus: int, gpus: float, concurrency: int) -> None:
    assert resolve_resources(requested, share, Machines([Node(cpus, gpus)])) == Resources(
        concurrency, requested.cpus_per_cell, share
    )


def test_cells_are_counted_per_node() -> None:
    single_cpus = Machines([Node(cpus=1)] * 4)
    assert single_cpus.count_cells(1, 0) == 4
    assert single_cpus.count_cells(4, 0) == 0
    gpus = Machines([Node(cpus=64), Node(cpus=8, gpus=1), Node(cpus=2, gpus=4)])
    assert gpus.count_cells(1, 0) == 74
    assert gpus.count_cells(1, 0.25) == 4 + 2
    assert gpus.count_cells(1, 2.0) == 2


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3)), max_size=5), st.integers(1, 4), st.integers(1, 5))
def test_share_of_a_cell_lies_on_one_gpu(nodes: list[tuple[int, int]], cpus: int, parts: int) -> None:
    """Compare with placing one cell after the other."""
    expected = 0
    for node_cpus, node_gpus in nodes:
        left, free = node_cpus, [parts] * node_gpus
        while left >= cpus and any(free):
            left -= cpus
            free[next(number for number, room in enumerate(free) if room)] -= 1
            expected += 1
    machines = Machines([Node(*node) for node in nodes])
    assert machines.count_cells(cpus, round_down(1 / parts)) == expected


def test_nodes_that_the_autoscaler_may_start_are_counted() -> None:
    groups = [(Node(cpus=8, gpus=1), 4), (Node(cpus=64), 2)]
    cluster = Machines([Node(cpus=0)], groups, max_nodes=4)
    assert cluster.count_cells(1, 0) == 64 + 64 + 8 + 8
    assert cluster.count_cells(1, 0.5) == 8
    assert cluster.count_cells_per_gpu(2) == 4
    assert resolve_resources(Resources(None, 1, None), 0.5, cluster).concurrency == 8
    assert Machines([Node(cpus=100)], groups, max_nodes=1).count_cells(1, 0) == 100
    assert Machines([], groups, max_nodes=1, head=Node(cpus=3)).count_cells(1, 0) == 64 + 3


def test_cells_without_a_gpu_run_only_on_machines_that_are_marked_if_one_fits() -> None:
    gpu, marked = Node(cpus=4, gpus=1), Node(cpus=8, no_gpu=True)
    for cluster in (Machines([gpu, marked]), Machines([gpu], [(gpu, 2), (marked, 1)], max_nodes=2)):
        assert cluster.leaves_gpus_alone(1, 0)
        assert cluster.count_cells(1, 0) == 8
        assert cluster.count_cells(1, 0.5) > 0
        assert not cluster.leaves_gpus_alone(1, 0.5)
    larger = Machines([Node(cpus=16, gpus=1), marked])
    assert not larger.leaves_gpus_alone(16, 0)
    assert larger.count_cells(16, 0) == 1
    assert not Machines([gpu], [(marked, 0)], max_nodes=2).leaves_gpus_alone(1, 0)


def test_cluster_without_a_fitting_node_is_refused_unless_concurrency_is_given() -> None:
    head = Machines([Node(cpus=0), Node(cpus=1)])
    with pytest.raises(InputError, match=r"no node for a cell \(2 CPUs\)") as caught:
        require_fitting_node(Resources(None, 2, None), 0, head)
    assert "--concurrency" in str(caught.value)
    require_fitting_node(Resources(3, 2, None), 0, head)
    require_fitting_node(Resources(None, 1, None), 0, head)
    require_fitting_node(Resources(None, 2, None), 0, Machines(head.running, [(Node(cpus=2), 1)], max_nodes=1))


def test_this_machine_has_the_cpus_and_the_memory_that_its_limits_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a CPU still runs a cell, and so does too little memory."""
    request = Resources(None, 1, 0)
    for cpus, gibibytes, cells in ((0.5, 64, 1), (1.5, 64, 1), (16, 64, 16), (16, 4, 3), (16, 1, 1), (16, None, 16)):
        memory = None if gibibytes is None else gibibytes * 2**30
        monkeypatch.setattr("helo.search.sizing.resources.usable_cpus", lambda cpus=cpus: cpus)
        monkeypatch.setattr("helo.search.sizing.resources.memory_limit", lambda memory=memory: memory)
        assert resolve_resources(request, 0, this_machine(0)).concurrency == cells
    assert resolve_resources(Resources(5, 1, 0), 0, this_machine(0)).concurrency == 5
