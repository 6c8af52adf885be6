"""The bound on the loss of a new person holds as often as it says, on simulated people."""

from __future__ import annotations

import math

import numpy as np
import pytest

from helo.analysis.statistics.new_person import LEVEL, fewest_subjects, loss_bound
from helo.metrics import window_values

STUDIES = 1500


def tolerance(probability: float) -> float:
    """Three standard errors of a share of `STUDIES`."""
    return 3 * math.sqrt(probability * (1 - probability) / STUDIES)


@pytest.mark.parametrize("subjects", [9, 15, 40])
@pytest.mark.parametrize("level", [0.8, LEVEL])
def test_losses_of_any_distribution_are_covered(subjects: int, level: float) -> None:
    rng = np.random.default_rng(subjects)
    losses = rng.lognormal(sigma=1.5, size=(STUDIES, subjects + 1))
    covered = np.mean([new <= loss_bound(known, level) for *known, new in losses])
    assert level - tolerance(level) <= covered <= level + 1 / (subjects + 1) + tolerance(level)


def test_people_that_are_left_out_one_by_one_bound_a_new_person() -> None:
    """People differ in how they report. Each is predicted by the mean label of the others, a new one by that of all."""
    rng, people, windows, covered = np.random.default_rng(0), 12, 4, []
    for _ in range(STUDIES):
        habits = rng.dirichlet(np.full(5, 2.0), people + 1) * rng.uniform(5, 60, (people + 1, 1))
        labels = np.stack([rng.dirichlet(habit + 0.3, windows) for habit in habits])  # (people + 1, windows, emotions)
        means = labels[:people].mean(axis=1)
        predicted = np.vstack([(means.sum(axis=0) - means) / (people - 1), means.mean(axis=0)])
        flat, guesses = labels.reshape(-1, 5), np.repeat(predicted, windows, axis=0)
        losses = window_values("kl", flat, guesses).reshape(people + 1, windows).mean(axis=1)
        covered.append(losses[-1] <= loss_bound(losses[:-1]))
    assert np.mean(covered) >= LEVEL - tolerance(LEVEL)


def test_too_few_people_have_no_bound() -> None:
    fewest = fewest_subjects()
    assert math.isnan(loss_bound([0.1] * (fewest - 1)))
    assert loss_bound([0.1] * fewest) == 0.1
    assert math.isnan(loss_bound([0.1] * fewest + [float("nan")]))


def test_the_order_of_people_does_not_matter() -> None:
    losses = np.random.default_rng(3).random(20)
    assert loss_bound(losses) == loss_bound(losses[::-1]) == np.sort(losses)[18]
