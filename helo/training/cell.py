"""Train and score one cell: one configuration on one fold.

A cell trains a member per inner split of its fold. Each other subject is predicted by the member that has not seen it,
and these out-of-fold predictions give the validation score of the cell. The prediction for the test subject is the mean
of the members' predictions.

The result of a cell depends on data, fold, configuration and settings only. Training sees the windows of the training
and inner validation subjects. The windows of the test subject are read once, after the weights are final.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from helo.configuration import Configuration
from helo.data.dataset import Dataset
from helo.data.schema import Schema
from helo.evaluation.folds import Fold, SplitData, held_out_part, member_seed, split_data
from helo.metrics import METRICS, mean_scores
from helo.model.network import join_members
from helo.names import Prefix
from helo.settings import TrainingSettings
from helo.training.members import (
    MemberTraining,
    Scores,
    joint_curve,
    joint_scores,
    untrained_scores,
)
from helo.training.windows import Batches, Windows, forward


def first_members(members: int) -> int:
    """Return how many members a cell trains before it is compared with other cells of its fold.

    >>> [first_members(members) for members in (1, 2, 3, 5, 10)]
    [1, 1, 1, 2, 4]
    """
    return max(1, round(0.4 * members))


@dataclass(frozen=True)
class CellResult:
    """Result of a finished cell.

    Attributes
    ----------
    stopped : bool
        Whether a rung stopped the cell before all its members were trained.
    epochs : int
        Number of epochs trained, summed over members.
    best_epoch : int
        Epoch whose averaged weights are used: the last one of every member.
    val, test : dict
        Metric → mean over the other subjects (out-of-fold), and over the test subject. A member that a rung kept from
        being trained counts in `val` with the mean training label, and is left out of `test`.
    history : tuple of dict
        One row per epoch, from epoch 0: mean losses of the members, unconverged plans and out-of-fold metrics.
    first_losses : tuple of float
        Out-of-fold loss of the first members by epoch, see `first_members`.
    windows : ndarray of shape (N,)
        Row numbers of the test subject's windows in the dataset.
    predictions : ndarray of shape (N, E)
        Predicted distributions of these windows: the mean over members.
    correlation : ndarray of shape (E, E), optional
        Learned label correlation, the mean over members; None without label attention.
    plan : ndarray of shape (n, m), optional
        Mean transport plan over these windows and the members; None without transport.
    other_windows : ndarray of shape (V,)
        Row numbers of the windows of the inner validation subjects.
    out_of_fold : ndarray of shape (V, E), optional
        Predicted distributions of these windows, each by the member that has not seen its subject. None for a stopped
        cell.
    test_by_group : dict, optional
        Like `test`, but after averaging the windows in each group; None without groups to average.
    """

    stopped: bool
    epochs: int
    best_epoch: int
    val: dict[str, float]
    test: dict[str, float]
    history: tuple[dict[str, float], ...]
    first_losses: tuple[float, ...]
    windows: NDArray[np.int64]
    predictions: NDArray[np.float32]
    correlation: NDArray[np.float32] | None = None
    plan: NDArray[np.float32] | None = None
    other_windows: NDArray[np.int64] | None = None
    out_of_fold: NDArray[np.float32] | None = None
    test_by_group: dict[str, float] | None = None


class Stage(NamedTuple):
    """Members of a cell that were trained together.

    Attributes
    ----------
    history : list of list of dict
        Scores by epoch and member.
    weights : mapping
        Averaged weights after the last epoch.
    """

    history: list[list[Scores]]
    weights: Mapping[str, Tensor]


class CellTraining:
    """Training of one cell, epoch by epoch, until it is `finished` or `stopped`.

    All members train for all epochs, and their averaged weights after the last one are used. A stop at the best epoch
    of a member, or at a common one, fits the few people who validate: on WESAD it costs the mean of five members 2 to
    5 % of its score (see CHANGELOG). With rungs, the first members are trained before the rest.

    Parameters
    ----------
    schema : Schema
        Modalities and emotions of the dataset.
    data : sequence of SplitData
        Training and inner validation windows of each inner split.
    configuration : Configuration
        Hyperparameters.
    settings : TrainingSettings
        Settings that all cells share. `settings.objective` is the metric of `rungs`.
    rungs : mapping, optional
        Epoch → largest loss of the first members with which training continues after that epoch. The last epoch decides
        whether the rest of the members is trained.
    """

    def __init__(
        self,
        schema: Schema,
        data: Sequence[SplitData],
        configuration: Configuration,
        settings: TrainingSettings,
        rungs: Mapping[int, float] | None = None,
    ) -> None:
        self.schema, self.data, self.configuration, self.settings = schema, data, configuration, settings
        self.rungs = rungs or {}
        self.first = first_members(len(data))
        self._sizes = [len(np.unique(one.validation.subjects)) for one in data]
        self._batches = Batches.for_sizes([len(one.train) for one in data], configuration.batch_size)
        self._stages: list[Stage] = []
        self.current = self._start(0, self.first if self.rungs and self.first < len(data) else len(data))

    @property
    def device(self) -> torch.device:
        """Device of the training."""
        return self.current.device

    @property
    def finished(self) -> bool:
        """Whether all members are trained."""
        return self._is_last_stage and self._stage_has_ended

    @property
    def stopped(self) -> bool:
        """Whether a rung stopped the cell before all its members were trained."""
        if self.finished or self._stages:
            return False
        limit = self.rungs.get(self.current.epoch)
        return limit is not None and self.first_losses[-1] > limit

    @property
    def first_losses(self) -> list[float]:
        """Out-of-fold loss of the first members by epoch."""
        history = self._stages[0].history if self._stages else self.current.history
        return joint_curve([rows[: self.first] for rows in history], self._sizes[: self.first], self.settings.objective)

    def run_epoch(self) -> None:
        """Train for one epoch and score the inner validation subjects; begin the next members once some are trained."""
        if self._stage_has_ended:
            self._stages.append(self._current_stage())
            self.current = self._start(self.first, len(self.data))
        self.current.run_epoch()

    def score(self, dataset: Dataset) -> CellResult:
        """Score the inner validation subjects and the test subject with the averaged weights of all members."""
        stages = [*self._stages, self._current_stage()]
        history = self._joint_history(stages)
        trained = sum(len(stage.history[0]) for stage in stages)
        network = join_members(self.current.averaged, [stage.weights for stage in stages])
        tests = [held_out_part(dataset, one) for one in self.data[:trained]]
        answer = forward(network, Windows(tests, self.device), self.current.mixed)
        predicted = np.mean(answer.predicted, axis=0)
        is_whole = trained == len(self.data) and not self.stopped
        out_of_fold = None
        if is_whole:
            validation = Windows([one.validation for one in self.data], self.device)
            predicted_others = forward(network, validation, self.current.mixed).predicted
            out_of_fold = np.concatenate(predicted_others).astype(np.float32)
        return CellResult(
            stopped=not is_whole,
            epochs=sum(len(stage.history[0]) * (len(stage.history) - 1) for stage in stages),
            best_epoch=self.current.epoch,
            val={name: history[-1][Prefix.VAL + name] for name in METRICS},
            test=mean_scores(tests[0].labels, predicted, tests[0].subjects),
            history=tuple(history),
            first_losses=tuple(self.first_losses),
            windows=tests[0].rows.astype(np.int64),
            predictions=predicted.astype(np.float32),
            correlation=None if answer.correlation is None else answer.correlation.mean(axis=0),
            plan=None if answer.plan is None else answer.plan.mean(axis=0),
            other_windows=np.concatenate([one.validation.rows for one in self.data[:trained]]).astype(np.int64),
            out_of_fold=out_of_fold,
            test_by_group=tests[0].scores_by_group(predicted),
        )

    def state(self) -> dict[str, Any]:
        """Return the checkpoint of this training: tensors, numbers, strings and containers of them only."""
        return {"stages": [stage._asdict() for stage in self._stages], "current": self.current.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Resume from a `state` of the same cell; later epochs equal those of an uninterrupted training to the bit."""
        self._stages = [Stage(**stage) for stage in state["stages"]]
        if self._stages:
            self.current = self._start(self.first, len(self.data))
        self.current.restore(state["current"])

    @property
    def _is_last_stage(self) -> bool:
        return bool(self._stages) or self.current.members == len(self.data)

    @property
    def _stage_has_ended(self) -> bool:
        """Whether the current members have reached their last epoch."""
        return self.current.epoch >= self.configuration.epochs

    def _current_stage(self) -> Stage:
        weights = {name: value.clone() for name, value in self.current.averaged.state_dict().items()}
        return Stage(self.current.history, weights)

    def _start(self, start: int, end: int) -> MemberTraining:
        """Return the training of members `start` to `end` (excluded) before its first epoch."""
        data = self.data[start:end]
        seeds = [member_seed(self.settings.seed, one.fold.test, number) for number, one in enumerate(data, start)]
        return MemberTraining(self.schema, data, seeds, self.configuration, self.settings, self._batches)

    def _joint_history(self, stages: Sequence[Stage]) -> list[dict[str, float]]:
        """Return the scores of all members by epoch, in which members that were not trained predict the mean label."""
        trained = sum(len(stage.history[0]) for stage in stages)
        others = [untrained_scores(one)[0] for one in self.data[trained:]]
        joint = []
        for epoch in range(len(stages[-1].history)):
            rows = [row for stage in stages for row in stage.history[epoch]] + others
            joint.append({"epoch": float(epoch), **joint_scores(rows, self._sizes)})
        return joint


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
        Test subject and inner splits of the others.
    configuration : Configuration
        Hyperparameters.
    settings : TrainingSettings
        Settings that all cells share.
    rungs : mapping, optional
        Epoch → largest loss of the first members with which training continues after that epoch.
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
    data = [split_data(dataset, fold, split, settings.normalise) for split in fold.splits]
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
    return training.score(dataset)
