"""The choice of machines after refusals of the cloud, with the scheduler of Ray's autoscaler."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from ray.autoscaler._private.constants import AUTOSCALER_UTILIZATION_SCORER_KEY
from ray.autoscaler._private.loader import load_function_or_class
from ray.autoscaler._private.node_provider_availability_tracker import NodeProviderAvailabilityTracker
from ray.autoscaler._private.resource_demand_scheduler import _default_utilization_scorer, get_nodes_for
from ray.autoscaler.node_launch_exception import NodeLaunchException

from helo._yaml import read_yaml
from helo.cluster.launching import score_node_type

AWS = Path(__file__).parents[2] / "cluster" / "aws.yaml"
REFUSAL = NodeLaunchException("InsufficientInstanceCapacity", "There is no Spot capacity available", None)


class Launcher:
    """A cloud that refuses types of machines, and what Ray's autoscaler asks for with the cluster file for AWS."""

    def __init__(self, score: Callable[..., Any]) -> None:
        self.now = 1000
        self._score = score
        self._tracker = NodeProviderAvailabilityTracker(timer=lambda: self.now)
        self._types = read_yaml(AWS)["available_node_types"]

    def answer(self, node_type: str, refuses: bool) -> None:
        """Tell that the cloud has refused or granted a machine of a type now."""
        self.now += 5
        self._tracker.update_node_availability(node_type, self.now, REFUSAL if refuses else None)

    def asks_for(self, cell: Mapping[str, float]) -> str:
        """Return the type of the next machine for one waiting cell."""
        score = partial(self._score, node_availability_summary=self._tracker.summary())
        nodes, _ = get_nodes_for(self._types, {}, "head", 1, [dict(cell)], score)
        (found,) = nodes
        return str(found)


@pytest.mark.parametrize("cell", [{"CPU": 1, "no_gpu": 1e-4}, {"CPU": 1, "GPU": 0.25}])
def test_a_type_that_the_cloud_refuses_comes_last(cell: Mapping[str, float]) -> None:
    alone, ours = Launcher(_default_utilization_scorer), Launcher(score_node_type)
    first = ours.asks_for(cell)
    assert alone.asks_for(cell) == first
    for launcher in (alone, ours):
        launcher.answer(first, refuses=True)
    assert alone.asks_for(cell) == first  # Ray's own score never changes
    second = ours.asks_for(cell)
    assert second != first
    ours.answer(second, refuses=False)
    assert ours.asks_for(cell) == second


def test_types_that_are_all_refused_take_turns() -> None:
    launcher, cell = Launcher(score_node_type), {"CPU": 1, "GPU": 1}
    asked = []
    for _ in range(9):
        asked.append(launcher.asks_for(cell))
        launcher.answer(asked[-1], refuses=True)
    assert len({*asked[:3]}) == 3
    assert asked == 3 * asked[:3]


def test_a_refusal_is_forgotten_after_half_an_hour() -> None:
    launcher, cell = Launcher(score_node_type), {"CPU": 1, "GPU": 1}
    first = launcher.asks_for(cell)
    launcher.answer(first, refuses=True)
    assert launcher.asks_for(cell) != first
    launcher.now += 1801
    assert launcher.asks_for(cell) == first


def test_a_type_on_which_no_cell_fits_has_no_score() -> None:
    launcher = Launcher(score_node_type)
    with pytest.raises(ValueError, match="not enough values"):
        launcher.asks_for({"CPU": 1000})


def test_the_file_for_aws_names_the_score_as_ray_reads_it() -> None:
    start = " ".join(read_yaml(AWS)["head_start_ray_commands"])
    found = re.search(
        rf"export RAY_enable_autoscaler_v2=0 {AUTOSCALER_UTILIZATION_SCORER_KEY}=(\S+) && ray start", start
    )
    assert found is not None
    assert load_function_or_class(found[1]) is score_node_type
