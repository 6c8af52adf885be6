"""Clusters that grow and shrink during a search: their size, nodes that leave or die, and a folder for all nodes."""

from __future__ import annotations

import socket
import time
from dataclasses import replace
from typing import Any, Final

import ray
from ray.exceptions import RayError
from ray.util import placement_group_table
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from helo._yaml import read_yaml
from helo.cluster.filling import NO_GPU, Node
from helo.errors import InputError
from helo.search.execution import _ray_compat, _tune_compat
from helo.search.sizing.resources import Machines
from helo.storage import LocalFolder
from helo.training.checkpoints import CheckpointStore

DRAIN_CHECK_S: Final = 2.0
"""Minimum seconds between two checks of a cell whether its node leaves.

A check takes 0.3 ms. Clouds announce the removal of a node 30 s in advance or more.
"""

SIZE_CHECK_S: Final = 5.0
"""Minimum seconds between two checks of the size of the cluster."""

ANSWER_S: Final = 2.0
"""Seconds within which a node has to accept a connection. After that it counts as lost."""


def cluster_machines() -> Machines:
    """Return the machines of the Ray cluster that this process is connected to.

    Returns
    -------
    Machines
        The nodes that can run cells now, and those that the autoscaler of the cluster may start. Nodes that are about
        to be removed are left out.
    """
    draining = _ray_compat.draining_nodes()
    running = [_node(node["Resources"]) for node in ray.nodes() if node["Alive"] and node["NodeID"] not in draining]
    return replace(_autoscaler_limits(), running=running)


def _autoscaler_limits() -> Machines:
    """Return the nodes that the autoscaler may start, from the cluster file that ``ray up`` leaves on the head node.

    Without such a file there are none.
    """
    try:
        content = read_yaml(_ray_compat.CLUSTER_FILE.expanduser())
        max_workers, types = int(content["max_workers"]), dict(content["available_node_types"])
        head = types[content["head_node_type"]]
        groups = []
        for node_type in types.values():
            # Ray's defaults: no workers of the head's type, any number of the other types.
            default = 0 if node_type is head else max_workers
            groups.append((_node(node_type["resources"]), int(node_type.get("max_workers", default))))
        return Machines((), groups, max_workers, _node(head["resources"]))
    except (InputError, LookupError, TypeError, ValueError, AttributeError, RuntimeError):  # also without a home
        return Machines(())


def _node(resources: dict[str, Any]) -> Node:
    return Node(float(resources.get("CPU", 0)), float(resources.get("GPU", 0)), no_gpu=bool(resources.get(NO_GPU)))


class ConcurrencyLimit:
    """Maximum number of cells that are submitted to Ray at the same time.

    A fixed number, or as many as fit on the cluster while it grows and shrinks. If the limits of its autoscaler are
    unknown, twice as many cells as fit are submitted. The pending ones make an autoscaler start nodes, and a node that
    joins has work at once. The results of a search do not depend on the limit, see `helo.search.planning.pace`.

    Parameters
    ----------
    concurrency : int or None
        Fixed number of cells. None follows the size of the cluster.
    cpus : int
        Number of CPUs of a cell.
    gpus : float
        Share of a GPU of a cell.
    """

    def __init__(self, concurrency: int | None, cpus: int, gpus: float) -> None:
        self.concurrency, self.cpus, self.gpus = concurrency, cpus, gpus
        self._limit, self._checked = 1, -SIZE_CHECK_S

    def current(self) -> int:
        """Return the limit at this moment, at least 1."""
        if self.concurrency is not None:
            return self.concurrency
        if time.monotonic() - self._checked >= SIZE_CHECK_S:
            machines = cluster_machines()
            fitting = machines.count_cells(self.cpus, self.gpus)
            self._limit = max(1, fitting if machines.groups else 2 * fitting)
            self._checked = time.monotonic()
        return self._limit


def worker_is_starting() -> bool:
    """Return whether a node has made room for a cell, whose worker is then starting."""
    try:
        return any(group["state"] == "CREATED" for group in placement_group_table().values())
    except (RayError, LookupError, TypeError):
        return False


class DrainCheck:
    """Function without arguments that returns whether the node of this process is about to be removed.

    It queries Ray every `DRAIN_CHECK_S` seconds at most.
    """

    def __init__(self) -> None:
        self._node = ray.get_runtime_context().get_node_id()
        self._checked, self._is_draining = -DRAIN_CHECK_S, False

    def __call__(self) -> bool:
        """Return whether this node is draining. Once it is, it stays so."""
        now = time.monotonic()
        if not self._is_draining and now - self._checked >= DRAIN_CHECK_S:
            self._checked, self._is_draining = now, self._node in _ray_compat.draining_nodes()
        return self._is_draining


class LostNodes:
    """Nodes on which trials run, to tell a lost node from a worker process that died."""

    def __init__(self) -> None:
        self._node_of: dict[str, str] = {}
        self._lost: set[str] = set()

    def trial_started(self, trial: Any) -> None:
        """Remember the node on which a trial runs."""
        node = _tune_compat.node_of_trial(trial)
        if node is not None:
            self._node_of[trial.trial_id] = node

    def trial_finished(self, trial: Any) -> None:
        """Forget the node of a trial that has finished."""
        self._node_of.pop(trial.trial_id, None)

    def caused_error(self, trial: Any) -> bool:
        """Return whether a trial ended in an error because its node is leaving or lost.

        Ray misses the workers of a dead machine at once, the machine itself after half a minute. This method therefore
        connects to the node.

        Parameters
        ----------
        trial : ray.tune.experiment.Trial
            Trial that ended in an error.

        Returns
        -------
        bool
            False also if the node of the trial is unknown.
        """
        node = self._node_of.pop(trial.trial_id, None)
        if node is None:
            return False
        if node not in self._lost and node not in _ray_compat.draining_nodes() and _accepts_connections(node):
            return False
        self._lost.add(node)
        return True


def _accepts_connections(node_id: str) -> bool:
    node = next((node for node in ray.nodes() if node["NodeID"] == node_id), None)
    if node is None or not node["Alive"]:
        return False
    try:
        address = (node["NodeManagerAddress"], node["NodeManagerPort"])
        socket.create_connection(address, timeout=ANSWER_S).close()
    except OSError:
        return False
    return True


class _RemoteFolder:
    """Folder on another machine, which an actor on that machine reads and writes: a `CheckpointStore`."""

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
        except OSError:  # raised by the folder itself; Ray's errors for them are OSErrors, too
            raise
        except RayError as error:
            raise OSError(f"the machine of the search cannot be reached ({type(error).__name__})") from error


def share_folder(folder: LocalFolder) -> CheckpointStore:
    """Make a folder on this machine accessible to workers on all nodes of the Ray cluster.

    Parameters
    ----------
    folder : LocalFolder
        The folder, with an absolute path.

    Returns
    -------
    CheckpointStore
        The folder, through an actor on this machine. The actor lives as long as this object. It is a plain
        `LocalFolder` so that it does not load torch.
    """
    this_node = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    options = {"num_cpus": 0, "scheduling_strategy": this_node, "max_restarts": -1, "max_concurrency": 4}
    return _RemoteFolder(ray.remote(LocalFolder).options(**options).remote(folder.path, folder.inside))
