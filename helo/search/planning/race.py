"""One study and its cells: which can run now, which configurations go on to more folds.

Configurations come in generations. Each generation runs a first block of folds, then those of its members
that the race has not dropped run the next block, and so on. What decides is fixed by the numbers of
configurations and folds and never by which worker was faster:

- a generation is proposed from the results of all generations but the `ahead` - 1 before it, and so the search
  does not wait for a generation's last cells
- a look compares a generation with all before it, on the same folds
- a cell's rungs come from the cells of its fold whose configuration is at least `lag` numbers back, and it
  is not handed out before these are over

So the cells of a search, their rungs included, are a function of the data, the space and the seed, whatever the
number of workers, and a search that was cut short goes on as if it had not been.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Any

from optuna.trial import FrozenTrial

from helo.names import Status
from helo.search.planning import study
from helo.search.planning.lane import Lane
from helo.search.planning.racing import Looks, leader, looks, losers
from helo.search.planning.space import Space


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the search may know of a finished cell. It has no place for a test score.

    `curve`: the inner validation loss by epoch, epoch 0 (no training) first; empty for a failed cell. Of many cells,
    ``array("d", ...)`` takes a third of the memory of a tuple.
    """

    status: str
    curve: Sequence[float] = ()

    @property
    def loss(self) -> float | None:
        """The best epoch's loss. That of a stopped cell could only have become better, so it never flatters."""
        return None if self.status == Status.FAILED else min(self.curve)


@dataclass(frozen=True)
class Pace:
    """How far a search runs ahead of its results.

    - `generation`: configurations of a generation
    - `lag`: of the cells of a fold, how many configurations back those are that decide a cell's rungs
    - `ahead`: generations under way at a time
    """

    generation: int = 2
    lag: int = 1
    ahead: int = 2


@dataclass(slots=True)
class Entry:
    """A configuration under way: what is known of it, and whether it is still in the race.

    - `losses`: by the folds' order; NaN where a cell is not over or failed
    - `params`: drawn when its first cell is handed out
    """

    losses: array[float]
    params: dict[str, Any] = field(default_factory=dict)
    told: int = 0
    failed: bool = False
    alive: bool = True

    def known(self, folds: int) -> list[float]:
        """Its losses in so many of the first folds, without those that are missing or failed."""
        return [loss for loss in self.losses[:folds] if not math.isnan(loss)]


@dataclass(slots=True)
class _Generation:
    members: range
    stage: int = -1
    left: int = 0
    """Cells of its block that are not over."""
    over: bool = False


