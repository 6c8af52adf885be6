"""Cells as trials of Ray Tune: how they travel, the actor that runs them, and the searcher that submits them.

One trial runs one cell. An actor is reused for the next trial: a new actor takes seconds, because it imports torch, and
a reused one milliseconds. The report of a cell travels as one opaque object. It is taken out of the result before Tune
stores it, which keeps Tune's own bookkeeping small.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ray import tune
from ray.tune.search import Searcher

from helo._deadline import Deadline
from helo.evaluation.folds import Fold
from helo.run.versions import worker_differences
from helo.search.execution.cells import CellReport, CellSettings, identity_of, run_cell
from helo.search.execution.connection import SharedDataset
from helo.search.execution.elastic import ConcurrencyLimit, DrainCheck
from helo.search.planning.queue import Cell, Queue

_REPORT = "report"
_CELL = "cell"


class _Opaque:
    """Container that keeps Tune from flattening, copying and printing its content."""

    def __init__(self, content: Any) -> None:
        self.content = content

    def __repr__(self) -> str:
        return "-"


def cell_of_trial(config: Mapping[str, Any]) -> Cell:
    """Return the cell in the configuration of a trial."""
    cell: Cell = config[_CELL].content
    return cell


def take_report(result: dict[str, Any]) -> CellReport | None:
    """Remove the report of a cell from the result of a trial and return it, or None if there is none."""
    opaque = result.pop(_REPORT, None)
    return None if opaque is None else opaque.content


class DrainingNodeError(Exception):
    """Ends the actors on a node that is about to be removed. Tune would submit the next cell to them otherwise."""


@dataclass(frozen=True)
class VersionCheck:
    """Comparison of the versions on each node with those of the driver.

    Attributes
    ----------
    driver : mapping
        Name to version in the driver, from `helo.run.versions.package_versions`.
    may_differ : bool
        Whether cells also run on nodes with other versions.
    """

    driver: Mapping[str, str]
    may_differ: bool = False


class CellTrainable(tune.Trainable):
    """Actor whose trials each run one cell, in one step."""

    def setup(
        self,
        config: dict[str, Any],
        *,
        dataset: SharedDataset,
        folds: tuple[Fold, ...],
        settings: CellSettings,
        versions: VersionCheck,
    ) -> None:
        """Prepare the actor, with the dataset from the node's object store.

        Parameters
        ----------
        config : dict
            Configuration of the first trial.
        dataset : SharedDataset
            Data of all subjects.
        folds : tuple of Fold
            All folds of the search.
        settings : CellSettings
            Settings that all cells share.
        versions : VersionCheck
            Versions of the driver. Where they differ, each report says so, and cells run only if that is allowed.
        """
        self._other_versions = worker_differences(versions.driver)
        self._may_run = versions.may_differ or not self._other_versions
        self._cell = cell_of_trial(config)
        self._dataset, self._folds, self._settings = dataset.get(), folds, settings
        self._is_draining = DrainCheck()

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Replace the cell by that of the next trial. Return True: the actor can be reused."""
        self._cell = cell_of_trial(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Run the cell to its end, or to the epoch after which its node leaves.

        Returns
        -------
        dict
            Result of the trial with the `CellReport`.

        Raises
        ------
        DrainingNodeError
            If the node is about to be removed. The cell is then run on another node.
        """
        if self._is_draining():
            raise DrainingNodeError
        if not self._may_run:
            return self._result(CellReport(None))
        report = run_cell(self._cell, self._dataset, self._folds, self._settings, self._is_draining)
        if report.record is None and self._is_draining():
            raise DrainingNodeError
        return self._result(report)

    def _result(self, report: CellReport) -> dict[str, Any]:
        return {_REPORT: _Opaque(replace(report, other_versions=self._other_versions)), "done": True}


class NotSaved:
    """Base class of searchers and callbacks that pickle without content.

    Tune pickles them for its own way to resume, which a search does not use.
    """

    def __getstate__(self) -> dict[str, Any]:
        return {}


class QueueSearcher(NotSaved, Searcher):
    """Searcher of Ray Tune that submits the cells of a queue.

    Parameters
    ----------
    queue : Queue
        Cells of the search.
    deadline : Deadline or None
        Time after which no cell is submitted.
    limit : ConcurrencyLimit
        Maximum number of cells at the same time.

    Attributes
    ----------
    running : dict
        Submitted cells, also pending ones, by the id of their trial.
    """

    def __init__(self, queue: Queue, deadline: Deadline | None, limit: ConcurrencyLimit) -> None:
        super().__init__()
        self.queue, self.deadline, self.limit = queue, deadline, limit
        self.running: dict[str, Cell] = {}

    @property
    def deadline_passed(self) -> bool:
        """Whether the deadline has passed."""
        return self.deadline is not None and self.deadline.passed

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return the configuration of the next trial, None to wait, or `FINISHED`."""
        if self.deadline_passed:
            return str(Searcher.FINISHED)
        if len(self.running) >= self.limit.current():
            return None
        cell = self.queue.ask()
        if cell is None:
            return str(Searcher.FINISHED) if self.queue.finished else None
        self.running[trial_id] = cell
        identity = identity_of(cell)
        # Besides the cell itself, everything that loggers of trials show.
        return {_CELL: _Opaque(cell), **identity.pop("params"), "fold": cell.fold, **identity}

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """Do nothing: the callback `CellRecorder` has handled the result already."""

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: a search resumes from its ledger."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: a search resumes from its ledger."""
