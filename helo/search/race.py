"""One study and its cells: which can run now, which configurations go on to more folds.

Configurations come in generations. Each generation runs a first block of folds, then those of its members
that the race has not dropped run the next block, and so on. What decides is fixed by the numbers of
configurations and folds and never by which worker was faster:

- a generation is proposed from the results of all generations but the one before it, and so the search
  never waits for a generation's last cell
- a look compares a generation with all before it, on the same folds
- a cell's rungs come from the cells of its fold whose configuration is at least `lag` numbers back, and it
  is not handed out before these are over

So the cells of a search, their rungs included, are a function of the data, the space and the seed, whatever the
number of workers, and a search that was cut short goes on as if it had not been.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from optuna.trial import FrozenTrial

from helo.names import COMPLETED, FAILED
from helo.search import study
from helo.search.racing import Looks, looks, losers
from helo.search.rungs import limits
from helo.search.space import Space


@dataclass(frozen=True)
class Outcome:
    """What the search may know of a finished cell. It has no place for a test score.

    `curve`: the inner validation loss by epoch, epoch 0 (no training) first; empty for a failed cell.
    """

    status: str
    curve: tuple[float, ...] = ()

    @property
    def loss(self) -> float | None:
        """The best epoch's loss. That of a stopped cell could only have become better, so it never flatters."""
        return None if self.status == FAILED else min(self.curve)


@dataclass(frozen=True)
class Pace:
    """How far a search runs ahead of its results: configurations per generation, and the lag of rungs."""

    generation: int = 2
    lag: int = 1


@dataclass
class Entry:
    """A configuration under way: its outcomes by fold, and whether it is still in the race."""

    params: dict[str, Any]
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    alive: bool = True

    def losses(self, folds: tuple[int, ...]) -> list[float] | None:
        """Its losses in these folds; None if one is missing or failed."""
        found = [outcome.loss for fold in folds if (outcome := self.outcomes.get(fold)) is not None]
        known = [loss for loss in found if loss is not None]
        return known if len(known) == len(folds) else None


@dataclass
class _Generation:
    members: list[int]
    stage: int = -1
    waiting: list[tuple[int, int]] = field(default_factory=list)
    running: int = 0
    over: bool = False

    @property
    def still(self) -> bool:
        return not self.waiting and not self.running


class Race:
    """A study over some folds (all under ``shared``, one under ``nested``).

    `folds` are fold numbers in the order in which configurations see them. With `racing` off, every cell is
    handed out and none has rungs. `known`: configurations drawn by an earlier part of this search.
    """

    def __init__(
        self, space: Space, folds: tuple[int, ...], seed: int, label: str, racing: bool, pace: Pace,
        known: Mapping[int, Mapping[str, Any]],
    ) -> None:  # fmt: skip
        self.space, self.folds, self.seed, self.label = space, folds, seed, label
        self.racing, self.pace, self.known = racing, pace, known
        self.entries: list[Entry] = []
        self.left_out = 0
        """Cells that need not run, because their configuration was dropped."""
        self._looks = looks(len(folds)) if racing else Looks((), 0.0)
        self._ends = (*self._looks.folds, len(folds))
        self._generations: list[_Generation] = []
        self._first_active = 0
        self._untold: dict[int, set[int]] = {fold: set() for fold in folds}
        self._best: tuple[int, float] | None = None
        self._advance()

    @property
    def finished(self) -> bool:
        """Whether every configuration has run its last cell or was dropped."""
        return len(self.entries) == self.space.configurations and self._first_active == len(self._generations)

    def ask(self) -> tuple[int, int, dict[int, float]] | None:
        """The next cell that can run: configuration, fold and rungs. None if all others have to wait."""
        for generation in self._generations[self._first_active :]:
            for position, (number, fold) in enumerate(generation.waiting):
                if self._free(number, fold):
                    del generation.waiting[position]
                    generation.running += 1
                    return number, fold, self._rungs(number, fold)
        return None

    def tell(self, number: int, fold: int, outcome: Outcome) -> None:
        """Take the outcome of a cell that was handed out."""
        entry = self.entries[number]
        if fold in entry.outcomes:
            raise ValueError(f"cell {number}/{fold} has been told already")
        entry.outcomes[fold] = outcome
        self._untold[fold].discard(number)
        self._generations[number // self.pace.generation].running -= 1
        losses = entry.losses(self.folds)
        if losses is not None:
            mean = sum(losses) / len(losses)
            if self._best is None or (mean, number) < (self._best[1], self._best[0]):
                self._best = number, mean
        self._advance()

    def best(self) -> tuple[int, float] | None:
        """The configuration with the best mean loss over all folds so far, and that loss."""
        return self._best

    def trials(self, generations: int | None = None) -> list[FrozenTrial]:
        """Every configuration that is done with, as Optuna's trials; of the first so many generations if given."""
        found = []
        for generation in self._generations[:generations]:
            for number in generation.members:
                entry = self.entries[number]
                if entry.alive and len(entry.outcomes) < len(self.folds):
                    continue
                told = [entry.outcomes[fold].loss for fold in self.folds if fold in entry.outcomes]
                known = [loss for loss in told if loss is not None]
                complete = len(known) == len(self.folds)
                found.append(study.trial(self.space, entry.params, known, complete, failed=len(known) < len(told)))
        return found

    def _free(self, number: int, fold: int) -> bool:
        """Whether all cells that this one's rungs depend on are over."""
        if not self.racing:
            return True
        last = number - self.pace.lag  # earlier generations have come to this fold's block: see _advance
        return all(other > last for other in self._untold[fold])

    def _rungs(self, number: int, fold: int) -> dict[int, float]:
        if not self.racing:
            return {}
        rivals = [
            outcome
            for entry in self.entries[: max(0, number - self.pace.lag + 1)]
            if (outcome := entry.outcomes.get(fold)) is not None and outcome.curve
        ]
        return limits(
            [outcome.curve for outcome in rivals],
            [outcome.status == COMPLETED for outcome in rivals],
            int(self.entries[number].params["epochs"]),
        )

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
                if not generation.over and generation.still and passed:
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
        start = self._ends[generation.stage - 1] if generation.stage else 0
        block = self.folds[start : self._ends[generation.stage]]
        generation.waiting = [(number, fold) for number in alive for fold in block]
        for number, fold in generation.waiting:
            self._untold[fold].add(number)

    def _look(self, position: int) -> None:
        generation = self._generations[position]
        if generation.stage >= len(self._looks.folds):
            return
        seen = self.folds[: self._ends[generation.stage]]
        last = generation.members[-1]
        compared = {
            number: losses
            for number, entry in enumerate(self.entries[: last + 1])
            if (losses := entry.losses(seen)) is not None
        }
        out = losers(compared, self._looks.level)
        for number in generation.members:
            if self.entries[number].alive and (number in out or number not in compared):
                self.entries[number].alive = False
                self.left_out += len(self.folds) - len(seen)

    def _open(self) -> bool:
        """Propose the next generation, once all but the last one are over."""
        opened = len(self._generations)
        start, end = len(self.entries), min(len(self.entries) + self.pace.generation, self.space.configurations)
        if start == end or self._first_active < opened - 1:
            return False
        trials = self.trials(max(0, opened - 1))
        for number in range(start, end):
            drawn = study.draw(self.space, self.seed, self.label, number, trials, self.known.get(number))
            self.entries.append(Entry(self.space.params(drawn)))
        self._generations.append(_Generation(list(range(start, end))))
        return True
