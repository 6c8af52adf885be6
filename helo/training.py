"""Train and score one cell: one configuration on one fold.

A cell is a function of data, fold, configuration and seed. It keeps its own random state, so neither the
cells before it in the same process nor those beside it change its values. While it trains it holds the
training and validation windows only; the test subject's are asked for once, when the weights are final.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from helo.configuration import Configuration
from helo.data.dataset import Dataset, Schema
from helo.folds import Fold, FoldData, Part, fold_data, held_out_part
from helo.losses import alignment_loss, kl_loss, label_correlation
from helo.metrics import as_loss, mean_scores
from helo.model import HeLo
from helo.names import ALIGNMENT_LOSS, EPOCH, PRECISION_FULL, PRECISION_MIXED, TRAIN_LOSS, UNCONVERGED, VAL

DECAY = 0.99
"""The learning rate is multiplied by this after every epoch, as in the authors' release."""

GRADIENT_NORM = 1.0
"""Gradients are clipped at this norm: a rare window with a wild artefact must not undo an epoch."""

SCORING_BATCH = 4096
"""Windows per forward pass when nothing is trained."""


@dataclass(frozen=True)
class Engine:
    """How a cell is computed. Values differ in their last digits between engines, so a search keeps to one.

    - `precision`: ``mixed`` computes products of tokens in bfloat16; transport, label correlation, losses and weights
      stay in float32
    - `compiled`: training steps go through `torch.compile`; its cache on disk is shared by all cells of a node, but
      each shape (width, depth, tokens) is compiled once
    """

    device: str = "cpu"
    precision: str = PRECISION_FULL
    compiled: bool = False


CPU = Engine()


class DivergedError(RuntimeError):
    """The loss is no longer a number: the configuration cannot be trained on this fold."""


@dataclass(frozen=True)
class CellResult:
    """What a finished cell leaves; see `helo.ledger.CellRecord` for the fields."""

    stopped: bool
    epochs: int
    best_epoch: int
    val: dict[str, float]
    test: dict[str, float]
    history: tuple[dict[str, float], ...]
    windows: NDArray[np.int64]
    predictions: NDArray[np.float32]


