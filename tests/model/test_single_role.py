"""HeLo on data whose modalities all have one role: no transport, missing signals, and a model that can be saved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from helo.configuration import Configuration
from helo.data.dataset import Dataset
from helo.data.schema import Modality
from helo.data.simulated import simulate
from helo.evaluation.folds import loso_folds
from helo.settings import TrainingSettings
from helo.training.cell import train_cell
from helo.training.fitted import fit_model, load_model

ROLES = ["physiological", "behavioural"]
QUICK = Configuration(width=8, epochs=3, learning_rate=1e-2, batch_size=16)


def data(role: str) -> Dataset:
    return simulate(subjects=4, clips=3, windows=6, modalities=role)


def as_one_modality(dataset: Dataset) -> Dataset:
    """Return the dataset with all its columns as a single modality of one token."""
    role = dataset.schema.roles[0]
    modality = Modality("all", role, dataset.schema.features, 1, main=role == "physiological")
    return replace(dataset, schema=replace(dataset.schema, modalities=(modality,)))


def with_gaps(dataset: Dataset) -> Dataset:
    """Return the dataset without the first modality in a third of the windows, and without some other features."""
    features = dataset.features.copy()
    first = dataset.schema.slices[dataset.schema.modalities[0].name]
    if len(dataset.schema.modalities) == 1:
        first = slice(first.start, first.stop - 1)  # a window must have a signal
    features[::3, first] = np.nan
    features[1::7, -2] = np.nan
    return replace(dataset, features=features)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("change", [as_one_modality, with_gaps])
def test_a_cell_learns_from_signals_of_one_kind(change: Callable[[Dataset], Dataset], role: str) -> None:
    dataset = change(data(role))
    configuration = replace(QUICK, modalities=role)
    (fold, *_) = loso_folds(dataset.subject_names, 0, inner_folds=2)
    result = train_cell(dataset, fold, configuration, TrainingSettings(normalise="subject"))
    assert result is not None
    assert result.plan is None
    first, last = result.history[1], result.history[-1]  # row 0 is before training
    assert last["train_loss"] < first["train_loss"]
    assert {row["unconverged"] for row in result.history} == {0}


@pytest.mark.parametrize("role", ROLES)
def test_the_same_model_whatever_the_transport(role: str) -> None:
    """Hyperparameters that `acting` leaves out do not change a single weight."""
    dataset = with_gaps(data(role))
    kinds = [{"transport": "none"}, {"transport": "fused", "ot_alpha": 0.1, "ot_entropy": 1.0}, {"modalities": role}]
    predictions = [
        fit_model(dataset, replace(QUICK, epochs=2, **kind), TrainingSettings(), 2).predict(dataset)  # type: ignore[arg-type]
        for kind in kinds
    ]
    np.testing.assert_array_equal(predictions[0], predictions[1])
    np.testing.assert_array_equal(predictions[0], predictions[2])


@pytest.mark.parametrize("role", ROLES)
def test_predictions_of_windows_with_missing_signals(role: str, tmp_path: Path) -> None:
    """A missing signal changes the prediction of its own window only, and the model survives being saved."""
    whole, gaps = data(role), with_gaps(data(role))
    model = fit_model(whole, replace(QUICK, modalities=role, epochs=6), TrainingSettings(), 2)
    model.save(tmp_path / "model")
    found, partial = model.predict(whole), load_model(tmp_path / "model").predict(gaps)
    assert np.isfinite(partial).all()
    np.testing.assert_allclose(partial.sum(axis=1), 1, atol=1e-6)
    touched = np.isnan(gaps.features).any(axis=1)
    np.testing.assert_allclose(partial[~touched], found[~touched], atol=1e-6)
    assert (np.abs(partial - found)[touched].max(axis=1) > 1e-6).all()
