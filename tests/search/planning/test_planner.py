"""Tests of the planner on simulated losses: its cells do not depend on the workers, and it sees no test score."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from optuna.trial import TrialState

from helo.configuration import Configuration
from helo.names import SearchProtocol, Status, enum_values
from helo.search.planning.outcome import Outcome
from helo.search.planning.pace import Pace
from helo.search.planning.planner import MAX_ATTEMPTS, PlannedCell, Planner
from helo.search.planning.racing import Looks
from helo.search.planning.space import Choices, Range, Space, load_space

EPOCHS = 8
TPE = Space(
    name="three",
    configurations=12,
    searched={
        "ot_entropy": Range(1e-3, 1.0, log=True, whole=False),
        "attention_depth": Range(1, 4, log=False, whole=True),
        "width": Choices((16, 32)),
    },
    fixed={"epochs": EPOCHS},
)
RANDOM = dataclasses.replace(TPE, sampler="random")
SAMPLERS = pytest.mark.parametrize("space", [TPE, RANDOM], ids=["tpe", "random"])
FOLDS = 5
MANY_FOLDS = 9
"""Number of folds that gives two looks."""

Curve = Callable[[PlannedCell], tuple[float, ...]]
"""Function that returns the losses of a cell's first members by epoch if no rung stops it; empty if the cell fails."""

Key = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class FinishedCell:
    """Cell that has run, with its outcome."""

    params: Mapping[str, Any]
    rungs: Mapping[int, float]
    outcome: Outcome

    @property
    def epochs(self) -> int:
        return len(self.outcome.curve) - 1


def noisy_losses(cell: PlannedCell) -> tuple[float, ...]:
    """Return noisy losses, lowest at ot_entropy 0.03. Folds differ, and some cells fail."""
    text = f"{sorted(cell.params.items())}/{cell.fold}"
    generator = np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big"))
    if cell.configuration % 7 == 4 and cell.fold % 2:
        return ()
    level = 0.3 * abs(math.log(cell.params["ot_entropy"] / 0.03)) + 0.2 * cell.fold + 0.1 * generator.normal()
    curve = level + np.exp(-np.arange(EPOCHS + 1) / 2) + 0.05 * generator.normal(size=EPOCHS + 1)
    return tuple(curve.tolist())


def smooth_losses(cell: PlannedCell) -> tuple[float, ...]:
    return (abs(math.log(cell.params["ot_entropy"] / 0.03)) + 0.1 * cell.fold,)


def train(cell: PlannedCell, curve: Curve) -> Outcome:
    """Return the outcome of a cell, as a worker does: train two members until a rung stops them, then three more.

    The loss of a cell that runs to its end is the last one of the curve. Where a rung stops it, the other members count
    with epoch 0.
    """
    losses = curve(cell)
    if not losses:
        return Outcome(Status.FAILED)
    for epoch in range(1, len(losses)):
        if losses[epoch] > cell.rungs.get(epoch, math.inf):
            return Outcome(Status.STOPPED, losses[: epoch + 1], 0.4 * losses[epoch] + 0.6 * losses[0])
    return Outcome(Status.COMPLETED, losses, losses[-1])


def run(
    planner: Planner,
    curve: Curve = smooth_losses,
    workers: int = 1,
    seed: int = 0,
    max_cells: int | None = None,
    failure_rate: float = 0.0,
    newest: bool = False,
) -> dict[Key, FinishedCell]:
    """Run a search with a number of workers, and return its finished cells in the order in which they ended.

    - `max_cells`: number of finished cells after which the search is interrupted
    - `failure_rate`: probability that a worker dies and its cell is retried
    - `newest`: always finish the cell that started last, instead of a random one
    """
    generator = np.random.default_rng(seed)
    done: dict[Key, FinishedCell] = {}
    running: list[PlannedCell] = []
    while not planner.finished and len(done) != max_cells:
        while len(running) < workers and (cell := planner.ask()) is not None:
            running.append(cell)
        if planner.finished:  # the last cells were restored
            break
        assert len(running) == planner.running_cells > 0
        cell = running.pop(-1 if newest else int(generator.integers(len(running))))
        if generator.random() < failure_rate and planner.retry(cell):
            continue
        key = cell.configuration, cell.fold
        assert key not in done
        done[key] = FinishedCell(dict(cell.params), dict(cell.rungs), train(cell, curve))
        planner.tell(cell, done[key].outcome)
    return done


def restart(make: Callable[..., Planner], done: Mapping[Key, FinishedCell]) -> Planner:
    """Return a planner as in a new process, from the finished cells and from parameters that were stored as JSON."""
    recorded = {number: json.loads(json.dumps(ran.params)) for (number, _), ran in done.items()}
    planner = make(recorded_params=recorded)
    planner.restore({key: ran.outcome for key, ran in done.items()})
    assert planner.finished_cells == len(done)
    assert planner.running_cells == 0
    return planner


