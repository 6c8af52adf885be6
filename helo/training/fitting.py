"""Train HeLo on windows, epoch by epoch: what a cell and the final model have in common.

A fitting keeps its own random state, so neither what was computed before it in the same process nor what is computed
beside it changes its values.
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
"""The learning rate is multiplied by this after every epoch, as in the authors' release."""

GRADIENT_NORM = 1.0
"""Gradients are clipped at this norm: a rare window with a wild artefact must not undo an epoch."""

SCORING_BATCH = 4096
"""Windows per forward pass when nothing is trained."""

RESIDENT_BYTES = 64 * 2**20
"""Scaled windows up to this size are kept by whoever trains on them; of more, each batch is scaled when it is used."""


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weights that multiply tokens decay; biases, norms, embeddings and the prior stay what the data say.

    Decaying the prior would pull every prediction to the uniform distribution, and decaying the label embeddings
    would act on nothing, as only their directions count in their correlation.
    """
    decayed: list[nn.Parameter] = []
    kept: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        weight = parameter.ndim >= 2 and name not in ("labels", "origin") and not name.endswith("bias")
        (decayed if weight else kept).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": kept, "weight_decay": 0.0}]


class Windows:
    """Scaled windows of a part as tensors on a device, a batch at a time."""

    def __init__(self, part: Part, device: torch.device) -> None:
        self.part, self.device = part, device
        size = len(part) * len(part.dataset.schema.features) * np.dtype(np.float32).itemsize
        self.resident = torch.from_numpy(part.features).to(device) if size <= RESIDENT_BYTES else None

    def __len__(self) -> int:
        return len(self.part)

    def batch(self, positions: Tensor) -> Tensor:
        """(b, F) the features of some windows, by number."""
        if self.resident is not None:
            return self.resident[positions]
        return torch.from_numpy(self.part.take(positions.numpy())).to(self.device)

    def chunks(self) -> Iterator[Tensor]:
        """All windows in order, for scoring."""
        for start in range(0, len(self), SCORING_BATCH):
            block = slice(start, start + SCORING_BATCH)
            if self.resident is not None:
                yield self.resident[block]
            else:
                yield torch.from_numpy(self.part.take(block)).to(self.device)


class Fitting:
    """A model in training on the windows of a part.

    `seed` decides the first weights, the order of windows and what dropout drops.
    """

    def __init__(
        self, schema: Schema, train: Part, configuration: Configuration, seed: int, engine: Engine = CPU
    ) -> None:
        self.configuration = configuration
        self.device, self.mixed = torch.device(engine.device), engine.precision == Precision.MIXED
        self.windows = Windows(train, self.device)
        labels = train.labels
        self.labels = torch.from_numpy(labels).float().to(self.device)
        # Looked at once: in each step a GPU would have to wait for the answer.
        self.complete = not train.dataset.missing
        self.correlation = torch.from_numpy(label_correlation(labels)).float().to(self.device)
        with self._own_randomness(seed):
            mean_label = torch.from_numpy(labels.mean(axis=0)).float()
            self.model = HeLo(schema, configuration, mean_label).to(self.device)
            self._remember_randomness()
        self.learner: Any = torch.compile(self.model) if engine.compiled else self.model  # the same weights
        self.optimiser = torch.optim.AdamW(
            parameter_groups(self.model, configuration.weight_decay), lr=configuration.learning_rate, fused=True
        )
        self.schedule = torch.optim.lr_scheduler.ExponentialLR(self.optimiser, DECAY)
        self.epoch = 0

    def run_epoch(self) -> dict[str, float]:
        """One pass over the training windows: mean losses, and how many transport plans did not converge."""
        windows = len(self.windows)
        batches = max(1, math.ceil(windows / self.configuration.batch_size))
        sums = torch.zeros(3, device=self.device)
        self.model.train()
        with self._own_randomness():
            order = torch.randperm(windows)
            if self.windows.resident is not None:
                order = order.to(self.device)
            for batch in order.tensor_split(batches):  # equal batches: no tiny one with a wild gradient
                sums += self.step(batch)
            self._remember_randomness()
        self.schedule.step()
        self.epoch += 1
        loss, alignment, unconverged = sums.tolist()  # once an epoch: on a GPU each look waits for all before it
        if not math.isfinite(loss):
            raise DivergedError(f"the training loss is {loss} in epoch {self.epoch}")
        return {
            Column.TRAIN_LOSS: loss / windows,
            Column.ALIGNMENT_LOSS: alignment / windows,
            Column.UNCONVERGED: unconverged,
        }

    def step(self, batch: Tensor) -> Tensor:
        """One step of training on some windows (by number): the sums of both losses, and of unconverged plans."""
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
        """Distributions (N, E), with the weights as they are now."""
        return self.answer(windows).predicted

    def answer(self, windows: Windows) -> Answer:
        """What the model says of all windows, with the weights as they are now."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.mixed):
            return forward(self.model, windows.chunks())

    def _own_randomness(self, seed: int | None = None) -> _Randomness:
        return _Randomness(self.device, seed, getattr(self, "_state", None))

    def _remember_randomness(self) -> None:
        self._state = _random_state(self.device)


class Answer(NamedTuple):
    """What a model says of windows.

    - `predicted` (N, E): distributions
    - `unconverged`: how many transport plans were no solutions
    - `correlation` (E, E): R, see `helo.model.network`; None without label embeddings
    - `plan` (n, m): the mean transport plan over the windows, in which a token that is absent has no mass; None without
      transport
    """

    predicted: NDArray[np.float64]
    unconverged: float
    correlation: NDArray[np.float32] | None
    plan: NDArray[np.float32] | None


@torch.no_grad()
def forward(model: HeLo, chunks: Iterable[Tensor]) -> Answer:
    """What a model says of scaled windows, given in chunks (b, F) of which there must be one."""
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
        float(sum(missed.item() for missed in unconverged)),
        None if output.correlation is None else output.correlation.float().cpu().numpy(),
        (torch.stack(plans).sum(dim=0) / len(distributions)).float().cpu().numpy() if plans else None,
    )


class _Randomness:
    """Within it torch draws from a cell's own stream; afterwards the process's stream goes on as before."""

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
    state = [torch.get_rng_state()]
    if device.type == "cuda":
        state.append(torch.cuda.get_rng_state(device))
    return state
