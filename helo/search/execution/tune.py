"""The planner as Ray Tune searcher, and the ledger as Ray Tune callback.

One Tune trial runs one cell, in an actor that is used again for the next: a fresh one costs seconds (torch
is imported), a used one milliseconds. What a cell leaves travels as one opaque object and is taken out of
the result before Tune keeps it, so Tune's own bookkeeping stays small; the ledger is the record.
"""

from __future__ import annotations

import logging
import math
import os
import shutil
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ray import tune
from ray.air.integrations.mlflow import MLflowLoggerCallback
from ray.tune.logger import LoggerCallback, TBXLoggerCallback
from ray.tune.result import TRAINING_ITERATION
from ray.tune.search import Searcher

from helo._cli import print_line
from helo.evaluation.folds import Fold
from helo.names import CellLogger, Column, Method, Status
from helo.run.ledger import CellRecord, LedgerWriter, part_name
from helo.search.execution.cells import CellReport, CellSettings, Train, checkpoint_name, known_fields, run_cell
from helo.search.execution.connection import Shared
from helo.search.execution.elastic import Losses, Notice, Room
from helo.search.execution.progress import SearchProgress
from helo.search.planning.outcome import Outcome
from helo.search.planning.planner import PlannedCell
from helo.search.planning.queue import BaselineCell, Cell, Queue
from helo.training.cell import train_cell

_REPORT = "report"
_CELL = "cell"

NODES_LOST = 20
"""How often a cell may lose its node before that counts as its own fault: a cell could be what kills nodes."""

PATIENCE_S = 30.0
"""How long no cell may run until the user hears that nodes are missing."""


class _Opaque:
    """Keeps Tune from flattening, copying and printing what is inside."""

    def __init__(self, content: Any) -> None:
        self.content = content

    def __repr__(self) -> str:
        return "-"


class NodeLeavesError(Exception):
    """Ends an actor whose node is about to be taken away: Tune would give it the next cell."""


class CellTrainable(tune.Trainable):
    """One actor; each of its trials is one cell, run in one step."""

    def setup(
        self,
        config: dict[str, Any],
        *,
        dataset: Shared,
        folds: tuple[Fold, ...],
        settings: CellSettings,
        train: Train,
    ) -> None:
        """Take the dataset from the node's object store, where all its cells share it."""
        self._cell: Cell = config[_CELL].content
        self._leaves = Notice()
        self._fixed = (dataset.get(), folds, settings, train, self._leaves)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Go on with another cell."""
        self._cell = new_config[_CELL].content
        return True

    def step(self) -> dict[str, Any]:
        """Run the cell to its end, or to the epoch after which its node leaves."""
        if self._leaves():
            raise NodeLeavesError
        report = run_cell(self._cell, *self._fixed)
        if report.record is None and self._leaves():
            raise NodeLeavesError
        return {_REPORT: _Opaque(report), "done": True}


class _NotSaved:
    """Tune pickles searchers and callbacks for its own restore, which is never used: they pickle empty."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class _QueueSearcher(_NotSaved, Searcher):
    """Hands the search's cells to Tune. Names of arguments are Tune's."""

    def __init__(self, queue: Queue, deadline: float | None, room: Callable[[], int]) -> None:
        super().__init__()
        self.queue, self.deadline, self.room = queue, deadline, room
        self.running: dict[str, Cell] = {}

    @property
    def late(self) -> bool:
        return self.deadline is not None and time.time() >= self.deadline

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        if self.late:
            return str(Searcher.FINISHED)
        if len(self.running) >= self.room():
            return None
        cell = self.queue.ask()
        if cell is None:
            return str(Searcher.FINISHED) if self.queue.finished else None  # None: wait
        self.running[trial_id] = cell
        known = known_fields(cell)
        return {_CELL: _Opaque(cell), **known.pop("params"), "fold": cell.fold, **known}

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """Tune's word that a trial is over; its result has gone through the callback before."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the ledger is the only truth about a run."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, likewise."""


