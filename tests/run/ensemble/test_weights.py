"""Weights of an ensemble: against all possible ensembles, and against the greedy selection without guards."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from helo.metrics import METRICS, mean_scores
from helo.run.ensemble.weights import PICKS, WINDOWS, greedy_weights

Study = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.str_]]


def study(rng: np.random.Generator, subjects: int, windows: int = 4, candidates: int = 3, spread: float = 0.5) -> Study:
    """Out-of-fold predictions of candidates whose errors are independent in each subject; labels; subjects."""
    labels = rng.dirichlet(np.full(4, 4.0), subjects * windows)
    errors = rng.normal(0, spread, (candidates, subjects, 1, 4)).repeat(windows, axis=2).reshape(candidates, -1, 4)
    predictions = labels * np.exp(errors)
    names = np.repeat([f"S{number}" for number in range(subjects)], windows)
    return predictions / predictions.sum(axis=-1, keepdims=True), labels, names


def loss(weights: NDArray[np.float64], found: Study, objective: str = "kl") -> float:
    """The loss of a weighted mean: of the windows of each subject, then of subjects."""
    predictions, labels, subjects = found
    mean = np.tensordot(weights, predictions, axes=1)
    return float(METRICS[objective].loss(mean_scores(labels, mean, subjects)[objective]))


def plain_greedy(found: Study, rounds: int = 25) -> NDArray[np.float64]:
    """Greedy selection from nothing, on all subjects at once, as many rounds as given; the best round counts."""
    counts, best = np.zeros(len(found[0])), None
    for _ in range(rounds):
        grown = [counts + one for one in np.eye(len(counts))]
        counts = min(grown, key=lambda one: loss(one / one.sum(), found))
        if best is None or loss(counts / counts.sum(), found) < loss(best / best.sum(), found):
            best = counts
    assert best is not None
    return best / best.sum()


@pytest.mark.parametrize("objective", list(METRICS))
@pytest.mark.parametrize("seed", range(3))
def test_a_single_selection_comes_close_to_the_best_of_all_ensembles(objective: str, seed: int) -> None:
    found = study(np.random.default_rng(seed), subjects=3)
    weights = greedy_weights(*found, objective, bags=0)
    counts = [np.array(one) for one in product(range(PICKS + 1), repeat=3) if 0 < sum(one) <= PICKS]
    losses = [loss(one / one.sum(), found, objective) for one in counts]
    single = min(loss(one, found, objective) for one in np.eye(3))
    reached = loss(weights, found, objective)
    assert min(losses) - 1e-12 <= reached <= single
    assert reached - min(losses) <= 0.1 * (single - min(losses)) + 1e-12


def test_weights_are_a_distribution_and_do_not_depend_on_the_order_of_windows() -> None:
    predictions, labels, subjects = study(np.random.default_rng(0), subjects=6)
    weights = greedy_weights(predictions, labels, subjects, "kl")
    assert weights.min() >= 0
    assert weights.sum() == pytest.approx(1)
    order = np.random.default_rng(1).permutation(len(labels))
    np.testing.assert_allclose(greedy_weights(predictions[:, order], labels[order], subjects[order], "kl"), weights)


def test_a_perfect_candidate_gets_all_weight() -> None:
    predictions, labels, subjects = study(np.random.default_rng(0), subjects=5)
    predictions[1] = labels
    np.testing.assert_array_equal(greedy_weights(predictions, labels, subjects, "kl"), [0, 1, 0])


def test_subjects_count_equally_however_many_windows_they_have() -> None:
    """Candidate 0 is right for the subject with most windows, candidate 1 for both others."""
    labels = np.tile([0.5, 0.5], (22, 1))
    wrong = np.array([0.2, 0.8])
    subjects = np.array(["S0"] * 20 + ["S1", "S2"])
    predictions = np.stack([labels, labels])
    predictions[0, 20:] = wrong
    predictions[1, :20] = wrong
    weights = greedy_weights(predictions, labels, subjects, "kl", bags=0)
    assert weights[1] > 0.5


def test_the_guards_keep_a_selection_on_few_subjects_from_overfitting() -> None:
    """The weights are chosen on four subjects, and scored on others: the guarded ones are better for these."""
    rng = np.random.default_rng(0)
    gains = []
    for _ in range(8):
        predictions, labels, subjects = study(rng, 64, candidates=8)
        few = 16  # windows of four subjects
        chosen_on, others = (
            (predictions[:, :few], labels[:few], subjects[:few]),
            (*(predictions[:, few:], labels[few:], subjects[few:]),),
        )
        plain, guarded = plain_greedy(chosen_on), greedy_weights(*chosen_on, "kl")
        assert loss(plain, chosen_on) <= loss(guarded, chosen_on) + 1e-3  # it fits the four subjects better
        gains.append(1 - loss(guarded, others) / loss(plain, others))
    assert np.mean(gains) > 0.03


def test_many_windows_are_thinned_in_each_subject() -> None:
    size = WINDOWS - WINDOWS % 3
    predictions, labels, subjects = study(np.random.default_rng(0), subjects=3, windows=size)
    weights = greedy_weights(predictions, labels, subjects, "kl")
    every = np.concatenate([np.arange(start, start + size, 3) for start in (0, size, 2 * size)])
    found = greedy_weights(predictions[:, every], labels[every], subjects[every], "kl")
    np.testing.assert_array_equal(found, weights)
