"""What a cell gets and how many run at a time. Pure arithmetic, apart from Ray and torch."""

from __future__ import annotations

import math
from dataclasses import dataclass

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


def settle(wish: Resources, share: float, cpus: int, gpus: float) -> Resources:
    """Fill in what a wish leaves open, on a machine or cluster with so many CPUs and GPUs.

    >>> settle(Resources(None, 2, None), share=0.25, cpus=16, gpus=1)
    Resources(concurrency=4, cpus_per_cell=2, gpus_per_cell=0.25)
    """
    fitting = max(1, cpus // wish.cpus_per_cell)
    if share and gpus:
        fitting = max(1, min(fitting, int(gpus / share + 1e-9)))
    return Resources(wish.concurrency or fitting, wish.cpus_per_cell, share)