class _Recorder(_NotSaved, tune.Callback):
    """Writes each finished cell to the ledger, then tells the planner and the screen."""

    def __init__(
        self,
        searcher: _QueueSearcher,
        ledger: LedgerWriter,
        settings: CellSettings,
        progress: SearchProgress,
        folds: tuple[Fold, ...],
        loggers: Sequence[LoggerCallback],
    ) -> None:
        self.searcher, self.ledger, self.settings = searcher, ledger, settings
        self.progress, self.folds, self.loggers = progress, folds, loggers
        self.failure: OSError | None = None
        self.at_work: set[str] = set()
        self._losses, self._lost = Losses(), Counter[str]()
        self._idle: float | None = time.monotonic()

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Say so where cells wait and none runs: the cluster has no room for them."""
        if self.at_work or not self.searcher.running:
            self._idle = time.monotonic()
        elif self._idle is not None and time.monotonic() - self._idle > PATIENCE_S:
            self._idle = None  # once for each time
            threads, gpus = self.settings.training.threads, self.settings.gpus
            asked = f"{threads} CPUs" + (f" and {gpus:g} GPUs" if gpus else "")
            print_line(self.progress.console, f"no node runs a cell; waiting for one with {asked} to spare")

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.at_work.add(trial.trial_id)
        self._losses.started(trial.trial_id, trial.temporary_state.ray_actor)
        if isinstance(self.searcher.running.get(trial.trial_id), PlannedCell):
            self.progress.begin()

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        found = result.pop(_REPORT, None)
        if found is None:
            return
        report: CellReport = found.content
        self.at_work.discard(trial.trial_id)
        self._losses.ended(trial.trial_id)
        cell = self.searcher.running.pop(trial.trial_id)
        if report.record is None:  # paused at the deadline
            return
        if report.out_of_memory and self.searcher.queue.retry(cell, gpu_factor=2):
            return
        self._record(cell, report.record, report.kept)
        for epoch in report.record.history:
            known = {name: value for name, value in epoch.items() if not math.isnan(value)}
            for logger in self.loggers:
                logger.log_trial_result(iteration, trial, {**known, TRAINING_ITERATION: epoch[Column.EPOCH]})

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Drop what Tune keeps of a trial that is over: statistics of metrics that nobody asks for."""
        with suppress(AttributeError):  # of a version of Ray that keeps them elsewhere
            trial.run_metadata.metric_n_steps.clear()
            trial.run_metadata.metric_analysis.clear()

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """The actor died under the cell: hand the cell out again, or record that it keeps killing workers."""
        self.at_work.discard(trial.trial_id)
        cell = self.searcher.running.pop(trial.trial_id, None)
        if cell is None:  # its record was already in the ledger when the actor died
            return
        if self._losses.by_node(trial.trial_id) and self._lost[name_of(cell)] < NODES_LOST:
            self._lost[name_of(cell)] += 1
            cell = replace(cell, attempt=cell.attempt - 1)  # as if it had not been tried: a node that goes is no fault
        if not self.searcher.queue.retry(cell):
            self._record(cell, lost_record(cell, self.folds[cell.fold].test), kept=True)

    def _record(self, cell: Cell, record: CellRecord, kept: bool) -> None:
        queue = self.searcher.queue
        try:
            self.ledger.append(record, cell.fold)
        except OSError as error:  # Tune would wrap it
            self.failure = error
            raise
        queue.tell(cell, Outcome.of_record(record, self.settings.training.objective))
        if isinstance(cell, BaselineCell):
            self.progress.baseline_done(record.status, queue.finished_baseline_cells, queue.baseline_cells)
            return
        if kept and self.settings.checkpoints is not None:
            with suppress(OSError):  # what is left of a finished cell is never looked at
                self.settings.checkpoints.delete(checkpoint_name(cell))
        self.progress.cell_done(record.status, queue.planner.max_cells, queue.planner.best())


