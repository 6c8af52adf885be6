"""Planted leaks: knowledge of a person's identity must not improve predictions for a new person."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from helo.analysis.report import write_summary
from helo.analysis.source import read_source
from helo.data import Dataset, simulate
from helo.metrics import METRICS
from helo.names import Column, Estimate, Method, Prefix, SearchProtocol, TableName
from helo.search.context import SearchContext
from helo.search.driver import run_remaining_cells
from helo.search.execution.connection import ray_cluster
from helo.search.planning.space import Choices, Range, Space
from helo.search.setup.search_setup import SearchSetup
from helo.search.sizing.resources import Resources
from helo.settings import TrainingSettings
from helo.storage import LocalFolder

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("cluster")]

BASELINES = (Method.KNN, Method.RIDGE)
"""Baselines that could memorise identities. Other tests check for each fold that no baseline sees its test subject."""

HONEST = [Estimate.PER_FOLD_SELECTION, *BASELINES]

SPACE = Space(
    name="leak",
    configurations=2,
    searched={"learning_rate": Choices((3e-3, 1e-2))},
    fixed={"width": 16, "heads": 2, "epochs": 12, "dropout": 0.1, "batch_size": 64},
    sampler="random",
)


def skill(dataset: Dataset, out: Path) -> pd.DataFrame:
    """Run a search and return its skill and that of its baselines against the train mean, by metric (columns)."""
    training, resources = TrainingSettings(seed=1), Resources(2, 1, 0)
    setup = SearchSetup(dataset, SPACE, LocalFolder(out), training, resources, inner_folds=3, baselines=BASELINES)
    context = SearchContext(setup, Console(quiet=True))
    assert run_remaining_cells(context)
    run = context.run
    summary = write_summary(read_source(run))
    wide = summary.pivot(index=Column.ESTIMATE, columns=Column.METRIC, values=Column.SKILL)
    return wide.loc[[Estimate.PER_FOLD_SELECTION, Estimate.ORACLE, *BASELINES]]


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Ray cluster that all searches share, because each start takes seconds."""
    with ray_cluster(None, 2):
        yield


@pytest.fixture(scope="module")
def identity() -> Dataset:
    """Data in which each subject has a single label and signals that identify the subject."""
    generator = np.random.default_rng(7)
    base = simulate(subjects=8, clips=2, windows=20, emotions=5, seed=7)
    person = np.unique(base.subjects, return_inverse=True)[1]
    fingerprints = 3 * generator.normal(size=(8, base.features.shape[1]))
    reports = generator.dirichlet(np.full(5, 2.0), size=8)
    return replace(
        base,
        features=(fingerprints[person] + 0.1 * generator.normal(size=base.features.shape)).astype(np.float32),
        labels=reports[person],
        best_possible=None,
        schema=replace(base.schema, best_possible={}),
    )


def test_identity_does_not_help_with_a_new_person(identity: Dataset, tmp_path: Path) -> None:
    gained = skill(identity, tmp_path / "run")
    assert (gained.loc[HONEST, ["kl", "chebyshev"]] < 0.1).all(axis=None), gained
    assert gained.loc[Estimate.ORACLE, "chebyshev"] >= gained.loc[Estimate.PER_FOLD_SELECTION, "chebyshev"]


def test_the_same_search_finds_the_leak_of_a_wrong_split(identity: Dataset, tmp_path: Path) -> None:
    """Check the power of the test above: with windows of every person on both sides, identity reveals labels."""
    mixed = np.array([f"P{number % 8 + 1:02d}" for number in np.random.default_rng(0).permutation(len(identity))])
    gained = skill(replace(identity, subjects=mixed), tmp_path / "run")
    assert (gained.loc[HONEST, "kl"] > 0.6).all(), gained


def test_labels_shuffled_between_people_show_no_skill(tmp_path: Path) -> None:
    base = simulate(subjects=8, clips=4, windows=10, seed=3)
    reports = base.labels.reshape(32, 10, -1)[np.random.default_rng(5).permutation(32)]
    shuffled = replace(
        base,
        labels=reports.reshape(len(base), -1),
        best_possible=None,
        schema=replace(base.schema, best_possible={}),
    )
    gained = skill(shuffled, tmp_path / "run")
    assert (gained.loc[HONEST, ["kl", "chebyshev"]] < 0.1).all(axis=None), gained


def test_nested_folds_do_not_depend_on_their_test_subject(tmp_path: Path) -> None:
    """Replace the data of a test subject: in the cells of its fold only the test scores change."""
    base = simulate(subjects=5, clips=2, windows=6, emotions=3)
    generator = np.random.default_rng(0)
    mine = base.subjects == "P02"
    features, labels = base.features.copy(), base.labels.copy()
    features[mine] = 5 + 3 * generator.normal(size=features[mine].shape)
    labels[mine] = generator.dirichlet(np.full(3, 0.3), size=mine.sum())
    other = replace(
        base, features=features, labels=labels, best_possible=None, schema=replace(base.schema, best_possible={})
    )
    space = replace(
        SPACE,
        configurations=6,
        sampler="tpe",
        searched={"dropout": Range(0.0, 0.6, False, False), "learning_rate": Range(1e-4, 1e-2, True, False)},
        fixed={**SPACE.fixed, "epochs": 8},
    )

    def tables(dataset: Dataset, name: str) -> tuple[pd.DataFrame, pd.DataFrame, dict[int, tuple[float, ...]]]:
        setup = SearchSetup(
            dataset,
            space,
            LocalFolder(tmp_path / name),
            TrainingSettings(seed=1),
            Resources(2, 1, 0),
            protocol=SearchProtocol.NESTED,
        )
        context = SearchContext(setup, Console(quiet=True))
        assert run_remaining_cells(context)
        run = context.run
        cells = run.table(TableName.CELLS).drop(columns=["seconds", "node", "started", "finished"])
        assert len(cells) == 5 * 6
        assert {len(fold["splits"]) for fold in run.folds} == {4}
        first_losses = {one.configuration: one.first_losses for one in run.ledger.read() if one.fold == "P02"}
        return cells, run.table(TableName.EPOCHS), first_losses

    (cells, epochs, first_losses), (cells_with, epochs_with, first_losses_with) = (
        tables(dataset, name) for dataset, name in ((base, "base"), (other, "other"))
    )
    tests = [name for name in cells if name.startswith(Prefix.TEST)]
    assert len([name for name in tests if name.startswith(Prefix.TEST_BY_GROUP)]) == len(METRICS)

    def of(table: pd.DataFrame, own: bool) -> pd.DataFrame:
        return table[(table[Column.FOLD] == "P02") == own].reset_index(drop=True)

    same = of(cells, True).drop(columns=tests)
    pd.testing.assert_frame_equal(same, of(cells_with, True).drop(columns=tests), check_exact=True)
    pd.testing.assert_frame_equal(of(epochs, True), of(epochs_with, True), check_exact=True)
    assert first_losses == first_losses_with
    assert {"completed", "stopped"} <= set(same["status"])
    # Check the power of this test: the test scores and the other folds, which use that subject, do change.
    assert (of(cells, True)[tests] != of(cells_with, True)[tests]).all(axis=None)
    assert not of(cells, False)["val_kl"].equals(of(cells_with, False)["val_kl"])
