"""Callback of Ray Tune that records finished cells and tries failed ones again."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

from ray import tune
from ray.tune.logger import LoggerCallback
from ray.tune.result import TRAINING_ITERATION

from helo.cluster.filling import NO_GPU
from helo.errors import InputError, SearchError
from helo.evaluation.folds import Fold
from helo.names import Column, Fault, Status
from helo.run.ensemble.candidates import CandidateCells
from helo.run.ledger import CellRecord, LedgerWriter
from helo.search.execution import _ray_compat
from helo.search.execution.cells import CellReport, CellSettings, cell_name, checkpoint_name, failed_record
from helo.search.execution.deaths import WorkerDeaths
from helo.search.execution.elastic import LostNodes, cluster_machines, worker_is_starting
from helo.search.execution.progress import SearchProgress
from helo.search.execution.trials import NotSaved, QueueSearcher, take_report
from helo.search.planning.outcome import Outcome
from helo.search.planning.planner import PlannedCell
from helo.search.planning.queue import BaselineCell, Cell

MAX_LOST_NODES = 20
"""Number of lost nodes after which a cell counts as failed: the cell itself may be what brings nodes down."""

IDLE_WARNING_S = 30.0
"""Idle seconds before the user is told what the search waits for."""


@dataclass(frozen=True)
class Reporting:
    """Receivers of finished cells.

    Attributes
    ----------
    ledger : LedgerWriter
        Writer of the records.
    progress : SearchProgress
        Progress on the screen.
    loggers : sequence of ray.tune.logger.LoggerCallback
        Loggers of trials, see `helo.search.execution.loggers.make_loggers`.
    candidates : CandidateCells
        The best completed cells of each fold, which alone keep their out-of-fold predictions.
    other_versions : callable
        Function that gets the name of each node with other versions than the driver, and what differs. It raises an
        error to end the search.
    """

    ledger: LedgerWriter
    progress: SearchProgress
    loggers: Sequence[LoggerCallback] = ()
    candidates: CandidateCells = field(default_factory=CandidateCells)
    other_versions: Callable[[str, Mapping[str, tuple[str, ...]]], None] = lambda node, found: None


class CellRecorder(NotSaved, tune.Callback):
    """Callback that writes each finished cell to the ledger and reports it to the planner and the screen.

    Parameters
    ----------
    searcher : QueueSearcher
        Searcher that submits the cells.
    folds : tuple of Fold
        All folds of the search.
    settings : CellSettings
        Settings that all cells share.
    reporting : Reporting
        Receivers of finished cells.

    Attributes
    ----------
    error : OSError, InputError, SearchError or None
        Error of the ledger, of a node with other versions, or of Ray, that ended the search. Tune wraps it in an
        exception of its own.
    active : set of str
        Ids of the trials that run on a node now.
    """

    def __init__(
        self, searcher: QueueSearcher, folds: tuple[Fold, ...], settings: CellSettings, reporting: Reporting
    ) -> None:
        self.searcher, self.folds, self.settings, self.reporting = searcher, folds, settings, reporting
        self.error: OSError | InputError | SearchError | None = None
        self.active: set[str] = set()
        self._deaths, self._lost_nodes = WorkerDeaths(), LostNodes()
        self._lost_nodes_of_cell = Counter[str]()
        self._other_nodes: set[str] = set()
        self._idle_since: float | None = time.monotonic()

    def _require_ray(self) -> None:
        with self._noting(SearchError):
            _ray_compat.require_alive()

    @contextmanager
    def _noting(self, *kinds: type[OSError] | type[InputError] | type[SearchError]) -> Iterator[None]:
        """Keep an error that ends the search, before Tune wraps it in one of its own."""
        try:
            yield
        except kinds as error:
            self.error = error
            raise

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """End the search if Ray has ended."""
        self._require_ray()

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Print what the search waits for if cells are pending and none has run for `IDLE_WARNING_S`."""
        if self.active or not self.searcher.running:
            self._idle_since = time.monotonic()
        elif self._idle_since is not None and time.monotonic() - self._idle_since > IDLE_WARNING_S:
            self._idle_since = None  # one warning until the next cell runs
            threads, gpus = self.settings.training.threads, self.settings.gpus
            needed = f"{threads} CPUs" + (f" and {gpus:g} GPUs" if gpus else "")
            if cluster_machines().leaves_gpus_alone(threads, gpus):
                needed += f" and the resource {NO_GPU}"
            line = f"no node runs a cell; waiting for a node with {needed} free"
            if worker_is_starting():
                line = "no cell runs yet; a worker is starting"
            self.reporting.progress.say(line)

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Note that a cell runs, and on which node."""
        self._require_ray()  # first, because the node is known to Ray alone
        self.active.add(trial.trial_id)
        self._lost_nodes.trial_started(trial)
        if isinstance(self.searcher.running.get(trial.trial_id), PlannedCell):
            self.reporting.progress.start_cells()
        else:
            self.reporting.progress.start_baselines()

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Record a finished cell, or submit it again: with a larger share of a GPU if memory was short."""
        report = take_report(result)
        if report is None:
            return
        self.active.discard(trial.trial_id)
        self._lost_nodes.trial_finished(trial)
        cell = self.searcher.running.pop(trial.trial_id)
        if report.other_versions:
            self._note_versions(report)
        if report.record is None:  # paused at the deadline
            return
        is_lost = report.record.fault == Fault.MACHINE
        if is_lost and self.searcher.queue.retry(cell, gpu_factor=2 if report.out_of_memory else 1):
            return
        self._record(cell, report.record, report.has_checkpoint)
        for row in report.record.history:
            finite = {name: value for name, value in row.items() if not math.isnan(value)}
            for logger in self.reporting.loggers:
                logger.log_trial_result(iteration, trial, {**finite, TRAINING_ITERATION: row[Column.EPOCH]})

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Submit a cell whose actor died again, or record it as failed after too many attempts."""
        self._require_ray()  # first: cells do not fail because of it, and Ray does not answer
        self.active.discard(trial.trial_id)
        cell = self.searcher.running.pop(trial.trial_id, None)
        if cell is None:  # the actor died after the cell had been recorded
            return
        name = cell_name(cell)
        if self._lost_nodes.caused_error(trial) and self._lost_nodes_of_cell[name] < MAX_LOST_NODES:
            self._lost_nodes_of_cell[name] += 1
            cell = replace(cell, attempt=cell.attempt - 1)  # a lost node does not count as an attempt
        why = self._deaths.explain(trial)
        if not self.searcher.queue.retry(cell):
            self._record(cell, failed_record(cell, self.folds[cell.fold].test, why), has_checkpoint=True)

    def _note_versions(self, report: CellReport) -> None:
        if report.node in self._other_nodes:
            return
        self._other_nodes.add(report.node)
        with self._noting(OSError, InputError):
            self.reporting.other_versions(report.node, report.other_versions)

    def _record(self, cell: Cell, record: CellRecord, has_checkpoint: bool) -> None:
        queue, progress = self.searcher.queue, self.reporting.progress
        outcome = Outcome.of_record(record, self.settings.training.objective)
        with self._noting(OSError):
            self.reporting.ledger.append(self._for_ledger(cell, record, outcome), cell.fold)
        queue.tell(cell, outcome)
        if isinstance(cell, BaselineCell):
            progress.baseline_finished(record.status, queue.finished_baseline_cells, queue.baseline_cells)
            return
        if has_checkpoint and self.settings.checkpoints is not None:
            with suppress(OSError):  # a checkpoint of a finished cell is never read
                self.settings.checkpoints.delete(checkpoint_name(cell))
        progress.cell_finished(record.status, queue.planner.max_cells, queue.planner.best())

    def _for_ledger(self, cell: Cell, record: CellRecord, outcome: Outcome) -> CellRecord:
        """Return a record as it is written: without out-of-fold predictions unless an ensemble may choose the cell."""
        if isinstance(cell, BaselineCell) or outcome.status != Status.COMPLETED or outcome.loss is None:
            return replace(record, out_of_fold=None)
        is_candidate = self.reporting.candidates.add(cell.configuration, cell.fold, outcome.loss)
        return record if is_candidate else replace(record, out_of_fold=None)


class DeadlineStopper(NotSaved, tune.Stopper):
    """Stopper that ends a search with cells that still wait for a node at the deadline.

    Running cells pause by themselves. This stopper waits for them.
    """

    def __init__(self, recorder: CellRecorder) -> None:
        self.recorder = recorder

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Return False: no single trial is stopped here."""
        return False

    def stop_all(self) -> bool:
        """Return whether the deadline has passed and no cell runs."""
        return self.recorder.searcher.deadline_passed and not self.recorder.active
