"""Batch and epochs that follow from the number of training windows."""

from __future__ import annotations

import math

import pytest

from helo.configuration import DEFAULTS, PARAMETERS
from helo.training.budget import (
    AUTO,
    AUTOMATIC,
    LARGEST_BATCH,
    MAX_EPOCHS,
    MIN_EPOCHS,
    SMALLEST_BATCH,
    STEPS,
    USUAL_BATCH,
    resolve_automatic,
    training_budget,
    with_defaults_for_auto,
)

SIZES = [1, 10, 160, 240, 250, 312, 1_000, 2_140, 9_999, 20_000, 99_999, 100_000, 800_000, 1_000_000, 30_000_000]


@pytest.mark.parametrize("windows", SIZES)
def test_a_model_of_any_table_trains_for_enough_steps(windows: int) -> None:
    budget = training_budget(windows)
    assert budget.steps >= STEPS
    assert budget.epochs == MIN_EPOCHS or budget.steps < STEPS + budget.steps_per_epoch
    assert SMALLEST_BATCH <= budget.batch_size <= LARGEST_BATCH
    assert math.log2(budget.batch_size).is_integer()
    assert AUTOMATIC == ("batch_size", "epochs")
    assert all(PARAMETERS[name].problem(getattr(budget, name)) is None for name in AUTOMATIC)


def test_batches_grow_with_the_table() -> None:
    batches = [training_budget(windows).batch_size for windows in SIZES]
    assert batches == sorted(batches)
    assert training_budget(99_999).batch_size == USUAL_BATCH < training_budget(200_000).batch_size


def test_the_table_that_one_step_an_epoch_was_too_few_for() -> None:
    windows = 25 * 12  # 26 people with 12 windows each, less one of them
    assert training_budget(windows, batch_size=256, epochs=16).steps == 32
    assert training_budget(round(0.75 * windows), batch_size=256, epochs=16).steps == 16
    assert training_budget(round(0.75 * windows)).steps >= 200


@pytest.mark.parametrize(("steps", "epochs"), [(1, MIN_EPOCHS), (150, 10), (600, 40), (1_000_000, MAX_EPOCHS)])
def test_epochs_follow_from_given_steps_within_limits(steps: int, epochs: int) -> None:
    assert training_budget(240, steps=steps).epochs == epochs


def test_given_values_are_kept() -> None:
    assert training_budget(2_140, batch_size=64).steps_per_epoch == 34
    assert training_budget(2_140, batch_size=64).epochs == 9
    assert training_budget(2_140, epochs=5) == (64, 34, 5)


def test_only_automatic_hyperparameters_are_replaced() -> None:
    given = DEFAULTS | {"batch_size": 64, "epochs": AUTO}
    assert resolve_automatic(given, 2_140) == DEFAULTS | {"batch_size": 64, "epochs": 9}
    assert resolve_automatic(given, 2_140, steps=1_000)["epochs"] == 30
    assert resolve_automatic(DEFAULTS, 2_140) == DEFAULTS
    assert with_defaults_for_auto(given) == DEFAULTS | {"batch_size": 64}
