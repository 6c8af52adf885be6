"""Which cell comes next: pure and deterministic, without Ray, torch or files.

Under the ``shared`` protocol one race proposes configurations for all folds. Under ``nested`` each fold has a
race of its own, and nothing passes between them. Test scores never come here: `helo.search.planning.race.Outcome` has
no place for them.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial

from helo.names import SearchProtocol
from helo.search.planning.race import Outcome, Pace, Race
from helo.search.planning.racing import looks
from helo.search.planning.space import Space

MAX_ATTEMPTS = 3
"""How often a cell is handed out when its worker dies under it, before it counts as failed."""


@dataclass(frozen=True)
class PlannedCell:
    """One configuration on one fold (by number), with the whole configuration's values.

    - `rungs`: epoch → the largest loss with which the cell goes on
    - `attempt`: counts from 1
    - `scale`: by how much its share of a GPU grew, after it ran out of memory
    """

    configuration: int
    fold: int
    params: Mapping[str, Any]
    rungs: Mapping[int, float] = field(default_factory=dict)
    attempt: int = 1
    scale: int = 1


def pace(space: Space, folds: int, concurrency: int, protocol: str, racing: bool) -> Pace:
    """As little lead as keeps `concurrency` cells busy: the less, the more each draw and look can know.

    On a laptop it does not depend on `concurrency`, and so the cells of a search do not either.
    """
    if protocol == SearchProtocol.NESTED:
        wide = math.ceil(concurrency / folds)
    else:
        first = looks(folds).folds[:1] if racing else ()
        wide = math.ceil(concurrency / (first[0] if first else folds))
    few = max(2, min(8, space.configurations // 8))
    if wide == 1:
        return Pace(generation=few, lag=1)
    # Twice as wide: while a generation's last cells run, the others begin the next one. Late blocks have few cells,
    # and long ones: with two generations under way, 64 workers had work for half of their time, with four for three
    # quarters (tests/benchmarks/scale.py).
    return Pace(generation=max(few, 2 * wide), lag=wide, ahead=4)


class Planner:
    """Hands out cells and takes their outcomes.

    - `folds`: how many
    - `racing`: drop configurations over folds and stop cells at rungs; without it every cell runs to its end
    - `known`: hyperparameters by configuration, drawn by an earlier part of the same search

    >>> planner = Planner(Space("two", 2, {}), folds=3, seed=0)
    >>> cell = planner.ask()
    >>> planner.tell(cell, Outcome("completed", (0.3, 0.2)))
    >>> planner.told, planner.most
    (1, 6)
    """

    def __init__(
        self,
        space: Space,
        folds: int,
        seed: int,
        protocol: str = SearchProtocol.SHARED,
        racing: bool = True,
        pace: Pace | None = None,
        known: Mapping[int, Mapping[str, Any]] | None = None,
    ) -> None:
        self.space, self.folds, self.nested = space, folds, protocol == SearchProtocol.NESTED
        # Folds in a seeded order, so that a search cut short has not seen the first subjects only.
        order = tuple(int(fold) for fold in np.random.default_rng(seed).permutation(folds))
        pace, known = pace or Pace(), known or {}
        if self.nested:
            of_fold: dict[int, dict[int, Mapping[str, Any]]] = {fold: {} for fold in order}
            for number, params in known.items():
                of_fold[number % folds][self._local(number)] = params
            self._races = [Race(space, (fold,), seed, f"fold {fold}", racing, pace, of_fold[fold]) for fold in order]
        else:
            self._races = [Race(space, order, seed, "shared", racing, pace, known)]
        self._race_of = {fold: race for race in self._races for fold in race.folds}
        self._turn: deque[Race] = deque(self._races)
        self._again: deque[PlannedCell] = deque()
        self._done: dict[tuple[int, int], Outcome] = {}
        self.told = self.running = 0

    @property
    def most(self) -> int:
        """Cells of the whole search, told ones included, if nothing more is dropped."""
        return self.space.configurations * self.folds - sum(race.left_out for race in self._races)

    @property
    def finished(self) -> bool:
        """Whether every cell has been told."""
        return not self._again and all(race.finished for race in self._races)

    def ask(self) -> PlannedCell | None:
        """The next cell to run, or None if there is none: for now, unless `finished`."""
        while (cell := self._next()) is not None:
            self.running += 1
            outcome = self._done.pop((cell.configuration, cell.fold), None)
            if outcome is None:
                return cell
            self.tell(cell, outcome)
        return None

    def _next(self) -> PlannedCell | None:
        if self._again:
            return self._again.popleft()
        for _ in range(len(self._turn)):
            race = self._turn[0]
            self._turn.rotate(-1)
            if (found := race.ask()) is not None:
                number, fold, rungs = found
                return PlannedCell(self._number(number, fold), fold, race.entries[number].params, rungs)
        return None

    def tell(self, cell: PlannedCell, outcome: Outcome) -> None:
        """Take a finished cell's inner validation losses."""
        self._race_of[cell.fold].tell(self._local(cell.configuration), cell.fold, outcome)
        self.told += 1
        self.running -= 1

    def retry(self, cell: PlannedCell, scale: int = 1) -> bool:
        """A cell's worker died, or its memory was too small: hand it out again, `scale` times as large.

        False if it has had `MAX_ATTEMPTS`; then it is to be told as failed.
        """
        if cell.attempt >= MAX_ATTEMPTS:
            return False
        self._again.appendleft(replace(cell, attempt=cell.attempt + 1, scale=cell.scale * scale))
        self.running -= 1
        return True

    def restore(self, done: Mapping[tuple[int, int], Outcome]) -> None:
        """Go through the search again as far as its finished cells reach: (configuration, fold) → outcome.

        A finished cell whose turn has not come, because an earlier one was lost, is taken when it comes. Each is
        looked up once, so that a mapping may make its outcomes only then.
        """
        self._done = dict(done)
        open_cells = []
        while (cell := self.ask()) is not None:
            open_cells.append(cell)
        self._again.extend(open_cells)
        self.running -= len(open_cells)

    def best(self) -> tuple[int, float] | None:
        """The configuration with the best mean loss over all folds so far, and that loss; ``shared`` only."""
        return None if self.nested else self._races[0].best()

    def studies(self) -> dict[str, list[FrozenTrial]]:
        """Every finished configuration as Optuna's trials, by the name of its study."""
        return {race.label: race.trials() for race in self._races}

    def _number(self, local: int, fold: int) -> int:
        """Configurations of different folds' studies have different numbers, for they are different."""
        return local * self.folds + fold if self.nested else local

    def _local(self, configuration: int) -> int:
        return configuration // self.folds if self.nested else configuration
