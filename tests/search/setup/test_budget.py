"""The length of training of a search, from its dataset and its space."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helo.data import simulate
from helo.data.dataset import Dataset
from helo.evaluation.folds import folds_as_json, loso_folds
from helo.run.directory import Run
from helo.search.planning.pace import Pace
from helo.search.planning.space import parse_space
from helo.search.setup.budget import budget_range, count_training_windows, describe_budget
from helo.search.setup.inputs import read_inputs
from helo.search.setup.manifest import build_manifest
from helo.search.setup.request import Request
from helo.search.setup.resume import restore_setup
from helo.search.setup.search_setup import SearchSetup
from helo.search.sizing.resources import Resources

PEOPLE, EACH = 26, 12


@pytest.fixture(scope="module")
def study() -> Dataset:
    """Return a table of 26 people with 12 windows each."""
    return simulate(subjects=PEOPLE, clips=4, windows=3)


@pytest.fixture
def setup_for(study: Dataset, tmp_path: Path) -> Callable[..., SearchSetup]:
    """Return a function that makes the setup of a search on the table, or on another one."""

    def setup(space: Any, data: Dataset = study) -> SearchSetup:
        return read_inputs(Request(data=data, space=space, out=tmp_path / "run", baselines="none"), "", 0.0)[0]

    return setup


def lines_of(setup: SearchSetup) -> list[str]:
    return describe_budget(setup)


def test_training_windows_are_those_of_all_but_the_test_and_validation_subjects(study: Dataset) -> None:
    folds = loso_folds(study.subject_names, seed=0)
    expected = np.mean([len(study.rows(split.train)) for fold in folds for split in fold.splits])
    assert count_training_windows(study, folds) == round(expected)
    assert EACH * (PEOPLE - 1) > expected > EACH * PEOPLE / 2


@pytest.mark.parametrize("name", ["small", "full", "ablation"])
def test_bundled_spaces_train_small_studies_to_their_end(name: str, setup_for: Callable[..., SearchSetup]) -> None:
    setup = setup_for(name)
    assert not setup.space.automatic
    windows = count_training_windows(setup.dataset, loso_folds(setup.dataset.subject_names, 0))
    assert budget_range(setup.space, windows).steps[0] >= 200
    (line,) = lines_of(setup)
    assert line.startswith(f"training: {windows} windows, batches of 16, ")


def test_the_demo_trains_its_simulated_data_to_their_end(setup_for: Callable[..., SearchSetup]) -> None:
    """The demo has a fixed budget for its data, chosen on other simulated subjects. It is no short training."""
    (line,) = lines_of(setup_for("demo", simulate()))
    assert line == "training: 336 windows, batches of 32, 11 steps per epoch, 15 epochs, 165 steps"


def test_a_budget_of_few_steps_is_reported_before_the_search(setup_for: Callable[..., SearchSetup]) -> None:
    parameters = {"batch_size": 256, "epochs": 16, "dropout": {"low": 0.1, "high": 0.5}}
    line, warning = lines_of(setup_for({"configurations": 2, "parameters": parameters}))
    assert line.endswith("batches of 256, 1 steps per epoch, 16 epochs, 16 steps")
    assert warning.startswith("short training: 16 steps, where batch_size: auto and epochs: auto give 3")
    parameters |= {"batch_size": {"choices": [4, 256]}, "epochs": {"low": 16, "high": 40}}
    line, warning = lines_of(setup_for({"configurations": 2, "parameters": parameters}))
    assert "batches of 4 to 256, 1 to " in line
    assert "16 to 40 epochs" in line
    assert warning.startswith("short training: some configurations train for 16 steps")


def test_fixed_numbers_stay_as_they_are(setup_for: Callable[..., SearchSetup]) -> None:
    setup = setup_for({"configurations": 1, "parameters": {"batch_size": 64, "epochs": 7}})
    assert setup.space.fixed == {"batch_size": 64, "epochs": 7}


def test_variants_share_the_budget(setup_for: Callable[..., SearchSetup]) -> None:
    space = {"steps": 90, "parameters": {"epochs": "auto"}, "variants": {"whole": {}, "none": {"transport": "none"}}}
    setup = setup_for(space)
    params = [setup.space.full_params(values) for values in setup.space.variants.values()]
    assert [values["epochs"] for values in params] == [45, 45]  # two steps an epoch with the default batch
    assert "90 steps" in lines_of(setup)[0]


def test_the_budget_is_that_of_the_whole_dataset(
    setup_for: Callable[..., SearchSetup], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A probe thins a large dataset, which must not change the batch and the epochs."""
    monkeypatch.setattr("helo.search.sizing.probe.MAX_WINDOWS", 40)
    assert setup_for("small", simulate(subjects=10, clips=8, windows=20)).space.fixed["batch_size"] > 16


def test_a_resumed_run_keeps_its_numbers(
    setup_for: Callable[..., SearchSetup], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = setup_for("small")
    folds = loso_folds(setup.dataset.subject_names, setup.seed)
    resources = Resources(1, 1, 0.0)
    manifest = build_manifest(setup, folds, resources, Pace())
    assert manifest.space is not None
    assert manifest.space["parameters"]["epochs"] == {"value": setup.space.fixed["epochs"]}
    run = Run.create(tmp_path / "begun", manifest, folds_as_json(folds))
    monkeypatch.setattr("helo.training.budget.STEPS", 5_000)
    assert restore_setup(Run.open(run.folder.here or ""), setup.dataset, resources).space == setup.space
    assert parse_space(manifest.space, "manifest", "small") == setup.space
