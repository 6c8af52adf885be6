"""Search spaces: read from YAML, with all mistakes reported in one line.

.. code-block:: yaml

    name: small                 # optional; the file's name otherwise
    about: one line             # optional
    configurations: 12          # how many are drawn
    sampler: tpe                # or random
    objective: kl               # inner validation metric that is optimised
    parameters:
      ot_entropy: {low: 1e-3, high: 1, log: true}
      attention_depth: {low: 1, high: 3}
      width: {choices: [16, 32]}
      epochs: 20                # fixed; the same as {value: 20}
    first: {ot_entropy: 0.1}    # optional: values of the first configuration

Hyperparameters that a space does not mention keep the default of `helo.configuration`.

Instead of being drawn, configurations can be listed as the rows of an ablation table. Each variant names the
hyperparameters that it changes. The first variant is the reference of the others. No variant is dropped early:

.. code-block:: yaml

    parameters: {width: 32, epochs: 20}   # values only
    variants:
      whole model: {}
      no transport: {transport: none}
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from helo._yaml import read_yaml
from helo.configuration import ACTS_WHERE, DEFAULTS, PARAMETERS, Rule, acting, configuration_problems
from helo.errors import InputError, did_you_mean, shorten
from helo.metrics import METRICS

SAMPLERS = ("tpe", "random")
_KEYS = ("name", "about", "configurations", "sampler", "objective", "parameters", "first", "variants")
_DRAWING_KEYS = ("configurations", "sampler", "first")
_RANGE_KEYS = ("low", "high", "log", "choices")


@dataclass(frozen=True)
class Range:
    """Interval of numbers from `low` to `high`, both included.

    With `whole` only whole numbers are drawn. With `log` the logarithm is uniform.
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
    """Finite set of values without an order."""

    values: tuple[Any, ...]

    def contains(self, value: Any) -> bool:
        """Return whether a value is one of the choices."""
        return value in self.values

    def as_dict(self) -> dict[str, Any]:
        """Return the entry as in the YAML file."""
        return {"choices": list(self.values)}


