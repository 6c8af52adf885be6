"""The hyperparameters of a cell: one place for their names, types, bounds, defaults and meaning."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from helo.errors import InputError, did_you_mean
from helo.names import LabelAttentionKind, ModalitySelection, TransportKind, enum_values


@dataclass(frozen=True)
class Rule:
    """The values that a hyperparameter may take: a number between closed bounds, or one of some `words`."""

    kind: type[int] | type[float] | type[str]
    low: float
    high: float
    about: str
    words: tuple[str, ...] = ()

    def problem(self, value: Any) -> str | None:
        """Say what is wrong with a value, or None."""
        if self.words:
            if isinstance(value, str) and value in self.words:
                return None
            return f"must be one of {', '.join(self.words)}, got {value!r}{did_you_mean(str(value), self.words)}"
        number = "a whole number" if self.kind is int else "a number"
        wanted = f"must be {number} from {self.low:g} to {self.high:g}, got {value!r}"
        if isinstance(value, bool) or not isinstance(value, int | float):
            return wanted
        if self.kind is int and not isinstance(value, int):
            return wanted
        if not math.isfinite(value) or not self.low <= value <= self.high:
            return wanted
        return None


def _parameter(default: float, low: float, high: float, about: str) -> Any:
    kind = type(default)
    return field(default=default, metadata={"rule": Rule(kind, low, high, about)})


def _choice(default: str, words: tuple[str, ...], about: str) -> Any:
    return field(default=default, metadata={"rule": Rule(str, math.nan, math.nan, about, words)})


@dataclass(frozen=True)
class Configuration:
    """One point of a search space.

    >>> Configuration(width=32, heads=4).width
    32
    >>> Configuration(width=30, heads=4)
    Traceback (most recent call last):
        ...
    helo.errors.InputError: heads must divide width, got width 30 and heads 4
    """

    transport: str = _choice(
        TransportKind.LINEAR,
        enum_values(TransportKind),
        "what a plan matches: tokens, their relations, or both; or no plan",
    )
    ot_entropy: float = _parameter(0.1, 1e-3, 10.0, "ε, the entropic weight of the transport plan, on a cost in [0, 1]")
    ot_alpha: float = _parameter(0.5, 0.0, 1.0, "α of fused transport: 0 matches tokens, 1 their relations")
    alignment_weight: float = _parameter(
        1.0, 0.0, 100.0, "λ, the weight of the label-correlation alignment in the loss"
    )
    label_attention: str = _choice(
        LabelAttentionKind.CORRELATED,
        enum_values(LabelAttentionKind),
        "whether emotions ask the tokens, and correlated ones together",
    )
    modalities: str = _choice(ModalitySelection.BOTH, enum_values(ModalitySelection), "the signals that are read")
    attention_depth: int = _parameter(1, 0, 12, "layers of the transformer encoder over the fused tokens")
    width: int = _parameter(32, 4, 1024, "d, the width of a token")
    heads: int = _parameter(2, 1, 64, "attention heads; must divide width")
    dropout: float = _parameter(0.3, 0.0, 0.9, "share of activations dropped in training")
    learning_rate: float = _parameter(1e-3, 1e-6, 1.0, "step size of AdamW at its peak")
    weight_decay: float = _parameter(1e-2, 0.0, 10.0, "decoupled weight decay of AdamW")
    batch_size: int = _parameter(128, 1, 65536, "windows per training step")
    epochs: int = _parameter(30, 1, 10000, "passes over the training windows at most")
    patience: int = _parameter(8, 1, 10000, "epochs without a better validation score before stopping")

    def __post_init__(self) -> None:
        problems = configuration_problems(asdict(self))
        if problems:
            raise InputError("; ".join(problems))

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> Configuration:
        """Build from plain values; missing ones take their default, unknown ones are refused."""
        for name in params:
            if name not in PARAMETERS:
                raise InputError(f"unknown hyperparameter {name!r}{did_you_mean(name, PARAMETERS)}")
        return cls(**params)

    def as_params(self) -> dict[str, Any]:
        """The configuration as plain values."""
        return asdict(self)


PARAMETERS: dict[str, Rule] = {entry.name: entry.metadata["rule"] for entry in fields(Configuration)}
"""Every hyperparameter and the rule for its values."""

DEFAULTS: dict[str, Any] = {entry.name: entry.default for entry in fields(Configuration)}
"""What a hyperparameter is where a space does not mention it."""


ACTS_WHERE = {
    "transport": "both kinds of modalities are read",
    "ot_entropy": "there is transport between both kinds of modalities",
    "ot_alpha": "transport is fused",
    "alignment_weight": "there is label attention",
}
"""Hyperparameters that act under a condition only."""


def acting(params: Mapping[str, Any]) -> dict[str, Any]:
    """The hyperparameters of a whole configuration that act, given the others.

    Two configurations that are the same here train the same model.

    >>> "ot_alpha" in acting({**DEFAULTS, "transport": "linear"})
    False
    """
    idle = set()
    if params["modalities"] != ModalitySelection.BOTH:
        idle |= {"transport", "ot_entropy", "ot_alpha"}
    if params["transport"] == TransportKind.NONE:
        idle |= {"ot_entropy", "ot_alpha"}
    if params["transport"] != TransportKind.FUSED:
        idle |= {"ot_alpha"}
    if params["label_attention"] == TransportKind.NONE:
        idle |= {"alignment_weight"}
    return {name: value for name, value in params.items() if name not in idle}


def configuration_problems(params: Mapping[str, Any]) -> list[str]:
    """Everything that is wrong with a whole configuration."""
    problems = []
    for name, rule in PARAMETERS.items():
        problem = rule.problem(params[name])
        if problem:
            problems.append(f"{name} {problem}")
    if not problems and params["width"] % params["heads"]:
        problems.append(f"heads must divide width, got width {params['width']} and heads {params['heads']}")
    return problems