def params_by_configuration(cells: Mapping[Key, FinishedCell]) -> dict[int, Mapping[str, Any]]:
    return {number: ran.params for (number, _), ran in cells.items()}


def trials(planner: Planner) -> dict[str, list[tuple[Any, ...]]]:
    """Return the trials of a planner by study, without their times."""
    return {
        name: [(one.state, one.params, one.value, one.intermediate_values) for one in found]
        for name, found in planner.studies().items()
    }


def statuses(cells: Mapping[Key, FinishedCell]) -> set[str]:
    return {ran.outcome.status for ran in cells.values()}


# --- cells of a search ------------------------------------------------------------------------------


@SAMPLERS
def test_without_racing_every_cell_runs_once_to_its_end(space: Space) -> None:
    planner = Planner(space, FOLDS, seed=1, racing=False)
    cells = run(planner, noisy_losses, workers=3)
    assert set(cells) == {(number, fold) for number in range(space.configurations) for fold in range(FOLDS)}
    assert planner.finished_cells == planner.max_cells == space.configurations * FOLDS
    assert statuses(cells) == {Status.COMPLETED, Status.FAILED}
    assert all(ran.rungs == {} for ran in cells.values())
    assert planner.finished
    assert planner.ask() is None


@pytest.mark.parametrize("protocol", enum_values(SearchProtocol))
def test_configuration_is_valid_and_the_same_in_all_folds(protocol: str) -> None:
    seen: dict[int, Any] = {}
    for (number, _), ran in run(Planner(TPE, FOLDS, 1, protocol), noisy_losses).items():
        assert seen.setdefault(number, ran.params) == ran.params
        Configuration.from_params(ran.params)
        for name, entry in TPE.searched.items():
            assert entry.contains(ran.params[name])
        assert ran.params["epochs"] == EPOCHS


@SAMPLERS
@pytest.mark.parametrize("protocol", enum_values(SearchProtocol))
def test_same_seed_gives_the_same_search(space: Space, protocol: str) -> None:
    once, again = (run(Planner(space, FOLDS, 1, protocol), noisy_losses) for _ in range(2))
    assert once == again
    assert list(once) == list(again)
    other = run(Planner(space, FOLDS, 2, protocol), noisy_losses)
    assert params_by_configuration(once) != params_by_configuration(other)


def test_order_of_folds_is_seeded() -> None:
    def order(space: Space, seed: int, **other: Any) -> tuple[int, ...]:
        cells = run(Planner(space, FOLDS, seed, **other), max_cells=FOLDS)
        return tuple(fold for _, fold in cells)

    orders = {order(TPE, seed, racing=False) for seed in range(20)}
    assert len(orders) > 5
    assert all(sorted(one) == list(range(FOLDS)) for one in orders)
    assert (
        order(TPE, 3, racing=False) == order(RANDOM, 3, racing=False) == order(TPE, 3, protocol=SearchProtocol.NESTED)
    )


def test_all_configurations_run_the_folds_in_the_same_order() -> None:
    cells = run(Planner(RANDOM, FOLDS, seed=3, racing=False))
    seen = {number: [fold for other, fold in cells if other == number] for number, _ in cells}
    assert len(seen) == RANDOM.configurations
    assert len({tuple(folds) for folds in seen.values()}) == 1


@pytest.mark.parametrize("name", ["demo", "small", "full"])
@pytest.mark.parametrize("sampler", ["tpe", "random"])
@pytest.mark.parametrize("protocol", enum_values(SearchProtocol))
def test_first_configuration_has_the_values_of_first(name: str, sampler: str, protocol: str) -> None:
    space = dataclasses.replace(load_space(name).resolve(windows=2000), sampler=sampler)
    planner = Planner(space, FOLDS, 9, protocol)
    asked = [planner.ask() for _ in range(FOLDS if protocol == SearchProtocol.NESTED else 1)]
    for cell in asked:
        assert cell is not None
        assert cell.params == space.full_params(space.first)
        assert cell.configuration == (cell.fold if protocol == SearchProtocol.NESTED else 0)


def test_other_values_of_the_first_configuration_are_drawn() -> None:
    space = dataclasses.replace(RANDOM, first={"ot_entropy": 0.1})
    drawn = params_by_configuration(run(Planner(space, FOLDS, seed=0)))
    assert drawn[0]["ot_entropy"] == 0.1
    assert TPE.searched["attention_depth"].contains(drawn[0]["attention_depth"])
    assert drawn[1]["ot_entropy"] != 0.1


