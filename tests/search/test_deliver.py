"""Fitting of the model at the end of a search, within the time budget."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from helo import load_model
from helo._deadline import Deadline
from helo.analysis.description import describe_run
from helo.analysis.source import read_source
from helo.configuration import DEFAULTS
from helo.data import write_dataset
from helo.data.dataset import Dataset
from helo.errors import DivergedError
from helo.evaluation.folds import folds_as_json, loso_folds
from helo.metrics import METRICS
from helo.run.directory import Run
from helo.run.ledger import CellRecord
from helo.run.manifest import Manifest
from helo.search.context import SearchContext
from helo.search.deliver import fit_requested
from helo.search.driver import write_tables
from helo.search.planning.pace import Pace
from helo.search.planning.space import Space
from helo.search.setup.inputs import read_inputs
from helo.search.setup.manifest import build_manifest, record_resumption
from helo.search.setup.request import Request
from helo.search.setup.search_setup import SearchSetup
from helo.search.sizing.resources import Resources
from helo.settings import TrainingSettings
from helo.storage import LocalFolder
from helo.training.fitted import FittedModel, fit_model

NOW = datetime(2026, 1, 2, tzinfo=UTC)
QUICK = {**DEFAULTS, "width": 8, "batch_size": 16, "epochs": 4}


@pytest.fixture
def finished_search(dataset: Dataset, tmp_path: Path) -> tuple[SearchSetup, Run]:
    """Finished search of one configuration, whose cells took two seconds per epoch."""
    folds = loso_folds(dataset.subject_names, 0)
    setup = SearchSetup(
        dataset, Space("one", 1, {}), LocalFolder(tmp_path / "run"), TrainingSettings(), Resources(1, 1, 0)
    )
    run = Run.create(setup.out, Manifest(identity="this"), folds_as_json(folds))
    for number, fold in enumerate(folds):
        scores = dict.fromkeys(METRICS, 0.1)
        record = CellRecord(0, fold.test, QUICK, "completed", 4, 8.0, "here", NOW, NOW, 2, val=scores, test=scores)
        run.ledger.append(record, number)
    write_tables(SearchContext(setup, Console(quiet=True), run=run), folds)
    return setup, run


def call_here(fit: Callable[..., FittedModel], *rest: Any) -> FittedModel:
    return fit(*rest)


def output_of(setup: SearchSetup, run: Run, call: Callable[..., FittedModel] = call_here) -> str:
    """Fit the model and return the output."""
    console = Console(file=io.StringIO(), width=200)
    fit_requested(SearchContext(setup, console, "the command", run), setup.dataset, "cpu", call)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_the_model_is_fitted_once(finished_search: tuple[SearchSetup, Run]) -> None:
    setup, run = finished_search
    output = output_of(setup, run)
    # Two seconds per epoch of a member: 3 members of 4 epochs take 24 seconds.
    assert "fitting configuration 0 with all 4 subjects: 3 members of 4 epochs (about 24 s)" in output
    model = load_model(str(run.model))
    assert model.facts["recommended"] == {"configuration": 0, "protocol": "shared", "run": "this"}
    assert (model.members, set(model.out_of_fold or ())) == (3, set(METRICS))
    assert {"python", "torch"} <= set(model.facts["versions"])
    assert output_of(setup, run) == ""


def test_without_time_no_model_is_fitted(finished_search: tuple[SearchSetup, Run]) -> None:
    setup, run = finished_search
    late = dataclasses.replace(setup, deadline=Deadline.after(20))
    assert output_of(late, run) == "no time is left to fit the model (about 24 s)\n"
    assert not run.has_model


def test_a_fit_that_diverges_is_reported(finished_search: tuple[SearchSetup, Run]) -> None:
    def fails(*arguments: Any) -> FittedModel:
        raise DivergedError("the training loss is nan in epoch 1")

    assert "no model is fitted: the training loss is nan in epoch 1" in output_of(*finished_search, fails)
    assert not finished_search[1].has_model
    assert not list(finished_search[1].folder.here.glob(".model*"))


def test_with_one_inner_split_a_single_member_is_fitted(finished_search: tuple[SearchSetup, Run]) -> None:
    setup, run = finished_search
    output = output_of(dataclasses.replace(setup, inner_folds=1), run)
    assert "fitting configuration 0 with all 4 subjects: 4 epochs (about 8 s)" in output
    assert load_model(str(run.model)).members == 1


def test_an_ensemble_is_the_weighted_mean_of_its_configurations(
    finished_search: tuple[SearchSetup, Run], dataset: Dataset
) -> None:
    """Two folds chose the first configuration alone, and two folds both of them."""
    setup, run = finished_search
    folds = [fold["test"] for fold in run.folds]
    other = {**QUICK, "dropout": 0.0}
    scores = dict.fromkeys(METRICS, 0.2)
    record = CellRecord(1, folds[2], other, "completed", 4, 8.0, "here", NOW, NOW, 2, val=scores, test=scores)
    run.ledger.append(record, 2)
    weights = ['{"0": 1.0}', '{"0": 1.0}', '{"1": 0.5, "0": 0.5}', '{"0": 0.5, "1": 0.5}']
    run.write_table("ensemble", run.table("ensemble").reindex(range(4)).assign(fold=folds, weights=weights))
    output = output_of(dataclasses.replace(setup, deliver="ensemble"), run)
    assert "fitting an ensemble of 2 configurations with all 4 subjects: 3 members of 4 epochs (about 48 s)" in output
    model = load_model(str(run.model))
    assert [(one.weight, one.configuration.dropout) for one in model.ensemble] == [(0.75, QUICK["dropout"]), (0.25, 0)]
    assert model.facts["fold_ensembles"] == {"configurations": 2, "protocol": "shared", "run": "this"}
    parts = [fit_model(dataset, one.configuration, TrainingSettings(), 3).predict(dataset) for one in model.ensemble]
    np.testing.assert_allclose(model.predict(dataset), 0.75 * parts[0] + 0.25 * parts[1], atol=1e-6)
    described = " ".join(text for _, text in describe_run(read_source(run)))
    assert "the mean of the ensembles of all folds (2 configurations)" in described


def test_without_out_of_fold_predictions_the_recommended_configuration_is_fitted(
    finished_search: tuple[SearchSetup, Run],
) -> None:
    setup, run = finished_search
    output = output_of(dataclasses.replace(setup, deliver="ensemble"), run)
    assert "instead of an ensemble: not every fold has out-of-fold predictions" in output
    assert "recommended" in load_model(str(run.model)).facts


def test_a_model_of_another_kind_is_kept_and_the_output_says_so(finished_search: tuple[SearchSetup, Run]) -> None:
    setup, run = finished_search
    output_of(setup, run)
    output = output_of(dataclasses.replace(setup, deliver="ensemble"), run)
    assert output.endswith("the model of the recommended configuration is kept; remove it to fit an ensemble\n")
    assert "recommended" in load_model(str(run.model)).facts


def test_a_resumed_search_fits_the_model_that_was_requested(dataset: Dataset, tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_dataset(dataset, data)
    request = Request(data=data, out=tmp_path / "run", deliver="ensemble")
    setup, _ = read_inputs(request, "the command", 0.0)
    folds = setup.folds
    run = Run.create(setup.out, build_manifest(setup, folds, Resources(1, 1, 0), Pace(1, 1, 1)), folds_as_json(folds))
    assert read_inputs(Request(resume=run.folder.here), "", 0.0)[0].deliver == "ensemble"
    asked, _ = read_inputs(Request(resume=run.folder.here, deliver="recommended"), "", 0.0)
    assert asked.deliver == "recommended"
    record_resumption(run, asked, Resources(1, 1, 0))
    assert read_inputs(Request(resume=run.folder.here), "", 0.0)[0].deliver == "recommended"
