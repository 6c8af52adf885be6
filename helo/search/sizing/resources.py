"""What a cell gets and how many run at a time. Pure arithmetic, apart from Ray and torch."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from helo.cluster.filling import Node
from helo.errors import InputError

MARGIN = 1.25
"""A cell may need so much more than the probe saw: folds differ in size, allocators in their moods."""


@dataclass(frozen=True)
class Resources:
    """What a search runs on: `concurrency` cells at a time, each with these CPUs and this share of a GPU.

    In a wish, `concurrency` None means as many as fit, `gpus_per_cell` None the share that fits.
    """

    concurrency: int | None
    cpus_per_cell: int
    gpus_per_cell: float | None


def share_that_fits(need: int, total: int, cells_per_gpu: int) -> float:
    """The share of a GPU for a cell that needs `need` of its `total` bytes: one of so many equal parts.

    `cells_per_gpu`: as many as there are CPUs to feed them; more would only wait.

    >>> share_that_fits(need=3, total=16, cells_per_gpu=8), share_that_fits(need=1, total=1000, cells_per_gpu=8)
    (0.25, 0.125)
    """
    if need > total:
        raise InputError(f"the largest configuration needs {need / 2**30:.1f} GiB, a GPU here has {total / 2**30:.1f}")
    parts = max(1, min(math.floor(total / (need * MARGIN)), cells_per_gpu))
    return round_down(1 / parts)


def round_down(share: float) -> float:
    """A share with the four decimals that Ray knows, never larger: `1 / share` cells must still fit.

    >>> round_down(1 / 3)
    0.3333
    """
    return math.floor(share * 10_000) / 10_000


@dataclass(frozen=True)
class Machines:
    """The nodes of a cluster, or the one machine: those that are there, and those that an autoscaler may start.

    - `now`: the nodes that are there
    - `groups`: of an autoscaler, each a kind of node and how many of it there may be
    - `most`: how many nodes the autoscaler starts in all
    - `head`: the node that is there beside them
    """

    now: Sequence[Node]
    groups: Sequence[tuple[Node, int]] = ()
    most: int = 0
    head: Node = field(default_factory=lambda: Node(0))

    def fits(self, cpus: int, share: float) -> int:
        """How many cells run at a time once the autoscaler has started all that it may.

        >>> Machines([Node(cpus=0)], [(Node(cpus=4), 10), (Node(cpus=1), 5)], most=3).fits(2, 0)
        6
        """
        here = sum(node.fits(cpus, share) for node in self.now)
        each = [node.fits(cpus, share) for node, count in self.groups for _ in range(count)]
        return max(here, self.head.fits(cpus, share) + sum(heapq.nlargest(self.most, each)))

    def feeds(self, cpus: int) -> int:
        """How many cells with so many CPUs a GPU can be shared by, until they wait for CPUs; 0 without GPUs.

        >>> Machines([Node(cpus=64), Node(cpus=16, gpus=2)]).feeds(1)
        8
        """
        nodes = [*self.now, self.head, *(node for node, count in self.groups if count)]
        return max((max(1, int(node.cpus / cpus / node.gpus)) for node in nodes if node.gpus), default=0)


def settle(wish: Resources, share: float, machines: Machines) -> Resources:
    """Fill in what a wish leaves open: at least one cell at a time, and as many as fit.

    >>> settle(Resources(None, 2, None), 0.25, Machines([Node(cpus=16, gpus=1)]))
    Resources(concurrency=4, cpus_per_cell=2, gpus_per_cell=0.25)
    """
    fitting = wish.concurrency or max(1, machines.fits(wish.cpus_per_cell, share))
    return Resources(fitting, wish.cpus_per_cell, share)


def require_room(wish: Resources, share: float, machines: Machines) -> None:
    """Raise `InputError` if no node of a cluster can ever run a cell, unless the user says how many shall wait."""
    if wish.concurrency is None and not machines.fits(wish.cpus_per_cell, share):
        asked = f"{wish.cpus_per_cell} CPUs" + (f" and {share:g} GPUs" if share else "")
        raise InputError(
            f"the cluster has no node for a cell ({asked}), and no autoscaler is known to start one; add nodes, ask "
            "for less, or say how many cells at a time (--concurrency) and the search waits for nodes"
        )