def cell_seed(seed: int, fold: str) -> int:
    """The seed of all cells of a fold: configurations are compared from the same random draws."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{fold}".encode()).digest()[:7], "big")


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


class CellTraining:
    """A cell in the making: epoch by epoch, until `finished`.

    `objective` is the measure on the inner validation subjects that decides when to stop and which epoch's
    weights to keep. Epoch 0, before any training, is the train-mean prediction and counts as a candidate.
    `rungs`: epoch → the largest such loss with which training goes on.
    """

    def __init__(
        self, schema: Schema, data: FoldData, configuration: Configuration, seed: int, objective: str,
        engine: Engine = CPU, rungs: Mapping[int, float] | None = None,
    ) -> None:  # fmt: skip
        self.configuration, self.objective, self.rungs = configuration, objective, rungs or {}
        self.device, self.mixed = torch.device(engine.device), engine.precision == PRECISION_MIXED
        self.data = data
        self.features = torch.from_numpy(data.train.features).to(self.device)
        self.labels = torch.from_numpy(data.train.labels).float().to(self.device)
        self.validation = torch.from_numpy(data.validation.features).to(self.device)
        # Looked at once: in each step a GPU would have to wait for the answer.
        self.complete = not bool(self.features.isnan().any())
        correlation = label_correlation(data.train.labels)
        self.correlation = torch.from_numpy(correlation).float().to(self.device)
        with self._own_randomness(cell_seed(seed, data.fold.test)):
            mean_label = torch.from_numpy(data.train.labels.mean(axis=0)).float()
            self.model = HeLo(schema, configuration, mean_label).to(self.device)
            self._remember_randomness()
        self.learner: Any = torch.compile(self.model) if engine.compiled else self.model  # the same weights
        self.optimiser = torch.optim.AdamW(
            parameter_groups(self.model, configuration.weight_decay), lr=configuration.learning_rate, fused=True
        )
        self.schedule = torch.optim.lr_scheduler.ExponentialLR(self.optimiser, DECAY)
        self.epoch = 0
        self.history: list[dict[str, float]] = []
        self.best_epoch = 0
        self.best_loss = math.inf
        self.best_scores: dict[str, float] = {}
        self.best_weights: dict[str, Tensor] = {}
        self._record({TRAIN_LOSS: math.nan, ALIGNMENT_LOSS: math.nan, UNCONVERGED: 0.0})

    @property
    def finished(self) -> bool:
        """Whether the last epoch is reached, or patience is at its end."""
        waited = self.epoch - self.best_epoch
        return self.epoch >= self.configuration.epochs or waited >= self.configuration.patience

    @property
    def stopped(self) -> bool:
        """Whether a rung says that training on is not worth it. A cell at its end has not been stopped."""
        return not self.finished and self.best_loss > self.rungs.get(self.epoch, math.inf)

    def run_epoch(self) -> None:
        """One pass over the training windows, and a look at the validation subjects."""
        windows = len(self.labels)
        batches = max(1, math.ceil(windows / self.configuration.batch_size))
        sums = torch.zeros(3, device=self.device)
        self.model.train()
        with self._own_randomness():
            order = torch.randperm(windows).to(self.device)
            for batch in order.tensor_split(batches):  # equal batches: no tiny one with a wild gradient
                sums += self.step(batch)
            self._remember_randomness()
        self.schedule.step()
        self.epoch += 1
        loss, alignment, unconverged = sums.tolist()  # once an epoch: on a GPU each look waits for all before it
        self._record({TRAIN_LOSS: loss / windows, ALIGNMENT_LOSS: alignment / windows, UNCONVERGED: unconverged})

    def step(self, batch: Tensor) -> Tensor:
        """One step of training on some windows (by number): the sums of both losses, and of unconverged plans."""
        labels = self.labels[batch]
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.mixed):
            output = self.learner(self.features[batch], self.complete)
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

    def _record(self, row: dict[str, float]) -> None:
        """Score the validation subjects, add a row to the history, and keep the weights if they are best."""
        if self.epoch and not math.isfinite(row[TRAIN_LOSS]):
            raise DivergedError(f"the training loss is {row[TRAIN_LOSS]} in epoch {self.epoch}")
        predicted, missed = self._forward(self.validation)
        row[UNCONVERGED] += missed
        if not np.isfinite(predicted).all():
            raise DivergedError(f"predictions are not finite after epoch {self.epoch}")
        scores = mean_scores(self.data.validation.labels, predicted, self.data.validation.subjects)
        self.history.append({EPOCH: self.epoch, **row, **{VAL + name: value for name, value in scores.items()}})
        loss = as_loss(self.objective, scores[self.objective])
        if loss < self.best_loss:
            self.best_loss, self.best_epoch, self.best_scores = loss, self.epoch, scores
            self.best_weights = {name: value.detach().clone() for name, value in self.model.state_dict().items()}

    def predict(self, features: Tensor) -> NDArray[np.float64]:
        """Distributions (N, E) for scaled features (N, F), with the weights as they are now."""
        return self._forward(features)[0]

    @torch.no_grad()
    def _forward(self, features: Tensor) -> tuple[NDArray[np.float64], float]:
        """Distributions, and how many transport plans were no solutions."""
        self.model.eval()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.mixed):
            outputs = [self.model(chunk) for chunk in torch.split(features, SCORING_BATCH)]
        parts = [output.log_predicted.double().softmax(dim=-1) for output in outputs]
        return torch.cat(parts).cpu().numpy(), float(sum(output.unconverged.item() for output in outputs))

    def score(self, test: Part) -> CellResult:
        """Take the best epoch's weights and score the test subject: the last thing a cell does."""
        self.model.load_state_dict(self.best_weights)
        predicted = self.predict(torch.from_numpy(test.features).to(self.device))
        return CellResult(
            stopped=self.stopped,
            epochs=self.epoch,
            best_epoch=self.best_epoch,
            val=self.best_scores,
            test=mean_scores(test.labels, predicted, test.subjects),
            history=tuple(self.history),
            windows=test.rows.astype(np.int64),
            predictions=predicted.astype(np.float32),
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

    def _own_randomness(self, seed: int | None = None) -> _Randomness:
        return _Randomness(self.device, seed, getattr(self, "_state", None))

    def _remember_randomness(self) -> None:
        self._state = _random_state(self.device)


_PROGRESS = ("epoch", "history", "best_epoch", "best_loss", "best_scores", "best_weights")


class Keeper(Protocol):
    """Keeps a cell's state while it trains, so that it need not start again."""

    def load(self, device: torch.device) -> Mapping[str, Any] | None:
        """The last state that was kept, its tensors on `device`; None to start from the beginning."""

    def after_epoch(self, training: CellTraining) -> bool:
        """Keep the state now if it is time for it. True if the cell has to pause: it is not finished then."""


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


def train_cell(
    dataset: Dataset, fold: Fold, configuration: Configuration, seed: int, normalise: str, objective: str,
    engine: Engine = CPU, rungs: Mapping[int, float] | None = None, keeper: Keeper | None = None,
) -> CellResult | None:  # fmt: skip
    """Train one configuration on one fold to its end, or to the rung that stops it, and score its test subject.

    `rungs`: see `CellTraining`. With a `keeper` the cell goes on where it was, and may be told to pause: then
    the result is None. Raises `DivergedError` if the loss stops being a number.
    """
    data = fold_data(dataset, fold, normalise)
    training = CellTraining(dataset.schema, data, configuration, seed, objective, engine, rungs)
    if keeper is not None and (state := keeper.load(training.device)) is not None:
        try:
            training.restore(state)
        except (LookupError, TypeError, ValueError, RuntimeError):  # of another version of this program
            training = CellTraining(dataset.schema, data, configuration, seed, objective, engine, rungs)
    while not (training.finished or training.stopped):
        training.run_epoch()
        over = training.finished or training.stopped
        if keeper is not None and not over and keeper.after_epoch(training):
            return None
    return training.score(held_out_part(dataset, fold, normalise))
