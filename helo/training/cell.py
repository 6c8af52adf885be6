"""Train and score one cell: one configuration on one fold.

A cell is a function of data, fold, configuration and seed. While it trains it knows the training and validation
windows only; the test subject's are asked for once, when the weights are final.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from helo.configuration import Configuration
from helo.data.dataset import Dataset
from helo.data.schema import Schema
from helo.errors import DivergedError
from helo.evaluation.folds import Fold, FoldData, cell_seed, fold_data, held_out_part
from helo.evaluation.scaling import Part
from helo.metrics import METRICS, mean_scores
from helo.names import Column, Prefix
from helo.settings import TrainingSettings
from helo.training.fitting import Fitting, Windows


@dataclass(frozen=True)
class CellResult:
    """What a finished cell leaves; see `helo.run.ledger.CellRecord` for the fields."""

    stopped: bool
    epochs: int
    best_epoch: int
    val: dict[str, float]
    test: dict[str, float]
    history: tuple[dict[str, float], ...]
    windows: NDArray[np.int64]
    predictions: NDArray[np.float32]
    correlation: NDArray[np.float32] | None = None
    plan: NDArray[np.float32] | None = None


class CellTraining(Fitting):
    """A cell in the making: epoch by epoch, until `finished`.

    `objective` is the measure on the inner validation subjects that decides when to stop and which epoch's
    weights to keep. Epoch 0, before any training, is the train-mean prediction and counts as a candidate.
    `rungs`: epoch → the largest such loss with which training goes on.
    """

    def __init__(
        self,
        schema: Schema,
        data: FoldData,
        configuration: Configuration,
        settings: TrainingSettings,
        rungs: Mapping[int, float] | None = None,
    ) -> None:
        super().__init__(schema, data.train, configuration, cell_seed(settings.seed, data.fold.test), settings.engine)
        self.objective, self.rungs = settings.objective, rungs or {}
        self.validation = Windows(data.validation, self.device)
        self.truth = data.validation.labels, data.validation.subjects
        self.history: list[dict[str, float]] = []
        self.best_epoch = 0
        self.best_loss = math.inf
        self.best_scores: dict[str, float] = {}
        self.best_weights: dict[str, Tensor] = {}
        self._record({Column.TRAIN_LOSS: math.nan, Column.ALIGNMENT_LOSS: math.nan, Column.UNCONVERGED: 0.0})

    @property
    def finished(self) -> bool:
        """Whether the last epoch is reached, or patience is at its end."""
        waited = self.epoch - self.best_epoch
        return self.epoch >= self.configuration.epochs or waited >= self.configuration.patience

    @property
    def stopped(self) -> bool:
        """Whether a rung says that training on is not worth it. A cell at its end has not been stopped."""
        return not self.finished and self.best_loss > self.rungs.get(self.epoch, math.inf)

    def run_epoch(self) -> dict[str, float]:
        """One pass over the training windows, and a look at the validation subjects."""
        row = super().run_epoch()
        self._record(row)
        return row

    def _record(self, row: dict[str, float]) -> None:
        """Score the validation subjects, add a row to the history, and keep the weights if they are best."""
        answer = self.answer(self.validation)
        row[Column.UNCONVERGED] += answer.unconverged
        if not np.isfinite(answer.predicted).all():
            raise DivergedError(f"predictions are not finite after epoch {self.epoch}")
        labels, subjects = self.truth
        scores = mean_scores(labels, answer.predicted, subjects)
        entry = {Column.EPOCH: self.epoch, **row, **{Prefix.VAL + name: value for name, value in scores.items()}}
        # Plain strings: torch refuses to load a checkpoint with classes in it, such as those of enumerations.
        self.history.append({str(name): value for name, value in entry.items()})
        loss = METRICS[self.objective].loss(scores[self.objective])
        if loss < self.best_loss:
            self.best_loss, self.best_epoch, self.best_scores = loss, self.epoch, scores
            self.best_weights = {name: value.detach().clone() for name, value in self.model.state_dict().items()}

    def score(self, test: Part) -> CellResult:
        """Take the best epoch's weights and score the test subject: the last thing a cell does."""
        self.model.load_state_dict(self.best_weights)
        answer = self.answer(Windows(test, self.device))
        return CellResult(
            stopped=self.stopped,
            epochs=self.epoch,
            best_epoch=self.best_epoch,
            val=self.best_scores,
            test=mean_scores(test.labels, answer.predicted, test.subjects),
            history=tuple(self.history),
            windows=test.rows.astype(np.int64),
            predictions=answer.predicted.astype(np.float32),
            correlation=answer.correlation,
            plan=answer.plan,
        )

    def state(self) -> dict[str, Any]:
        """All that changes in training, for `restore`: tensors, numbers and containers of them only."""
        return {
            "weights": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "randomness": self._state,
            **{name: getattr(self, name) for name in _PROGRESS},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state` of the same cell: what follows is what would have followed then."""
        self.model.load_state_dict(state["weights"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])
        self._state = [tensor.cpu() for tensor in state["randomness"]]
        for name in _PROGRESS:
            setattr(self, name, state[name])


_PROGRESS = ("epoch", "history", "best_epoch", "best_loss", "best_scores", "best_weights")


class Keeper(Protocol):
    """Keeps a cell's state while it trains, so that it need not start again."""

    def load(self, device: torch.device) -> Mapping[str, Any] | None:
        """The last state that was kept, its tensors on `device`; None to start from the beginning."""

    def after_epoch(self, training: CellTraining) -> bool:
        """Keep the state now if it is time for it. True if the cell has to pause: it is not finished then."""


def train_cell(
    dataset: Dataset,
    fold: Fold,
    configuration: Configuration,
    settings: TrainingSettings,
    rungs: Mapping[int, float] | None = None,
    keeper: Keeper | None = None,
) -> CellResult | None:
    """Train one configuration on one fold to its end, or to the rung that stops it, and score its test subject.

    `rungs`: see `CellTraining`. With a `keeper` the cell goes on where it was, and may be told to pause: then
    the result is None. Raises `DivergedError` if the loss stops being a number.
    """
    data = fold_data(dataset, fold, settings.normalise)
    training = CellTraining(dataset.schema, data, configuration, settings, rungs)
    if keeper is not None and (state := keeper.load(training.device)) is not None:
        try:
            training.restore(state)
        except (LookupError, TypeError, ValueError, RuntimeError):  # of another version of this program
            training = CellTraining(dataset.schema, data, configuration, settings, rungs)
    while not (training.finished or training.stopped):
        training.run_epoch()
        over = training.finished or training.stopped
        if keeper is not None and not over and keeper.after_epoch(training):
            return None
    return training.score(held_out_part(dataset, data))
