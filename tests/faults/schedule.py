"""Schedules of faults, drawn from a seed.

Jumps of the clock are left out: if libfaketime moves the time of day alone, sleeping by the monotonic clock fails, and
Ray does not start.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Final


class Kind(StrEnum):
    """Kinds of faults; `STORAGE` and `LOCAL` say which ones need which kind of run."""

    KILL_DRIVER = "kill -9 of the command"
    KILL_WORKER = "kill -9 of a worker"
    KILL_RAYLET = "kill -9 of the raylet"
    KILL_GCS = "kill -9 of the GCS server"
    KILL_AGENT = "kill -9 of an agent of the raylet"
    TERMINATE = "SIGTERM"
    HANG_UP = "SIGHUP"
    INTERRUPT = "a burst of SIGINT"
    STOP_DRIVER = "SIGSTOP and SIGCONT of the command"
    STOP_WORKER = "SIGSTOP and SIGCONT of a worker"
    FEW_FILES = "a limit of open files"
    SMALL_FILES = "a limit of the size of files"
    WORKER_MEMORY = "a limit of the address space of a worker"
    MEMORY_GROUP = "a limit of the memory of a control group"
    FULL_TEMPORARY = "a full disk of temporary files"
    FULL_DISK = "a full disk of the run"
    MOVE_RUN = "the run directory is moved"
    REMOVE_RUN = "the run directory is removed"
    MOVE_FILE = "a file is moved"
    REMOVE_PART = "a part of the ledger is removed"
    REFUSE = "object storage answers 503"
    CLOSE = "object storage answers 403"
    DROP = "object storage closes connections"
    LOSE_ANSWERS = "object storage does what it is asked, and closes connections"
    DELAY = "object storage is slow"


STORAGE: Final = frozenset({Kind.REFUSE, Kind.CLOSE, Kind.DROP, Kind.LOSE_ANSWERS, Kind.DELAY})
"""Faults of runs on object storage."""

LOCAL: Final = frozenset({Kind.FULL_DISK, Kind.MOVE_RUN, Kind.REMOVE_RUN, Kind.MOVE_FILE, Kind.REMOVE_PART})
"""Faults of runs on this machine."""

CELLS: Final = 6
"""Number of cells of the search."""


class Stage(IntEnum):
    """Stages of a search, in their order."""

    RAY = 0
    CREATED = 1
    CELLS = 2
    TABLES = 3
    REPORT = 4
    MODEL = 5


@dataclass(frozen=True, order=True)
class Point:
    """A condition: the search has come to a stage or a later one, and has so many finished cells."""

    stage: Stage
    cells: int = 0


@dataclass(frozen=True, order=True)
class Fault:
    """A fault at a point; `amount`, from 0 to 1, chooses what it hits, or how much there is of it."""

    point: Point
    kind: Kind
    amount: float

    def __str__(self) -> str:
        return f"{self.kind} ({self.amount:.2f}) at {self.point.stage.name}:{self.point.cells}"


@dataclass(frozen=True)
class Schedule:
    """A search and the faults that it meets, in the order of their points."""

    seed: int
    concurrency: int
    on_storage: bool
    faults: tuple[Fault, ...]

    def __str__(self) -> str:
        place = "on object storage" if self.on_storage else "on this machine"
        said = "; ".join(map(str, self.faults))
        return f"schedule {self.seed}: {self.concurrency} cells at a time, {place}: {said}"


def draw(seed: int) -> Schedule:
    """Return the schedule of a seed. As many consecutive seeds as there are kinds have every kind."""
    rng, kinds = random.Random(seed), list(Kind)
    first = kinds[seed % len(kinds)]
    on_storage = first in STORAGE or (first not in LOCAL and rng.random() < 0.25)
    possible = [kind for kind in kinds if kind not in (LOCAL if on_storage else STORAGE)]
    chosen = [first, *rng.choices(possible, k=rng.choice((0, 1, 1, 2)))]
    points = sorted(_draw_point(rng) for _ in chosen)
    rng.shuffle(chosen)
    faults = tuple(Fault(point, kind, rng.random()) for point, kind in zip(points, chosen, strict=True))
    return Schedule(seed, rng.choice((1, 2)), on_storage, faults)


def _draw_point(rng: random.Random) -> Point:
    if rng.random() < 0.6:
        return Point(Stage.CELLS, rng.randrange(CELLS))
    return Point(rng.choice([stage for stage in Stage if stage != Stage.CELLS]))


def _schedule(seed: int, *faults: tuple[Stage, int, Kind]) -> Schedule:
    return Schedule(seed, 1, False, tuple(Fault(Point(stage, cells), kind, 0.5) for stage, cells, kind in faults))


FOUND: Final = (
    _schedule(
        -1,
        (Stage.RAY, 0, Kind.TERMINATE),
        (Stage.CELLS, 1, Kind.REMOVE_RUN),
        (Stage.CELLS, 2, Kind.KILL_RAYLET),
        (Stage.CELLS, 4, Kind.KILL_AGENT),
    ),
    _schedule(
        -2,
        (Stage.RAY, 0, Kind.FEW_FILES),
        (Stage.CELLS, 1, Kind.KILL_GCS),
        (Stage.CELLS, 3, Kind.MOVE_RUN),
        (Stage.CELLS, 5, Kind.KILL_GCS),
    ),
)
"""Schedules of faults through which earlier versions did not come well."""