def test_random_draws_do_not_depend_on_results() -> None:
    expected = params_by_configuration(run(Planner(RANDOM, FOLDS, seed=4, racing=False)))
    for workers, curve in ((1, noisy_losses), (2, lambda cell: (1.0,)), (1000, lambda cell: ())):
        cells = run(Planner(RANDOM, FOLDS, seed=4, racing=False), curve, workers, seed=workers)
        assert params_by_configuration(cells) == expected


def test_tpe_learns_from_outcomes() -> None:
    """After the same startup, different losses lead to different draws, each nearer to its optimum."""
    space = dataclasses.replace(TPE, configurations=40)

    def proposed(valley: float) -> list[float]:
        cells = run(Planner(space, 1, seed=0), lambda cell: (abs(math.log(cell.params["ot_entropy"] / valley)),))
        drawn = params_by_configuration(cells)
        return [math.log(drawn[number]["ot_entropy"]) for number in range(space.configurations)]

    low, high = proposed(2e-3), proposed(0.5)
    startup = 12  # ten, and the generation that is drawn before the last of these ten have ended
    assert low[:startup] == high[:startup]
    assert low[startup:] != high[startup:]
    assert np.median(low[startup:]) + 1 < np.median(high[startup:])


def test_interface_of_planner_has_no_test_scores() -> None:
    """A planner receives cells, which have no scores, and outcomes, which have validation losses only."""
    assert list(inspect.signature(Planner.tell).parameters) == ["self", "cell", "outcome"]
    assert list(inspect.signature(Planner.restore).parameters) == ["self", "outcomes"]
    assert list(inspect.signature(Planner.__init__).parameters) == [
        *("self", "space", "folds", "seed", "protocol", "racing", "pace", "recorded_params")
    ]
    assert [entry.name for entry in dataclasses.fields(Outcome)] == ["status", "curve", "loss"]
    assert [entry.name for entry in dataclasses.fields(PlannedCell)] == [
        *("configuration", "fold", "params", "rungs", "attempt", "gpu_factor")
    ]


# --- independence of the workers ------------------------------------------------------------------


CASES = [
    (sampler, protocol, folds, pace)
    for sampler in ("tpe", "random")
    for protocol, folds in ((SearchProtocol.SHARED, MANY_FOLDS), (SearchProtocol.NESTED, 3))
    for pace in (Pace(), Pace(generation=2, lag=5))
]
EACH_CASE = pytest.mark.parametrize(
    ("sampler", "protocol", "folds", "pace"), CASES, ids=lambda value: str(getattr(value, "lag", value))
)


def maker(sampler: str, protocol: str, folds: int, pace: Pace) -> Callable[..., Planner]:
    space = dataclasses.replace(TPE, sampler=sampler)
    return lambda recorded_params=None: Planner(space, folds, 7, protocol, pace=pace, recorded_params=recorded_params)


@EACH_CASE
def test_cells_do_not_depend_on_the_workers(sampler: str, protocol: str, folds: int, pace: Pace) -> None:
    make = maker(sampler, protocol, folds, pace)
    alone = make()
    expected = run(alone, noisy_losses)
    # The losses are chosen so that every status occurs, and racing drops configurations.
    assert statuses(expected) == {Status.COMPLETED, Status.STOPPED, Status.FAILED}
    assert (len(expected) < TPE.configurations * folds) is (protocol == SearchProtocol.SHARED)
    assert alone.finished_cells == alone.max_cells == len(expected)
    for workers, seed, newest in ((2, 1, False), (4, 2, False), (1000, 3, False), (1000, 4, True)):
        planner = make()
        cells = run(planner, noisy_losses, workers, seed, newest=newest)
        assert cells == expected
        assert {key: ran.epochs for key, ran in cells.items()} == {key: ran.epochs for key, ran in expected.items()}
        assert planner.best() == alone.best()
        assert trials(planner) == trials(alone)


@EACH_CASE
def test_interrupted_search_resumes_as_if_it_had_not_been_interrupted(
    sampler: str, protocol: str, folds: int, pace: Pace
) -> None:
    make = maker(sampler, protocol, folds, pace)
    alone = make()
    expected = run(alone, noisy_losses)
    generator = np.random.default_rng(len(sampler) + folds)
    for _ in range(3):
        planner = make()
        done: dict[Key, FinishedCell] = {}
        while not planner.finished:  # interrupted repeatedly, with any number of running cells
            part = run(
                planner,
                noisy_losses,
                int(generator.integers(1, 6)),
                int(generator.integers(100)),
                max_cells=int(generator.integers(0, 40)),
            )
            assert not part.keys() & done.keys()
            done |= part
            planner = restart(make, done)
        assert done == expected
        assert planner.finished_cells == planner.max_cells == len(expected)
        assert planner.best() == alone.best()
        assert trials(planner) == trials(alone)
        assert planner.ask() is None


