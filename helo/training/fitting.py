"""Training of HeLo on windows, epoch by epoch, for cells and for the final model.

A fitting keeps its own random state. Earlier and concurrent computations in the same process do not change its values.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from helo.configuration import Configuration
from helo.data.label_correlation import label_correlation
from helo.data.schema import Schema
from helo.errors import DivergedError
from helo.evaluation.scaling import Part
from helo.model.losses import alignment_loss, kl_loss
from helo.model.network import HeLo
from helo.names import Column, Precision
from helo.settings import CPU, Engine

DECAY = 0.99
"""Factor of the learning rate after every epoch, as in the authors' release."""

GRADIENT_NORM = 1.0
"""Largest gradient norm; longer gradients are clipped, so a window with an artefact does not undo an epoch."""

SCORING_BATCH = 4096
"""Number of windows per forward pass in evaluation."""

RESIDENT_BYTES = 64 * 2**20
"""Largest size of scaled windows, in bytes, that stay in memory; otherwise each batch is scaled when it is used."""


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Split the parameters of a model into those with and those without weight decay.

    Weights that multiply tokens decay. Biases, norms, embeddings and the prior do not: decay of the prior would pull
    every prediction towards the uniform distribution, and decay of the label embeddings would not change their
    correlation, which depends on their directions only.

    Parameters
    ----------
    model : nn.Module
        Model to train.
    weight_decay : float
        Weight decay of the first group.

    Returns
    -------
    list of dict
        Two parameter groups for an optimiser: with decay, and without.
    """
    decayed: list[nn.Parameter] = []
    kept: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        is_weight = parameter.ndim >= 2 and name not in ("labels", "origin") and not name.endswith("bias")
        if is_weight:
            decayed.append(parameter)
        else:
            kept.append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": kept, "weight_decay": 0.0}]


class Windows:
    """Scaled windows of a part as tensors on a device.

    Parameters
    ----------
    part : Part
        Windows of some subjects.
    device : torch.device
        Device of the tensors.
    """

    def __init__(self, part: Part, device: torch.device) -> None:
        self.part, self.device = part, device
        size = len(part) * len(part.dataset.schema.features) * np.dtype(np.float32).itemsize
        self.resident = torch.from_numpy(part.features).to(device) if size <= RESIDENT_BYTES else None

    def __len__(self) -> int:
        return len(self.part)

    def batch(self, positions: Tensor) -> Tensor:
        """Return the features (b, F) of the windows at some positions of the part."""
        if self.resident is not None:
            return self.resident[positions]
        return torch.from_numpy(self.part.take(positions.numpy())).to(self.device)

    def chunks(self) -> Iterator[Tensor]:
        """Yield the features of all windows in order, in chunks (b, F) for evaluation."""
        for start in range(0, len(self), SCORING_BATCH):
            block = slice(start, start + SCORING_BATCH)
            if self.resident is not None:
                yield self.resident[block]
            else:
                yield torch.from_numpy(self.part.take(block)).to(self.device)


class Fitting:
    """Training of a model on the windows of a part.

    Parameters
    ----------
    schema : Schema
        Modalities and emotions of the dataset.
    train : Part
        Training windows.
    configuration : Configuration
        Hyperparameters.
    seed : int
        Seed of the first weights, the order of the windows and dropout.
    engine : Engine
        Device, precision and compilation.
    """

    def __init__(
        self, schema: Schema, train: Part, configuration: Configuration, seed: int, engine: Engine = CPU
    ) -> None:
        self.configuration = configuration
        self.device, self.mixed = torch.device(engine.device), engine.precision == Precision.MIXED
        self.windows = Windows(train, self.device)
        labels = train.labels
        self.labels = torch.from_numpy(labels).float().to(self.device)
        # Found once: a search for NaN in each step would make a GPU synchronise.
        self.complete = not train.dataset.missing
        self.correlation = torch.from_numpy(label_correlation(labels)).float().to(self.device)
        with self._own_randomness(seed):
            mean_label = torch.from_numpy(labels.mean(axis=0)).float()
            self.model = HeLo(schema, configuration, mean_label).to(self.device)
            self._remember_randomness()
        self.learner: Any = torch.compile(self.model) if engine.compiled else self.model  # Shares its weights.
        self.optimiser = torch.optim.AdamW(
            parameter_groups(self.model, configuration.weight_decay), lr=configuration.learning_rate, fused=True
        )
        self.schedule = torch.optim.lr_scheduler.ExponentialLR(self.optimiser, DECAY)
        self.epoch = 0

    def run_epoch(self) -> dict[str, float]:
        """Train for one epoch.

        Returns
        -------
        dict
            Mean losses over the training windows, and the number of unconverged transport plans.

        Raises
        ------
        DivergedError
            If the training loss is not finite.
        """
        windows = len(self.windows)
        batches = max(1, math.ceil(windows / self.configuration.batch_size))
        sums = torch.zeros(3, device=self.device)
        self.model.train()
        with self._own_randomness():
            order = torch.randperm(windows)
            if self.windows.resident is not None:
                order = order.to(self.device)
            for batch in order.tensor_split(batches):  # Batches of equal size: a tiny one has a noisy gradient.
                sums += self.step(batch)
            self._remember_randomness()
        self.schedule.step()
        self.epoch += 1
        loss, alignment, unconverged = sums.tolist()  # Once per epoch, as it makes a GPU synchronise.
        if not math.isfinite(loss):
            raise DivergedError(f"the training loss is {loss} in epoch {self.epoch}")
        return {
            Column.TRAIN_LOSS: loss / windows,
            Column.ALIGNMENT_LOSS: alignment / windows,
            Column.UNCONVERGED: unconverged,
        }

    def step(self, batch: Tensor) -> Tensor:
        """Take one optimisation step.

        Parameters
        ----------
        batch : Tensor of shape (b,)
            Positions of the windows in the training part.

        Returns
        -------
        Tensor of shape (3,)
            Sums over the batch: prediction loss, alignment loss and unconverged plans.
        """
        labels = self.labels[batch]
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.mixed):
            output = self.learner(self.windows.batch(batch), self.complete)
        loss = kl_loss(labels, output.log_predicted)
        alignment = torch.zeros_like(loss)
        if output.correlation is not None:
            alignment = alignment_loss(output.correlation, self.correlation)
        total = loss + self.configuration.alignment_weight * alignment
        self.optimiser.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), GRADIENT_NORM)
        self.optimiser.step()
        return torch.stack([loss.detach() * len(batch), alignment.detach() * len(batch), output.unconverged.float()])

    def predict(self, windows: Windows) -> NDArray[np.float64]:
        """Return the distributions (N, E) that the current weights predict."""
        return self.answer(windows).predicted

    def answer(self, windows: Windows) -> Answer:
        """Evaluate the model on all windows, with the current weights."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.mixed):
            return forward(self.model, windows.chunks())

    def _own_randomness(self, seed: int | None = None) -> _Randomness:
        return _Randomness(self.device, seed, getattr(self, "_state", None))

    def _remember_randomness(self) -> None:
        self._state = _random_state(self.device)


