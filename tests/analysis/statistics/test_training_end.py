"""Whether training was still improving at its last epoch: made-up curves, and curves of real cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import pytest

from helo.analysis.statistics.training_end import gain_at_end, measure_training_end, noise_between_epochs
from helo.analysis.wording import training_end_note
from helo.configuration import Configuration
from helo.data import simulate
from helo.evaluation.folds import loso_folds
from helo.settings import TrainingSettings
from helo.training.cell import train_cell

EPOCHS = 20


def approach(rate: float, epochs: int = EPOCHS) -> np.ndarray:
    """Return a curve that approaches its limit exponentially; `rate` is the number of time constants in training."""
    return 1 + np.exp(-rate * np.arange(epochs + 1) / epochs)


def measure(
    curves: Mapping[str, Sequence[float] | np.ndarray], planned: int = EPOCHS, metric: str = "kl"
) -> pd.DataFrame:
    cells = pd.DataFrame({"fold": list(curves), "configuration": 0, "param_epochs": planned})
    rows = [
        {"fold": fold, "configuration": 0, "epoch": epoch, f"val_{metric}": score}
        for fold, curve in curves.items()
        for epoch, score in enumerate(curve)
    ]
    return measure_training_end(cells, pd.DataFrame(rows), metric)


def is_improving(curve: np.ndarray, **arguments: object) -> bool:
    return bool(measure({"S2": curve}, **arguments)["improving"].iloc[0])  # type: ignore[arg-type]


@pytest.mark.parametrize(("rate", "expected"), [(0.1, True), (1.0, True), (2.0, True), (4.0, False), (10.0, False)])
def test_a_smooth_curve_improves_until_it_is_near_its_limit(rate: float, expected: bool) -> None:
    assert is_improving(approach(rate)) is expected
    assert is_improving(1 - approach(rate) / 3, metric="cosine") is expected


def test_a_cell_that_stopped_before_its_last_epoch_had_enough_steps() -> None:
    assert not is_improving(approach(1), planned=EPOCHS + 1)


def test_a_curve_that_has_turned_is_not_improving() -> None:
    curve = 1 + (np.arange(EPOCHS + 1) - EPOCHS / 2) ** 2 / EPOCHS**2
    assert not is_improving(curve)
    assert gain_at_end(curve)[0] < 0


@pytest.mark.parametrize("epochs", [12, 20, 60])
def test_noise_on_a_flat_curve_is_rarely_taken_for_improvement(epochs: int) -> None:
    rng = np.random.default_rng(0)
    flat = np.r_[2.0, np.ones(epochs)]
    curves = {str(number): flat + 0.1 * rng.normal(size=epochs + 1) for number in range(400)}
    assert measure(curves, planned=epochs)["improving"].mean() < 0.05
    slope = {fold: approach(1, epochs) + 0.002 * rng.normal(size=epochs + 1) for fold in curves}
    assert measure(slope, planned=epochs)["improving"].mean() > 0.8


def test_noise_is_measured_between_epochs() -> None:
    rng = np.random.default_rng(1)
    found = [noise_between_epochs(approach(2, 200) + 0.3 * rng.normal(size=201)) for _ in range(50)]
    assert np.mean(found) == pytest.approx(0.3, rel=0.1)
    assert noise_between_epochs(np.array([1.0, 0.5])) == 0


def test_what_is_unknown_is_left_out() -> None:
    assert measure({"S2": [1.0]}).empty
    assert not is_improving(np.ones(EPOCHS + 1))
    cells = pd.DataFrame({"fold": ["S2"], "configuration": [0]})
    assert measure_training_end(cells, pd.DataFrame(), "kl").empty


def test_the_note_counts_folds_and_says_what_to_do() -> None:
    done = dict.fromkeys("abcdef", approach(10))
    assert training_end_note(measure(done), "kl") == []
    assert training_end_note(measure(done | {"j": approach(1)}), "kl") == []  # one fold of seven is chance
    (note,) = training_end_note(measure(done | {"j": approach(1), "k": approach(0.5), "l": approach(0.5)}), "kl")
    assert note.startswith("Training was too short: in 3 of 9 folds, the validation KL")
    assert "more than 20 epochs" in note
    assert "batch_size: auto" in note


def test_one_step_an_epoch_is_too_short_for_a_small_study() -> None:
    """Train real cells on a table of 26 people with 12 windows each."""
    data = simulate(subjects=26, clips=4, windows=3)
    configuration = Configuration(width=8, learning_rate=2e-3, batch_size=256, epochs=16)
    curves = {}
    for fold in loso_folds(data.subject_names, seed=0, inner_folds=1)[:2]:
        result = train_cell(data, fold, configuration, TrainingSettings())
        assert result is not None
        curves[fold.test] = [row["val_kl"] for row in result.history]
    short = measure(curves, planned=configuration.epochs)
    assert training_end_note(short, "kl")[0].startswith("Training was too short: in 2 of 2 folds")
