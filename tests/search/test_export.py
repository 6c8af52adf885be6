"""Export of the study, as Optuna reads it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from helo.names import SearchProtocol, Status, enum_values
from helo.run.directory import Run
from helo.run.manifest import Manifest
from helo.search.export import write_study
from helo.search.planning.outcome import Outcome
from helo.search.planning.planner import Planner
from helo.search.planning.space import Choices, Range, Space

SPACE = Space(
    name="three",
    configurations=8,
    searched={
        "ot_entropy": Range(1e-3, 1.0, log=True, whole=False),
        "attention_depth": Range(1, 4, log=False, whole=True),
        "width": Choices((16, 32)),
    },
    objective="cosine",
)
FOLDS = 6


def searched(protocol: str) -> Planner:
    """Return the planner of a search with complete, dropped and failed configurations."""
    planner = Planner(SPACE, FOLDS, 0, protocol)
    generator = np.random.default_rng(0)
    for cell in iter(planner.ask, None):
        if (cell.configuration, cell.fold) in {(5, 2), (8, 2)}:
            planner.tell(cell, Outcome(Status.FAILED))
        else:
            loss = -0.9 + 0.01 * float(generator.random()) + 0.5 * (cell.configuration == 3)
            planner.tell(cell, Outcome(Status.COMPLETED, (-0.1, loss), loss))
    return planner


def opened(run: Run) -> dict[str, optuna.Study]:
    storage = JournalStorage(JournalFileBackend(str(run.folder.here / "study.log")))
    return {name: optuna.load_study(study_name=name, storage=storage) for name in optuna.get_all_study_names(storage)}


def content(trials: list[FrozenTrial]) -> list[tuple[object, ...]]:
    return [(one.state, one.value, one.params, one.distributions, one.intermediate_values) for one in trials]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.create(tmp_path / "run", Manifest(), [])


@pytest.mark.parametrize("protocol", enum_values(SearchProtocol))
def test_optuna_reads_the_trials_of_the_search(run: Run, protocol: str) -> None:
    planner = searched(protocol)
    write_study(run, SPACE, planner.studies())
    studies = opened(run)
    names = ["shared"] if protocol == SearchProtocol.SHARED else [f"fold {fold}" for fold in range(FOLDS)]
    assert sorted(studies) == sorted(planner.studies()) == names
    for name, trials in planner.studies().items():
        assert len(trials) == SPACE.configurations
        assert content(studies[name].trials) == content(trials)
        assert studies[name].direction == optuna.study.StudyDirection.MINIMIZE
        assert studies[name].user_attrs == {"loss": "mean inner validation cosine (a similarity is negated)"}
    states = [one.state for name in names for one in studies[name].trials]
    found = {TrialState.COMPLETE, TrialState.FAIL} | (
        {TrialState.PRUNED} if protocol == SearchProtocol.SHARED else set()
    )
    assert set(states) == found


def test_the_best_trial_is_the_best_configuration(run: Run) -> None:
    planner = searched(SearchProtocol.SHARED)
    write_study(run, SPACE, planner.studies())
    best = opened(run)["shared"].best_trial
    assert (best.number, best.value) == planner.best()


def test_a_second_export_replaces_the_first_and_leaves_no_other_files(run: Run) -> None:
    before = {path.name for path in run.folder.here.iterdir()}
    write_study(run, SPACE, searched(SearchProtocol.NESTED).studies())
    write_study(run, SPACE, searched(SearchProtocol.SHARED).studies())
    assert {path.name for path in run.folder.here.iterdir()} == before | {"study.log"}
    assert set(opened(run)) == {"shared"}
    assert len(opened(run)["shared"].trials) == SPACE.configurations


def test_a_search_without_a_finished_configuration_has_an_empty_study(run: Run) -> None:
    write_study(run, SPACE, Planner(SPACE, FOLDS, 0).studies())
    assert opened(run)["shared"].trials == []


def test_a_file_system_without_symbolic_links_has_the_study(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """ExFAT, SMB."""

    def symlink(source: object, target: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM), target)

    monkeypatch.setattr(os, "symlink", symlink)
    write_study(run, SPACE, searched(SearchProtocol.SHARED).studies())
    assert len(opened(run)["shared"].get_trials()) == SPACE.configurations
    assert not list(run.folder.here.glob(".study*"))
