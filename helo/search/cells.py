"""What Ray runs: an actor that trains one cell after another."""

from __future__ import annotations

import platform
import traceback
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import torch

from helo.configuration import Configuration
from helo.data.dataset import Dataset
from helo.folds import Fold
from helo.ledger import CellRecord
from helo.names import COMPLETED, FAILED
from helo.search.planner import PlannedCell
from helo.training import CellResult, DivergedError, train_cell


@dataclass(frozen=True)
class CellSettings:
    """What all cells of a search have in common."""

    seed: int
    normalise: str
    objective: str
    threads: int
    use_gpu: bool


class Train(Protocol):
    """How a cell is trained: `helo.training.train_cell`."""

    def __call__(
        self, dataset: Dataset, fold: Fold, configuration: Configuration, seed: int, normalise: str,
        objective: str, device: torch.device | str,
    ) -> CellResult: ...  # fmt: skip


def run_cell(
    cell: PlannedCell, dataset: Dataset, folds: tuple[Fold, ...], settings: CellSettings,
    train: Train = train_cell,
) -> CellRecord:  # fmt: skip
    """Train and score one cell, whatever happens: an exception becomes a failed record with its reason."""
    torch.set_num_threads(settings.threads)  # two busy processes of two threads each are slower than one
    fold = folds[cell.fold]
    started = datetime.now(UTC)
    common: dict[str, Any] = {
        "configuration": cell.configuration,
        "fold": fold.test,
        "params": cell.params,
        "node": platform.node(),
        "started": started,
    }
    device = "cuda" if settings.use_gpu and torch.cuda.is_available() else "cpu"
    try:
        result = train(
            dataset,
            fold,
            Configuration.from_params(cell.params),
            settings.seed,
            settings.normalise,
            settings.objective,
            device,
        )
    except Exception as error:
        known = isinstance(error, DivergedError | torch.OutOfMemoryError)
        reason = str(error) if known else "".join(traceback.format_exception(error)[-3:])
        return CellRecord(**common, status=FAILED, reason=reason, epochs=0, **_finish(started))
    return CellRecord(
        **common,
        status=COMPLETED,
        epochs=result.epochs,
        best_epoch=result.best_epoch,
        val=result.val,
        test=result.test,
        history=result.history,
        windows=result.windows,
        predictions=result.predictions,
        **_finish(started),
    )


def _finish(started: datetime) -> dict[str, Any]:
    finished = datetime.now(UTC)
    return {"finished": finished, "seconds": (finished - started).total_seconds()}
