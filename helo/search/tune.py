"""The planner as Ray Tune searcher, and the ledger as Ray Tune callback. The only file that imports Ray.

One Tune trial runs one cell, in an actor that is used again for the next: a fresh one costs seconds (torch
is imported), a used one milliseconds. What a cell leaves travels as one opaque object and is taken out of
the result before Tune keeps it, so Tune's own bookkeeping stays small; the ledger is the record.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import ray
from ray import tune
from ray.tune.search import Searcher

from helo.data.dataset import Dataset
from helo.errors import InputError
from helo.folds import Fold
from helo.ledger import CellRecord, Ledger
from helo.metrics import as_loss
from helo.names import FAILED
from helo.search.cells import CellSettings, Train, run_cell
from helo.search.planner import PlannedCell, Planner
from helo.search.progress import SearchProgress
from helo.training import train_cell

_RECORD = "record"
_CELL = "cell"

_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # CSV and JSON of every trial: the ledger has it
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",  # Tune's snapshot is never read: see helo.ledger
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_THRESHOLD_S": "10",
    "RAY_AIR_NEW_OUTPUT": "0",  # its banner ignores verbose=0
}


@dataclass(frozen=True)
class Resources:
    """What a search runs on: `concurrency` cells at a time, each with these CPUs and this share of a GPU."""

    concurrency: int
    cpus_per_cell: int
    gpus_per_cell: float


class _Opaque:
    """Keeps Tune from flattening, copying and printing what is inside."""

    def __init__(self, content: Any) -> None:
        self.content = content


class CellTrainable(tune.Trainable):
    """One actor; each of its trials is one cell, run in one step."""

    def setup(
        self, config: dict[str, Any], *, dataset: Dataset, folds: tuple[Fold, ...], settings: CellSettings,
        train: Train,
    ) -> None:  # fmt: skip
        """Take the dataset from the node's object store, where all its cells share it."""
        self._cell: PlannedCell = config[_CELL].content
        self._fixed = (dataset, folds, settings, train)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Go on with another cell."""
        self._cell = new_config[_CELL].content
        return True

    def step(self) -> dict[str, Any]:
        """Run the cell to its end."""
        return {_RECORD: _Opaque(run_cell(self._cell, *self._fixed)), "done": True}


class _NotSaved:
    """Tune pickles searchers and callbacks for its own restore, which is never used: they pickle empty."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class _PlannerSearcher(_NotSaved, Searcher):
    """Hands the planner's cells to Tune. Names of arguments are Tune's."""

    def __init__(self, planner: Planner) -> None:
        super().__init__()
        self.planner = planner
        self.running: dict[str, PlannedCell] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        cell = self.planner.ask()
        if cell is None:
            return Searcher.FINISHED if self.planner.finished else None  # None: wait
        self.running[trial_id] = cell
        return {_CELL: _Opaque(cell)}

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """Tune's word that a trial is over; its result has gone through the callback before."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the ledger is the only truth about a run."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, likewise."""


class _Recorder(_NotSaved, tune.Callback):
    """Writes each finished cell to the ledger, then tells the planner and the screen."""

    def __init__(
        self, searcher: _PlannerSearcher, ledger: Ledger, objective: str, progress: SearchProgress,
        folds: tuple[Fold, ...],
    ) -> None:  # fmt: skip
        self.searcher, self.ledger, self.objective = searcher, ledger, objective
        self.progress, self.folds = progress, folds

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.progress.begin()

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        record = result.pop(_RECORD, None)
        if record is not None:
            self._record(trial.trial_id, record.content)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """The actor died under the cell: hand the cell out again, or record that it keeps killing workers."""
        cell = self.searcher.running.get(trial.trial_id)
        if cell is None:  # its record was already in the ledger when the actor died
            return
        if self.searcher.planner.lost(cell):
            del self.searcher.running[trial.trial_id]
            return
        record = lost_record(cell, self.folds[cell.fold].test)
        self._record(trial.trial_id, record)

    def _record(self, trial_id: str, record: CellRecord) -> None:
        cell = self.searcher.running.pop(trial_id)
        self.ledger.append(record, cell.fold)
        loss = as_loss(self.objective, record.val[self.objective]) if record.completed and record.val else None
        self.searcher.planner.tell(cell, loss)
        self.progress.cell_done(not record.completed, self.searcher.planner.best())


def lost_record(cell: PlannedCell, fold: str) -> CellRecord:
    """A cell that took its worker down each time it was tried."""
    now = datetime.now(UTC)
    return CellRecord(
        configuration=cell.configuration,
        fold=fold,
        params=cell.params,
        status=FAILED,
        reason="the worker process died each time this cell was tried",
        epochs=0,
        seconds=0.0,
        node="",
        started=now,
        finished=now,
    )


def run_cells(
    planner: Planner, dataset: Dataset, folds: tuple[Fold, ...], settings: CellSettings, ledger: Ledger,
    progress: SearchProgress, resources: Resources, train: Train = train_cell,
) -> bool:  # fmt: skip
    """Run the planner's cells on the Ray cluster at hand. False if interrupted before the last one."""
    searcher = _PlannerSearcher(planner)
    trainable = tune.with_resources(
        tune.with_parameters(CellTrainable, dataset=dataset, folds=folds, settings=settings, train=train),
        {"cpu": resources.cpus_per_cell, "gpu": resources.gpus_per_cell},
    )
    scratch = tempfile.mkdtemp(prefix="helo-tune-")  # Tune wants a place for files that nobody reads
    try:
        tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                num_samples=-1,
                max_concurrent_trials=resources.concurrency,
                reuse_actors=True,
                trial_name_creator=lambda trial: trial.trial_id,
                trial_dirname_creator=lambda trial: trial.trial_id,
            ),
            run_config=tune.RunConfig(
                name="search",
                storage_path=scratch,
                verbose=0,
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                callbacks=[_Recorder(searcher, ledger, settings.objective, progress, folds)],
            ),
        ).fit()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return planner.finished


@contextmanager
def ray_cluster(address: str | None, resources: Resources, gpus: int) -> Iterator[None]:
    """A Ray cluster for the length of a search: one on this machine, or the one at `address`."""
    os.environ.update(_ENVIRONMENT)
    quiet = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": True}
    try:
        if address is None:
            # Logical CPUs: as many as the cells that shall run at a time ask for.
            ray.init(
                address="local",
                num_cpus=resources.concurrency * resources.cpus_per_cell,
                num_gpus=gpus,
                include_dashboard=False,
                **quiet,
            )
        else:
            ray.init(address=address, **quiet)
    except ConnectionError as error:
        raise InputError(f"--address {address}: no Ray cluster answers there ({error})") from None
    try:
        yield
    finally:
        ray.shutdown()
