"""Training of HeLo on windows, epoch by epoch, for cells and for the final model.

Each member has its own random number generators. Other computations in the same process do not change its values.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from helo.configuration import Configuration
from helo.data.label_correlation import label_correlation
from helo.data.schema import Schema
from helo.errors import DivergedError
from helo.evaluation.scaling import Part
from helo.model.losses import alignment_loss, kl_loss
from helo.model.network import HeLo, join_members
from helo.names import Column, Precision
from helo.settings import CPU, Engine
from helo.training.linear import fit_linear
from helo.training.offsets import SubjectOffsets
from helo.training.windows import Answer, Batches, Windows, forward

DECAY = 0.99
"""Factor of the learning rate after every epoch, as in the authors' release."""

GRADIENT_NORM = 1.0
"""Largest gradient norm; longer gradients are clipped, so a window with an artefact does not undo an epoch."""

AVERAGE_POWER = 1.0
"""Exponent γ of the averaged weights after step t: the mean of the weights after steps s <= t, weighted by s^γ.

With γ = 1 the score of the mean of five members hardly depends on the number of epochs, once there are enough; with a
larger γ, a shorter average, it gets worse with more of them. Source: Karras et al., "Analyzing and improving the
training dynamics of diffusion models", CVPR 2024.
"""


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
        is_weight = parameter.ndim >= 3 and name not in ("labels", "origin") and not name.endswith("bias")
        if is_weight:
            decayed.append(parameter)
        else:
            kept.append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": kept, "weight_decay": 0.0}]


