"""Tests of draws, which depend on seed, study, number and earlier results only, and of Optuna trials."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from helo.search.planning import study
from helo.search.planning.space import Choices, Range, Space

SPACE = Space(
    name="four",
    configurations=40,
    searched={
        "ot_entropy": Range(1e-3, 1.0, log=True, whole=False),
        "dropout": Range(0.0, 0.5, log=False, whole=False),
        "attention_depth": Range(1, 4, log=False, whole=True),
        "width": Choices((16, 32)),
    },
    fixed={"epochs": 8},
    first={"ot_entropy": 0.25, "width": 32},
)
RANDOM = dataclasses.replace(SPACE, sampler="random")
BOTH = pytest.mark.parametrize("space", [SPACE, RANDOM], ids=["tpe", "random"])


def trials(space: Space, valley: float, count: int = 20) -> list[FrozenTrial]:
    """Return trials of random configurations whose loss is lowest at the `ot_entropy` of `valley`."""
    draws = study.ConfigurationSampler(dataclasses.replace(space, sampler="random"), 5, "x")
    found = []
    for number in range(count):
        params = space.full_params(draws.draw(number + 1))
        found.append(draws.make_trial(params, [abs(math.log(params["ot_entropy"] / valley))], complete=True))
    return found


def draw(
    space: Space = SPACE,
    seed: int = 0,
    label: str = "shared",
    number: int = 3,
    learnt: Sequence[FrozenTrial] = (),
    recorded: dict[str, Any] | None = None,
) -> dict[str, Any]:
    draws = study.ConfigurationSampler(space, seed, label)
    draws.add_trials(learnt)
    return draws.draw(number, recorded)


def test_distributions_are_those_of_the_space() -> None:
    assert study.optuna_distributions(SPACE) == {
        "ot_entropy": FloatDistribution(1e-3, 1.0, log=True),
        "dropout": FloatDistribution(0.0, 0.5),
        "attention_depth": IntDistribution(1, 4),
        "width": CategoricalDistribution((16, 32)),
    }


@BOTH
def test_draw_lies_in_the_space(space: Space) -> None:
    for number in range(15):
        drawn = draw(space, number=number, learnt=trials(SPACE, 0.03))
        assert set(drawn) == set(space.searched)
        assert all(entry.contains(drawn[name]) for name, entry in space.searched.items())
        assert isinstance(drawn["attention_depth"], int)


@BOTH
def test_draw_does_not_depend_on_earlier_draws_or_global_state(space: Space) -> None:
    learnt = trials(SPACE, 0.03)
    np.random.seed(1)  # noqa: NPY002 - the global state is what is tested
    expected = draw(space, learnt=learnt)
    np.random.seed(2)  # noqa: NPY002
    for number in (4, 5, 2):
        draw(space, number=number, learnt=learnt)
    assert draw(space, learnt=learnt) == expected


@BOTH
def test_draws_of_one_study_are_independent(space: Space) -> None:
    """In a sequence of draws with results in between, each draw equals that of a new sampler."""
    learnt = trials(SPACE, 0.03)
    draws = study.ConfigurationSampler(space, 0, "shared")
    recorded = {"ot_entropy": 0.5, "dropout": 0.25, "attention_depth": 2, "width": 16}
    for number in range(6):
        assert draws.draw(number) == draw(space, number=number)
    assert draws.draw(6, recorded) == recorded
    for seen in (12, 20):
        draws.add_trials(learnt[:12] if seen == 12 else learnt[12:])
        for number in range(7, 12):
            assert draws.draw(number) == draw(space, number=number, learnt=learnt[:seen])


@BOTH
def test_draw_depends_on_seed_study_and_number(space: Space) -> None:
    for learnt in ([], trials(SPACE, 0.03)):
        entropies = {
            draw(space, seed, label, number, learnt)["ot_entropy"]
            for seed in (0, 1)
            for label in ("shared", "fold 0")
            for number in (1, 2)
        }
        assert len(entropies) == 8


def test_derived_seeds_are_stable() -> None:
    """Later versions resume runs, so these numbers must never change."""
    assert study.derived_seed(0, "shared", 0) == 2499588919
    assert study.derived_seed(12, "fold 3", 45) == 2270305016


def test_tpe_learns_and_random_does_not() -> None:
    def median(space: Space, valley: float) -> float:
        learnt = trials(SPACE, valley, 30)
        return float(np.median([math.log(draw(space, number=n, learnt=learnt)["ot_entropy"]) for n in range(30, 45)]))

    assert median(SPACE, 2e-3) + 2 < median(SPACE, 0.5)
    assert median(RANDOM, 2e-3) == median(RANDOM, 0.5)


@pytest.mark.parametrize(("configurations", "startup"), [(1, 2), (8, 2), (16, 4), (40, 10), (400, 10)])
def test_first_quarter_of_tpe_draws_is_random(configurations: int, startup: int) -> None:
    space = dataclasses.replace(SPACE, configurations=configurations)
    random = draw(RANDOM)
    assert draw(space, learnt=trials(SPACE, 0.03, startup - 1)) == random
    assert draw(space, learnt=trials(SPACE, 0.03, startup)) != random


@BOTH
def test_every_study_starts_with_first_and_draws_its_other_values(space: Space) -> None:
    for label in ("shared", "fold 0", "fold 1"):
        assert draw(space, label=label, number=0).items() >= SPACE.first.items()
    rest = {draw(space, label=f"fold {fold}", number=0)["dropout"] for fold in range(3)}
    assert len(rest) == 3
    assert draw(space, number=1)["ot_entropy"] != 0.25


@BOTH
@pytest.mark.parametrize("number", [0, 3])
def test_recorded_values_are_used_exactly(space: Space, number: int) -> None:
    recorded = {"ot_entropy": 0.1 + 0.2, "dropout": 1 / 3, "attention_depth": 2, "width": 16}
    assert (
        draw(space, number=number, recorded={**recorded, "epochs": 8, "heads": 4}, learnt=trials(SPACE, 0.03))
        == recorded
    )


def test_trial_has_running_means_over_folds() -> None:
    params = SPACE.full_params({"ot_entropy": 0.5, "dropout": 0.25, "attention_depth": 2, "width": 16})
    whole = study.ConfigurationSampler(SPACE, 0, "x").make_trial(params, [0.5, 0.25, 1.5], complete=True)
    assert whole.state == TrialState.COMPLETE
    assert whole.intermediate_values == {1: 0.5, 2: 0.375, 3: 0.75}
    assert whole.value == 0.75
    assert whole.params == {"ot_entropy": 0.5, "dropout": 0.25, "attention_depth": 2, "width": 16}
    assert whole.distributions == study.optuna_distributions(SPACE)


def test_states_of_dropped_and_failed_trials() -> None:
    params = SPACE.full_params({"ot_entropy": 0.5, "dropout": 0.25, "attention_depth": 2, "width": 16})
    dropped = study.ConfigurationSampler(SPACE, 0, "x").make_trial(params, [0.5, 0.25], complete=False)
    assert (dropped.state, dropped.value) == (TrialState.PRUNED, None)
    assert dropped.intermediate_values == {1: 0.5, 2: 0.375}
    failed = study.ConfigurationSampler(SPACE, 0, "x").make_trial(params, [0.5], complete=False, failed=True)
    assert (failed.state, failed.value) == (TrialState.FAIL, None)
    assert (
        study.ConfigurationSampler(SPACE, 0, "x")
        .make_trial(params, [], complete=False, failed=True)
        .intermediate_values
        == {}
    )


def test_trials_can_be_added_to_a_study() -> None:
    params = SPACE.full_params({"ot_entropy": 0.5, "dropout": 0.25, "attention_depth": 2, "width": 16})
    found = optuna.create_study(direction="minimize")
    found.add_trials(
        [
            study.ConfigurationSampler(SPACE, 0, "x").make_trial(params, [0.5], complete=True),
            study.ConfigurationSampler(SPACE, 0, "x").make_trial(params, [0.75], complete=False),
            study.ConfigurationSampler(SPACE, 0, "x").make_trial(params, [], complete=False, failed=True),
        ]
    )
    assert found.best_value == 0.5
    assert [one.state for one in found.trials] == [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL]
