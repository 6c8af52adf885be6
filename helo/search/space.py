"""A search space: YAML to parameters, with every mistake said in one line.

.. code-block:: yaml

    name: small                 # optional; the file's name otherwise
    about: one line             # optional
    configurations: 12          # how many are drawn
    sampler: tpe                # or random
    objective: kl               # the inner validation measure that is minimised
    parameters:
      ot_entropy: {low: 1e-3, high: 1, log: true}
      attention_depth: {low: 1, high: 3}
      width: {choices: [16, 32]}
      epochs: 20                # fixed; {value: 20} says the same
    first: {ot_entropy: 0.1}    # optional: part of the first configuration

Hyperparameters that a space does not mention keep the default of `helo.configuration`.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from helo.configuration import DEFAULTS, PARAMETERS, Rule, configuration_problems
from helo.errors import InputError, did_you_mean, shorten
from helo.names import METRICS
from helo.yaml import read_yaml

SAMPLERS = ("tpe", "random")
_KEYS = ("name", "about", "configurations", "sampler", "objective", "parameters", "first")
_RANGE_KEYS = ("low", "high", "log", "choices")


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included; whole ones if `whole`; even in the logarithm if `log`."""

    low: float
    high: float
    log: bool
    whole: bool

    def holds(self, value: Any) -> bool:
        """Whether a value lies in the range."""
        return bool(self.low <= value <= self.high)

    def as_dict(self) -> dict[str, Any]:
        """As in the YAML."""
        return {"low": self.low, "high": self.high, "log": self.log}


@dataclass(frozen=True)
class Choices:
    """A few values, in no order."""

    values: tuple[Any, ...]

    def holds(self, value: Any) -> bool:
        """Whether a value is one of them."""
        return value in self.values

    def as_dict(self) -> dict[str, Any]:
        """As in the YAML."""
        return {"choices": list(self.values)}


@dataclass(frozen=True)
class Space:
    """What is searched, and how: see the module's docstring."""

    name: str
    configurations: int
    searched: Mapping[str, Range | Choices]
    fixed: Mapping[str, Any] = field(default_factory=dict)
    sampler: str = "tpe"
    objective: str = "kl"
    about: str = ""
    first: Mapping[str, Any] = field(default_factory=dict)

    def params(self, drawn: Mapping[str, Any]) -> dict[str, Any]:
        """A whole configuration: drawn values, fixed ones, and defaults."""
        return {**DEFAULTS, **self.fixed, **drawn}

    def as_dict(self) -> dict[str, Any]:
        """The space as plain values, for the manifest."""
        return {
            "name": self.name,
            "about": self.about,
            "configurations": self.configurations,
            "sampler": self.sampler,
            "objective": self.objective,
            "parameters": {
                **{name: searched.as_dict() for name, searched in self.searched.items()},
                **{name: {"value": value} for name, value in self.fixed.items()},
            },
            "first": dict(self.first),
        }


def bundled_spaces() -> dict[str, Path]:
    """The spaces that come with HeLo Search, by name."""
    found = sorted(Path(str(files("search_spaces"))).glob("*.yaml"))
    return {path.stem: path for path in found}


def load_space(name: str) -> Space:
    """Load a bundled space by its name, or a YAML file by its path; raise `InputError` otherwise."""
    bundled = bundled_spaces()
    if name in bundled:
        return read_space(bundled[name])
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        return read_space(path)
    raise InputError(
        f"unknown space {name!r}{did_you_mean(name, bundled)}; known are {', '.join(bundled)}, "
        "or give the path of a .yaml file"
    )


def read_space(path: Path) -> Space:
    """Read a space from a YAML file; all that is wrong with it is in one `InputError`."""
    return parse_space(read_yaml(path), str(path), path.stem)


def parse_space(content: Mapping[str, Any], where: str, name: str) -> Space:
    """A space from plain values, as in the YAML file or as from `Space.as_dict`.

    `where` begins the message of an `InputError`; `name` is the name of a space that gives none.
    """
    problems: list[str] = []
    problems += [f"unknown key {key!r}{did_you_mean(str(key), _KEYS)}" for key in content if key not in _KEYS]
    configurations = content.get("configurations")
    if not isinstance(configurations, int) or isinstance(configurations, bool) or configurations < 1:
        problems.append(f"configurations must be a whole number of at least 1, got {configurations!r}")
    sampler, objective = content.get("sampler", "tpe"), content.get("objective", "kl")
    if sampler not in SAMPLERS:
        problems.append(f"sampler must be one of {', '.join(SAMPLERS)}, got {sampler!r}")
    if objective not in METRICS:
        problems.append(f"objective must be one of {', '.join(METRICS)}, got {objective!r}")
    searched, fixed = _parameters(content.get("parameters"), problems)
    first = content.get("first", {})
    _check_first(first, searched, problems)
    if not problems:
        problems += _combinations(searched, fixed)
    if problems:
        raise InputError(f"{where}: {'; '.join(problems)}")
    return Space(
        name=str(content.get("name", name)),
        about=str(content.get("about", "")),
        configurations=int(configurations or 0),
        sampler=sampler,
        objective=objective,
        searched=searched,
        fixed=fixed,
        first=first,
    )


