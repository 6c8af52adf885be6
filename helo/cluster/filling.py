"""How the cells of a search fill the machines of a cluster."""

from __future__ import annotations

from dataclasses import dataclass
from math import floor


@dataclass(frozen=True)
class Filling:
    """Cells at a time on one machine: as many as its GPUs hold, and as its CPUs feed.

    - `by_gpu`: None for cells without a GPU
    - `gpus_left`, `cpus_left`: what no cell uses
    """

    by_gpu: int | None
    by_cpu: int
    gpus_left: float
    cpus_left: int

    @property
    def cells(self) -> int:
        """Cells at a time."""
        return self.by_cpu if self.by_gpu is None else min(self.by_gpu, self.by_cpu)

    @property
    def left(self) -> str:
        """What is left unused, in words."""
        parts = [f"{self.gpus_left:g} GPU"] if self.gpus_left else []
        parts += [f"{self.cpus_left} CPUs" if self.cpus_left > 1 else "1 CPU"] if self.cpus_left else []
        return " and ".join(parts) + " left over" if parts else "nothing left over"


def fill(cpus: int, gpus: int, cpus_per_cell: int, gpus_per_cell: float) -> Filling:
    """Fill one machine.

    >>> fill(cpus=4, gpus=1, cpus_per_cell=1, gpus_per_cell=0.25)
    Filling(by_gpu=4, by_cpu=4, gpus_left=0.0, cpus_left=0)
    >>> fill(cpus=8, gpus=1, cpus_per_cell=2, gpus_per_cell=0.3).left
    '0.1 GPU and 2 CPUs left over'
    """
    by_cpu = cpus // cpus_per_cell
    # Ray counts GPUs in ten-thousandths; and a share above 1 is of whole GPUs of one machine.
    by_gpu = floor(round(gpus / gpus_per_cell, 4)) if gpus_per_cell else None
    cells = by_cpu if by_gpu is None else min(by_gpu, by_cpu)
    return Filling(by_gpu, by_cpu, round(gpus - cells * gpus_per_cell, 4), cpus - cells * cpus_per_cell)
