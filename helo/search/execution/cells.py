"""A cell in a worker: train it, score it, and make its record."""

from __future__ import annotations

import gc
import platform
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from helo._deadline import Deadline
from helo._machine import memory_limit
from helo._text import format_size, hide_credentials
from helo.configuration import Configuration
from helo.data.dataset import Dataset
from helo.errors import DivergedError
from helo.evaluation.folds import Fold
from helo.names import Column, Fault, Method, Prefix, Status
from helo.run.ledger import CellRecord, part_name
from helo.search.planning.planner import PlannedCell
from helo.search.planning.queue import BaselineCell, Cell
from helo.settings import TrainingSettings
from helo.training.cell import CellResult, Checkpointer, train_cell
from helo.training.checkpoints import CheckpointFile, CheckpointStore, never_draining

_SCORES = ("val", "test", "test_by_group", "windows", "predictions")


class Train(Protocol):
    """Function that trains and scores a cell, such as `helo.training.cell.train_cell`.

    It returns None if the cell has paused.
    """

    def __call__(
        self,
        dataset: Dataset,
        fold: Fold,
        configuration: Configuration,
        settings: TrainingSettings,
        rungs: Mapping[int, float],
        checkpointer: Checkpointer | None,
    ) -> CellResult | None:
        """Return the result of the cell, or None if it has paused."""
        ...


@dataclass(frozen=True)
class CellSettings:
    """Settings that all cells of a search share.

    Attributes
    ----------
    training : TrainingSettings
        Settings of the training. The device of `training.engine` is set for each cell anew.
    gpus : float
        Share of a GPU that a cell gets at its first attempt. At 0 cells run on the CPU.
    checkpoints : CheckpointStore or None
        Folder of the checkpoints, which workers on all nodes can reach. None: cells are not saved.
    checkpoint_every : float
        Seconds between two checkpoints of a cell.
    deadline : Deadline or None
        Time at which cells pause.
    train : Train
        Function that trains a cell.
    """

    training: TrainingSettings = field(default_factory=TrainingSettings)
    gpus: float = 0.0
    checkpoints: CheckpointStore | None = None
    checkpoint_every: float = 30.0
    deadline: Deadline | None = None
    train: Train = train_cell

    def gpu_share(self, cell: Cell) -> float:
        """Return the share of a GPU that a cell gets.

        After a cell has run out of memory its share grows, up to one whole GPU.

        Parameters
        ----------
        cell : PlannedCell or BaselineCell
            Cell to run. Baselines run on the CPU.

        Returns
        -------
        float
            Number of GPUs, as Ray counts them.
        """
        if isinstance(cell, BaselineCell):
            return 0.0
        return self.gpus if self.gpus >= 1 else min(1.0, self.gpus * cell.gpu_factor)


@dataclass(frozen=True)
class CellReport:
    """Outcome of one attempt at a cell.

    Attributes
    ----------
    record : CellRecord or None
        Record for the ledger. None if the cell has paused.
    out_of_memory : bool
        Whether the cell failed for lack of memory. Its record is written only if the cell is not tried again.
    has_checkpoint : bool
        Whether the cell may have left a checkpoint.
    node : str
        Name of the node.
    other_versions : mapping
        What has another version on this node than in the driver, see `helo.run.versions.worker_differences`.
    """

    record: CellRecord | None
    out_of_memory: bool = False
    has_checkpoint: bool = False
    node: str = field(default_factory=platform.node)
    other_versions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def run_cell(
    cell: Cell,
    dataset: Dataset,
    folds: tuple[Fold, ...],
    settings: CellSettings,
    is_draining: Callable[[], bool] = never_draining,
) -> CellReport:
    """Train and score one cell. An exception in it becomes a failed record with its reason.

    Parameters
    ----------
    cell : PlannedCell or BaselineCell
        Cell to run.
    dataset : Dataset
        Data of all subjects.
    folds : tuple of Fold
        All folds of the search. `cell.fold` is an index into them.
    settings : CellSettings
        Settings that all cells share.
    is_draining : callable
        Function that returns whether this node is about to be removed. It is called after each epoch. If it returns
        True, the cell pauses.

    Returns
    -------
    CellReport
        Outcome of this attempt.

    Raises
    ------
    torch.AcceleratorError
        If the GPU is no longer usable. This process cannot run another cell then.
    """
    if settings.deadline is not None and settings.deadline.passed:
        return CellReport(None)  # the deadline passed while the cell was waiting for a worker
    torch.set_num_threads(settings.training.threads)  # more threads than CPUs slow each other down
    fold = folds[cell.fold]
    started, clock = datetime.now(UTC), time.monotonic()
    common: dict[str, Any] = {"fold": fold.test, "node": platform.node(), "started": started, **identity_of(cell)}
    checkpointer = None if isinstance(cell, BaselineCell) else _checkpoint_file(cell, settings, is_draining)
    out_of_memory, reason, fault = False, "", Fault.CELL
    results: dict[str, Any] | None = None
    try:
        if isinstance(cell, BaselineCell):
            results = _run_baseline_cell(cell, dataset, fold, settings)
        else:
            results = _run_helo_cell(cell, dataset, fold, settings, checkpointer)
    except Exception as error:
        if isinstance(error, getattr(torch, "AcceleratorError", ())):
            raise
        out_of_memory = _is_out_of_memory(error)
        expected = out_of_memory or isinstance(error, DivergedError)
        reason = (str(error) or type(error).__name__) if expected else "".join(traceback.format_exception(error)[-3:])
        reason = hide_credentials(reason)
        fault = Fault.MACHINE if out_of_memory or isinstance(error, OSError) else Fault.CELL
    has_checkpoint = checkpointer is not None and checkpointer.may_exist
    if reason:
        if out_of_memory:  # outside the except clause: there the traceback still holds the tensors
            gc.collect()
            torch.cuda.empty_cache()
            limit = memory_limit()
            reason = f"out of memory{'' if limit is None else f' (limit {format_size(limit)})'}: {reason}"
        failed = CellRecord(
            **common, status=Status.FAILED, reason=reason, fault=fault, epochs=0, **_end_of(started, clock)
        )
        return CellReport(failed, out_of_memory, has_checkpoint)
    if results is None:
        return CellReport(None, has_checkpoint=has_checkpoint)
    return CellReport(CellRecord(**(common | results), **_end_of(started, clock)), has_checkpoint=has_checkpoint)


