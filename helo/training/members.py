"""Training of some members of a cell, with out-of-fold scores after each epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from helo.configuration import Configuration
from helo.data.schema import Schema
from helo.errors import DivergedError
from helo.evaluation.folds import SplitData
from helo.metrics import METRICS, mean_scores, with_prefix
from helo.model.network import LABEL_FLOOR
from helo.names import Column, Prefix
from helo.settings import TrainingSettings
from helo.training.fitting import Fitting
from helo.training.windows import Batches, Windows

Scores = dict[str, float]
"""Losses, unconverged plans and inner validation metrics of one member after one epoch."""


class MemberTraining(Fitting):
    """Training of some members of a fold, epoch by epoch.

    At epoch 0, before any training, the network of each member predicts the mean training label.

    Parameters
    ----------
    schema : Schema
        Modalities and emotions of the dataset.
    data : sequence of SplitData
        Training and inner validation windows of each member.
    seeds : sequence of int
        Seed of each member.
    configuration : Configuration
        Hyperparameters.
    settings : TrainingSettings
        Settings that all cells share.
    batches : Batches, optional
        Division of an epoch into steps. The default is that for these members.

    Attributes
    ----------
    history : list of list of dict
        Scores of each member after each epoch, from epoch 0.
    """

    def __init__(
        self,
        schema: Schema,
        data: Sequence[SplitData],
        seeds: Sequence[int],
        configuration: Configuration,
        settings: TrainingSettings,
        batches: Batches | None = None,
    ) -> None:
        super().__init__(schema, [one.train for one in data], configuration, seeds, batches, settings.engine)
        self.validation = Windows([one.validation for one in data], self.device)
        self.history: list[list[Scores]] = []
        self._record([dict(_UNTRAINED) for _ in data])

    def run_epoch(self) -> list[Scores]:
        """Train for one epoch, score the inner validation subjects and return the losses of the epoch."""
        rows = super().run_epoch()
        self._record(rows)
        return rows

    def out_of_fold(self) -> list[NDArray[np.float64]]:
        """Return the predictions (N, E) of each member for its inner validation windows, with the averaged weights."""
        return self.answer(self.validation).predicted

    def state(self) -> dict[str, Any]:
        """Return the checkpoint of this training: tensors, numbers, strings and containers of them only."""
        return {
            "weights": self.model.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "randomness": self.random_state(),
            **{name: getattr(self, name) for name in _PROGRESS},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Resume from a `state` of the same members; later epochs equal those of uninterrupted training to the bit."""
        self.model.load_state_dict(state["weights"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.restore_random_state(state["randomness"])
        for name in _PROGRESS:
            setattr(self, name, state[name])

    def _record(self, rows: list[Scores]) -> None:
        """Score the validation subjects of each member and add the rows to the history."""
        answer = self.answer(self.validation)
        entries = []
        for row, predicted, part, unconverged in zip(
            rows, answer.predicted, self.validation.parts, answer.unconverged, strict=True
        ):
            if not np.isfinite(predicted).all():
                raise DivergedError(f"predictions are not finite after epoch {self.epoch}")
            row[Column.UNCONVERGED] += float(unconverged)
            scores = mean_scores(part.labels, predicted, part.subjects)
            entries.append(_plain_row(row, scores))
        self.history.append(entries)


_PROGRESS = ("epoch", "steps", "history")

_UNTRAINED: Scores = {Column.TRAIN_LOSS: math.nan, Column.ALIGNMENT_LOSS: math.nan, Column.UNCONVERGED: 0.0}
"""Losses and unconverged plans of training before epoch 1."""


def _plain_row(losses: Scores, scores: Mapping[str, float]) -> Scores:
    """Return a row of the history, with plain strings: torch refuses to load classes such as enumerations."""
    return {str(name): value for name, value in {**losses, **with_prefix(Prefix.VAL, scores)}.items()}


def joint_curve(history: Sequence[Sequence[Scores]], sizes: Sequence[int], objective: str) -> list[float]:
    """Return the out-of-fold loss of several members by epoch: the mean over all their inner validation subjects.

    Parameters
    ----------
    history : sequence of sequence of dict
        Scores by epoch and member.
    sizes : sequence of int
        Number of inner validation subjects of each member.
    objective : str
        Metric of the loss.

    Returns
    -------
    list of float
        Losses from epoch 0.
    """
    loss, name = METRICS[objective].loss, Prefix.VAL + objective
    return [float(loss(_mean_over_subjects([row[name] for row in rows], sizes))) for rows in history]


def joint_scores(rows: Sequence[Scores], sizes: Sequence[int]) -> Scores:
    """Return the scores of several members as one: means over their subjects, and the sum of unconverged plans.

    Parameters
    ----------
    rows : sequence of dict
        Scores of each member. Training losses of members that were not trained are NaN and left out.
    sizes : sequence of int
        Number of inner validation subjects of each member.

    Returns
    -------
    dict
        Joint scores.
    """
    joint: Scores = {}
    for name in rows[0]:
        values = np.array([row[name] for row in rows])
        if name == Column.UNCONVERGED:
            joint[name] = float(values.sum())
        elif name.startswith(Prefix.VAL):
            joint[name] = _mean_over_subjects(values, sizes)
        else:
            known = values[~np.isnan(values)]
            joint[name] = float(known.mean()) if len(known) else math.nan
    return joint


def _mean_over_subjects(values: ArrayLike, sizes: Sequence[int]) -> float:
    return float(np.average(np.asarray(values), weights=np.asarray(sizes, dtype=float)))


def untrained_scores(data: SplitData) -> tuple[Scores, NDArray[np.float64]]:
    """Return the scores of a member that was not trained, and its prediction (E,): the mean training label.

    Parameters
    ----------
    data : SplitData
        Training and inner validation windows of the member.

    Returns
    -------
    scores : dict
        Losses, unconverged plans and inner validation metrics.
    predicted : ndarray of shape (E,)
        The predicted distribution, the same for all windows.
    """
    predicted = np.maximum(data.train.labels.mean(axis=0), LABEL_FLOOR)
    predicted /= predicted.sum()
    labels = data.validation.labels
    scores = mean_scores(labels, np.broadcast_to(predicted, labels.shape), data.validation.subjects)
    return _plain_row(_UNTRAINED, scores), predicted