def _parameters(entries: Any, problems: list[str]) -> tuple[dict[str, Range | Choices], dict[str, Any]]:
    searched: dict[str, Range | Choices] = {}
    fixed: dict[str, Any] = {}
    if not isinstance(entries, dict) or not entries:
        problems.append(f"parameters must map hyperparameters to ranges, choices or values, got {entries!r}")
        return searched, fixed
    for name, entry in entries.items():
        rule = PARAMETERS.get(name)
        if rule is None:
            problems.append(
                f"unknown hyperparameter {name!r}{did_you_mean(str(name), PARAMETERS)}; "
                f"known are {', '.join(PARAMETERS)}"
            )
        elif isinstance(entry, dict) and set(entry) != {"value"}:
            try:
                searched[name] = _searched(rule, entry)
            except InputError as error:
                problems.append(f"{name}: {error}")
        else:
            value = entry["value"] if isinstance(entry, dict) else entry
            if rule.problem(value):
                problems.append(f"{name} {rule.problem(value)}")
            else:
                fixed[name] = rule.kind(value)
    return searched, fixed


def _searched(rule: Rule, entry: dict[str, Any]) -> Range | Choices:
    for key in entry:
        if key not in _RANGE_KEYS:
            raise InputError(f"unknown key {key!r}{did_you_mean(str(key), _RANGE_KEYS)}")
    if "choices" in entry:
        choices = entry["choices"]
        if len(entry) > 1:
            raise InputError("give either choices or low and high")
        if not isinstance(choices, list) or not choices:
            raise InputError(f"choices must be a list of values, got {choices!r}")
        for value in choices:
            if rule.problem(value):
                raise InputError(f"each choice {rule.problem(value)}")
        if len(set(choices)) < len(choices):
            raise InputError(f"choices must differ, got {choices}")
        return Choices(tuple(rule.kind(value) for value in choices))
    for key in ("low", "high"):
        if key not in entry:
            raise InputError(f"{key} is missing")
        if rule.problem(entry[key]):
            raise InputError(f"{key} {rule.problem(entry[key])}")
    low, high, log = rule.kind(entry["low"]), rule.kind(entry["high"]), entry.get("log", False)
    if not isinstance(log, bool):
        raise InputError(f"log must be true or false, got {log!r}")
    if not low < high:
        raise InputError(f"low < high must hold, got low {low:g} and high {high:g}")
    if log and low <= 0:
        raise InputError(f"low > 0 must hold where log is true, got {low:g}")
    return Range(low, high, log, whole=rule.kind is int)


def _check_first(first: Any, searched: dict[str, Range | Choices], problems: list[str]) -> None:
    if not isinstance(first, dict):
        problems.append(f"first must map hyperparameters to values, got {first!r}")
        return
    for name, value in first.items():
        if name not in searched:
            problems.append(f"first: {name!r} is not searched{did_you_mean(str(name), searched)}")
        elif PARAMETERS[name].problem(value) or not searched[name].holds(value):
            problems.append(f"first: {name} must lie in its own range, got {value!r}")


def _combinations(searched: dict[str, Range | Choices], fixed: dict[str, Any]) -> list[str]:
    """Check that every combination of width and heads can be built: the search must not find out."""
    values: list[list[Any]] = []
    for name in ("width", "heads"):
        entry = searched.get(name)
        if isinstance(entry, Range):
            return [f"{name} must be a value or choices: heads must divide width, and a range holds what does not"]
        values.append(list(entry.values) if entry else [fixed.get(name, DEFAULTS[name])])
    problems = {
        problem
        for width, heads in itertools.product(*values)
        for problem in configuration_problems({**DEFAULTS, "width": width, "heads": heads})
    }
    return [shorten(sorted(problems), 2)] if problems else []
