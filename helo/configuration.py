"""Hyperparameters of a cell: names, types, bounds, defaults and meaning."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from helo._text import MAX_WHOLE
from helo.errors import InputError, did_you_mean
from helo.names import FeatureEncoding, LabelAttentionKind, ModalitySelection, Role, TransportKind, enum_values

MAX_CONFIGURATIONS = 1_000_000
"""Maximum number of configurations of a search."""


@dataclass(frozen=True)
class Rule:
    """Valid values of a hyperparameter: numbers between closed bounds, or one of some words.

    Attributes
    ----------
    kind : type
        int, float or str.
    low, high : float
        Closed bounds of a number.
    about : str
        Meaning of the hyperparameter, shown to users.
    words : tuple of str
        Valid values of a str.
    """

    kind: type[int] | type[float] | type[str]
    low: float
    high: float
    about: str
    words: tuple[str, ...] = ()

    def problem(self, value: Any) -> str | None:
        """Return what is wrong with a value, or None if it is valid."""
        if self.words:
            if isinstance(value, str) and value in self.words:
                return None
            return f"must be one of {', '.join(self.words)}, got {value!r}{did_you_mean(str(value), self.words)}"
        number = "a whole number" if self.kind is int else "a number"
        shown = "a larger number" if isinstance(value, int) and abs(value) > MAX_WHOLE else repr(value)
        message = f"must be {number} from {self.low:g} to {self.high:g}, got {shown}"
        if isinstance(value, bool) or not isinstance(value, int | float):
            return message
        if self.kind is int and not isinstance(value, int):
            return message
        return None if self.low <= value <= self.high else message  # NaN lies between no bounds


def _parameter(default: float, low: float, high: float, about: str) -> Any:
    kind = type(default)
    return field(default=default, metadata={"rule": Rule(kind, low, high, about)})


def _choice(default: str, words: tuple[str, ...], about: str) -> Any:
    return field(default=str(default), metadata={"rule": Rule(str, math.nan, math.nan, about, words)})


@dataclass(frozen=True)
class Configuration:
    """One point of a search space: the hyperparameters of a cell.

    `PARAMETERS` documents each hyperparameter.

    Raises
    ------
    InputError
        If a value is not valid.

    Examples
    --------
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
        "what the transport plan matches: tokens, their relations, both, or no plan",
    )
    ot_entropy: float = _parameter(
        0.1, 1e-3, 10.0, "ε, the weight of entropic regularisation, for a transport cost in [0, 1]"
    )
    ot_alpha: float = _parameter(
        0.5, 0.0, 1.0, "α of fused transport: from 0 (match tokens) to 1 (match their relations)"
    )
    alignment_weight: float = _parameter(
        1.0, 0.0, 100.0, "λ, the weight of the label-correlation alignment in the loss"
    )
    label_attention: str = _choice(
        LabelAttentionKind.CORRELATED,
        enum_values(LabelAttentionKind),
        "attention of emotions to tokens: biased by label correlation, plain, or none",
    )
    modalities: str = _choice(
        ModalitySelection.BOTH, enum_values(ModalitySelection), "roles of the modalities that the model reads"
    )
    feature_encoding: str = _choice(
        FeatureEncoding.PIECEWISE,
        enum_values(FeatureEncoding),
        "what a token is linear in: a piecewise-linear encoding of its features, or the features themselves",
    )
    linear_share: float = _parameter(
        0.5, 0.0, 0.9, "share of a penalised linear model in the logits of a prediction; the rest is the network's"
    )
    linear_penalty: float = _parameter(0.1, 1e-3, 1e3, "penalty of the squared weights of the linear model")
    attention_depth: int = _parameter(1, 0, 12, "layers of the transformer encoder over the fused tokens")
    width: int = _parameter(32, 4, 1024, "d, the number of features of an encoded token")
    heads: int = _parameter(2, 1, 64, "number of attention heads; must divide width")
    dropout: float = _parameter(0.3, 0.0, 0.9, "fraction of activations that are set to 0 in training")
    learning_rate: float = _parameter(1e-3, 1e-6, 1.0, "initial learning rate of AdamW")
    weight_decay: float = _parameter(1e-2, 0.0, 10.0, "decoupled weight decay of AdamW")
    subject_offset: float = _parameter(
        1.0, 0.0, 1.0, "strength of the offset that the logits of each training subject have in training"
    )
    batch_size: int = _parameter(128, 1, 65536, "windows per training step")
    epochs: int = _parameter(30, 1, 10000, "number of passes over the training windows")

    def __post_init__(self) -> None:
        problems = configuration_problems(asdict(self))
        if problems:
            raise InputError("; ".join(problems))

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> Configuration:
        """Return a configuration from plain values.

        Parameters
        ----------
        params : mapping
            Hyperparameters. Names of `REMOVED`, which files of earlier versions have, are ignored.

        Returns
        -------
        Configuration

        Raises
        ------
        InputError
            If a hyperparameter is unknown, or if a value is not valid.
        """
        for name in params:
            if name not in PARAMETERS and name not in REMOVED:
                raise InputError(f"unknown hyperparameter {name!r}{did_you_mean(name, PARAMETERS)}")
        return cls(**{name: value for name, value in params.items() if name in PARAMETERS})

    def as_params(self) -> dict[str, Any]:
        """Return the configuration as plain values."""
        return asdict(self)


