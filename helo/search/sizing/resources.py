"""Resources of a cell, and number of cells that run at the same time. Needs neither Ray nor torch."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from helo._machine import memory_limit, usable_cpus
from helo.cluster.filling import Node
from helo.errors import InputError

MARGIN = 1.25
"""Factor on the measured GPU memory of a cell, because folds differ in size and allocators vary."""


SEARCH_BYTES = 3 * 2**29
"""Bytes of main memory of a search besides its cells: its own process and those of Ray (1.5 GiB)."""

CELL_BYTES = 3 * 2**28
"""Bytes of main memory of a process that runs cells (0.75 GiB). Most of them are torch; `--plan` measures a cell."""


@dataclass(frozen=True)
class Resources:
    """Resources of a search, requested by the user or resolved.

    Attributes
    ----------
    concurrency : int or None
        Number of cells that run at the same time. None in a request: as many as fit.
    cpus_per_cell : int
        Number of CPUs of each cell.
    gpus_per_cell : float or None
        Share of a GPU of each cell. None in a request: the share that holds the largest configuration.
    """

    concurrency: int | None
    cpus_per_cell: int
    gpus_per_cell: float | None


def choose_gpu_share(need: int, total: int, cells_per_gpu: int) -> float:
    """Return the share of a GPU for each cell, so that as many cells as possible share the GPU.

    Parameters
    ----------
    need : int
        GPU memory of the largest configuration in bytes.
    total : int
        Memory of a GPU in bytes.
    cells_per_gpu : int
        Maximum number of cells on a GPU. With more cells, some would wait for CPUs.

    Returns
    -------
    float
        Share of one of several equal parts, see `round_down`.

    Raises
    ------
    InputError
        If the largest configuration needs more than the memory of a GPU.

    Examples
    --------
    >>> choose_gpu_share(need=3, total=16, cells_per_gpu=8), choose_gpu_share(need=1, total=1000, cells_per_gpu=8)
    (0.25, 0.125)
    """
    if need > total:
        raise InputError(
            f"the largest configuration must fit on a GPU of {total / 2**30:.1f} GiB, but it needs "
            f"{need / 2**30:.1f} GiB; make width, attention_depth or batch_size smaller"
        )
    parts = max(1, min(math.floor(total / (need * MARGIN)), cells_per_gpu))
    return round_down(1 / parts)


def round_down(share: float) -> float:
    """Return a share rounded down to the four decimals that Ray uses, so that `1 / share` cells still fit.

    >>> round_down(1 / 3)
    0.3333
    """
    return math.floor(share * 10_000) / 10_000


@dataclass(frozen=True)
class Machines:
    """Nodes of a cluster, or a single machine. Includes the nodes that an autoscaler may start.

    Attributes
    ----------
    running : sequence of Node
        Running nodes.
    groups : sequence of (Node, int)
        Types of nodes of an autoscaler, each with the maximum number of its nodes.
    max_nodes : int
        Maximum number of nodes that the autoscaler starts, over all types.
    head : Node
        Head node, which runs beside the nodes that the autoscaler starts.
    """

    running: Sequence[Node]
    groups: Sequence[tuple[Node, int]] = ()
    max_nodes: int = 0
    head: Node = field(default_factory=lambda: Node(0))

    def leaves_gpus_alone(self, cpus: int, share: float) -> bool:
        """Return whether cells run only on machines that are marked as machines without a GPU, see `NO_GPU`.

        Parameters
        ----------
        cpus : int
            Number of CPUs of a cell.
        share : float
            Share of a GPU of a cell.

        Returns
        -------
        bool
            True for cells without a GPU if such a machine has the CPUs of one.
        """
        return not share and any(node.no_gpu and node.fits(cpus, share) for node in self._nodes)

    @property
    def _nodes(self) -> list[Node]:
        """One node of each kind that runs or may run."""
        return [*self.running, self.head, *(node for node, count in self.groups if count)]

    def count_cells(self, cpus: int, share: float) -> int:
        """Return the number of cells that run at the same time once the autoscaler has started all its nodes.

        Parameters
        ----------
        cpus : int
            Number of CPUs of a cell.
        share : float
            Share of a GPU of a cell.

        Returns
        -------
        int

        Examples
        --------
        >>> Machines([Node(cpus=0)], [(Node(cpus=4), 10), (Node(cpus=1), 5)], max_nodes=3).count_cells(2, 0)
        6
        """
        only_marked = self.leaves_gpus_alone(cpus, share)

        def count(node: Node) -> int:
            return node.fits(cpus, share) if node.no_gpu or not only_marked else 0

        on_started = [count(node) for node, most in self.groups for _ in range(most)]
        on_all = count(self.head) + sum(heapq.nlargest(self.max_nodes, on_started))
        return max(sum(map(count, self.running)), on_all)

    def count_cells_per_gpu(self, cpus: int) -> int:
        """Return the number of cells that can share a GPU without waiting for CPUs.

        Parameters
        ----------
        cpus : int
            Number of CPUs of a cell.

        Returns
        -------
        int
            0 if there are no GPUs.

        Examples
        --------
        >>> Machines([Node(cpus=64), Node(cpus=16, gpus=2)]).count_cells_per_gpu(1)
        8
        """
        return max((max(1, int(node.cpus / cpus / node.gpus)) for node in self._nodes if node.gpus), default=0)


def this_machine(gpus: float) -> Machines:
    """Return this machine, with the CPUs and the memory that affinity and control groups leave to this process.

    Parameters
    ----------
    gpus : float
        Number of its GPUs.

    Returns
    -------
    Machines
    """
    memory = memory_limit()
    held = None if memory is None else max(1, (memory - SEARCH_BYTES) // CELL_BYTES)
    return Machines([Node(usable_cpus(), gpus, held)])


def resolve_resources(requested: Resources, share: float, machines: Machines) -> Resources:
    """Return the requested resources with the open values filled in.

    Parameters
    ----------
    requested : Resources
        Resources that the user has requested.
    share : float
        Share of a GPU of each cell.
    machines : Machines
        Machines that run the cells.

    Returns
    -------
    Resources
        The requested concurrency, or as many cells as fit, and at least one.

    Examples
    --------
    >>> resolve_resources(Resources(None, 2, None), 0.25, Machines([Node(cpus=16, gpus=1)]))
    Resources(concurrency=4, cpus_per_cell=2, gpus_per_cell=0.25)
    """
    concurrency = requested.concurrency or max(1, machines.count_cells(requested.cpus_per_cell, share))
    return Resources(concurrency, requested.cpus_per_cell, share)


def require_fitting_node(requested: Resources, share: float, machines: Machines) -> None:
    """Raise `InputError` if no node of a cluster can ever run a cell.

    With a requested concurrency the search may wait for nodes that join later, and nothing is raised.

    Parameters
    ----------
    requested : Resources
        Resources that the user has requested.
    share : float
        Share of a GPU of each cell.
    machines : Machines
        Nodes of the cluster, and the limits of its autoscaler.

    Raises
    ------
    InputError
        If no running node and no node of the autoscaler has the CPUs and the share of a GPU of one cell.
    """
    if requested.concurrency is None and not machines.count_cells(requested.cpus_per_cell, share):
        cell = f"{requested.cpus_per_cell} CPUs" + (f" and {share:g} GPUs" if share else "")
        raise InputError(
            f"the cluster has no node for a cell ({cell}), and no known autoscaler can start one; add nodes, reduce "
            "the resources per cell, or set --concurrency to wait for nodes that join later"
        )
