"""Number of cells that the machines of a cluster run at the same time."""

from __future__ import annotations

from dataclasses import dataclass
from math import floor
from typing import Final

NO_GPU: Final = "no_gpu"
"""Resource of Ray by which a cluster file marks machines without a GPU.

Where there are such machines, the cells of a search without GPUs run on no others. They would keep a machine with a GPU
from ending, which costs more.
"""


@dataclass(frozen=True)
class Node:
    """CPUs and GPUs of a machine that cells can use.

    Attributes
    ----------
    cpus, gpus : float
        Number of CPUs and of GPUs.
    held_in_memory : int or None
        Number of cells that the main memory holds. None if it is unknown.
    no_gpu : bool
        Whether the machine is marked with `NO_GPU`.
    """

    cpus: float
    gpus: float = 0.0
    held_in_memory: int | None = None
    no_gpu: bool = False

    def held(self, share: float) -> int:
        """Return the number of cells with this share of a GPU that fit on the GPUs.

        As in Ray, the share of a cell lies on one GPU.

        >>> Node(cpus=16, gpus=2).held(0.3), Node(cpus=16, gpus=4).held(2)
        (6, 2)
        """
        return floor(self.gpus) * floor(1 / share + 1e-9) if share <= 1 else floor(self.gpus / share)

    def fits(self, cpus: int, share: float) -> int:
        """Return the number of cells with these CPUs and this share of a GPU that run at the same time.

        A machine without GPUs runs only cells without a share, such as those of the baselines.

        >>> Node(cpus=16, gpus=2).fits(1, 0.3), Node(cpus=16).fits(1, 0.3), Node(cpus=3).fits(2, 0)
        (6, 0, 1)
        >>> Node(cpus=16, held_in_memory=3).fits(1, 0)
        3
        """
        fitting = floor(self.cpus / cpus)
        if self.held_in_memory is not None:
            fitting = min(fitting, self.held_in_memory)
        return min(fitting, self.held(share)) if share else fitting


@dataclass(frozen=True)
class Filling:
    """Cells that run on one machine at the same time.

    Attributes
    ----------
    by_gpu : int or None
        Number of cells that fit on the GPUs. None for cells without a GPU.
    by_cpu : int
        Number of cells that the CPUs allow.
    gpus_left, cpus_left : float, int
        Unused GPUs and CPUs.
    """

    by_gpu: int | None
    by_cpu: int
    gpus_left: float
    cpus_left: int

    @property
    def cells(self) -> int:
        """Number of cells at the same time."""
        return self.by_cpu if self.by_gpu is None else min(self.by_gpu, self.by_cpu)

    @property
    def left(self) -> str:
        """Description of the unused resources."""
        parts = [f"{self.gpus_left:g} GPU"] if self.gpus_left else []
        parts += [f"{self.cpus_left} CPUs" if self.cpus_left > 1 else "1 CPU"] if self.cpus_left else []
        return " and ".join(parts) + " left over" if parts else "nothing left over"


def fill(node: Node, cpus_per_cell: int, gpus_per_cell: float) -> Filling:
    """Fill one machine with cells.

    >>> fill(Node(4, 1), cpus_per_cell=1, gpus_per_cell=0.25)
    Filling(by_gpu=4, by_cpu=4, gpus_left=0.0, cpus_left=0)
    >>> fill(Node(8, 1), cpus_per_cell=2, gpus_per_cell=0.3).left
    '0.1 GPU and 2 CPUs left over'
    """
    cells = node.fits(cpus_per_cell, gpus_per_cell)
    return Filling(
        node.held(gpus_per_cell) if gpus_per_cell else None,
        floor(node.cpus / cpus_per_cell),
        round(node.gpus - cells * gpus_per_cell, 4),
        int(node.cpus - cells * cpus_per_cell),
    )