PARAMETERS: dict[str, Rule] = {entry.name: entry.metadata["rule"] for entry in fields(Configuration)}
"""Hyperparameter → rule for its values."""

DEFAULTS: dict[str, Any] = {entry.name: entry.default for entry in fields(Configuration)}
"""Hyperparameter → value if a search space does not mention it."""

REMOVED: dict[str, str] = {"patience": "all members train for all epochs"}
"""Hyperparameter of earlier versions → reason why it no longer exists."""

ACTS_WHERE = {
    "transport": "both kinds of modalities are read",
    "ot_entropy": "there is transport between both kinds of modalities",
    "ot_alpha": "transport is fused",
    "alignment_weight": "there is label attention",
    "linear_penalty": "the linear model has a share",
}
"""Hyperparameter → condition under which it has an effect, if there is one."""


def acting(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the hyperparameters of a complete configuration that have an effect.

    Two configurations with the same effective hyperparameters train the same model. For data whose modalities all have
    one role, `modalities` must be that role, see `roles_read`.

    >>> "ot_alpha" in acting({**DEFAULTS, "transport": "linear"})
    False
    >>> "transport" in acting({**DEFAULTS, "modalities": roles_read("both", ["physiological"])})
    False
    """
    inactive = set()
    if params["modalities"] != ModalitySelection.BOTH:
        inactive |= {"transport", "ot_entropy", "ot_alpha"}
    if params["transport"] == TransportKind.NONE:
        inactive |= {"ot_entropy", "ot_alpha"}
    if params["transport"] != TransportKind.FUSED:
        inactive |= {"ot_alpha"}
    if params["label_attention"] == LabelAttentionKind.NONE:
        inactive |= {"alignment_weight"}
    if params["linear_share"] == 0:
        inactive |= {"linear_penalty"}
    return {name: value for name, value in params.items() if name not in inactive}


def roles_read(selection: str, roles: Iterable[str]) -> str:
    """Return the value of `modalities` that says which roles a configuration reads from some data.

    Parameters
    ----------
    selection : str
        Value of `modalities` in the configuration.
    roles : iterable of str
        Role of each modality of the data.

    Returns
    -------
    str
        The selection, except that ``"both"`` becomes the only role of the data if they have one.

    Raises
    ------
    InputError
        If the data have no modality of the selected role.

    >>> roles_read("both", ["physiological", "physiological"])
    'physiological'
    """
    present = set(roles)
    if selection == ModalitySelection.BOTH:
        return selection if len(present) > 1 else str(next(iter(present)))
    if selection not in present:
        only = next(iter(present))
        raise InputError(
            f"modalities must be {ModalitySelection.BOTH} or {only}, because all modalities of the data are {only}, "
            f"got {selection!r}"
        )
    return selection


def single_role_note(roles: Iterable[str]) -> str | None:
    """Return a sentence about data whose modalities all have one role, or None for other data.

    >>> single_role_note(["behavioural", "behavioural"])
    'all modalities are behavioural, so transport is off'
    """
    present = set(roles) & set(enum_values(Role))
    return f"all modalities are {present.pop()}, so transport is off" if len(present) == 1 else None


def configuration_problems(params: Mapping[str, Any]) -> list[str]:
    """Return all problems of a complete configuration, one message each."""
    problems = []
    for name, rule in PARAMETERS.items():
        problem = rule.problem(params[name])
        if problem:
            problems.append(f"{name} {problem}")
    if not problems and params["width"] % params["heads"]:
        problems.append(f"heads must divide width, got width {params['width']} and heads {params['heads']}")
    return problems