def test_recorded_params_are_not_drawn_again() -> None:
    """Another version of Optuna may draw other values, so the values of finished cells must be kept."""
    other = {**RANDOM.full_params({"ot_entropy": 0.5, "attention_depth": 2, "width": 32})}
    cells = run(Planner(RANDOM, 3, 0, SearchProtocol.NESTED, recorded_params={4: other}))
    expected = run(Planner(RANDOM, 3, 0, SearchProtocol.NESTED))
    assert cells[4, 1].params == other != expected[4, 1].params
    assert {key: ran.params for key, ran in cells.items() if key != (4, 1)} == {
        key: ran.params for key, ran in expected.items() if key != (4, 1)
    }


@pytest.mark.parametrize("protocol", enum_values(SearchProtocol))
def test_dying_workers_do_not_change_cells(protocol: str) -> None:
    planner = Planner(TPE, FOLDS, 7, protocol)
    assert run(planner, noisy_losses, workers=4, seed=1, failure_rate=0.3) == run(
        Planner(TPE, FOLDS, 7, protocol), noisy_losses
    )
    assert planner.finished_cells == planner.max_cells


# --- nested -----------------------------------------------------------------------------------


@SAMPLERS
def test_nested_numbers_each_cell_once(space: Space) -> None:
    planner = Planner(space, FOLDS, 1, SearchProtocol.NESTED)
    cells = run(planner, noisy_losses)
    numbers = [number for number, _ in cells]
    assert sorted(numbers) == list(range(space.configurations * FOLDS))
    assert [sum(fold == one for _, fold in cells) for one in range(FOLDS)] == [space.configurations] * FOLDS
    assert len(cells) == planner.max_cells == Planner(space, FOLDS, 1, racing=False).max_cells
    # Each fold has its own random stream. Single configurations of two folds may be equal, but not all of them.
    drawn = {
        fold: [cells[key].params["ot_entropy"] for key in sorted(cells) if key[1] == fold] for fold in range(FOLDS)
    }
    assert len({tuple(values) for values in drawn.values()}) == FOLDS


@SAMPLERS
def test_folds_of_nested_do_not_affect_each_other(space: Space) -> None:
    mine = 2

    def elsewhere(cell: PlannedCell) -> tuple[float, ...]:
        return noisy_losses(cell) if cell.fold == mine else (5.0, *(-loss for loss in noisy_losses(cell)))

    expected = run(Planner(space, FOLDS, 1, SearchProtocol.NESTED), noisy_losses)
    cells = run(Planner(space, FOLDS, 1, SearchProtocol.NESTED), elsewhere, workers=3)
    assert {key: ran for key, ran in cells.items() if key[1] == mine} == {
        key: ran for key, ran in expected.items() if key[1] == mine
    }
    assert any(cells[key].rungs != ran.rungs for key, ran in expected.items() if key[1] != mine)
    shared = [run(Planner(space, FOLDS, 1), curve) for curve in (noisy_losses, elsewhere)]
    # Under ``shared`` the other folds matter. So this test is able to detect an effect.
    assert shared[0].keys() != shared[1].keys()


def test_nested_alternates_between_folds() -> None:
    planner = Planner(TPE, FOLDS, 1, SearchProtocol.NESTED)
    first = [planner.ask() for _ in range(FOLDS)]
    assert sorted(cell.fold for cell in first if cell is not None) == list(range(FOLDS))


def test_nested_has_one_study_per_fold_and_no_best_configuration() -> None:
    planner = Planner(RANDOM, 3, 1, SearchProtocol.NESTED)
    cells = run(planner, noisy_losses)
    assert planner.best() is None
    studies = planner.studies()
    assert set(studies) == {"fold 0", "fold 1", "fold 2"}
    for fold in range(3):
        of_fold = [ran for key, ran in sorted(cells.items()) if key[1] == fold]
        assert [one.params["ot_entropy"] for one in studies[f"fold {fold}"]] == [
            ran.params["ot_entropy"] for ran in of_fold
        ]
        assert [one.value for one in studies[f"fold {fold}"]] == [ran.outcome.loss for ran in of_fold]


# --- racing -----------------------------------------------------------------------------------


BAD = (3, 8)
GOOD = 5


def clear_losses(cell: PlannedCell) -> tuple[float, ...]:
    """Return losses with two configurations worse on every subject, one better, and the others equal on average."""
    level = {**dict.fromkeys(BAD, 9.0), GOOD: 0.5}.get(cell.configuration, 1.0)
    wobble = 0.1 * (-1) ** (cell.configuration + cell.fold)
    return tuple(level + wobble + 0.01 * (EPOCHS - epoch) for epoch in range(EPOCHS + 1))


