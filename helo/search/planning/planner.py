"""Planner of a search: deterministic choice of the next cell, without Ray, torch or files.

Under the ``shared`` protocol one race proposes configurations for all folds. Under ``nested`` each fold has a race of
its own, and nothing passes between folds. `helo.search.planning.outcome.Outcome` has no field for test scores, so the
planner never sees one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial

from helo.names import SearchProtocol
from helo.search.planning.outcome import Outcome
from helo.search.planning.pace import Pace
from helo.search.planning.race import Race
from helo.search.planning.space import Space

MAX_ATTEMPTS = 3
"""Maximum number of times that a cell is started. After that many lost workers it counts as failed."""


@dataclass(frozen=True)
class PlannedCell:
    """One configuration on one fold.

    Attributes
    ----------
    configuration : int
        Number of the configuration.
    fold : int
        Number of the fold.
    params : mapping
        Values of all hyperparameters.
    rungs : mapping of int to float
        Epoch → largest loss of its first members with which the cell continues after it.
    attempt : int
        Number of the attempt, starting with 1.
    gpu_factor : int
        Factor on the cell's share of a GPU. It grows each time the cell runs out of memory.
    """

    configuration: int
    fold: int
    params: Mapping[str, Any]
    rungs: Mapping[int, float] = field(default_factory=dict)
    attempt: int = 1
    gpu_factor: int = 1


class Planner:
    """Ask-and-tell interface (as in Optuna) to the cells of a search.

    Parameters
    ----------
    space : Space
        Search space.
    folds : int
        Number of folds.
    seed : int
        Seed of the order of the folds and of the draws.
    protocol : str
        A `helo.names.SearchProtocol`.
    racing : bool
        Whether to drop configurations at looks and to stop cells at rungs. Without racing every cell runs to its end.
    pace : Pace, optional
        How far the search runs ahead of its results.
    recorded_params : mapping, optional
        Configuration → hyperparameters that an earlier part of the same search has drawn.

    Attributes
    ----------
    finished_cells : int
        Cells whose outcome was reported.
    running_cells : int
        Cells that were handed out and have no outcome yet.

    Examples
    --------
    >>> planner = Planner(Space("two", 2, {}), folds=3, seed=0)
    >>> cell = planner.ask()
    >>> planner.tell(cell, Outcome("completed", (0.3, 0.2)))
    >>> planner.finished_cells, planner.max_cells
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
        recorded_params: Mapping[int, Mapping[str, Any]] | None = None,
    ) -> None:
        self.space, self.folds, self.nested = space, folds, protocol == SearchProtocol.NESTED
        # The order of the folds is seeded. Otherwise an interrupted search would always have seen the first subjects.
        order = tuple(int(fold) for fold in np.random.default_rng(seed).permutation(folds))
        pace = pace or Pace()
        recorded_params = recorded_params or {}
        if self.nested:
            by_fold: dict[int, dict[int, Mapping[str, Any]]] = {fold: {} for fold in order}
            for number, params in recorded_params.items():
                by_fold[number % folds][self._number_in_race(number)] = params
            self._races = [Race(space, (fold,), seed, f"fold {fold}", racing, pace, by_fold[fold]) for fold in order]
        else:
            self._races = [Race(space, order, seed, "shared", racing, pace, recorded_params)]
        self._race_of_fold = {fold: race for race in self._races for fold in race.folds}
        self._round_robin: deque[Race] = deque(self._races)
        self._retries: deque[PlannedCell] = deque()
        self._restored: dict[tuple[int, int], Outcome] = {}
        self.finished_cells = 0
        self.running_cells = 0

    @property
    def max_cells(self) -> int:
        """Number of cells of the whole search, finished ones included, if no further configuration is dropped."""
        return self.space.configurations * self.folds - sum(race.skipped_cells for race in self._races)

    @property
    def finished(self) -> bool:
        """Whether the outcome of every cell was reported."""
        return not self._retries and all(race.finished for race in self._races)

    def ask(self) -> PlannedCell | None:
        """Return the next cell to run.

        None means that no cell can start now. Unless the search is `finished`, cells follow once others end.
        """
        while (cell := self._next_cell()) is not None:
            self.running_cells += 1
            outcome = self._restored.pop((cell.configuration, cell.fold), None)
            if outcome is None:
                return cell
            self.tell(cell, outcome)
        return None

    def _next_cell(self) -> PlannedCell | None:
        if self._retries:
            return self._retries.popleft()
        for _ in range(len(self._round_robin)):
            race = self._round_robin[0]
            self._round_robin.rotate(-1)
            if (found := race.ask()) is not None:
                number, fold, rungs = found
                return PlannedCell(self._global_number(number, fold), fold, race.entries[number].params, rungs)
        return None

    def tell(self, cell: PlannedCell, outcome: Outcome) -> None:
        """Report the outcome of a cell. Raise `ValueError` if it was reported before."""
        self._race_of_fold[cell.fold].tell(self._number_in_race(cell.configuration), cell.fold, outcome)
        self.finished_cells += 1
        self.running_cells -= 1

    def retry(self, cell: PlannedCell, gpu_factor: int = 1) -> bool:
        """Queue a cell again whose worker died or ran out of memory.

        Parameters
        ----------
        cell : PlannedCell
            Cell that has no outcome.
        gpu_factor : int
            Factor by which its share of a GPU grows.

        Returns
        -------
        bool
            False if the cell has had `MAX_ATTEMPTS` attempts. It must then be reported as failed.
        """
        if cell.attempt >= MAX_ATTEMPTS:
            return False
        again = replace(cell, attempt=cell.attempt + 1, gpu_factor=cell.gpu_factor * gpu_factor)
        self._retries.appendleft(again)
        self.running_cells -= 1
        return True

    def restore(self, outcomes: Mapping[tuple[int, int], Outcome]) -> None:
        """Replay the search as far as its finished cells reach.

        Parameters
        ----------
        outcomes : mapping of (int, int) to Outcome
            (configuration, fold) → outcome of a finished cell. Where an earlier cell is missing, the cells behind it
            are kept and reported when their turn comes.
        """
        self._restored = dict(outcomes)
        open_cells = []
        while (cell := self.ask()) is not None:
            open_cells.append(cell)
        self._retries.extend(open_cells)
        self.running_cells -= len(open_cells)

    def best(self) -> tuple[int, float] | None:
        """Return the configuration with the lowest mean loss over all folds so far, and that loss.

        None under ``nested``, and while no configuration has finished all folds.
        """
        return None if self.nested else self._races[0].best()

    def studies(self) -> dict[str, list[FrozenTrial]]:
        """Return every finished configuration as an Optuna trial, by the name of its study."""
        return {race.label: race.trials() for race in self._races}

    def _global_number(self, number: int, fold: int) -> int:
        """Return the number of a race's configuration within the search: under ``nested``, folds share no number."""
        return number * self.folds + fold if self.nested else number

    def _number_in_race(self, configuration: int) -> int:
        return configuration // self.folds if self.nested else configuration
