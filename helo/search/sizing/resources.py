"""Resources of a cell and number of cells at a time. Pure arithmetic, without Ray and torch."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from helo.cluster.filling import Node
from helo.errors import InputError

MARGIN = 1.25
"""Factor on the GPU memory that the probe measured: folds differ in size, and allocators vary."""


@dataclass(frozen=True)
class Resources:
    """Resources of a search: `concurrency` cells at a time, each with `cpus_per_cell` CPUs and a share of a GPU.

    In a request, `concurrency` None means as many cells as fit, and `gpus_per_cell` None the share that fits.
    """

    concurrency: int | None
    cpus_per_cell: int
    gpus_per_cell: float | None


def share_that_fits(need: int, total: int, cells_per_gpu: int) -> float:
    """Return the share of a GPU for a cell that needs `need` of its `total` bytes, as one of several equal parts.

    `cells_per_gpu` is the maximum number of parts: with more cells, some would wait for CPUs.

    >>> share_that_fits(need=3, total=16, cells_per_gpu=8), share_that_fits(need=1, total=1000, cells_per_gpu=8)
    (0.25, 0.125)
    """
    if need > total:
        raise InputError(f"the largest configuration needs {need / 2**30:.1f} GiB, a GPU here has {total / 2**30:.1f}")
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
    """Nodes of a cluster or a single machine: running ones, and those that an autoscaler may start.

    Attributes
    ----------
    now : sequence of Node
        Running nodes.
    groups : sequence of (Node, int)
        Kinds of nodes of an autoscaler, each with its maximum number.
    most : int
        Maximum number of nodes that the autoscaler starts in total.
    head : Node
        Head node, which runs beside the nodes that the autoscaler starts.
    """

    now: Sequence[Node]
    groups: Sequence[tuple[Node, int]] = ()
    most: int = 0
    head: Node = field(default_factory=lambda: Node(0))

    def fits(self, cpus: int, share: float) -> int:
        """Return the number of cells that run at a time once the autoscaler has started all its nodes.

        >>> Machines([Node(cpus=0)], [(Node(cpus=4), 10), (Node(cpus=1), 5)], most=3).fits(2, 0)
        6
        """
        here = sum(node.fits(cpus, share) for node in self.now)
        each = [node.fits(cpus, share) for node, count in self.groups for _ in range(count)]
        return max(here, self.head.fits(cpus, share) + sum(heapq.nlargest(self.most, each)))

    def feeds(self, cpus: int) -> int:
        """Return how many cells with `cpus` CPUs each can share a GPU without waiting for CPUs; 0 without GPUs.

        >>> Machines([Node(cpus=64), Node(cpus=16, gpus=2)]).feeds(1)
        8
        """
        nodes = [*self.now, self.head, *(node for node, count in self.groups if count)]
        return max((max(1, int(node.cpus / cpus / node.gpus)) for node in nodes if node.gpus), default=0)


def settle(wish: Resources, share: float, machines: Machines) -> Resources:
    """Return a request with the open values filled in: as many cells at a time as fit, and at least one.

    >>> settle(Resources(None, 2, None), 0.25, Machines([Node(cpus=16, gpus=1)]))
    Resources(concurrency=4, cpus_per_cell=2, gpus_per_cell=0.25)
    """
    fitting = wish.concurrency or max(1, machines.fits(wish.cpus_per_cell, share))
    return Resources(fitting, wish.cpus_per_cell, share)


def require_room(wish: Resources, share: float, machines: Machines) -> None:
    """Raise `InputError` if no node of a cluster can ever run a cell, unless the user has given a concurrency."""
    if wish.concurrency is None and not machines.fits(wish.cpus_per_cell, share):
        asked = f"{wish.cpus_per_cell} CPUs" + (f" and {share:g} GPUs" if share else "")
        raise InputError(
            f"the cluster has no node for a cell ({asked}), and no autoscaler is known to start one; add nodes, ask "
            "for less, or say how many cells at a time (--concurrency) and the search waits for nodes"
        )