def test_clearly_worse_configurations_are_dropped_and_the_best_runs_all_folds() -> None:
    planner = Planner(RANDOM, MANY_FOLDS, seed=0)
    first = Looks.for_folds(MANY_FOLDS).folds[0]
    total = RANDOM.configurations * MANY_FOLDS
    max_cells = [planner.max_cells]
    cells: dict[Key, FinishedCell] = {}
    for cell in iter(planner.ask, None):
        outcome = train(cell, clear_losses)
        cells[cell.configuration, cell.fold] = FinishedCell(cell.params, cell.rungs, outcome)
        planner.tell(cell, outcome)
        max_cells.append(planner.max_cells)
    seen = {number: sum(other == number for other, _ in cells) for number in range(RANDOM.configurations)}
    assert [seen[number] for number in BAD] == [first] * len(BAD)
    assert seen[GOOD] == MANY_FOLDS
    assert max_cells[0] == total
    assert max_cells == sorted(max_cells, reverse=True)
    assert max_cells[-1] == len(cells) == sum(seen.values()) < total
    best = planner.best()
    assert best is not None
    assert best[0] == GOOD
    trials = planner.studies()["shared"]
    assert [trials[number].state for number in BAD] == [TrialState.PRUNED] * len(BAD)
    assert trials[GOOD].state == TrialState.COMPLETE
    assert trials[GOOD].value == best[1]


@pytest.mark.parametrize("workers", [1, 1000])
@pytest.mark.parametrize("pace", [Pace(), Pace(generation=2, lag=5)])
def test_generation_waits_at_a_look_for_the_previous_one(workers: int, pace: Pace) -> None:
    """Cells that start last finish first. The first configuration still causes the others to be dropped."""
    planner = Planner(RANDOM, MANY_FOLDS, seed=0, pace=pace)
    cells = run(planner, lambda cell: (float(cell.configuration > 0),) * (EPOCHS + 1), workers, newest=True)
    seen = [sum(other == number for other, _ in cells) for number in range(RANDOM.configurations)]
    assert seen == [MANY_FOLDS] + [Looks.for_folds(MANY_FOLDS).folds[0]] * (RANDOM.configurations - 1)


@pytest.mark.parametrize("seed", range(5))
def test_configuration_that_is_best_in_every_fold_is_never_dropped(seed: int) -> None:
    """Neither the order of the folds nor a rung may end a configuration that is best in every fold."""

    def curve(cell: PlannedCell) -> tuple[float, ...]:
        losses = noisy_losses(dataclasses.replace(cell, params={**cell.params, "seed": seed}))
        return tuple(loss - 9.0 for loss in losses or (1.0, 1.0)) if cell.configuration == GOOD else losses

    planner = Planner(TPE, MANY_FOLDS, seed)
    cells = run(planner, curve, workers=3, seed=seed)
    assert sum(number == GOOD for number, _ in cells) == MANY_FOLDS
    assert all(ran.outcome.status == Status.COMPLETED for (number, _), ran in cells.items() if number == GOOD)
    best = planner.best()
    assert best is not None
    assert best[0] == GOOD


def test_equal_configurations_are_not_dropped() -> None:
    planner = Planner(TPE, MANY_FOLDS, seed=0)
    cells = run(planner, lambda cell: (1.0,) * (EPOCHS + 1))
    assert statuses(cells) == {Status.COMPLETED}
    assert len(cells) == planner.max_cells == TPE.configurations * MANY_FOLDS


def test_rungs_compare_within_a_fold_only() -> None:
    """The cells of a fold with higher losses than all other folds are not stopped."""

    def curve(cell: PlannedCell) -> tuple[float, ...]:
        return tuple(100.0 * (cell.fold == 1) - epoch for epoch in range(EPOCHS + 1))

    cells = run(Planner(RANDOM, FOLDS, seed=0), curve)
    assert statuses(cells) == {Status.COMPLETED}
    for (number, fold), ran in cells.items():
        rungs = {2: 98.0, 4: 96.0, 8: 92.0} if fold == 1 else {2: -2.0, 4: -4.0, 8: -8.0}
        assert ran.rungs == (rungs if number >= 1 else {})


def test_stopped_cell_counts_only_at_the_rungs_it_reached() -> None:
    levels = (5.0, 6.0, 7.0, 4.0, 4.0, 4.0)
    space = dataclasses.replace(RANDOM, configurations=len(levels))
    cells = run(Planner(space, 1, seed=0), lambda cell: (levels[cell.configuration],) * (EPOCHS + 1))
    assert [cells[number, 0].outcome.status for number in range(4)] == [
        Status.COMPLETED,
        Status.STOPPED,
        Status.STOPPED,
        Status.COMPLETED,
    ]
    assert cells[4, 0].rungs == {2: 5.0, 4: 4.0, 8: 4.0}  # the second of four, then the first of two


