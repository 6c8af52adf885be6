"""Tests of the race: comparison with a slow reference implementation, on small searches."""

from __future__ import annotations

import hashlib
import json
import math
import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import wilcoxon

from helo.names import Status
from helo.search.planning import study
from helo.search.planning.fold_schedule import FoldSchedule
from helo.search.planning.outcome import Outcome
from helo.search.planning.pace import Pace
from helo.search.planning.race import Race
from helo.search.planning.racing import Looks
from helo.search.planning.rungs import MIN_CELLS_AT_RUNG, REDUCTION_FACTOR, rung_epochs
from helo.search.planning.space import Range, Space

SEED = 5
BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "scale.py"
SEARCHED = {
    "dropout": Range(0.0, 0.5, log=False, whole=False),
    "epochs": Range(1, 12, log=False, whole=True),
}


class ReferenceRace:
    """Slow implementation of `Race` that follows the rules literally."""

    def __init__(self, space: Space, folds: tuple[int, ...], racing: bool, pace: Pace) -> None:
        self.space, self.folds, self.racing, self.pace = space, folds, racing, pace
        self.looks = Looks.for_folds(len(folds)) if racing else Looks((), 0.0)
        self.ends = (*self.looks.folds, len(folds))
        self.params: list[dict[str, Any]] = []
        self.alive: list[bool] = []
        self.stages: list[int] = []  # of each generation, which ends after the last stage or without members
        self.waiting: list[tuple[int, int]] = []
        self.running: list[tuple[int, int]] = []
        self.outcomes: dict[tuple[int, int], Outcome] = {}
        self.advance()

    def members(self, generation: int) -> range:
        start = generation * self.pace.generation
        return range(start, min(start + self.pace.generation, len(self.params)))

    def over(self, generation: int) -> bool:
        ended = self.stages[generation] == len(self.ends)
        return ended or not any(self.alive[number] for number in self.members(generation))

    def losses(self, number: int, folds: int) -> list[float | None]:
        outcomes = [self.outcomes.get((number, fold)) for fold in self.folds[:folds]]
        return [None if outcome is None else outcome.loss for outcome in outcomes]

    def ask(self) -> tuple[int, int, dict[int, float]] | None:
        for number, fold in sorted(self.waiting, key=lambda cell: (cell[0], self.folds.index(cell[1]))):
            before = [other for other, its in self.waiting + self.running if its == fold]
            if not self.racing or all(other > number - self.pace.lag for other in before):
                self.waiting.remove((number, fold))
                self.running.append((number, fold))
                return number, fold, self.rungs(number, fold)
        return None

    def rungs(self, number: int, fold: int) -> dict[int, float]:
        found = {}
        for rung in rung_epochs(self.params[number]["epochs"]) if self.racing else ():
            best = sorted(
                outcome.curve[min(rung, len(outcome.curve) - 1)]
                for (other, its), outcome in self.outcomes.items()
                if its == fold and other <= number - self.pace.lag and outcome.status != Status.FAILED
                if outcome.status == Status.COMPLETED or len(outcome.curve) > rung
            )
            if len(best) >= MIN_CELLS_AT_RUNG:
                found[rung] = best[math.ceil((len(best) + 1) / REDUCTION_FACTOR) - 1]
        return found

    def tell(self, number: int, fold: int, outcome: Outcome) -> None:
        self.running.remove((number, fold))
        self.outcomes[number, fold] = outcome
        self.advance()

    def advance(self) -> None:
        moved = True
        while moved:
            moved = False
            for generation in range(len(self.stages)):
                busy = any(number in self.members(generation) for number, _ in self.waiting + self.running)
                passed = generation == 0 or self.over(generation - 1)
                passed = passed or self.stages[generation - 1] > self.stages[generation]
                if not self.over(generation) and not busy and passed:
                    self.next_block(generation)
                    moved = True
            if len(self.params) < self.space.configurations and all(
                map(self.over, range(len(self.stages) - self.pace.lookahead + 1))
            ):
                self.open()
                moved = True

    def next_block(self, generation: int) -> None:
        stage = self.stages[generation]
        if 0 <= stage < len(self.looks.folds):
            self.look(generation, self.ends[stage])
        self.stages[generation] += 1
        if not self.over(generation):
            block = self.folds[self.ends[stage] if stage >= 0 else 0 : self.ends[stage + 1]]
            alive = [number for number in self.members(generation) if self.alive[number]]
            self.waiting += [(number, fold) for number in alive for fold in block]

    def look(self, generation: int, seen: int) -> None:
        known = {number: self.losses(number, seen) for number in range(self.members(generation)[-1] + 1)}
        whole: dict[int, Any] = {number: losses for number, losses in known.items() if None not in losses}
        best = min(whole, key=lambda number: (np.mean(whole[number]), number), default=-1)
        for number in self.members(generation):
            if number not in whole:
                self.alive[number] = False
            elif np.mean(whole[number]) > np.mean(whole[best]):
                # Without the rounding errors of subtraction, by which equal differences would have different ranks.
                differences = np.round(np.subtract(whole[number], whole[best]), 6)
                test = wilcoxon(differences, alternative="greater", zero_method="zsplit")
                self.alive[number] &= not test.pvalue < self.looks.level

    def open(self) -> None:
        draws = study.ConfigurationSampler(self.space, SEED, "race")
        for number in range(max(0, len(self.stages) - self.pace.lookahead + 1) * self.pace.generation):
            losses = [loss for loss in self.losses(number, len(self.folds)) if loss is not None]
            failed = len(losses) < sum(its == number for its, _ in self.outcomes)
            draws.add_trials([draws.make_trial(self.params[number], losses, len(losses) == len(self.folds), failed)])
        end = min(len(self.params) + self.pace.generation, self.space.configurations)
        for number in range(len(self.params), end):
            self.params.append(self.space.full_params(draws.draw(number)))
            self.alive.append(True)
        self.stages.append(-1)