class Fitting:
    """Training of the members of a model, each on its own windows.

    Predictions use averaged weights, see `AVERAGE_POWER`.

    Parameters
    ----------
    schema : Schema
        Modalities and emotions of the dataset.
    trains : sequence of Part
        Training windows of each member.
    configuration : Configuration
        Hyperparameters.
    seeds : sequence of int
        Seed of each member: of its first weights, the order of its windows and dropout.
    batches : Batches, optional
        Division of an epoch into steps. The default is that for `trains`.
    engine : Engine
        Device, precision and compilation.
    """

    def __init__(
        self,
        schema: Schema,
        trains: Sequence[Part],
        configuration: Configuration,
        seeds: Sequence[int],
        batches: Batches | None = None,
        engine: Engine = CPU,
    ) -> None:
        self.configuration = configuration
        self.device, self.mixed = torch.device(engine.device), engine.precision == Precision.MIXED
        self.windows = Windows(trains, self.device, labelled=True)
        self.offsets = SubjectOffsets(trains, configuration.subject_offset, self.device)
        self.batches = batches or Batches.for_sizes(self.windows.sizes, configuration.batch_size)
        # Found once: a search for NaN in each step would make a GPU synchronise.
        self.complete = not trains[0].dataset.missing
        correlations = np.stack([label_correlation(train.labels) for train in trains])
        self.correlation = torch.from_numpy(correlations).float().to(self.device)
        means = torch.from_numpy(np.stack([train.labels.mean(axis=0) for train in trains])).float()
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.dropout_generators = self.generators
        if self.device.type != "cpu":
            self.dropout_generators = [torch.Generator(self.device).manual_seed(seed) for seed in seeds]
        self.model = _seeded_members(schema, configuration, means, seeds).to(self.device)
        fit_linear(self.model, trains, seeds)
        self.averaged = copy.deepcopy(self.model).requires_grad_(False)
        self.model.streams.generators = self.dropout_generators
        self.compiled = engine.compiled
        self.learner: Any = self.model.compiled() if engine.compiled else self.model
        self.parameters = list(self.model.parameters())
        self._averages: list[Tensor] = list(self.averaged.parameters())
        self.optimiser = torch.optim.AdamW(
            parameter_groups(self.model, configuration.weight_decay), lr=configuration.learning_rate, fused=True
        )
        self.epoch = self.steps = 0

    @property
    def members(self) -> int:
        """Number of members M."""
        return self.model.members

    def run_epoch(self) -> list[dict[str, float]]:
        """Train for one epoch.

        Returns
        -------
        list of dict
            For each member: mean losses over the training windows, and the number of unconverged transport plans.

        Raises
        ------
        DivergedError
            If a training loss is not finite.
        """
        sums = torch.zeros(3, self.members, device=self.device)
        self.model.train()
        arranged = [
            self.batches.arrange(torch.randperm(size, generator=generator))
            for size, generator in zip(self.windows.sizes, self.generators, strict=True)
        ]
        positions = torch.stack([one for one, _ in arranged], dim=1).to(self.device)
        weights = torch.stack([one for _, one in arranged], dim=1).to(self.device)
        for group in self.optimiser.param_groups:
            group["lr"] = self.configuration.learning_rate * DECAY**self.epoch
        with self._compiled_randomness():
            for step in range(self.batches.steps):
                sums += self.step(positions[step], weights[step])
        self.epoch += 1
        losses, alignments, unconverged = sums.tolist()  # Once per epoch, as it makes a GPU synchronise.
        if not np.isfinite(losses).all():
            raise DivergedError(f"the training loss is {max(losses, key=math.isnan)} in epoch {self.epoch}")
        return [
            {
                Column.TRAIN_LOSS: loss / self.batches.steps,
                Column.ALIGNMENT_LOSS: alignment / self.batches.steps,
                Column.UNCONVERGED: count,
            }
            for loss, alignment, count in zip(losses, alignments, unconverged, strict=True)
        ]

    def step(self, positions: Tensor, weights: Tensor) -> Tensor:
        """Take one optimisation step.

        Parameters
        ----------
        positions : Tensor of shape (M, b)
            Positions of the windows in the training part of each member.
        weights : Tensor of shape (M, b)
            Weights of the windows in the loss of a member.

        Returns
        -------
        Tensor of shape (3, M)
            Prediction loss, alignment loss and number of unconverged plans of each member.
        """
        labels = self.windows.labels(positions)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.mixed):
            output = self.learner(self.windows.batch(positions), self.complete)
        log_predicted = self.offsets.added(output.log_predicted, positions)
        losses = (kl_loss(labels, log_predicted) * weights).sum(dim=1)
        alignments = torch.zeros_like(losses)
        if output.correlation is not None:
            alignments = alignment_loss(output.correlation, self.correlation)
        # A sum, not a mean: the weights of a member have a gradient from its own loss only.
        total = (losses + self.configuration.alignment_weight * alignments).sum()
        self.optimiser.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        clip_gradients(self.parameters, GRADIENT_NORM)
        self.optimiser.step()
        self.steps += 1
        self._average()
        unconverged = (output.unconverged & (weights > 0)).sum(dim=1)
        return torch.stack([losses.detach(), alignments.detach(), unconverged])

    @torch.no_grad()
    def _average(self) -> None:
        """Update the averaged weights."""
        share = 1 - (1 - 1 / self.steps) ** (AVERAGE_POWER + 1)
        torch._foreach_lerp_(self._averages, [*self.parameters], share)

    def answer(self, windows: Windows) -> Answer:
        """Evaluate the members on windows of their own, with the averaged weights."""
        return forward(self.averaged, windows, self.mixed)

    def random_state(self) -> list[Tensor]:
        """Return the states of the random number generators of all members, between two epochs."""
        return [generator.get_state() for generator in (*self.generators, *self.dropout_generators)]

    def restore_random_state(self, state: Sequence[Tensor]) -> None:
        """Resume from a `random_state`."""
        for generator, tensor in zip((*self.generators, *self.dropout_generators), state, strict=True):
            generator.set_state(tensor.cpu())  # A GPU's generator, too, takes its state from the CPU.

    @contextmanager
    def _compiled_randomness(self) -> Iterator[None]:
        """Seed torch's own random numbers for an epoch, and restore them afterwards.

        Only compiled code draws from them, see `helo.model.basics.Dropout`.
        """
        if not self.compiled:
            yield
            return
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(int(torch.randint(2**62, (), generator=self.generators[0])))
            yield


def _seeded_members(schema: Schema, configuration: Configuration, means: Tensor, seeds: Sequence[int]) -> HeLo:
    """Return a model whose members have the first weights that each of them would have alone."""
    networks = []
    with torch.random.fork_rng(devices=[]):
        for seed, mean in zip(seeds, means, strict=True):
            torch.default_generator.manual_seed(seed)  # Unlike `torch.manual_seed`, this leaves GPUs alone.
            networks.append(HeLo(schema, configuration, mean.unsqueeze(0)))
    return join_members(networks[0], [network.state_dict() for network in networks])


@torch.no_grad()
def clip_gradients(parameters: Sequence[nn.Parameter], largest: float) -> None:
    """Scale the gradients of each member down to a largest norm.

    Parameters
    ----------
    parameters : sequence of Parameter
        Parameters whose first dimension is the member.
    largest : float
        Largest norm of the gradient of a member.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norms = torch.cat([gradient.view(len(gradient), -1) for gradient in gradients], dim=1).norm(dim=1)
    factors = (largest / (norms + 1e-6)).clamp_max(1)
    torch._foreach_mul_(gradients, [factors.view(-1, *[1] * (gradient.ndim - 1)) for gradient in gradients])