def identity_of(cell: Cell) -> dict[str, Any]:
    """Return the fields of a cell's record that are known before it runs: configuration, hyperparameters, method."""
    if isinstance(cell, BaselineCell):
        return {"method": cell.method, "configuration": 0, "params": {}}
    return {"configuration": cell.configuration, "params": cell.params}


def cell_name(cell: Cell) -> str:
    """Return the unique name of a cell, which is also the name of its file in the ledger."""
    if isinstance(cell, BaselineCell):
        return part_name(0, cell.fold, cell.method)
    return part_name(cell.configuration, cell.fold, Method.HELO)


def checkpoint_name(cell: PlannedCell) -> str:
    """Return the file name of a cell's checkpoint."""
    return f"{cell_name(cell)}.pt"


def failed_record(cell: Cell, fold: str, why: str) -> CellRecord:
    """Return the record of a cell whose worker process died at each attempt.

    Parameters
    ----------
    cell : PlannedCell or BaselineCell
        Cell of the last attempt.
    fold : str
        Test subject.
    why : str
        Why the process of the last attempt ended.

    Returns
    -------
    CellRecord
        Failed record without scores.
    """
    now = datetime.now(UTC)
    return CellRecord(
        **identity_of(cell),
        fold=fold,
        status=Status.FAILED,
        reason=f"the worker process died each of the {cell.attempt} times this cell was tried; the last time {why}",
        fault=Fault.MACHINE,
        epochs=0,
        seconds=0.0,
        node="",
        started=now,
        finished=now,
    )


def _run_helo_cell(
    cell: PlannedCell, dataset: Dataset, fold: Fold, settings: CellSettings, checkpointer: Checkpointer | None
) -> dict[str, Any] | None:
    """Train and score HeLo. Return the fields of its record, or None if the cell has paused."""
    engine = replace(settings.training.engine, device=_device(settings.gpu_share(cell)))
    result = settings.train(
        dataset,
        fold,
        Configuration.from_params(cell.params),
        replace(settings.training, engine=engine),
        cell.rungs,
        checkpointer,
    )
    if result is None:
        return None
    names = ("epochs", "best_epoch", "history", "first_losses", "correlation", "plan", *_SCORES)
    return {
        "status": Status.STOPPED if result.stopped else Status.COMPLETED,
        **{name: getattr(result, name) for name in names},
        Column.OUT_OF_FOLD: _in_dataset_order(result),
    }


def _in_dataset_order(result: CellResult) -> NDArray[np.float32] | None:
    """Return the out-of-fold predictions in the order of the dataset, in which all cells of a fold agree."""
    if result.out_of_fold is None or result.other_windows is None:
        return None
    return result.out_of_fold[np.argsort(result.other_windows)]


def _run_baseline_cell(
    cell: BaselineCell, dataset: Dataset, fold: Fold, settings: CellSettings
) -> dict[str, Any] | None:
    """Fit and score a baseline. Return the fields of its record, or None if the cell has paused."""
    from helo.evaluation.baselines.cell import run_baseline  # loads scikit-learn, which takes a second

    result = run_baseline(dataset, fold, cell.method, settings.training, settings.deadline)
    if result is None:
        return None
    fields = {name: getattr(result, name) for name in ("configuration", "params", *_SCORES)}
    # One row of history, so that the loggers of trials have something to log.
    history = ({Column.EPOCH: 0, **{Prefix.VAL + name: value for name, value in result.val.items()}},)
    return {"status": Status.COMPLETED, "epochs": 0, "history": history, **fields}


def _checkpoint_file(
    cell: PlannedCell, settings: CellSettings, is_draining: Callable[[], bool]
) -> CheckpointFile | None:
    if settings.checkpoints is None:
        return None
    return CheckpointFile(
        settings.checkpoints, checkpoint_name(cell), settings.checkpoint_every, settings.deadline, is_draining
    )


def _device(share: float) -> str:
    """Return the device of a cell, and limit the cell's GPU memory to its share of the GPU."""
    if not share or not torch.cuda.is_available():
        return "cpu"
    if share <= 1:
        torch.cuda.set_per_process_memory_fraction(share)
    return "cuda"


def _is_out_of_memory(error: Exception) -> bool:
    # On the CPU torch raises a plain RuntimeError with this text.
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def _end_of(started: datetime, clock: float) -> dict[str, Any]:
    """Return the fields of a record for a cell that ends now. Setting the time of day changes no duration."""
    seconds = time.monotonic() - clock
    return {"finished": started + timedelta(seconds=seconds), "seconds": seconds}