def test_cell_that_is_behind_after_its_first_members_does_not_train_the_rest() -> None:
    """The last rung is the last epoch of the first members."""

    def curve(cell: PlannedCell) -> tuple[float, ...]:
        return (*(9.0 - epoch for epoch in range(EPOCHS)), 5.0 if cell.configuration == 1 else 1.0)

    cells = run(Planner(RANDOM, 3, seed=0), curve)
    stopped = {key for key, ran in cells.items() if ran.outcome.status == Status.STOPPED}
    assert stopped == {(1, fold) for fold in range(3)}
    assert all(cells[key].epochs == EPOCHS for key in stopped)


def test_rungs_compare_first_members_and_configurations_compare_all() -> None:
    planner = Planner(RANDOM, 3, seed=0)
    for cell in iter(planner.ask, None):
        first, joint = 1.0 + cell.configuration, 20.0 - cell.configuration
        if cell.configuration:
            assert cell.rungs[EPOCHS] == 1.0 + (cell.configuration >= 4) + (cell.configuration >= 8)
        planner.tell(cell, Outcome(Status.COMPLETED, (first,) * (EPOCHS + 1), joint))
    assert planner.best() == (11, 9.0)


def test_stopped_cell_counts_with_its_first_members_and_epoch_0_of_the_rest() -> None:
    def curve(cell: PlannedCell) -> tuple[float, ...]:
        late = cell.configuration == 2
        return (9.0, 8.0, 7.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0) if late else (9.0, *[5.0] * EPOCHS)

    planner = Planner(RANDOM, 3, seed=0)
    cells = run(planner, curve)
    assert {key[0] for key, ran in cells.items() if ran.outcome.status == Status.STOPPED} == {2}
    assert [ran.outcome.curve for key, ran in cells.items() if key[0] == 2] == [(9.0, 8.0, 7.0)] * 3
    assert planner.studies()["shared"][2].value == pytest.approx(0.4 * 7.0 + 0.6 * 9.0)
    assert planner.best() == (0, 5.0)


def test_failed_cell_drops_its_configuration_at_the_next_look() -> None:
    planner = Planner(RANDOM, MANY_FOLDS, seed=0)
    early, late = Looks.for_folds(MANY_FOLDS).folds
    order = list(run(Planner(RANDOM, MANY_FOLDS, 0, racing=False), max_cells=MANY_FOLDS))
    fails = {(4, order[0][1]), (7, order[early][1]), (9, order[late][1])}
    cells = run(planner, lambda cell: () if (cell.configuration, cell.fold) in fails else (1.0, 1.0))
    seen = [sum(other == number for other, _ in cells) for number in range(RANDOM.configurations)]
    assert seen == [{4: early, 7: late}.get(number, MANY_FOLDS) for number in range(RANDOM.configurations)]
    states = [trial.state for trial in planner.studies()["shared"]]
    assert [number for number, state in enumerate(states) if state == TrialState.FAIL] == [4, 7, 9]
    assert planner.best() == (0, 1.0)


def test_failed_cell_excludes_its_configuration_without_racing() -> None:
    planner = Planner(TPE, FOLDS, seed=0, racing=False)
    cells = run(
        planner,
        lambda cell: () if (cell.configuration, cell.fold) == (3, 2) else (float(cell.configuration != 3),),
    )
    assert len(cells) == planner.max_cells
    assert planner.studies()["shared"][3].state == TrialState.FAIL
    assert planner.best() == (0, 1.0)


@SAMPLERS
@pytest.mark.parametrize("protocol", enum_values(SearchProtocol))
@pytest.mark.parametrize("racing", [False, True])
def test_search_ends_if_all_cells_fail(space: Space, protocol: str, racing: bool) -> None:
    planner = Planner(space, FOLDS, 0, protocol, racing)
    cells = run(planner, lambda cell: (), workers=3)
    dropped = racing and protocol == SearchProtocol.SHARED
    each = Looks.for_folds(FOLDS).folds[0] if dropped else FOLDS
    assert len(cells) == planner.max_cells == space.configurations * each
    assert planner.finished
    assert planner.best() is None


@pytest.mark.parametrize("protocol", enum_values(SearchProtocol))
@pytest.mark.parametrize(("configurations", "folds"), [(1, 1), (1, 5), (2, 1), (3, 4), (5, 6)])
def test_smallest_searches_end(protocol: str, configurations: int, folds: int) -> None:
    planner = Planner(dataclasses.replace(TPE, configurations=configurations), folds, 0, protocol)
    cells = run(planner, smooth_losses, workers=2)
    assert len(cells) == planner.finished_cells == planner.max_cells <= configurations * folds
    assert planner.finished