@dataclass(frozen=True)
class Space:
    """Search space: hyperparameters, and how configurations are chosen. The module's docstring has the YAML form.

    Attributes
    ----------
    name : str
        Name of the space.
    configurations : int
        Number of configurations.
    searched : mapping of str to Range or Choices
        Hyperparameters that differ between configurations.
    fixed : mapping
        Hyperparameters with one value for all configurations.
    sampler : str
        ``"tpe"``, ``"random"``, or ``"listed"`` for a space with variants.
    objective : str
        Inner validation metric that the search optimises.
    about : str
        Description in one line.
    first : mapping
        Values of searched hyperparameters in the first configuration. The rest of it is drawn.
    variants : mapping of str to mapping
        Name → values of all searched hyperparameters. Empty if configurations are drawn.
    """

    name: str
    configurations: int
    searched: Mapping[str, Range | Choices]
    fixed: Mapping[str, Any] = field(default_factory=dict)
    sampler: str = "tpe"
    objective: str = "kl"
    about: str = ""
    first: Mapping[str, Any] = field(default_factory=dict)
    variants: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def preset_values(self, number: int) -> Mapping[str, Any] | None:
        """Return the searched values of configuration `number` that are not drawn, or None if all are drawn."""
        if self.variants:
            # A probe may use more configurations than there are variants.
            return list(self.variants.values())[number % len(self.variants)]
        return self.first if number == 0 and self.first else None

    def full_params(self, drawn: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values of all hyperparameters: drawn, fixed, and defaults."""
        return {**DEFAULTS, **self.fixed, **drawn}

    def as_dict(self) -> dict[str, Any]:
        """Return the space as plain values, for the manifest. `parse_space` is the inverse."""
        about = {"name": self.name, "about": self.about, "objective": self.objective}
        fixed = {name: {"value": value} for name, value in self.fixed.items()}
        if self.variants:
            variants = {name: dict(values) for name, values in self.variants.items()}
            return {**about, "parameters": fixed, "variants": variants}
        searched = {name: entry.as_dict() for name, entry in self.searched.items()}
        return {
            **about,
            "configurations": self.configurations,
            "sampler": self.sampler,
            "parameters": searched | fixed,
            "first": dict(self.first),
        }


def bundled_spaces() -> dict[str, Path]:
    """Return the paths of the spaces that come with HeLo Search, by name."""
    found = sorted(Path(str(files("helo.search_spaces"))).glob("*.yaml"))
    return {path.stem: path for path in found}


def load_space(name: str) -> Space:
    """Return a bundled space by its name, or the space in a YAML file by its path; raise `InputError` otherwise."""
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
    """Return the space in a YAML file; raise one `InputError` that lists all mistakes."""
    return parse_space(read_yaml(path), str(path), path.stem)


def parse_space(content: Mapping[str, Any], where: str, name: str) -> Space:
    """Return a space from plain values.

    Parameters
    ----------
    content : mapping
        Values as in the YAML file, or from `Space.as_dict`.
    where : str
        Start of the message of an `InputError`: the place of the values.
    name : str
        Name of a space whose values have none.

    Returns
    -------
    Space

    Raises
    ------
    InputError
        If there are mistakes. The message lists all of them.
    """
    if "variants" in content:
        return _listed(content, where, name)
    problems = [f"unknown key {key!r}{did_you_mean(str(key), _KEYS)}" for key in content if key not in _KEYS]
    configurations = content.get("configurations")
    if not isinstance(configurations, int) or isinstance(configurations, bool) or configurations < 1:
        problems.append(f"configurations must be a whole number of at least 1, got {configurations!r}")
    sampler, objective = content.get("sampler", "tpe"), content.get("objective", "kl")
    if sampler not in SAMPLERS:
        problems.append(f"sampler must be one of {', '.join(SAMPLERS)}, got {sampler!r}")
    if objective not in tuple(METRICS):  # a file may hold anything, also what has no hash
        problems.append(f"objective must be one of {', '.join(METRICS)}, got {objective!r}")
    searched, fixed = _parameters(content.get("parameters"), problems)
    first = content.get("first", {})
    _check_first(first, searched, problems)
    if not problems:
        problems += _combinations(searched, fixed) + _idle(searched, fixed)
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


def _listed(content: Mapping[str, Any], where: str, name: str) -> Space:
    """Return a space whose configurations are variants."""
    problems = [f"unknown key {key!r}{did_you_mean(str(key), _KEYS)}" for key in content if key not in _KEYS]
    problems += [f"{key} has no meaning beside variants" for key in _DRAWING_KEYS if key in content]
    objective, variants = content.get("objective", "kl"), content["variants"]
    if objective not in tuple(METRICS):  # a file may hold anything, also what has no hash
        problems.append(f"objective must be one of {', '.join(METRICS)}, got {objective!r}")
    ranges, fixed = _parameters(content["parameters"], problems) if content.get("parameters") else ({}, {})
    if ranges:
        problems.append(f"parameters must have values only beside variants, but {shorten(ranges)} is searched")
    if not isinstance(variants, dict):
        problems.append(f"variants must map names to the hyperparameters that they change, got {variants!r}")
        variants = {}
    base = {**DEFAULTS, **fixed}
    whole: dict[str, dict[str, Any]] = {}
    for variant, changes in variants.items():
        if not isinstance(variant, str) or not variant.strip():
            problems.append(f"variants: a name must be words (in quotes, if need be), got {variant!r}")
        elif changes is not None and not isinstance(changes, dict):
            problems.append(f"variant {variant!r} must map hyperparameters to values, got {changes!r}")
        else:
            found: list[str] = []
            drawn, changed = _parameters(changes, found) if changes else ({}, {})
            found += [f"{key} must be a value, not a range or choices" for key in drawn]
            values = {**base, **changed}
            found = found or configuration_problems(values)
            reference = next(iter(whole.values()), values)
            different = [key for key in changed if changed[key] != reference[key]]
            found = found or [
                f"{key} acts only where {ACTS_WHERE[key]}" for key in different if key not in acting(values)
            ]
            same = [other for other, its in whole.items() if acting(its) == acting(values)]
            if same and not found:
                found.append(f"is the same model as {same[0]!r}")
            problems += [f"variant {variant!r}: {problem}" for problem in found]
            whole[variant] = values
    if len(whole) < 2 and not problems:
        problems.append(f"variants: there must be at least two to compare, got {len(whole)}")
    if problems:
        raise InputError(f"{where}: {'; '.join(problems)}")
    changing = [key for key in base if len({values[key] for values in whole.values()}) > 1]
    return Space(
        name=str(content.get("name", name)),
        about=str(content.get("about", "")),
        configurations=len(whole),
        sampler="listed",
        objective=objective,
        searched={key: Choices(tuple(dict.fromkeys(values[key] for values in whole.values()))) for key in changing},
        fixed={key: value for key, value in fixed.items() if key not in changing},
        variants={variant: {key: values[key] for key in changing} for variant, values in whole.items()},
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
    if rule.words:
        raise InputError("give choices: it has words, not numbers")
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
        raise InputError(f"low > 0 must hold where log is true, got {low:g}")
    return Range(low, high, log, whole=rule.kind is int)


def _check_first(first: Any, searched: dict[str, Range | Choices], problems: list[str]) -> None:
    if not isinstance(first, dict):
        problems.append(f"first must map hyperparameters to values, got {first!r}")
        return
    for name, value in first.items():
        if name not in searched:
            problems.append(f"first: {name!r} is not searched{did_you_mean(str(name), searched)}")
        elif PARAMETERS[name].problem(value) or not searched[name].contains(value):
            problems.append(f"first: {name} must lie in its own range, got {value!r}")


def _idle(searched: dict[str, Range | Choices], fixed: dict[str, Any]) -> list[str]:
    """Return a problem for each searched hyperparameter that has no effect anywhere in the space."""
    words = ("modalities", "transport", "label_attention")
    possible = [
        entry.values if isinstance(entry := searched.get(name), Choices) else (fixed.get(name, DEFAULTS[name]),)
        for name in words
    ]
    somewhere = {
        name
        for values in itertools.product(*possible)
        for name in acting({**DEFAULTS, **dict(zip(words, values, strict=True))})
    }
    return [f"{name} acts only where {ACTS_WHERE[name]}" for name in searched if name not in somewhere]


def _combinations(searched: dict[str, Range | Choices], fixed: dict[str, Any]) -> list[str]:
    """Return the problems of combinations of width and heads, so that no cell fails on them later."""
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
