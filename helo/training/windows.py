"""Windows of the members of a model as tensors, division of an epoch into steps, and evaluation of a model."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from helo.evaluation.scaling import Part
from helo.model.network import HeLo

SCORING_BATCH = 4096
"""Number of windows per forward pass in evaluation."""

RESIDENT_BYTES = 64 * 2**20
"""Largest size of scaled windows, in bytes, that stay in memory; otherwise each batch is scaled when it is used."""


class Windows:
    """Scaled windows of the members of a model, as tensors on a device.

    Parameters
    ----------
    parts : sequence of Part
        Windows of each member. Their numbers may differ.
    device : torch.device
        Device of the tensors.
    labelled : bool
        Whether `labels` is used, so that the labels stay in memory with the windows.
    """

    def __init__(self, parts: Sequence[Part], device: torch.device, labelled: bool = False) -> None:
        self.parts, self.device = parts, device
        self.sizes = tuple(map(len, parts))
        columns = len(parts[0].dataset.schema.features)
        size = len(parts) * max(self.sizes) * columns * np.dtype(np.float32).itemsize
        self.resident: Tensor | None = None
        self.resident_labels: Tensor | None = None
        self._members = torch.arange(len(parts), device=device).unsqueeze(1)
        if size <= RESIDENT_BYTES:
            self.resident = self._padded(columns, (part.features for part in parts))
            if labelled:
                emotions = len(parts[0].dataset.schema.emotions)
                self.resident_labels = self._padded(emotions, (part.labels for part in parts))

    def batch(self, positions: Tensor) -> Tensor:
        """Return the features (M, b, F) of the windows at positions (M, b) of each member's part."""
        if self.resident is not None:
            return self.resident[self._members, positions]
        taken = [part.take(rows) for part, rows in zip(self.parts, positions.cpu().numpy(), strict=True)]
        return torch.from_numpy(np.stack(taken)).to(self.device)

    def labels(self, positions: Tensor) -> Tensor:
        """Return the emotion distributions (M, b, E) of the windows at positions (M, b) of each member's part."""
        if self.resident_labels is not None:
            return self.resident_labels[self._members, positions]
        taken = [part.only(rows).labels for part, rows in zip(self.parts, positions.cpu().numpy(), strict=True)]
        return torch.from_numpy(np.stack(taken).astype(np.float32)).to(self.device)

    def _padded(self, columns: int, rows: Iterable[NDArray[np.floating]]) -> Tensor:
        """Return the rows of each member (N, columns) as one tensor (M, largest N, columns), padded with zeros."""
        padded = np.zeros((len(self.parts), max(self.sizes), columns), np.float32)
        for member, values in zip(padded, rows, strict=True):
            member[: len(values)] = values
        return torch.from_numpy(padded).to(self.device)

    def chunks(self) -> Iterator[Tensor]:
        """Yield the features of all windows in order, in chunks (M, b, F) for evaluation.

        Where a member has fewer windows than another, its last window is repeated.
        """
        last = torch.tensor(self.sizes, device=self.device).unsqueeze(1) - 1
        step = max(1, SCORING_BATCH // len(self.parts))
        for start in range(0, max(self.sizes), step):
            positions = torch.arange(start, min(start + step, max(self.sizes)), device=self.device)
            yield self.batch(torch.minimum(positions, last))


class Batches(NamedTuple):
    """Division of an epoch into training steps, the same for all members of a fold.

    A member with fewer windows than another has smaller batches, not fewer steps. Positions that it does not fill have
    no weight. Members can then be trained as one model, or one by one with the same result.

    Attributes
    ----------
    steps : int
        Number of steps per epoch.
    width : int
        Largest number of windows of a step.
    """

    steps: int
    width: int

    @classmethod
    def for_sizes(cls, sizes: Sequence[int], batch_size: int) -> Batches:
        """Return the division for members of some numbers of training windows.

        >>> Batches.for_sizes([100, 90], batch_size=32)
        Batches(steps=4, width=25)
        """
        steps = math.ceil(max(sizes) / batch_size)
        return cls(steps, math.ceil(max(sizes) / steps))

    def arrange(self, order: Tensor) -> tuple[Tensor, Tensor]:
        """Return positions and weights (steps, width) for a random order (N,) of a member's windows.

        The weights of a step sum to 1.
        """
        positions = torch.zeros(self, dtype=torch.int64)
        weights = torch.zeros(self)
        # Batches of equal size: a tiny one has a noisy gradient.
        for step, batch in enumerate(order.tensor_split(self.steps)):
            positions[step, : len(batch)] = batch
            weights[step, : len(batch)] = 1 / max(1, len(batch))
        return positions, weights


class Answer(NamedTuple):
    """Output of the members of a model for windows of their own.

    Attributes
    ----------
    predicted : list of ndarray of shape (N, E)
        Distributions that each member predicts for its windows.
    unconverged : ndarray of shape (M,)
        Number of unconverged transport plans of each member.
    correlation : ndarray of shape (M, E, E), optional
        Learned label correlation R, see `helo.model.network`; None without label embeddings.
    plan : ndarray of shape (M, n, m), optional
        Mean transport plan over the windows, in which absent tokens have no mass; None without transport.
    """

    predicted: list[NDArray[np.float64]]
    unconverged: NDArray[np.float64]
    correlation: NDArray[np.float32] | None
    plan: NDArray[np.float32] | None


@torch.no_grad()
def forward(model: HeLo, windows: Windows, mixed: bool = False) -> Answer:
    """Evaluate the members of a model.

    Parameters
    ----------
    model : HeLo
        Model, which is set to evaluation mode.
    windows : Windows
        Windows of each member; at least one.
    mixed : bool
        Whether the products of tokens are computed in bfloat16, see `helo.settings.Engine`.

    Returns
    -------
    Answer
        Predictions, label correlation and mean transport plan.
    """
    model.eval()
    limits = torch.tensor(windows.sizes, device=windows.device).unsqueeze(1)
    emotions = model.classifier.prior.shape[1]
    predicted = np.empty((model.members, max(windows.sizes), emotions))
    unconverged = torch.zeros(model.members, device=windows.device)
    correlation, plan, start = None, None, 0
    for features in windows.chunks():
        with torch.autocast(windows.device.type, torch.bfloat16, enabled=mixed):
            output = model(features)
        end = start + features.shape[1]
        predicted[:, start:end] = output.log_predicted.double().softmax(dim=-1).cpu()
        is_used = torch.arange(start, end, device=windows.device) < limits  # The last window of a member is repeated.
        unconverged += (output.unconverged & is_used).sum(dim=1)
        if output.transport is not None:
            plans = output.transport.plan.double().view(*is_used.shape, *output.transport.plan.shape[1:])
            total = (plans * is_used[..., None, None]).sum(dim=1)
            plan = total if plan is None else plan + total
        correlation, start = output.correlation, end
    return Answer(
        [rows[:size] for rows, size in zip(predicted, windows.sizes, strict=True)],
        unconverged.cpu().double().numpy(),
        None if correlation is None else correlation.float().cpu().numpy(),
        None if plan is None else (plan / limits.unsqueeze(2)).float().cpu().numpy(),
    )
