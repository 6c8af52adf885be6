"""The planner alone: every cell once, the same again for the same seed, and only validation losses in."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import optuna
import pytest

from helo.configuration import Configuration
from helo.search.planner import MAX_ATTEMPTS, PlannedCell, Planner
from helo.search.space import Choices, Range, Space, load_space

SPACE = Space(
    name="three",
    configurations=12,
    searched={
        "ot_entropy": Range(1e-3, 1.0, log=True, whole=False),
        "attention_depth": Range(1, 4, log=False, whole=True),
        "width": Choices((16, 32)),
    },
)
RANDOM = dataclasses.replace(SPACE, sampler="random")
FOLDS = 5

Loss = Callable[[PlannedCell], float | None]


def by_entropy(cell: PlannedCell) -> float:
    """A loss with its valley at ot_entropy 0.03; folds differ, as people do."""
    return float(abs(np.log(cell.params["ot_entropy"] / 0.03))) + 0.1 * cell.fold


def ask_all(planner: Planner) -> list[PlannedCell]:
    return list(iter(planner.ask, None))


def run(planner: Planner, loss: Loss = by_entropy) -> list[PlannedCell]:
    """One cell at a time."""
    cells = []
    for cell in iter(planner.ask, None):
        planner.tell(cell, loss(cell))
        cells.append(cell)
    return cells


def configurations(cells: Iterable[PlannedCell]) -> dict[int, dict[str, Any]]:
    return {cell.configuration: dict(cell.params) for cell in cells}


@pytest.mark.parametrize("space", [SPACE, RANDOM], ids=["tpe", "random"])
@pytest.mark.parametrize("told", [False, True])
def test_every_cell_once(space: Space, told: bool) -> None:
    planner = Planner(space, FOLDS, seed=1)
    cells = run(planner) if told else ask_all(planner)
    keys = [(cell.configuration, cell.fold) for cell in cells]
    assert len(keys) == planner.total == space.configurations * FOLDS
    assert set(keys) == {(number, fold) for number in range(space.configurations) for fold in range(FOLDS)}
    assert planner.finished is told
    assert planner.ask() is None


def test_a_configuration_is_the_same_in_all_folds_and_can_be_built() -> None:
    seen: dict[int, Any] = {}
    for cell in ask_all(Planner(SPACE, FOLDS, seed=1)):
        assert seen.setdefault(cell.configuration, cell.params) == cell.params
        Configuration.from_params(cell.params)
        for name, entry in SPACE.searched.items():
            assert entry.holds(cell.params[name])


@pytest.mark.parametrize("space", [SPACE, RANDOM], ids=["tpe", "random"])
def test_the_same_again_for_the_same_seed(space: Space) -> None:
    once, again = run(Planner(space, FOLDS, seed=1)), run(Planner(space, FOLDS, seed=1))
    assert once == again
    assert configurations(once) != configurations(run(Planner(space, FOLDS, seed=2)))


def test_the_sampler_given_goes_before_that_of_the_space() -> None:
    assert run(Planner(SPACE, FOLDS, 1, sampler="random")) == run(Planner(RANDOM, FOLDS, 1))


def shuffled(planner: Planner, seed: int, at_a_time: int, loss: Loss = by_entropy) -> list[PlannedCell]:
    """Several cells at a time, which come home in any order."""
    generator = np.random.default_rng(seed)
    cells: list[PlannedCell] = []
    running: list[PlannedCell] = []
    while not planner.finished:
        while len(running) < at_a_time and (cell := planner.ask()) is not None:
            running.append(cell)
            cells.append(cell)
        home = running.pop(int(generator.integers(len(running))))
        planner.tell(home, loss(home))
    return cells


@pytest.mark.parametrize("at_a_time", [1, 2, 7, 1000])
def test_random_draws_do_not_depend_on_the_order_of_results(at_a_time: int) -> None:
    planner = Planner(RANDOM, FOLDS, seed=4)
    expected = Planner(RANDOM, FOLDS, seed=4)
    assert shuffled(planner, at_a_time, at_a_time) == run(expected)
    assert planner.best() == expected.best()


def test_tpe_draws_depend_on_the_order_of_results_alone() -> None:
    one, two = (Planner(SPACE, FOLDS, seed=4) for _ in range(2))
    assert shuffled(one, 8, 7) == shuffled(two, 8, 7)
    assert one.best() == two.best()


def test_tpe_learns_from_what_it_is_told() -> None:
    """The same startup; then other losses, other proposals, nearer to the valley."""
    space = dataclasses.replace(SPACE, configurations=40)

    def proposed(valley: float) -> list[float]:
        cells = run(Planner(space, 1, seed=0), lambda cell: abs(float(np.log(cell.params["ot_entropy"] / valley))))
        return [float(np.log(cell.params["ot_entropy"])) for cell in cells]

    low, high = proposed(2e-3), proposed(0.5)
    assert low[:10] == high[:10]
    assert low[10:] != high[10:]
    assert np.median(low[10:]) + 1 < np.median(high[10:])


def test_random_learns_nothing() -> None:
    assert configurations(run(Planner(RANDOM, FOLDS, 0))) == configurations(
        run(Planner(RANDOM, FOLDS, 0), lambda _: 1.0)
    )


def test_test_scores_have_no_way_in() -> None:
    """What the planner can be given: a cell, which holds no score, and one validation loss."""
    assert list(inspect.signature(Planner.tell).parameters) == ["self", "cell", "loss"]
    assert list(inspect.signature(Planner.__init__).parameters) == [
        "self",
        "space",
        "folds",
        "seed",
        "sampler",
    ]
    assert [entry.name for entry in dataclasses.fields(PlannedCell)] == ["configuration", "fold", "params"]


def test_best_is_the_least_mean_over_all_folds() -> None:
    planner = Planner(RANDOM, FOLDS, seed=0)
    assert planner.best() is None
    table = np.random.default_rng(0).uniform(size=(RANDOM.configurations, FOLDS))
    for count, cell in enumerate(iter(planner.ask, None), start=1):
        planner.tell(cell, float(table[cell.configuration, cell.fold]))
        whole = count // FOLDS
        best = planner.best()
        if not whole:
            assert best is None
        else:
            assert best is not None
            assert best[0] == int(table[:whole].mean(axis=1).argmin())
            assert best[1] == pytest.approx(table[best[0]].mean(), abs=1e-12)


def test_the_first_of_equals_is_best() -> None:
    planner = Planner(RANDOM, FOLDS, seed=0)
    run(planner, lambda _: 0.5)
    assert planner.best() == (0, 0.5)


def test_losses_may_be_negative() -> None:
    """Cosine and intersection are maximised: their loss is their negative."""
    planner = Planner(RANDOM, FOLDS, seed=0)
    run(planner, lambda cell: -0.1 * cell.configuration)
    assert planner.best() == (11, pytest.approx(-1.1))


def test_a_failed_cell_rules_its_configuration_out() -> None:
    planner = Planner(SPACE, FOLDS, seed=0)
    run(
        planner,
        lambda cell: None if (cell.configuration, cell.fold) == (3, 2) else float(cell.configuration != 3),
    )
    assert planner.finished
    assert planner.study.trials[3].state == optuna.trial.TrialState.FAIL
    assert planner.best() == (0, 1.0)


@pytest.mark.parametrize("space", [SPACE, RANDOM], ids=["tpe", "random"])
def test_a_search_in_which_all_fails_comes_to_its_end(space: Space) -> None:
    planner = Planner(space, FOLDS, seed=0)
    assert len(run(planner, lambda _: None)) == planner.total
    assert planner.finished
    assert planner.best() is None


def test_a_lost_cell_comes_next_and_at_most_so_often() -> None:
    planner = Planner(SPACE, FOLDS, seed=0)
    cell = planner.ask()
    assert cell is not None
    for _ in range(MAX_ATTEMPTS - 1):
        assert planner.lost(cell)
        assert planner.ask() == cell
    assert not planner.lost(cell)
    planner.tell(cell, None)
    rest = run(planner)
    assert cell not in rest
    assert len(rest) == planner.total - 1
    assert planner.finished


def test_a_lost_cell_changes_no_draw() -> None:
    planner = Planner(RANDOM, FOLDS, seed=0)
    handed = [planner.ask() for _ in range(7)]
    assert handed[2] is not None
    assert planner.lost(handed[2])
    assert planner.ask() == handed[2]
    later = [cell for cell in [*handed, *ask_all(planner)] if cell is not None]
    assert configurations(later) == configurations(ask_all(Planner(RANDOM, FOLDS, seed=0)))


def test_a_lost_last_cell_is_handed_out_again() -> None:
    planner = Planner(dataclasses.replace(SPACE, configurations=1), FOLDS, seed=0)
    cells = ask_all(planner)
    assert planner.lost(cells[-1])
    assert not planner.finished
    assert planner.ask() == cells[-1]
    assert planner.ask() is None


def test_a_cell_is_told_once() -> None:
    planner = Planner(SPACE, FOLDS, seed=0)
    cell = planner.ask()
    assert cell is not None
    planner.tell(cell, 0.1)
    with pytest.raises(ValueError, match=f"cell 0/{cell.fold} has been told already"):
        planner.tell(cell, 0.2)
    assert planner.told == 1


@pytest.mark.parametrize("name", ["demo", "small", "full"])
@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_first_is_configuration_0(name: str, sampler: str) -> None:
    space = load_space(name)
    cell = Planner(space, FOLDS, seed=9, sampler=sampler).ask()
    assert cell is not None
    assert cell.configuration == 0
    assert cell.params == space.params(space.first)


def test_the_rest_of_the_first_configuration_is_drawn() -> None:
    space = dataclasses.replace(RANDOM, first={"ot_entropy": 0.1})
    drawn = configurations(ask_all(Planner(space, FOLDS, seed=0)))
    assert drawn[0]["ot_entropy"] == 0.1
    assert SPACE.searched["attention_depth"].holds(drawn[0]["attention_depth"])
    assert drawn[1]["ot_entropy"] != 0.1


def test_folds_come_in_a_seeded_order() -> None:
    orders = {tuple(Planner(SPACE, FOLDS, seed).fold_order) for seed in range(20)}
    assert len(orders) > 5
    assert all(sorted(order) == list(range(FOLDS)) for order in orders)
    planner = Planner(SPACE, FOLDS, seed=3)
    folds = [cell.fold for cell in ask_all(planner)]
    assert folds == planner.fold_order * SPACE.configurations
    assert planner.fold_order == Planner(RANDOM, FOLDS, seed=3).fold_order
