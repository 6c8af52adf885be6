"""What a training step costs, against a plain step of the same mathematics, in the same run.

``python tests/benchmarks/training.py [--repeats 7] [--threads 1] [--device cpu]`` prints one JSON line.
For each shape:

- ``ms``, ``samples_per_second``: a step of `helo.training.fitting`, one member, batch 128
- ``baseline_ms``: the same model with a loop over POT's unbatched solver, differentiated through its iterations
  (stopped at 1e-4 as ours is, in L2); attention written out; torch's own dropout; Adam without fusion or for-each
- ``ratio``: the median over repeats of the baseline's time over ours, measured in turn
- ``difference``: the largest difference of the two models' predictions, with the same weights

``members`` compares a step of five members as one batch with five steps of one member each, at the shapes of WESAD:
``together_ms``, ``alone_ms`` (of all five), and ``ratio``, the median over repeats of their quotient, measured in turn.

Shapes: ``release``, those of the authors' release (18 × 5, 28, 27, 768 features; width 128; depth 1; 10 emotions),
with 32 tokens of 24 features for the video; ``wesad``, those of WESAD's window features at the default width.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest import mock

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import ot
import torch
from torch import Tensor

from helo.configuration import Configuration
from helo.data import Dataset
from helo.data.schema import Modality, Schema
from helo.evaluation.scaling import Scaling
from helo.model.layers import LabelAttention
from helo.model.transport import Transport, TransportSettings, cosine_cost
from helo.settings import Engine
from helo.training.fitting import Fitting, parameter_groups

BATCH = 128
P, B = "physiological", "behavioural"
SHAPES = {
    "release": (
        [("eeg", P, 18, 5), ("gsr", P, 28, 1), ("ppg", P, 27, 1), ("video", B, 32, 24)],
        10,
        Configuration(width=128, heads=4, attention_depth=1, dropout=0.5, batch_size=BATCH),
    ),
    "wesad": (
        [
            ("ecg", P, 7, 1),
            ("emg", P, 5, 1),
            ("chest_eda", P, 5, 1),
            ("wrist_eda", P, 5, 1),
            ("bvp", P, 4, 1),
            ("temp", P, 3, 1),
            ("acc", B, 17, 1),
        ],
        23,
        Configuration(batch_size=BATCH),
    ),
}


MEMBERS = 5
MEMBER_SHAPES = {"wesad_16_64": (16, 64), "wesad_32_128": (32, 128)}
"""Name → token width and batch size of steps with several members."""


def training(name: str, device: str, members: int = 1, **changes: Any) -> Fitting:
    """Return the training of members on one batch of windows: random features and labels."""
    modalities, emotions, configuration = SHAPES[name]
    configuration = replace(configuration, **changes)
    schema = Schema(
        name,
        tuple(
            Modality(label, role, tuple(f"{label}{i}" for i in range(tokens * features)), tokens, main=number == 0)
            for number, (label, role, tokens, features) in enumerate(modalities)
        ),
        {f"e{i}": f"e{i}" for i in range(emotions)},
    )
    rng = np.random.default_rng(0)
    windows = configuration.batch_size
    dataset = Dataset(
        schema,
        np.resize(np.asarray(["a", "b"]), windows),
        rng.normal(size=(windows, len(schema.features))).astype(np.float32),
        rng.dirichlet(np.ones(emotions), windows),
    )
    part = Scaling.fit(dataset, dataset.subject_names, "train").part(dataset, dataset.subject_names)
    return Fitting(schema, [part] * members, configuration, range(members), engine=Engine(device))


def whole_batch(fitting: Fitting) -> tuple[Tensor, Tensor]:
    """Return the positions and weights of all windows of each member."""
    windows = fitting.windows.sizes[0]
    positions = torch.arange(windows, device=fitting.device).expand(fitting.members, -1)
    return positions, torch.full(positions.shape, 1 / windows, device=fitting.device)


def measure_members(width: int, batch_size: int, repeats: int, device: str) -> dict[str, float]:
    """Measure a step of `MEMBERS` members as one batch, and one by one."""
    together = training("wesad", device, MEMBERS, width=width, batch_size=batch_size)
    alone = [training("wesad", device, 1, width=width, batch_size=batch_size) for _ in range(MEMBERS)]
    batch, single = whole_batch(together), whole_batch(alone[0])
    for one in (together, *alone):
        one.model.train()
        one.step(*whole_batch(one))
    joint, separate = [], []
    for _ in range(repeats):
        joint.append(statistics.median(timed(lambda: together.step(*batch), device) for _ in range(5)))
        # The default binds the fitting of this iteration.
        separate.append(sum(timed(lambda one=one: one.step(*single), device) for one in alone))  # type: ignore[misc]
    return {
        "together_ms": round(statistics.median(joint), 2),
        "alone_ms": round(statistics.median(separate), 2),
        "ratio": round(statistics.median(b / a for a, b in zip(joint, separate, strict=True)), 2),
    }


def looped_transport(source: Tensor, target: Tensor, settings: TransportSettings, *_: object) -> Transport:
    """A plan at a time, as one would write it with `ot.sinkhorn`."""
    plans = []
    for cost in cosine_cost(source, target):
        a, b = (torch.full((count,), 1 / count, dtype=cost.dtype, device=cost.device) for count in cost.shape)
        plans.append(ot.sinkhorn(a, b, cost, settings.epsilon, method="sinkhorn_log", stopThr=1e-4, numItermax=1000))
    return Transport(torch.stack(plans), torch.zeros(len(plans), device=source.device))


def naive_attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    """Attention as in the textbook."""
    scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return torch.softmax(scores, dim=-1) @ value


def naive_label_attention(
    self: LabelAttention, labels: Tensor, tokens: Tensor, correlation: Tensor, _: object = None
) -> Tensor:
    """All tokens are projected to keys and values, and every window's logits are biased."""
    off_diagonal = correlation - torch.diag_embed(torch.diagonal(correlation, dim1=1, dim2=2))
    related = off_diagonal / off_diagonal.abs().sum(dim=-1, keepdim=True).clamp_min(1.0)
    assert self.strength is not None
    scores = self.query(labels).unsqueeze(1) @ self.key(tokens).mT / labels.shape[-1] ** 0.5
    biased = scores + self.strength[:, None, None, None] * (related.unsqueeze(1) @ scores)
    weights = torch.softmax(biased, dim=-1)
    answers: Tensor = self.output(weights @ self.value(tokens))
    return answers


