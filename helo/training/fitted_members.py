"""Members of a fitted model: training with all subjects, and prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from helo.configuration import Configuration
from helo.data.dataset import Dataset, Signals
from helo.errors import DivergedError
from helo.evaluation.folds import Split, member_seed
from helo.evaluation.scaling import Scaling
from helo.model.network import HeLo
from helo.settings import TrainingSettings
from helo.training.fitting import Fitting
from helo.training.windows import Windows, forward

EVERYONE = "all subjects"
"""Name that replaces the test subject in the seeds of members that no test subject is kept from."""


@dataclass(frozen=True)
class FittedMembers:
    """Fitted members of one configuration.

    Attributes
    ----------
    configuration : Configuration
        Hyperparameters.
    network : HeLo
        Model with the weights of M members.
    scalings : tuple of Scaling
        Scaling of the features for each member, or a single one for all of them.
    weight : float
        Weight of these members together in the mean of a model of several configurations.
    """

    configuration: Configuration
    network: HeLo = field(repr=False)
    scalings: tuple[Scaling, ...] = field(repr=False)
    weight: float = 1.0

    @property
    def members(self) -> int:
        """Number of members M."""
        return self.network.members

    def predict(self, signals: Signals) -> NDArray[np.float64]:
        """Return the distributions (M, N, E) that each member predicts for N windows."""
        parts = [scaling.part(signals, signals.subject_names) for scaling in self.scalings]
        if len(parts) == 1:
            parts *= self.members
        return np.stack(forward(self.network, Windows(parts, torch.device("cpu"))).predicted)


class Fit(NamedTuple):
    """Result of a fit with all subjects.

    Attributes
    ----------
    members : FittedMembers
        Members, on the CPU.
    out_of_fold : ndarray of shape (N, E), optional
        Distributions of all windows, each predicted by the member that has not seen its subject. None for a single
        member that has seen all subjects.
    history : list of dict
        Losses and unconverged plans of each epoch: means over the members.
    """

    members: FittedMembers
    out_of_fold: NDArray[np.float64] | None
    history: list[dict[str, float]]


def fit_members(
    dataset: Dataset, splits: Sequence[Split], configuration: Configuration, settings: TrainingSettings
) -> Fit:
    """Fit a member per split, for all epochs of a configuration.

    Parameters
    ----------
    dataset : Dataset
        Windows of all subjects.
    splits : sequence of Split
        Training subjects of each member, and the other subjects. Each subject validates once. If there is no split,
        a single member is fitted to all subjects.
    configuration : Configuration
        Hyperparameters.
    settings : TrainingSettings
        Seed, scaling and engine.

    Returns
    -------
    Fit
        Fitted members and their out-of-fold predictions.

    Raises
    ------
    DivergedError
        If a training loss or a prediction is no longer finite.
    """
    train_subjects = [split.train for split in splits] or [dataset.subject_names]
    scalings = [Scaling.fit(dataset, subjects, settings.normalise) for subjects in train_subjects]
    trains = [scaling.part(dataset, subjects) for scaling, subjects in zip(scalings, train_subjects, strict=True)]
    seeds = [member_seed(settings.seed, EVERYONE, number) for number in range(len(trains))]
    fitting = Fitting(dataset.schema, trains, configuration, seeds, engine=settings.engine)
    history = []
    for _ in range(configuration.epochs):
        rows = fitting.run_epoch()
        history.append({str(name): float(np.mean([row[name] for row in rows])) for name in rows[0]})
    out_of_fold = None
    if splits:
        parts = [scaling.part(dataset, split.validation) for scaling, split in zip(scalings, splits, strict=True)]
        out_of_fold = np.empty_like(dataset.labels)
        for part, predicted in zip(parts, fitting.answer(Windows(parts, fitting.device)).predicted, strict=True):
            out_of_fold[part.rows] = predicted
        if not np.isfinite(out_of_fold).all():
            raise DivergedError(f"predictions are not finite after epoch {fitting.epoch}")
    network = fitting.averaged.cpu().eval()
    network.streams.generators = None
    depends_on_training = scalings[0].mean is not None
    return Fit(
        FittedMembers(configuration, network, tuple(scalings if depends_on_training else scalings[:1])),
        out_of_fold,
        history,
    )
