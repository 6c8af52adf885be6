"""Train and score one cell: one configuration on one fold.

The result of a cell depends on data, fold, configuration and settings only. Training sees the windows of the training
and inner validation subjects. The windows of the test subject are read once, after the weights are final.
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
    """Result of a finished cell.

    Attributes
    ----------
    stopped : bool
        Whether a rung stopped the cell before its last epoch.
    epochs : int
        Number of epochs trained.
    best_epoch : int
        Epoch whose weights were kept; 0 is the prediction of the mean training label.
    val, test : dict
        Metric → mean over the inner validation subjects, and over the test subject.
    history : tuple of dict
        One row per epoch, from epoch 0: losses, unconverged plans and validation metrics.
    windows : ndarray of shape (N,)
        Row numbers of the test subject's windows in the dataset.
    predictions : ndarray of shape (N, E)
        Predicted distributions of these windows.
    correlation : ndarray of shape (E, E), optional
        Learned label correlation; None without label attention.
    plan : ndarray of shape (n, m), optional
        Mean transport plan over these windows; None without transport.
    test_by_group : dict, optional
        Like `test`, but after averaging the windows in each group; None without groups to average.
    """

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
    test_by_group: dict[str, float] | None = None


class CellTraining(Fitting):
    """Training of one cell, epoch by epoch, until it is `finished` or `stopped`.

    Epoch 0, before any training, predicts the mean training label. It competes with the later epochs for the best
    validation score.

    Parameters
    ----------
    schema : Schema
        Modalities and emotions of the dataset.
    data : FoldData
        Training and inner validation windows.
    configuration : Configuration
        Hyperparameters.
    settings : TrainingSettings
        Settings that all cells share. `settings.objective` is the metric that stops training and selects the epoch.
    rungs : mapping, optional
        Epoch → largest validation loss with which training continues after that epoch.
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
        self.validation_labels = data.validation.labels
        self.validation_subjects = data.validation.subjects
        self.history: list[dict[str, float]] = []
        self.best_epoch = 0
        self.best_loss = math.inf
        self.best_scores: dict[str, float] = {}
        self.best_weights: dict[str, Tensor] = {}
        self._record({Column.TRAIN_LOSS: math.nan, Column.ALIGNMENT_LOSS: math.nan, Column.UNCONVERGED: 0.0})

    @property
    def finished(self) -> bool:
        """Whether the last epoch is reached or patience is exhausted."""
        epochs_without_improvement = self.epoch - self.best_epoch
        return self.epoch >= self.configuration.epochs or epochs_without_improvement >= self.configuration.patience

    @property
    def stopped(self) -> bool:
        """Whether a rung stopped the cell before it was finished."""
        return not self.finished and self.best_loss > self.rungs.get(self.epoch, math.inf)

    def run_epoch(self) -> dict[str, float]:
        """Train for one epoch, score the inner validation subjects and return the losses of the epoch."""
        row = super().run_epoch()
        self._record(row)
        return row

    def _record(self, row: dict[str, float]) -> None:
        """Score the validation subjects, add a row to the history, and keep the weights if they are the best."""
        answer = self.answer(self.validation)
        row[Column.UNCONVERGED] += answer.unconverged
        if not np.isfinite(answer.predicted).all():
            raise DivergedError(f"predictions are not finite after epoch {self.epoch}")
        scores = mean_scores(self.validation_labels, answer.predicted, self.validation_subjects)
        entry = {Column.EPOCH: self.epoch, **row, **{Prefix.VAL + name: value for name, value in scores.items()}}
        # Checkpoints must hold plain strings: torch refuses to load classes such as enumerations.
        self.history.append({str(name): value for name, value in entry.items()})
        loss = METRICS[self.objective].loss(scores[self.objective])
        if loss < self.best_loss:
            self.best_loss, self.best_epoch, self.best_scores = loss, self.epoch, scores
            self.best_weights = {name: value.detach().clone() for name, value in self.model.state_dict().items()}

    def score(self, test: Part) -> CellResult:
        """Load the weights of the best epoch and score the windows of the test subject."""
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
            test_by_group=test.scores_by_group(answer.predicted),
        )

    def state(self) -> dict[str, Any]:
        """Return the checkpoint of this training: tensors, numbers, strings and containers of them only."""
        return {
            "weights": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "randomness": self._state,
            **{name: getattr(self, name) for name in _PROGRESS},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Resume from a `state` of the same cell; later epochs equal those of an uninterrupted training to the bit."""
        self.model.load_state_dict(state["weights"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])
        self._state = [tensor.cpu() for tensor in state["randomness"]]
        for name in _PROGRESS:
            setattr(self, name, state[name])


_PROGRESS = ("epoch", "history", "best_epoch", "best_loss", "best_scores", "best_weights")


class Checkpointer(Protocol):
    """Loads and saves the checkpoint of one cell."""

    def load(self, device: torch.device) -> Mapping[str, Any] | None:
        """Return the latest checkpoint with its tensors on `device`, or None to start from the beginning."""

    def after_epoch(self, training: CellTraining) -> bool:
        """Save a checkpoint if one is due, and return whether the unfinished cell has to pause."""


def train_cell(
    dataset: Dataset,
    fold: Fold,
    configuration: Configuration,
    settings: TrainingSettings,
    rungs: Mapping[int, float] | None = None,
    checkpointer: Checkpointer | None = None,
) -> CellResult | None:
    """Train one configuration on one fold and score the test subject.

    Parameters
    ----------
    dataset : Dataset
        Windows of all subjects.
    fold : Fold
        Test, inner validation and training subjects.
    configuration : Configuration
        Hyperparameters.
    settings : TrainingSettings
        Settings that all cells share.
    rungs : mapping, optional
        Epoch → largest validation loss with which training continues after that epoch.
    checkpointer : Checkpointer, optional
        Lets the cell pause, and resume from its latest checkpoint.

    Returns
    -------
    CellResult or None
        The result of the cell, or None if the cell paused.

    Raises
    ------
    DivergedError
        If a loss or a prediction is no longer finite.
    """
    data = fold_data(dataset, fold, settings.normalise)
    training = CellTraining(dataset.schema, data, configuration, settings, rungs)
    if checkpointer is not None and (state := checkpointer.load(training.device)) is not None:
        try:
            training.restore(state)
        except (LookupError, TypeError, ValueError, RuntimeError):  # The checkpoint is of another version.
            training = CellTraining(dataset.schema, data, configuration, settings, rungs)
    while not (training.finished or training.stopped):
        training.run_epoch()
        ended = training.finished or training.stopped
        if checkpointer is not None and not ended and checkpointer.after_epoch(training):
            return None
    return training.score(held_out_part(dataset, data))