@contextmanager
def plainly() -> Iterator[None]:
    """HeLo with its fast parts replaced by plain ones of the same mathematics."""
    with (
        mock.patch("helo.model.network.transport", looped_transport),
        mock.patch("helo.model.layers.scaled_dot_product_attention", naive_attention),
        mock.patch("helo.model.layers.LabelAttention.forward", naive_label_attention),
        mock.patch("helo.model.basics.Dropout.forward", lambda self, x: torch.dropout(x, self.share, self.training)),
    ):
        yield


def timed(step: Callable[[], object], device: str) -> float:
    """Milliseconds of one step."""
    start = time.perf_counter()
    step()
    if device == "cuda":
        torch.cuda.synchronize()
    return 1e3 * (time.perf_counter() - start)


def measure(name: str, repeats: int, device: str) -> dict[str, float]:
    """Both steps in turn, after one of each to warm up."""
    ours, plain = training(name, device), training(name, device)
    plain.optimiser = torch.optim.AdamW(
        parameter_groups(plain.model, plain.configuration.weight_decay), lr=1e-3, fused=False, foreach=False
    )
    batch, weights = whole_batch(ours)
    with torch.no_grad():
        for model in (ours.model, plain.model):  # at its start a model predicts the mean label, whatever it is shown
            torch.manual_seed(1)
            torch.nn.init.normal_(model.classifier.weight)
            model.eval()
        features = ours.windows.batch(batch)
        predicted = ours.model(features).log_predicted.exp()
        with plainly():
            difference = (plain.model(features).log_predicted.exp() - predicted).abs().max().item()
    fast, slow = [], []
    for one in (ours, plain):
        one.model.train()
    for repeat in range(repeats + 1):
        quick = [timed(lambda: ours.step(batch, weights), device) for _ in range(5)]
        with plainly():
            long = timed(lambda: plain.step(batch, weights), device)
        if repeat:
            fast.append(statistics.median(quick))
            slow.append(long)
    milliseconds = statistics.median(fast)
    return {
        "ms": round(milliseconds, 2),
        "samples_per_second": round(1e3 * BATCH / milliseconds),
        "baseline_ms": round(statistics.median(slow), 1),
        "ratio": round(statistics.median(b / a for a, b in zip(fast, slow, strict=True)), 2),
        "difference": difference,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(
        json.dumps(
            {
                "benchmark": "training",
                "machine": platform.machine(),
                "device": arguments.device,
                "threads": arguments.threads,
                "torch": torch.__version__,
                "batch": BATCH,
                **{name: measure(name, arguments.repeats, arguments.device) for name in SHAPES},
                "members": {
                    name: measure_members(*shape, arguments.repeats, arguments.device)
                    for name, shape in MEMBER_SHAPES.items()
                },
            }
        )
    )


if __name__ == "__main__":
    main()
