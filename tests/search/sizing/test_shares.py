"""Shares of a GPU: as many cells fit on the GPUs as Ray places there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import ray
from ray.util import placement_group, remove_placement_group

from helo.cluster.filling import Node
from helo.search.execution.connection import ray_cluster
from helo.search.sizing.resources import round_down

NODE = Node(cpus=64, gpus=2)
WAIT_S = 240


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    with ray_cluster(None, int(NODE.cpus), NODE.gpus):
        yield


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.07, 0.1, 0.15, 0.25, 0.3, round_down(1 / 3), round_down(1 / 7), 0.5, 0.6, 1, 2])
def test_ray_places_as_many_cells_as_fit(share: float) -> None:
    fitting = NODE.fits(1, share)
    groups = [placement_group([{"CPU": 1, "GPU": share}]) for _ in range(fitting)]
    assert len(ray.wait([group.ready() for group in groups], num_returns=fitting, timeout=WAIT_S)[0]) == fitting
    further = placement_group([{"CPU": 1, "GPU": share}])
    waiting = further.ready()
    assert ray.wait([waiting], timeout=0.5)[0] == []
    remove_placement_group(groups.pop())
    assert ray.wait([waiting], timeout=WAIT_S)[0] == [waiting]  # it waited for that one's share
    for group in (*groups, further):
        remove_placement_group(group)