# --- best -------------------------------------------------------------------------------------


def test_best_has_the_lowest_mean_loss_over_all_folds() -> None:
    planner = Planner(RANDOM, FOLDS, seed=0, racing=False)
    assert planner.best() is None
    table = np.random.default_rng(0).uniform(size=(RANDOM.configurations, FOLDS))
    for count, cell in enumerate(iter(planner.ask, None), start=1):
        planner.tell(cell, Outcome(Status.COMPLETED, (1.0,), float(table[cell.configuration, cell.fold])))
        whole = count // FOLDS
        best = planner.best()
        if not whole:
            assert best is None
        else:
            assert best is not None
            assert best[0] == int(table[:whole].mean(axis=1).argmin())
            assert best[1] == pytest.approx(table[best[0]].mean(), abs=1e-12)
    assert planner.finished_cells == table.size


def test_ties_are_broken_by_number_and_not_by_time() -> None:
    for seed in range(5):
        planner = Planner(RANDOM, FOLDS, seed=0, racing=False, pace=Pace(generation=6))
        run(planner, lambda cell: (0.5,), workers=60, seed=seed)
        assert planner.best() == (0, 0.5)


def test_losses_may_be_negative() -> None:
    """Cosine and intersection are maximised, so their loss is the negative metric."""
    planner = Planner(RANDOM, FOLDS, seed=0)
    run(planner, lambda cell: (0.0, -0.1 * cell.configuration))
    best = planner.best()
    assert best is not None
    assert best[0] == 11
    assert best[1] == pytest.approx(-1.1)


# --- failures ----------------------------------------------------------------------------------


def test_lost_cell_is_retried_next_and_at_most_max_attempts_times() -> None:
    planner = Planner(TPE, FOLDS, seed=0, racing=False)
    cell = planner.ask()
    assert cell is not None
    assert cell.attempt == 1
    for attempt in range(2, MAX_ATTEMPTS + 1):
        assert planner.retry(cell)
        assert planner.running_cells == 0
        again = planner.ask()
        assert again == dataclasses.replace(cell, attempt=attempt)
        cell = again
    assert not planner.retry(cell)
    assert planner.running_cells == 1
    planner.tell(cell, Outcome(Status.FAILED))
    assert (planner.running_cells, planner.finished_cells) == (0, 1)
    rest = run(planner)
    assert (cell.configuration, cell.fold) not in rest
    assert len(rest) == planner.max_cells - 1
    assert planner.finished


def test_gpu_factor_grows_with_each_out_of_memory_retry() -> None:
    planner = Planner(TPE, FOLDS, seed=0)
    cell = planner.ask()
    assert cell is not None
    assert cell.gpu_factor == 1
    assert planner.retry(cell, gpu_factor=2)
    again = planner.ask()
    assert again == dataclasses.replace(cell, attempt=2, gpu_factor=2)
    assert planner.retry(again)
    assert planner.ask() == dataclasses.replace(cell, attempt=3, gpu_factor=2)
    assert planner.retry(dataclasses.replace(cell, attempt=2, gpu_factor=2), gpu_factor=2)
    assert planner.ask() == dataclasses.replace(cell, attempt=3, gpu_factor=4)


def test_lost_last_cell_is_retried() -> None:
    planner = Planner(dataclasses.replace(TPE, configurations=1), FOLDS, seed=0)
    cells = [cell for cell in (planner.ask() for _ in range(FOLDS - 1)) if cell is not None]
    assert len(cells) == FOLDS - 1
    for cell in cells:
        planner.tell(cell, Outcome(Status.COMPLETED, (0.1,), 0.1))
    last = planner.ask()
    assert last is not None
    assert planner.retry(last)
    assert not planner.finished
    assert planner.ask() == dataclasses.replace(last, attempt=2)
    assert planner.ask() is None
    assert not planner.finished
    planner.tell(last, Outcome(Status.COMPLETED, (0.1,), 0.1))
    assert planner.finished


def test_second_outcome_of_a_cell_is_refused() -> None:
    planner = Planner(TPE, FOLDS, seed=0)
    cell = planner.ask()
    assert cell is not None
    planner.tell(cell, Outcome(Status.COMPLETED, (0.1,), 0.1))
    with pytest.raises(ValueError, match=f"cell 0/{cell.fold} is not running: its outcome was reported before"):
        planner.tell(cell, Outcome(Status.COMPLETED, (0.2,), 0.2))
    assert (planner.finished_cells, planner.running_cells) == (1, 0)
    assert planner.studies()["shared"] == []


