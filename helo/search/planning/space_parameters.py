"""Hyperparameters of a search space: ranges, choices, and how they are read."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from helo.configuration import DEFAULTS, PARAMETERS, REMOVED, Rule, acting, configuration_problems
from helo.errors import InputError, did_you_mean, shorten
from helo.training.budget import AUTO, AUTOMATIC

_RANGE_KEYS = ("low", "high", "log", "choices")

MAX_STEPS = 10_000_000
"""Largest value of the key ``steps`` of a space."""


@dataclass(frozen=True)
class Range:
    """Interval of numbers.

    Attributes
    ----------
    low, high : float
        Smallest and largest value, both included.
    log : bool
        Draw uniformly on a logarithmic scale.
    whole : bool
        Draw whole numbers only.
    """

    low: float
    high: float
    log: bool
    whole: bool

    def contains(self, value: Any) -> bool:
        """Return whether a value lies in the range."""
        return bool(self.low <= value <= self.high)

    def as_dict(self) -> dict[str, Any]:
        """Return the entry as in the YAML file."""
        return {"low": self.low, "high": self.high, "log": self.log}


@dataclass(frozen=True)
class Choices:
    """Finite set of values without an order.

    Attributes
    ----------
    values : tuple
        Numbers or words.
    """

    values: tuple[Any, ...]

    def contains(self, value: Any) -> bool:
        """Return whether a value is one of the choices."""
        return value in self.values

    def as_dict(self) -> dict[str, Any]:
        """Return the entry as in the YAML file."""
        return {"choices": list(self.values)}


def parse_parameters(entries: Any, problems: list[str]) -> tuple[dict[str, Range | Choices], dict[str, Any]]:
    """Return the searched and the fixed hyperparameters of a space.

    Parameters
    ----------
    entries : object
        Value of the key ``parameters`` in a space. It should map hyperparameters to ranges, choices or values.
    problems : list of str
        Mistakes that were found. Those in `entries` are appended.

    Returns
    -------
    dict of str to Range or Choices, dict
        Searched hyperparameters, and fixed ones with their values.
    """
    searched: dict[str, Range | Choices] = {}
    fixed: dict[str, Any] = {}
    if not isinstance(entries, dict) or not entries:
        problems.append(f"parameters must map hyperparameters to ranges, choices or values, got {entries!r}")
        return searched, fixed
    for name, entry in entries.items():
        rule = PARAMETERS.get(name)
        if name in REMOVED:
            problems.append(f"{name} was removed: {REMOVED[name]}")
        elif rule is None:
            problems.append(
                f"unknown hyperparameter {name!r}{did_you_mean(str(name), PARAMETERS)}; "
                f"known are {', '.join(PARAMETERS)}"
            )
        elif isinstance(entry, dict) and set(entry) != {"value"}:
            try:
                searched[name] = _parse_searched(rule, entry, name in AUTOMATIC)
            except InputError as error:
                problems.append(f"{name}: {error}")
        else:
            value = entry["value"] if isinstance(entry, dict) else entry
            if name in AUTOMATIC and value == AUTO:
                fixed[name] = AUTO
            elif rule.problem(value):
                problems.append(f"{name} {rule.problem(value)}")
            else:
                fixed[name] = rule.kind(value)
    return searched, fixed


def automatic_problems(varied: Collection[str], fixed: Mapping[str, Any]) -> list[str]:
    """Return a problem for each `AUTO` whose value would differ between configurations.

    Parameters
    ----------
    varied : collection of str
        Hyperparameters that are searched, or that a variant changes.
    fixed : mapping
        Values that all other configurations have.

    Returns
    -------
    list of str
    """
    problems = []
    for place, name in enumerate(AUTOMATIC):
        if fixed.get(name) == AUTO:
            problems += [
                f"{name}: auto needs one value of {other} for all configurations"
                for other in AUTOMATIC[:place]
                if other in varied
            ]
    return problems


def steps_problems(steps: Any, fixed: Mapping[str, Any]) -> list[str]:
    """Return the problems of the key ``steps`` of a space. None, a missing key, has no problem."""
    if steps is None:
        return []
    if not isinstance(steps, int) or isinstance(steps, bool) or not 1 <= steps <= MAX_STEPS:
        return [f"steps must be a whole number from 1 to {MAX_STEPS}, got {steps!r}"]
    if fixed.get("epochs") != AUTO:
        return [f"steps acts only with epochs: auto, got epochs: {fixed.get('epochs', 'a range, choices or nothing')}"]
    return []


def _parse_searched(rule: Rule, entry: dict[str, Any], can_be_auto: bool) -> Range | Choices:
    """Return the range or the choices of a hyperparameter; raise `InputError` at the first mistake."""
    if can_be_auto and AUTO in (entry.get("low"), entry.get("high"), *_as_list(entry.get("choices"))):
        raise InputError("auto must be the only value, not part of a range or of choices")
    for key in entry:
        if key not in _RANGE_KEYS:
            raise InputError(f"unknown key {key!r}{did_you_mean(str(key), _RANGE_KEYS)}")
    if "choices" not in entry:
        return _parse_range(rule, entry)
    choices = entry["choices"]
    if len(entry) > 1:
        raise InputError("give either choices, or low and high")
    if not isinstance(choices, list) or not choices:
        raise InputError(f"choices must be a list of values, got {choices!r}")
    for value in choices:
        if rule.problem(value):
            raise InputError(f"each choice {rule.problem(value)}")
    if len(set(choices)) < len(choices):
        raise InputError(f"choices must differ, got {choices}")
    return Choices(tuple(rule.kind(value) for value in choices))


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _parse_range(rule: Rule, entry: dict[str, Any]) -> Range:
    if rule.words:
        raise InputError("must have choices, because its values are words and not numbers")
    for key in ("low", "high"):
        if key not in entry:
            raise InputError(f"{key} is missing")
        if rule.problem(entry[key]):
            raise InputError(f"{key} {rule.problem(entry[key])}")
    number = int if rule.kind is int else float
    low, high, log = number(entry["low"]), number(entry["high"]), entry.get("log", False)
    if not isinstance(log, bool):
        raise InputError(f"log must be true or false, got {log!r}")
    if not low < high:
        raise InputError(f"low < high must hold, got low {low:g} and high {high:g}")
    if log and low <= 0:
        raise InputError(f"low > 0 must hold if log is true, got {low:g}")
    return Range(low, high, log, whole=rule.kind is int)


class VariantParameters(NamedTuple):
    """Hyperparameters of listed variants.

    Attributes
    ----------
    searched : dict of str to Choices
        Hyperparameters that differ between variants.
    shared : dict
        Value of each other hyperparameter that is not the default.
    variants : dict of str to dict
        Name → values of the searched hyperparameters.
    """

    searched: dict[str, Range | Choices]
    shared: dict[str, Any]
    variants: dict[str, dict[str, Any]]


def variant_parameters(models: Mapping[str, Mapping[str, Any]]) -> VariantParameters:
    """Return what differs between variants, and what they share.

    Parameters
    ----------
    models : mapping of str to mapping
        Name → values of all hyperparameters. The first variant is the reference of the others. A hyperparameter that
        has no effect in a variant gets the value of the reference.

    Returns
    -------
    VariantParameters
    """
    reference = next(iter(models.values()))
    values = {variant: {**reference, **acting(params)} for variant, params in models.items()}
    changing = [key for key in reference if len({params[key] for params in values.values()}) > 1]
    return VariantParameters(
        {key: Choices(tuple(dict.fromkeys(params[key] for params in values.values()))) for key in changing},
        {key: value for key, value in reference.items() if key not in changing and value != DEFAULTS[key]},
        {variant: {key: params[key] for key in changing} for variant, params in values.items()},
    )


def width_and_heads_problems(searched: dict[str, Range | Choices], fixed: dict[str, Any]) -> list[str]:
    """Return the problems of all combinations of width and heads, so that no cell fails because of them later."""
    values: list[list[Any]] = []
    for name in ("width", "heads"):
        entry = searched.get(name)
        if isinstance(entry, Range):
            return [f"{name} must be a value or choices, not a range, because heads must divide width"]
        values.append(list(entry.values) if entry else [fixed.get(name, DEFAULTS[name])])
    problems = {
        problem
        for width, heads in itertools.product(*values)
        for problem in configuration_problems({**DEFAULTS, "width": width, "heads": heads})
    }
    return [shorten(sorted(problems), 2)] if problems else []
