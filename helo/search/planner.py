"""Which cell comes next: pure and deterministic, without Ray, torch or files.

Under the ``shared`` protocol one Optuna study proposes configurations; each is one cell per fold. When all
folds of a configuration are in, the study learns the mean of its inner validation scores. Test scores
never come here: `Planner.tell` has no argument for them.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import Trial, TrialState

from helo.search.space import Choices, Range, Space

MAX_ATTEMPTS = 3
"""How often a cell is handed out when its worker dies under it, before it counts as failed."""

STARTUP = 10
"""Configurations that TPE draws at random first (Optuna's default), if the search has four times as many."""

optuna.logging.set_verbosity(optuna.logging.WARNING)


@dataclass(frozen=True)
class PlannedCell:
    """One configuration on one fold (by number), with the whole configuration's values."""

    configuration: int
    fold: int
    params: Mapping[str, Any]


@dataclass
class _Proposal:
    """A configuration under way: its Optuna trial, and the validation losses by fold (None: failed)."""

    trial: Trial
    params: dict[str, Any]
    losses: dict[int, float | None] = field(default_factory=dict)


class Planner:
    """The ``shared`` protocol: hands out cells and learns from their validation scores.

    Configuration k is proposed when all cells of those before it have been handed out. Its draw depends on
    the seed, on k and on what the study knows at that moment: with the random sampler on seed and k alone,
    with TPE also on the order in which results come, which is fixed when one cell runs at a time.
    """

    def __init__(self, space: Space, folds: int, seed: int, sampler: str | None = None) -> None:
        self.space, self.folds, self.seed = space, folds, seed
        self.sampler = sampler or space.sampler
        # Folds in a seeded order, so that a search cut short has not seen the first subjects only.
        self.fold_order = [int(fold) for fold in np.random.default_rng(seed).permutation(folds)]
        self.study = optuna.create_study(direction="minimize")
        if space.first:
            self.study.enqueue_trial(dict(space.first))
        self._distributions = {name: _distribution(entry) for name, entry in space.searched.items()}
        self._proposals: list[_Proposal] = []
        self._waiting: deque[PlannedCell] = deque()
        self._attempts: dict[tuple[int, int], int] = {}
        self.told = 0

    @property
    def total(self) -> int:
        """Cells of the whole search."""
        return self.space.configurations * self.folds

    @property
    def finished(self) -> bool:
        """Whether every cell has been told."""
        return self.told == self.total

    def ask(self) -> PlannedCell | None:
        """The next cell to run, or None if all have been handed out."""
        if not self._waiting:
            if len(self._proposals) == self.space.configurations:
                return None
            self._propose()
        cell = self._waiting.popleft()
        key = (cell.configuration, cell.fold)
        self._attempts[key] = self._attempts.get(key, 0) + 1
        return cell

    def tell(self, cell: PlannedCell, loss: float | None) -> None:
        """Take a finished cell's inner validation loss (lower is better); None for a failed cell."""
        proposal = self._proposals[cell.configuration]
        if cell.fold in proposal.losses:
            raise ValueError(f"cell {cell.configuration}/{cell.fold} has been told already")
        proposal.losses[cell.fold] = loss
        self.told += 1
        if len(proposal.losses) == self.folds:
            losses = [value for value in proposal.losses.values() if value is not None]
            if len(losses) == self.folds:
                # In fold order: the sum must not depend on which cell came home first.
                self.study.tell(proposal.trial, float(np.mean([proposal.losses[i] for i in range(self.folds)])))
            else:
                self.study.tell(proposal.trial, state=TrialState.FAIL)

    def lost(self, cell: PlannedCell) -> bool:
        """A cell's worker died: hand the cell out again. False if it has had `MAX_ATTEMPTS`."""
        if self._attempts[(cell.configuration, cell.fold)] >= MAX_ATTEMPTS:
            return False
        self._waiting.appendleft(cell)
        return True

    def best(self) -> tuple[int, float] | None:
        """The configuration with the best mean validation loss over all folds so far, and that loss."""
        done = [trial for trial in self.study.get_trials(deepcopy=False) if trial.state == TrialState.COMPLETE]
        if not done:
            return None
        best = min(done, key=lambda trial: (trial.value, trial.number))
        return best.number, float(best.value or 0.0)

    def _propose(self) -> None:
        number = len(self._proposals)
        self.study.sampler = _sampler(self.sampler, self.space.configurations, derived_seed(self.seed, number))
        trial = self.study.ask(self._distributions)
        proposal = _Proposal(trial, self.space.params(trial.params))
        self._proposals.append(proposal)
        self._waiting.extend(PlannedCell(number, fold, proposal.params) for fold in self.fold_order)


def derived_seed(seed: int, number: int) -> int:
    """The seed of one configuration's draw, so that a draw needs no memory of those before it."""
    return int.from_bytes(hashlib.sha256(f"{seed}/configuration/{number}".encode()).digest()[:4], "big")


def _sampler(name: str, configurations: int, seed: int) -> optuna.samplers.BaseSampler:
    if name == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    startup = min(STARTUP, max(2, configurations // 4))
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=startup)


def _distribution(entry: Range | Choices) -> BaseDistribution:
    if isinstance(entry, Choices):
        return CategoricalDistribution(entry.values)
    if entry.whole:
        return IntDistribution(int(entry.low), int(entry.high), log=entry.log)
    return FloatDistribution(entry.low, entry.high, log=entry.log)