class Race:
    """A study over some folds (all under ``shared``, one under ``nested``).

    `folds` are fold numbers in the order in which configurations see them. With `racing` off, every cell is
    handed out and none has rungs. `known`: configurations drawn by an earlier part of this search.
    """

    def __init__(
        self,
        space: Space,
        folds: tuple[int, ...],
        seed: int,
        label: str,
        racing: bool,
        pace: Pace,
        known: Mapping[int, Mapping[str, Any]],
    ) -> None:
        self.space, self.folds, self.label = space, folds, label
        self.pace, self.known = pace, known
        self.entries: list[Entry] = []
        self.left_out = 0
        """Cells that need not run, because their configuration was dropped."""
        self._draws = study.Draws(space, seed, label)
        self._learnt = 0
        """Generations that the draws have learnt from."""
        self._looks = looks(len(folds)) if racing else Looks((), 0.0)
        self._leaders: list[tuple[int, list[float]] | None] = [None for _ in self._looks.folds]
        """By look: the configuration with the best mean that has come to it, and its losses."""
        self._ends = (*self._looks.folds, len(folds))
        self._generations: list[_Generation] = []
        self._first_active = 0
        self._position = {fold: position for position, fold in enumerate(folds)}
        self._lanes = [Lane(pace.lag if racing else None) for _ in folds]
        self._free: list[tuple[int, int]] = []
        """A heap: the cell of each lane that can start, by configuration and by the folds' order."""
        self._offered = [False for _ in folds]
        self._running: set[tuple[int, int]] = set()
        self._best: tuple[int, float] | None = None
        self._advance()

    @property
    def finished(self) -> bool:
        """Whether every configuration has run its last cell or was dropped."""
        return len(self.entries) == self.space.configurations and self._first_active == len(self._generations)

    def ask(self) -> tuple[int, int, dict[int, float]] | None:
        """The next cell that can run: configuration, fold and rungs. None if all others have to wait."""
        if not self._free:
            return None
        number, position = heappop(self._free)
        rungs = self._lanes[position].start(int(self._params(number)["epochs"]))
        self._running.add((number, position))
        self._offered[position] = False
        self._offer(position)
        return number, self.folds[position], rungs

    def tell(self, number: int, fold: int, outcome: Outcome) -> None:
        """Take the outcome of a cell that was handed out."""
        entry, position = self.entries[number], self._position[fold]
        if (number, position) not in self._running:
            raise ValueError(f"cell {number}/{fold} has been told already")
        self._running.remove((number, position))
        loss = outcome.loss
        entry.told += 1
        if loss is None:
            entry.failed = True
        else:
            entry.losses[position] = loss
        if entry.told == len(self.folds) and not entry.failed:
            mean = sum(entry.losses) / len(entry.losses)
            if self._best is None or (mean, number) < (self._best[1], self._best[0]):
                self._best = number, mean
        self._lanes[position].tell(number, outcome.curve, outcome.status == Status.COMPLETED)
        self._offer(position)
        generation = self._generations[number // self.pace.generation]
        generation.left -= 1
        if not generation.left:
            self._advance()

    def best(self) -> tuple[int, float] | None:
        """The configuration with the best mean loss over all folds so far, and that loss."""
        return self._best

    def trials(self, first: int = 0, end: int | None = None) -> list[FrozenTrial]:
        """Every configuration that is done with, as Optuna's trials; of these generations if given."""
        found = []
        for generation in self._generations[first:end]:
            for number in generation.members:
                entry = self.entries[number]
                if entry.alive and entry.told < len(self.folds):
                    continue
                known = entry.known(len(self.folds))
                found.append(self._draws.trial(entry.params, known, len(known) == len(self.folds), entry.failed))
        return found

    def _params(self, number: int) -> dict[str, Any]:
        """The configuration, drawn if this is its first cell: a generation's draws all at once would take long."""
        entry = self.entries[number]
        if not entry.params:
            known = self.known.get(number)
            if known is None and self._draws.learning:
                seen = max(0, number // self.pace.generation - self.pace.ahead + 1)
                self._draws.learn(self.trials(self._learnt, seen))
                self._learnt = seen
            entry.params = self.space.params(self._draws.draw(number, known))
        return entry.params

    def _offer(self, position: int) -> None:
        """Put a lane's cell among those that can start, once."""
        if not self._offered[position] and (number := self._lanes[position].free) is not None:
            self._offered[position] = True
            heappush(self._free, (number, position))

    def _advance(self) -> None:
        """Decide what can be decided: looks, next blocks, new generations.

        A generation never comes to a block before the one before it: looks and rungs rely on it.
        """
        moved = True
        while moved:
            moved = False
            for position in range(self._first_active, len(self._generations)):
                generation = self._generations[position]
                before = self._generations[position - 1] if position else None
                passed = before is None or before.over or before.stage > generation.stage
                if not generation.over and not generation.left and passed:
                    self._next_block(position)
                    moved = True
            while self._first_active < len(self._generations) and self._generations[self._first_active].over:
                self._first_active += 1
            moved |= self._open()

    def _next_block(self, position: int) -> None:
        """A generation has finished a block: drop its losers, and let the others run the next one."""
        generation = self._generations[position]
        if generation.stage >= 0:
            self._look(position)
        generation.stage += 1
        alive = [number for number in generation.members if self.entries[number].alive]
        if not alive or generation.stage == len(self._ends):
            generation.over = True
            return
        start, end = self._ends[generation.stage - 1] if generation.stage else 0, self._ends[generation.stage]
        generation.left = len(alive) * (end - start)
        for fold in range(start, end):
            self._lanes[fold].queue(alive)
            self._offer(fold)

    def _look(self, position: int) -> None:
        """Drop the members of a generation that are worse than the best of them and of all before them."""
        generation = self._generations[position]
        if generation.stage >= len(self._looks.folds):
            return
        seen = self._ends[generation.stage]
        members = [number for number in generation.members if self.entries[number].alive]
        compared = {number: losses for number in members if len(losses := self.entries[number].known(seen)) == seen}
        before = self._leaders[generation.stage]
        compared |= dict([before] if before else [])
        if compared:
            best = leader(compared)
            self._leaders[generation.stage] = best, compared[best]
        out = losers(compared, self._looks.level)
        for number in members:
            if number in out or number not in compared:
                self.entries[number].alive = False
                self.left_out += len(self.folds) - seen

    def _open(self) -> bool:
        """Make room for the next generation, once all but the last few are over."""
        start, end = len(self.entries), min(len(self.entries) + self.pace.generation, self.space.configurations)
        if start == end or self._first_active < len(self._generations) - self.pace.ahead + 1:
            return False
        self.entries += [Entry(array("d", [math.nan]) * len(self.folds)) for _ in range(start, end)]
        self._generations.append(_Generation(range(start, end)))
        return True