class _Overdue(_NotSaved, tune.Stopper):
    """Lets go, when time is up, of the cells that still wait for a node: those at work pause by themselves."""

    def __init__(self, recorder: _Recorder) -> None:
        self.recorder = recorder

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self.recorder.searcher.late and not self.recorder.at_work


class _TensorBoard(TBXLoggerCallback):
    """Ray's own TensorBoard logger, with one folder per cell in the run directory."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def log_trial_start(self, trial: Any) -> None:
        folder = self.folder / name_of(trial.config[_CELL].content)
        self._trial_writer[trial] = self._summary_writer_cls(str(folder), flush_secs=30)
        self._trial_result[trial] = {}


def make_loggers(names: Sequence[str], folder: Path | None, run: str) -> list[LoggerCallback]:
    """Ray's loggers of these names, for the run of this name; what they write lies in `folder`.

    MLflow writes to where its environment says; without a `folder` it has to.
    """
    made: list[LoggerCallback] = []
    if CellLogger.TENSORBOARD in names and folder is not None:
        made.append(_TensorBoard(folder / CellLogger.TENSORBOARD))
    if CellLogger.MLFLOW in names:
        uri = os.environ.get("MLFLOW_TRACKING_URI")
        if folder is not None and not uri:
            uri = f"sqlite:///{(folder / 'mlflow.db').resolve()}"
        made.append(MLflowLoggerCallback(tracking_uri=uri, experiment_name=run))
    return made


def name_of(cell: Cell) -> str:
    """What a cell is called, among the baselines' cells, too."""
    known = known_fields(cell)
    return part_name(known["configuration"], cell.fold, known.get("method", Method.HELO))


def lost_record(cell: Cell, fold: str) -> CellRecord:
    """A cell that took its worker down each time it was tried."""
    now = datetime.now(UTC)
    return CellRecord(
        **known_fields(cell),
        fold=fold,
        status=Status.FAILED,
        reason=f"the worker process died each of the {cell.attempt} times this cell was tried",
        epochs=0,
        seconds=0.0,
        node="",
        started=now,
        finished=now,
    )


def run_cells(
    queue: Queue,
    dataset: Shared,
    folds: tuple[Fold, ...],
    settings: CellSettings,
    ledger: LedgerWriter,
    progress: SearchProgress,
    concurrency: int | None,
    train: Train = train_cell,
    loggers: Sequence[LoggerCallback] = (),
) -> bool:
    """Run a search's cells on the Ray cluster at hand. False if it ended before the last one.

    `concurrency`: cells at a time; None for as many as the cluster holds at the time.
    """
    searcher = _QueueSearcher(queue, settings.deadline, Room(concurrency, settings.training.threads, settings.gpus))
    trainable = tune.with_resources(
        tune.with_parameters(CellTrainable, dataset=dataset, folds=folds, settings=settings, train=train),
        lambda config: tune.PlacementGroupFactory(
            [{"CPU": settings.training.threads, "GPU": settings.gpu_share(config[_CELL].content)}]
        ),
    )
    recorder = _Recorder(searcher, ledger, settings, progress, folds, loggers)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # it calls every cell lost that was handed out again
    handler = signal.getsignal(signal.SIGINT)
    scratch = tempfile.mkdtemp(prefix="helo-tune-")  # Tune wants a place for files that nobody reads
    try:
        tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                num_samples=-1,
                reuse_actors=True,
                trial_name_creator=lambda trial: trial.trial_id,
                trial_dirname_creator=lambda trial: trial.trial_id,
            ),
            run_config=tune.RunConfig(
                name="search",
                stop=_Overdue(recorder),
                storage_path=scratch,
                verbose=0,
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                callbacks=[recorder, *loggers],
                progress_reporter=tune.CLIReporter(),  # silent; the one for notebooks clears what we have printed
            ),
        ).fit()
    except Exception:
        if recorder.failure is not None:
            raise recorder.failure from None
        raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, handler)  # Tune leaves one that swallows the first Ctrl-C after it
    return queue.finished