class Answer(NamedTuple):
    """Output of a model for some windows.

    Attributes
    ----------
    predicted : ndarray of shape (N, E)
        Predicted distributions.
    unconverged : float
        Number of unconverged transport plans.
    correlation : ndarray of shape (E, E), optional
        Learned label correlation R, see `helo.model.network`; None without label embeddings.
    plan : ndarray of shape (n, m), optional
        Mean transport plan over the windows, in which absent tokens have no mass; None without transport.
    """

    predicted: NDArray[np.float64]
    unconverged: float
    correlation: NDArray[np.float32] | None
    plan: NDArray[np.float32] | None


@torch.no_grad()
def forward(model: HeLo, chunks: Iterable[Tensor]) -> Answer:
    """Evaluate a model on scaled windows.

    Parameters
    ----------
    model : HeLo
        Model, which is set to evaluation mode.
    chunks : iterable of Tensor of shape (b, F)
        Scaled features; at least one chunk.

    Returns
    -------
    Answer
        Predictions, label correlation and mean transport plan.
    """
    model.eval()
    predicted, unconverged, plans = [], [], []
    for output in map(model, chunks):
        predicted.append(output.log_predicted.double().softmax(dim=-1))
        unconverged.append(output.unconverged)
        if output.transport is not None:
            plans.append(output.transport.plan.sum(dim=0, dtype=torch.float64))
    distributions = torch.cat(predicted)
    return Answer(
        distributions.cpu().numpy(),
        float(sum(count.item() for count in unconverged)),
        None if output.correlation is None else output.correlation.float().cpu().numpy(),
        (torch.stack(plans).sum(dim=0) / len(distributions)).float().cpu().numpy() if plans else None,
    )


class _Randomness:
    """Context in which torch draws from the random stream of a fitting, not from that of the process."""

    def __init__(self, device: torch.device, seed: int | None, state: list[Tensor] | None) -> None:
        self.device, self.seed, self.state = device, seed, state
        self.fork = torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])

    def __enter__(self) -> None:
        self.fork.__enter__()
        if self.seed is not None:
            torch.manual_seed(self.seed)
        elif self.state is not None:
            torch.set_rng_state(self.state[0])
            if self.device.type == "cuda":
                torch.cuda.set_rng_state(self.state[1], self.device)

    def __exit__(self, *exception: Any) -> None:
        self.fork.__exit__(*exception)


def _random_state(device: torch.device) -> list[Tensor]:
    """Return torch's random states: of the CPU and, if used, of the GPU."""
    state = [torch.get_rng_state()]
    if device.type == "cuda":
        state.append(torch.cuda.get_rng_state(device))
    return state
