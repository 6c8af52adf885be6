"""What Ray runs: an actor that trains one cell after another."""

from __future__ import annotations

import gc
import platform
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Protocol

import torch

from helo.configuration import Configuration
from helo.data.dataset import Dataset
from helo.errors import DivergedError
from helo.evaluation.folds import Fold
from helo.names import Column, Prefix, Status
from helo.run.ledger import CellRecord, part_name
from helo.search.planning.planner import PlannedCell
from helo.search.planning.queue import BaselineCell, Cell
from helo.settings import TrainingSettings
from helo.training.cell import CellResult, Checkpointer, train_cell
from helo.training.checkpoints import CheckpointFile, CheckpointStore, never_draining


@dataclass(frozen=True)
class CellSettings:
    """What all cells of a search have in common.

    - `training`: of every cell; the device is each cell's own
    - `gpus`: share of a GPU that a cell gets at its first attempt; 0 trains on the CPU
    - `checkpoints`: where the states of cells in the making lie, for workers on every node; None keeps none
    - `checkpoint_every`: seconds between two states of a cell
    - `deadline`: Unix time at which cells pause
    """

    training: TrainingSettings = field(default_factory=TrainingSettings)
    gpus: float = 0.0
    checkpoints: CheckpointStore | None = None
    checkpoint_every: float = 30.0
    deadline: float | None = None

    def gpu_share(self, cell: Cell) -> float:
        """The share of a GPU that a cell gets: more after it ran out of memory, a whole one at most."""
        if isinstance(cell, BaselineCell):
            return 0.0
        return self.gpus if self.gpus >= 1 else min(1.0, self.gpus * cell.scale)


@dataclass(frozen=True)
class CellReport:
    """How an attempt at a cell ended.

    `record` is None if the cell paused; with `out_of_memory` it says what is written down if the cell is not
    tried again. `kept`: whether there may be a checkpoint.
    """

    record: CellRecord | None
    out_of_memory: bool = False
    kept: bool = False


class Train(Protocol):
    """How a cell is trained: `helo.training.cell.train_cell`."""

    def __call__(
        self,
        dataset: Dataset,
        fold: Fold,
        configuration: Configuration,
        settings: TrainingSettings,
        rungs: Mapping[int, float],
        checkpointer: Checkpointer | None,
    ) -> CellResult | None: ...


def run_cell(
    cell: Cell,
    dataset: Dataset,
    folds: tuple[Fold, ...],
    settings: CellSettings,
    train: Train = train_cell,
    leaves: Callable[[], bool] = never_draining,
) -> CellReport:
    """Train and score one cell. An exception becomes a failed record with its reason.

    `leaves`: whether this machine is about to go, asked after each epoch: then the cell pauses. Only an error that
    leaves the accelerator unusable is raised: this process cannot train another cell.
    """
    if settings.deadline is not None and time.time() >= settings.deadline:
        return CellReport(None)  # it has waited for its worker so long
    torch.set_num_threads(settings.training.threads)  # two busy processes of two threads each are slower than one
    fold = folds[cell.fold]
    started = datetime.now(UTC)
    common: dict[str, Any] = {"fold": fold.test, "node": platform.node(), "started": started, **known_fields(cell)}
    keeper = None if isinstance(cell, BaselineCell) else _keeper(cell, settings, leaves)
    full, reason = False, ""
    found: dict[str, Any] | None = None
    try:
        if isinstance(cell, BaselineCell):
            found = _baseline_fields(cell, dataset, fold, settings)
        else:
            found = _helo_fields(cell, dataset, fold, settings, train, keeper)
    except Exception as error:
        if isinstance(error, getattr(torch, "AcceleratorError", ())):
            raise
        full = _out_of_memory(error)
        known = full or isinstance(error, DivergedError)
        reason = (str(error) or type(error).__name__) if known else "".join(traceback.format_exception(error)[-3:])
    kept = keeper is not None and keeper.may_exist
    if reason:
        if full:  # only now that the traceback no longer holds what took the memory
            gc.collect()
            torch.cuda.empty_cache()
            reason = f"out of memory: {reason}"
        return CellReport(
            CellRecord(**common, status=Status.FAILED, reason=reason, epochs=0, **_finish(started)), full, kept
        )
    if found is None:
        return CellReport(None, kept=kept)
    return CellReport(CellRecord(**(common | found), **_finish(started)), kept=kept)


def known_fields(cell: Cell) -> dict[str, Any]:
    """What a cell's record says before it is run."""
    if isinstance(cell, BaselineCell):
        return {"method": cell.method, "configuration": 0, "params": {}}
    return {"configuration": cell.configuration, "params": cell.params}


def _helo_fields(
    cell: PlannedCell, dataset: Dataset, fold: Fold, settings: CellSettings, train: Train, keeper: Checkpointer | None
) -> dict[str, Any] | None:
    result = train(
        dataset,
        fold,
        Configuration.from_params(cell.params),
        replace(settings.training, engine=replace(settings.training.engine, device=_device(settings.gpu_share(cell)))),
        cell.rungs,
        keeper,
    )
    if result is None:
        return None
    return {
        "status": Status.STOPPED if result.stopped else Status.COMPLETED,
        **{
            name: getattr(result, name) for name in ("epochs", "best_epoch", "history", "correlation", "plan", *_SHARED)
        },
    }


def _baseline_fields(cell: BaselineCell, dataset: Dataset, fold: Fold, settings: CellSettings) -> dict[str, Any] | None:
    from helo.evaluation.baselines.cell import run_baseline  # a second of scikit-learn, for workers only

    result = run_baseline(dataset, fold, cell.method, settings.training, settings.deadline)
    if result is None:
        return None
    fields = {name: getattr(result, name) for name in ("configuration", "params", *_SHARED)}
    history = ({Column.EPOCH: 0, **{Prefix.VAL + name: value for name, value in result.val.items()}},)  # for loggers
    return {"status": Status.COMPLETED, "epochs": 0, "history": history, **fields}


_SHARED = ("val", "test", "windows", "predictions")


def checkpoint_name(cell: PlannedCell) -> str:
    """The file with the state of a cell in the making."""
    return f"{part_name(cell.configuration, cell.fold)}.pt"


def _keeper(cell: PlannedCell, settings: CellSettings, leaves: Callable[[], bool]) -> CheckpointFile | None:
    if settings.checkpoints is None:
        return None
    return CheckpointFile(
        settings.checkpoints, checkpoint_name(cell), settings.checkpoint_every, settings.deadline, leaves
    )


def _device(share: float) -> str:
    """The GPU that Ray lends this process, if any; a part of one is all the memory that the cell may take."""
    if not share or not torch.cuda.is_available():
        return "cpu"
    if share <= 1:
        torch.cuda.set_per_process_memory_fraction(share)
    return "cuda"


def _out_of_memory(error: Exception) -> bool:
    # On the CPU torch raises a plain RuntimeError with these words.
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def _finish(started: datetime) -> dict[str, Any]:
    finished = datetime.now(UTC)
    return {"finished": finished, "seconds": (finished - started).total_seconds()}
