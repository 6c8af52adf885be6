"""Ray's nodes as they come and go: what they hold, what may join them, which leave, and what they all can reach."""

from __future__ import annotations

import contextlib
import socket
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from helo._yaml import read_yaml
from helo.cluster.filling import Node
from helo.errors import InputError
from helo.search.sizing.resources import Machines
from helo.storage import LocalFolder
from helo.training.checkpoints import CheckpointStore

LAUNCHED: Final = Path("~/ray_bootstrap_config.yaml")
"""Where ``ray up`` leaves the cluster file on the head node, with the resources of each node type filled in."""

EVERY_S: Final = 2.0
"""How often a cell asks at most whether its node leaves. It takes 0.3 ms; clouds give notice of 30 s and more."""

ROOM_EVERY_S: Final = 5.0
"""How often the size of the cluster is looked at."""

ANSWER_S: Final = 2.0
"""How long a node may take to answer before it counts as gone."""


def machines() -> Machines:
    """The nodes of the Ray cluster at hand that can run cells, and those that its autoscaler may start."""
    leaving = _draining()
    now = [
        Node(float(node["Resources"].get("CPU", 0)), float(node["Resources"].get("GPU", 0)))
        for node in ray.nodes()
        if node["Alive"] and node["NodeID"] not in leaving
    ]
    return replace(_launched(), now=now)


def _launched() -> Machines:
    """What the cluster file of ``ray up`` lets Ray start; nothing where there is none.

    Ray's own state does not have it: its autoscaler tells nobody how far it may go.
    """
    try:
        content = read_yaml(LAUNCHED.expanduser())
        most, kinds = int(content["max_workers"]), dict(content["available_node_types"])
        head = kinds[content["head_node_type"]]
        head_too = int(head.get("max_workers", 0))  # workers of its type: none, unless it is said
        groups = [
            (_node(kind["resources"]), head_too if kind is head else int(kind.get("max_workers", most)))
            for kind in kinds.values()
        ]
        return Machines((), groups, most, _node(head["resources"]))
    except (InputError, LookupError, TypeError, ValueError, AttributeError):
        return Machines(())


def _node(resources: dict[str, Any]) -> Node:
    return Node(float(resources.get("CPU", 0)), float(resources.get("GPU", 0)))


def _draining() -> set[str]:
    """The nodes that are about to go. Ray has no public name for it."""
    try:
        return set(ray._private.state.state.get_draining_nodes())
    except (AttributeError, RayError, RuntimeError):
        return set()


class Room:
    """How many cells are handed out at a time: so many, or as many as the cluster holds, however it grows and shrinks.

    Where no autoscaler's limits are known, as many again wait: that is what makes an unknown one start nodes, and
    whoever joins has work at once. What a cell finds does not depend on it: see `helo.search.planning.planner.pace`.
    """

    def __init__(self, concurrency: int | None, cpus: int, share: float) -> None:
        self.concurrency, self.cpus, self.share = concurrency, cpus, share
        self._found, self._looked = 1, -ROOM_EVERY_S

    def __call__(self) -> int:
        if self.concurrency is not None:
            return self.concurrency
        if time.monotonic() - self._looked >= ROOM_EVERY_S:
            found = machines()
            fitting = found.fits(self.cpus, self.share)
            self._found = max(1, fitting if found.groups else 2 * fitting)
            self._looked = time.monotonic()
        return self._found


class Notice:
    """Whether the node of this process is about to be taken away, asked now and then."""

    def __init__(self) -> None:
        self._node = ray.get_runtime_context().get_node_id()
        self._asked, self._leaves = -EVERY_S, False

    def __call__(self) -> bool:
        now = time.monotonic()
        if not self._leaves and now - self._asked >= EVERY_S:
            self._asked, self._leaves = now, self._node in _draining()
        return self._leaves


class Losses:
    """Tells workers that died by themselves from those whose node went."""

    def __init__(self) -> None:
        self._nodes: dict[str, str] = {}
        self._gone: set[str] = set()

    def started(self, trial: str, actor: Any) -> None:
        """Remember where a trial runs."""
        with contextlib.suppress(AttributeError, LookupError, RayError):  # not public either
            self._nodes[trial] = ray._private.state.actors(actor._actor_id.hex())["Address"]["NodeID"]

    def ended(self, trial: str) -> None:
        """Forget where a trial ran that has ended well."""
        self._nodes.pop(trial, None)

    def by_node(self, trial: str) -> bool:
        """Whether the node of a trial that has ended in an error leaves or is gone.

        Ray itself takes half a minute to notice that a machine is dead; its workers are missed at once. So the node is
        asked.
        """
        node = self._nodes.pop(trial, None)
        if node is None:
            return False
        if node not in self._gone and node not in _draining() and _answers(node):
            return False
        self._gone.add(node)
        return True


def _answers(node_id: str) -> bool:
    node = next((node for node in ray.nodes() if node["NodeID"] == node_id), None)
    if node is None or not node["Alive"]:
        return False
    try:
        address = (node["NodeManagerAddress"], node["NodeManagerPort"])
        socket.create_connection(address, timeout=ANSWER_S).close()
    except OSError:
        return False
    return True


class _Through:
    """A folder on another machine, through an actor that lives there."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    def read(self, name: str) -> bytes:
        """See `CheckpointStore`."""
        return bytes(self._call("read", name))

    def write(self, name: str, content: bytes) -> None:
        """See `CheckpointStore`."""
        self._call("write", name, content)

    def delete(self, name: str) -> None:
        """See `CheckpointStore`."""
        self._call("delete", name)

    def _call(self, method: str, *arguments: Any) -> Any:
        try:
            return ray.get(getattr(self._actor, method).remote(*arguments))
        except OSError:  # its own
            raise
        except RayError as error:
            raise OSError(f"the search's machine cannot be reached ({type(error).__name__})") from error


def from_everywhere(folder: Path) -> CheckpointStore:
    """A folder on this machine as workers on all nodes of the Ray cluster at hand can use it.

    Its actor lives as long as what is returned. It is a `LocalFolder` itself: no torch is loaded for it.
    """
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    options = {"num_cpus": 0, "scheduling_strategy": here, "max_restarts": -1, "max_concurrency": 4}
    return _Through(ray.remote(LocalFolder).options(**options).remote(folder))