def cell(race: Race, number: int, fold: int, rungs: dict[int, float], decimals: int, failures: float) -> Outcome:
    """Return the outcome of a cell. Fewer decimals give more ties."""
    digest = hashlib.sha256(f"{number}/{fold}/{race.entries[number].params}".encode()).digest()
    draw = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    if draw.random() < failures:
        return Outcome(Status.FAILED)
    epochs = int(race.entries[number].params["epochs"])
    level = race.entries[number].params["dropout"] * 4 + fold + 0.5 * draw.normal()
    losses = np.round(level + draw.normal(size=1 + min(epochs, int(draw.integers(0, 20)))), decimals).tolist()
    joint = float(np.round(level + draw.normal(), decimals))  # all members differ from the first ones
    for epoch in range(1, len(losses)):
        if losses[epoch] > rungs.get(epoch, math.inf):
            return Outcome(Status.STOPPED, losses[: epoch + 1], joint)
    return Outcome(Status.COMPLETED, losses, joint)


@settings(max_examples=120, deadline=None)
@given(
    sampler=st.sampled_from(["random", "tpe"]),
    configurations=st.integers(1, 24),
    folds=st.integers(1, 11),
    racing=st.booleans(),
    pace=st.builds(Pace, st.integers(1, 9), st.integers(1, 12), st.integers(1, 5)),
    workers=st.sampled_from([1, 3, 40, 1000]),
    decimals=st.sampled_from([1, 9]),
    failures=st.sampled_from([0.0, 0.1, 0.6]),
    order=st.integers(0, 99),
)
def test_race_equals_reference_implementation(
    sampler: str,
    configurations: int,
    folds: int,
    pace: Pace,
    racing: bool,
    workers: int,
    decimals: int,
    failures: float,
    order: int,
) -> None:
    space = Space("two", configurations, SEARCHED, {}, sampler)
    generator = np.random.default_rng(order)
    seen = tuple(generator.permutation(folds).tolist())
    race, reference = Race(space, seen, SEED, "race", racing, pace, {}), ReferenceRace(space, seen, racing, pace)
    running: list[tuple[int, int, dict[int, float]]] = []
    while not race.finished:
        while len(running) < workers:
            asked = race.ask()
            assert asked == reference.ask()
            if asked is None:
                break
            running.append(asked)
            assert race.entries[asked[0]].params == reference.params[asked[0]]
        number, fold, rungs = running.pop(int(generator.integers(len(running))))
        outcome = cell(race, number, fold, rungs, decimals, failures)
        race.tell(number, fold, outcome)
        reference.tell(number, fold, outcome)
    assert not running
    assert not reference.waiting
    assert len(reference.params) == configurations
    assert [entry.alive for entry in race.entries] == reference.alive
    assert race.skipped_cells == configurations * folds - len(reference.outcomes)


# --- fold schedule ------------------------------------------------------------------------------------


def test_cell_waits_for_the_cells_that_decide_its_rungs() -> None:
    schedule = FoldSchedule(lag=2)
    schedule.add(range(5))
    assert schedule.next_cell == 0
    assert [schedule.start(4), schedule.start(4)] == [{}, {}]
    assert schedule.next_cell is None  # cell 2 waits for cell 0
    schedule.end(1, [3.0] * 5, finished=True)
    assert schedule.next_cell is None
    schedule.end(0, [5.0] * 5, finished=True)
    assert schedule.next_cell == 2
    assert schedule.start(4) == {1: 5.0, 2: 5.0, 4: 5.0}  # cell 1 has ended, but is within the lag
    assert schedule.next_cell == 3
    assert schedule.start(4) == {1: 3.0, 2: 3.0, 4: 3.0}
    assert schedule.next_cell is None


def test_cells_do_not_wait_without_a_lag() -> None:
    schedule = FoldSchedule(lag=None)
    schedule.add([1, 2])
    schedule.add([5])
    assert [(schedule.next_cell, schedule.start(8)) for _ in range(3)] == [(1, {}), (2, {}), (5, {})]
    assert schedule.next_cell is None


# --- size -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [[], ["--no-racing"], ["--sampler", "tpe"], ["--protocol", "nested", "--cells", "500"]]
)
def test_scale_benchmark_runs_and_restores_its_search(
    options: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Run the benchmark with few cells. It checks that its search is restored from half of the cells and from all."""
    monkeypatch.setattr(sys, "argv", [str(BENCHMARK), "--cells", "2000", "--workers", "50", *options])
    runpy.run_path(str(BENCHMARK), run_name="__main__")
    answer = json.loads(capsys.readouterr().out)
    found, all_cells = answer["planner"], answer["configurations"] * 73
    assert 0 < found["cells"] <= all_cells
    assert (found["cells"] == all_cells) is bool({"--no-racing", "nested"} & set(options))
    assert 0 < found["workers_busy"] <= 1
