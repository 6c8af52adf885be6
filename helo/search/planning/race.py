"""Race of one study: which of its cells can run now, and which configurations continue on more folds.

Configurations come in generations. Each generation runs a first block of folds. Those of its members that the race has
not dropped run the next block, and so on. Every decision depends on the numbers of configurations and folds, and never
on the speed of workers:

- A generation is drawn from the results of all generations except the `lookahead` - 1 before it. So the search does
  not wait for the last cells of a generation.
- A look compares a generation with all generations before it, on the same folds.
- The rungs of a cell come from the cells of its fold whose configuration is at least `lag` numbers back. The cell is
  not handed out before these have ended.

The cells of a search, their rungs included, are thus a function of the data, the space, the seed and the pace, whatever
the number of workers. An interrupted search continues as if it had not been interrupted.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Any

from optuna.trial import FrozenTrial

from helo.names import Status
from helo.search.planning import study
from helo.search.planning.fold_schedule import FoldSchedule
from helo.search.planning.models import Model, model_of
from helo.search.planning.outcome import Outcome
from helo.search.planning.pace import Pace
from helo.search.planning.racing import Looks, find_best, find_inferior
from helo.search.planning.space import Space


@dataclass(slots=True)
class Entry:
    """State of a configuration in a race.

    Attributes
    ----------
    losses : array of float
        Losses in the order of the folds; NaN where a cell has not ended or has failed.
    params : dict
        Values of all hyperparameters; empty until the first cell of the configuration is handed out.
    finished_cells : int
        Cells whose outcome was reported.
    failed : bool
        Whether one of its cells failed.
    alive : bool
        Whether the configuration has not been dropped.
    """

    losses: array[float]
    params: dict[str, Any] = field(default_factory=dict)
    finished_cells: int = 0
    failed: bool = False
    alive: bool = True

    def available_losses(self, folds: int) -> list[float]:
        """Return the losses in the first `folds` folds, without missing ones."""
        return [loss for loss in self.losses[:folds] if not math.isnan(loss)]


@dataclass(slots=True)
class _Generation:
    """Configurations that were drawn together; `stage` is the number of their current block, -1 before the first."""

    members: range
    stage: int = -1
    open_cells: int = 0
    """Cells of the current block that have not ended."""
    finished: bool = False


class Race:
    """Race of one study: over all folds under ``shared``, over one fold under ``nested``.

    Parameters
    ----------
    space : Space
        Search space.
    folds : tuple of int
        Fold numbers in the order in which configurations run them.
    seed : int
        Seed of the search.
    label : str
        Name of the study.
    racing : bool
        Whether to drop configurations at looks and to give cells rungs. Without racing every cell runs to its end.
    pace : Pace
        How far the race runs ahead of its results.
    recorded_params : mapping of int to mapping
        Configuration → hyperparameters that an earlier part of the search has drawn.

    Attributes
    ----------
    entries : list of Entry
        State of each configuration, by its number.
    skipped_cells : int
        Cells that need not run because their configuration was dropped.
    """

    def __init__(
        self,
        space: Space,
        folds: tuple[int, ...],
        seed: int,
        label: str,
        racing: bool,
        pace: Pace,
        recorded_params: Mapping[int, Mapping[str, Any]],
    ) -> None:
        self.space, self.folds, self.label = space, folds, label
        self.pace, self.recorded_params = pace, recorded_params
        self.entries: list[Entry] = []
        self.skipped_cells = 0
        self._sampler = study.ConfigurationSampler(space, seed, label)
        self._models: set[Model] = set()
        """Models of the configurations that were drawn. None of them is trained twice."""
        self._learnt_generations = 0
        """Generations whose trials the sampler has."""
        self._looks = Looks.for_folds(len(folds)) if racing else Looks((), 0.0)
        self._leaders: list[tuple[int, list[float]] | None] = [None for _ in self._looks.folds]
        """By look: the best configuration that has come to it so far, and its losses."""
        self._block_ends = (*self._looks.folds, len(folds))
        self._generations: list[_Generation] = []
        self._first_active = 0
        self._position_of_fold = {fold: position for position, fold in enumerate(folds)}
        self._schedules = [FoldSchedule(pace.lag if racing else None) for _ in folds]
        self._ready: list[tuple[int, int]] = []
        """Heap of the cells that can start, at most one per fold: configuration, position of the fold."""
        self._has_ready_cell = [False for _ in folds]
        self._running: set[tuple[int, int]] = set()
        self._best: tuple[int, float] | None = None
        self._advance()

    @property
    def finished(self) -> bool:
        """Whether every configuration has run its last cell or was dropped."""
        return len(self.entries) == self.space.configurations and self._first_active == len(self._generations)

    def ask(self) -> tuple[int, int, dict[int, float]] | None:
        """Return the next cell as (configuration, fold, rungs); None if no cell can start now."""
        if not self._ready:
            return None
        number, position = heappop(self._ready)
        rungs = self._schedules[position].start(int(self._params(number)["epochs"]))
        self._running.add((number, position))
        self._has_ready_cell[position] = False
        self._offer_next_cell(position)
        return number, self.folds[position], rungs

    def tell(self, number: int, fold: int, outcome: Outcome) -> None:
        """Report the outcome of a cell. Raise `ValueError` unless the cell is running."""
        entry, position = self.entries[number], self._position_of_fold[fold]
        if (number, position) not in self._running:
            raise ValueError(f"cell {number}/{fold} is not running: its outcome was reported before")
        self._running.remove((number, position))
        loss = outcome.loss
        entry.finished_cells += 1
        if loss is None:
            entry.failed = True
        else:
            entry.losses[position] = loss
        if entry.finished_cells == len(self.folds) and not entry.failed:
            mean = sum(entry.losses) / len(entry.losses)
            if self._best is None or (mean, number) < (self._best[1], self._best[0]):
                self._best = number, mean
        self._schedules[position].end(number, outcome.curve, outcome.status == Status.COMPLETED)
        self._offer_next_cell(position)
        generation = self._generations[number // self.pace.generation]
        generation.open_cells -= 1
        if not generation.open_cells:
            self._advance()

    def best(self) -> tuple[int, float] | None:
        """Return the configuration with the lowest mean loss over all folds so far, and that loss."""
        return self._best

    def trials(self, first: int = 0, end: int | None = None) -> list[FrozenTrial]:
        """Return the finished configurations of generations `first` to `end` (excluded) as Optuna trials."""
        found = []
        for generation in self._generations[first:end]:
            for number in generation.members:
                entry = self.entries[number]
                if entry.alive and entry.finished_cells < len(self.folds):
                    continue
                losses = entry.available_losses(len(self.folds))
                complete = len(losses) == len(self.folds)
                found.append(self._sampler.make_trial(entry.params, losses, complete, entry.failed))
        return found

    def _params(self, number: int) -> dict[str, Any]:
        """Return the hyperparameters of a configuration.

        They are drawn for its first cell, and not all at once for a generation, which would block the search for long.
        A configuration is drawn after all with lower numbers: every fold starts the first block in their order.
        """
        entry = self.entries[number]
        if not entry.params:
            recorded = self.recorded_params.get(number)
            if recorded is None and self._sampler.uses_trials:
                usable = max(0, number // self.pace.generation - self.pace.lookahead + 1)
                self._sampler.add_trials(self.trials(self._learnt_generations, usable))
                self._learnt_generations = usable
            entry.params = self.space.full_params(self._sampler.draw(number, recorded, self._models))
            self._models.add(model_of(entry.params))
        return entry.params

    def _offer_next_cell(self, position: int) -> None:
        """Add the next cell of a fold to the cells that can start, unless it is among them."""
        if self._has_ready_cell[position]:
            return
        number = self._schedules[position].next_cell
        if number is not None:
            self._has_ready_cell[position] = True
            heappush(self._ready, (number, position))

    def _advance(self) -> None:
        """Make all decisions that are due: looks, next blocks, new generations.

        A generation never starts a block before its predecessor has started it: looks and rungs rely on this order.
        """
        changed = True
        while changed:
            changed = False
            for position in range(self._first_active, len(self._generations)):
                generation = self._generations[position]
                previous = self._generations[position - 1] if position else None
                may_advance = previous is None or previous.finished or previous.stage > generation.stage
                if not generation.finished and not generation.open_cells and may_advance:
                    self._start_next_block(position)
                    changed = True
            while self._first_active < len(self._generations) and self._generations[self._first_active].finished:
                self._first_active += 1
            if self._add_generation():
                changed = True

    def _start_next_block(self, position: int) -> None:
        """Drop the inferior members of a generation that has finished a block, and queue the next block of the rest."""
        generation = self._generations[position]
        if generation.stage >= 0:
            self._look(position)
        generation.stage += 1
        alive = [number for number in generation.members if self.entries[number].alive]
        if not alive or generation.stage == len(self._block_ends):
            generation.finished = True
            return
        start = self._block_ends[generation.stage - 1] if generation.stage else 0
        end = self._block_ends[generation.stage]
        generation.open_cells = len(alive) * (end - start)
        for fold_position in range(start, end):
            self._schedules[fold_position].add(alive)
            self._offer_next_cell(fold_position)

    def _look(self, position: int) -> None:
        """Drop the members of a generation that are worse than the best of it and of all generations before it."""
        generation = self._generations[position]
        if generation.stage >= len(self._looks.folds):
            return
        folds = self._block_ends[generation.stage]
        members = [number for number in generation.members if self.entries[number].alive]
        compared = {}
        for number in members:
            losses = self.entries[number].available_losses(folds)
            if len(losses) == folds:
                compared[number] = losses
        leader = self._leaders[generation.stage]
        if leader is not None:
            compared[leader[0]] = leader[1]
        if compared:
            best = find_best(compared)
            self._leaders[generation.stage] = best, compared[best]
        inferior = find_inferior(compared, self._looks.level)
        for number in members:
            if number in inferior or number not in compared:
                self.entries[number].alive = False
                self.skipped_cells += len(self.folds) - folds

    def _add_generation(self) -> bool:
        """Add the next generation if fewer than `lookahead` are under way. Return whether one was added."""
        start = len(self.entries)
        end = min(start + self.pace.generation, self.space.configurations)
        if start == end or self._first_active < len(self._generations) - self.pace.lookahead + 1:
            return False
        for _ in range(start, end):
            self.entries.append(Entry(array("d", [math.nan]) * len(self.folds)))
        self._generations.append(_Generation(range(start, end)))
        return True
