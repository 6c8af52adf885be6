"""The model that a search leaves: fitted when there is time, and never at the cost of the result."""

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
def made(dataset: Dataset, tmp_path: Path) -> tuple[SearchSetup, Run]:
    """A finished search of one configuration, whose cells took two seconds an epoch."""
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


def here(fit: Callable[..., FittedModel], *rest: Any) -> FittedModel:
    return fit(*rest)


def said(setup: SearchSetup, run: Run, call: Callable[..., FittedModel] = here) -> str:
    console = Console(file=io.StringIO(), width=200)
    fit_recommended(SearchContext(setup, console, "the command", run), setup.dataset, "cpu", call)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_the_model_is_fitted_once(made: tuple[SearchSetup, Run]) -> None:
    setup, run = made
    output = said(setup, run)
    assert "fitting configuration 0 to all 4 subjects, 2 epochs (about 4 s)" in output
    model = load_model(str(run.model))
    assert model.facts["recommended"] == {"configuration": 0, "protocol": "shared", "run": "this"}
    assert {"python", "torch"} <= set(model.facts["versions"])
    assert said(setup, run) == ""


def test_without_time_it_is_said_how_to_go_on(made: tuple[SearchSetup, Run]) -> None:
    setup, run = made
    late = dataclasses.replace(setup, deadline=time.time() + 3)
    assert said(late, run) == "no time is left to fit the model (about 4 s); resume with: the command\n"
    assert not run.has_model


def test_a_fit_that_diverges_is_said(made: tuple[SearchSetup, Run]) -> None:
    def fails(*arguments: Any) -> FittedModel:
        raise DivergedError("the training loss is nan in epoch 1")

    assert "no model is fitted: the training loss is nan in epoch 1" in said(*made, fails)
    assert not made[1].has_model
    assert not list(made[1].folder.here.glob(".model*"))