def test_outcomes_of_cells_outside_the_search_are_ignored() -> None:
    planner = Planner(RANDOM, MANY_FOLDS, seed=0)
    cells = run(planner, clear_losses)
    dropped = next((BAD[0], fold) for fold in range(MANY_FOLDS) if (BAD[0], fold) not in cells)
    strange = {(RANDOM.configurations, 0), (0, MANY_FOLDS), dropped}
    done = {key: ran.outcome for key, ran in cells.items()} | dict.fromkeys(
        strange, Outcome(Status.COMPLETED, (0.1,), 0.1)
    )
    again = Planner(RANDOM, MANY_FOLDS, seed=0, recorded_params=params_by_configuration(cells))
    again.restore(done)
    assert again.finished
    assert again.finished_cells == len(cells)


@pytest.mark.parametrize("lost", [0, 1, 7])
def test_only_missing_cells_run_again_after_a_restore(lost: int) -> None:
    """A damaged file of the ledger leaves a gap. Outcomes behind the gap are used once the search reaches them."""
    cells = run(Planner(RANDOM, MANY_FOLDS, seed=0), clear_losses)
    done = {key: ran.outcome for key, ran in cells.items()}
    gaps = [list(done)[lost * number] for number in (1, 2)] if lost else [next(iter(done))]
    for gap in dict.fromkeys(gaps):
        del done[gap]
    again = Planner(RANDOM, MANY_FOLDS, seed=0, recorded_params=params_by_configuration(cells))
    again.restore(done)
    assert not again.finished
    assert set(run(again, clear_losses)) == set(gaps)
    assert again.finished_cells == len(cells)


def test_restoring_without_outcomes_changes_nothing() -> None:
    planner = Planner(TPE, FOLDS, seed=0)
    planner.restore({})
    assert run(planner, noisy_losses) == run(Planner(TPE, FOLDS, seed=0), noisy_losses)


# --- pace -------------------------------------------------------------------------------------


@pytest.mark.parametrize("racing", [False, True])
@pytest.mark.parametrize("protocol", enum_values(SearchProtocol))
def test_pace_at_low_concurrency_is_constant(protocol: str, racing: bool) -> None:
    found = {Pace.for_search(TPE, 15, concurrency, protocol, racing) for concurrency in range(1, 5)}
    assert found == {Pace(generation=2, lag=1)}


@pytest.mark.parametrize(
    ("concurrency", "protocol", "racing", "expected"),
    [
        (5, SearchProtocol.SHARED, True, Pace(4, 2, 4)),
        (64, SearchProtocol.SHARED, True, Pace(32, 16, 4)),
        (64, SearchProtocol.SHARED, False, Pace(10, 5, 4)),
        (64, SearchProtocol.NESTED, True, Pace(10, 5, 4)),
        (15, SearchProtocol.NESTED, True, Pace(2, 1)),
    ],
)
def test_lookahead_and_lag_grow_with_concurrency(concurrency: int, protocol: str, racing: bool, expected: Pace) -> None:
    assert Pace.for_search(TPE, 15, concurrency, protocol, racing) == expected


@pytest.mark.parametrize(
    ("space", "workers", "expected"),
    [
        (RANDOM, 64, Pace(26, 78, 24)),
        (TPE, 64, Pace(26, 78, 24)),
        (RANDOM, 1000, Pace(400, 856, 24)),
        (TPE, 1000, Pace(400, 856, 8)),  # three quarters of its draws have results to learn from
    ],
)
def test_large_searches_run_further_ahead(space: Space, workers: int, expected: Pace) -> None:
    large = dataclasses.replace(space, configurations=13_699)
    assert Pace.for_search(large, 73, workers, SearchProtocol.SHARED, True) == expected


def test_generations_grow_with_the_number_of_configurations() -> None:
    spaces = [dataclasses.replace(TPE, configurations=number) for number in (1, 16, 40, 64, 1000)]
    assert [Pace.for_search(space, 15, 1, SearchProtocol.SHARED, True) for space in spaces] == [
        Pace(2, 1),
        Pace(2, 1),
        Pace(5, 1),
        Pace(8, 1),
        Pace(8, 1),
    ]


@pytest.mark.parametrize("protocol", enum_values(SearchProtocol))
@pytest.mark.parametrize("racing", [False, True])
@pytest.mark.parametrize("concurrency", [1, 4, 16])
def test_pace_keeps_all_workers_busy_at_the_start(protocol: str, racing: bool, concurrency: int) -> None:
    pace = Pace.for_search(RANDOM, 15, concurrency, protocol, racing)
    planner = Planner(RANDOM, 15, 0, protocol, racing, pace)
    assert None not in [planner.ask() for _ in range(concurrency)]
    assert planner.running_cells == concurrency
