"""Fitting of the recommended model at the end of a search, within the time budget."""

from __future__ import annotations

import dataclasses
import io
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from helo import load_model
from helo.configuration import DEFAULTS
from helo.data.dataset import Dataset
from helo.errors import DivergedError
from helo.evaluation.folds import folds_as_json, loso_folds
from helo.metrics import METRICS
from helo.run.directory import Run
from helo.run.ledger import CellRecord
from helo.run.manifest import Manifest
from helo.search.context import SearchContext
from helo.search.deliver import fit_recommended
from helo.search.driver import write_tables
from helo.search.planning.space import Space
from helo.search.setup.search_setup import SearchSetup
from helo.search.sizing.resources import Resources
from helo.settings import TrainingSettings
from helo.storage import LocalFolder
from helo.training.fitted import FittedModel

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
    """Fit the recommended model and return the output."""
    console = Console(file=io.StringIO(), width=200)
    fit_recommended(SearchContext(setup, console, "the command", run), setup.dataset, "cpu", call)
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


def test_without_time_the_output_shows_how_to_resume(finished_search: tuple[SearchSetup, Run]) -> None:
    setup, run = finished_search
    late = dataclasses.replace(setup, deadline=time.time() + 20)
    assert output_of(late, run) == "no time is left to fit the model (about 24 s); resume with: the command\n"
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
