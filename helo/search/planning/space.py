"""Search spaces, read from YAML. All mistakes in a file are reported in one line.

.. code-block:: yaml

    name: small                 # optional; default: the name of the file
    about: one line             # optional description
    configurations: 12          # number of configurations that are drawn
    sampler: tpe                # or random
    objective: kl               # inner validation metric that the search optimises
    parameters:
      ot_entropy: {low: 1e-3, high: 1, log: true}
      attention_depth: {low: 1, high: 3}
      width: {choices: [16, 32]}
      dropout: 0.3              # fixed; the same as {value: 0.3}
      batch_size: auto          # follows from the number of training windows, as do the epochs
      epochs: auto
    steps: 300                  # optional: training steps of a model, which decide the epochs
    first: {ot_entropy: 0.1}    # optional: values of the first configuration

Hyperparameters that a space does not mention keep the default of `helo.configuration`.

Configurations can also be listed instead of drawn, as the rows of an ablation table. Each variant names the
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
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from helo._paths import local_path
from helo._yaml import read_yaml
from helo.configuration import ACTS_WHERE, DEFAULTS, PARAMETERS, REMOVED, acting, configuration_problems
from helo.errors import InputError, did_you_mean, shorten
from helo.metrics import METRICS
from helo.search.planning.space_parameters import (
    Choices,
    Range,
    automatic_problems,
    parse_parameters,
    steps_problems,
    variant_parameters,
    width_and_heads_problems,
)
from helo.training.budget import AUTO, STEPS, resolve_automatic, with_defaults_for_auto

__all__ = ["SAMPLERS", "Choices", "Range", "Space", "bundled_spaces", "load_space", "parse_space", "read_space"]

SAMPLERS = ("tpe", "random")
_KEYS = (
    "name",
    "about",
    "configurations",
    "sampler",
    "objective",
    "parameters",
    "first",
    "variants",
    "steps",
    "left_out",
)
_DRAWING_KEYS = ("configurations", "sampler", "first")


@dataclass(frozen=True)
class Space:
    """Search space: hyperparameters, and how configurations are chosen.

    Parameters
    ----------
    name : str
        Name of the space.
    configurations : int
        Number of configurations.
    searched : mapping of str to Range or Choices
        Hyperparameters that may differ between configurations.
    fixed : mapping
        Hyperparameters with one value for all configurations. Batch size and epochs may be ``"auto"`` until `resolve`
        replaces it.
    sampler : str
        ``"tpe"``, ``"random"``, or ``"listed"`` for a space with variants.
    objective : str
        Inner validation metric that the search optimises.
    about : str
        Description in one line.
    first : mapping
        Values of searched hyperparameters in the first configuration. The other values are drawn.
    variants : mapping of str to mapping
        Name → values of all searched hyperparameters. Empty if configurations are drawn.
    steps : int or None
        Training steps of a model with automatic epochs. None stands for `helo.training.budget.STEPS`.
    left_out : tuple of str
        Sentences on what `helo.search.planning.space_for_data.space_for_roles` and
        `helo.search.planning.models.space_of_models` have left out.
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
    steps: int | None = None
    left_out: tuple[str, ...] = ()

    @property
    def automatic(self) -> tuple[str, ...]:
        """Hyperparameters that the number of training windows determines."""
        return tuple(name for name, value in self.fixed.items() if value == AUTO)

    def preset_values(self, number: int) -> Mapping[str, Any] | None:
        """Return the searched values of configuration `number` that are not drawn, or None if all are drawn."""
        if self.variants:
            # A probe may use more configurations than there are variants.
            return list(self.variants.values())[number % len(self.variants)]
        return self.first if number == 0 and self.first else None

    def full_params(self, drawn: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values of all hyperparameters: drawn, fixed, and defaults."""
        if self.automatic:
            raise ValueError(f"space {self.name} must be resolved first: {', '.join(self.automatic)} are automatic")
        return {**DEFAULTS, **self.fixed, **drawn}

    def resolve(self, windows: int) -> Space:
        """Return the space with numbers in place of automatic hyperparameters.

        Parameters
        ----------
        windows : int
            Number of windows that a model is trained on.

        Returns
        -------
        Space

        Examples
        --------
        >>> space = Space("tiny", 1, {}, {"batch_size": "auto", "epochs": "auto"}, steps=100)
        >>> space.resolve(windows=240).fixed
        {'batch_size': 16, 'epochs': 7}
        """
        if not self.automatic:
            return self
        resolved = resolve_automatic({**DEFAULTS, **self.fixed}, windows, self.steps or STEPS)
        return replace(self, fixed={name: resolved[name] for name in self.fixed}, steps=None)

    def as_dict(self) -> dict[str, Any]:
        """Return the space as plain values, for the manifest. `parse_space` is the inverse."""
        about: dict[str, Any] = {"name": self.name, "about": self.about, "objective": self.objective}
        if self.steps is not None:
            about["steps"] = self.steps
        if self.left_out:
            about["left_out"] = list(self.left_out)
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
    """Return a search space by name or path.

    Parameters
    ----------
    name : str
        Name of a bundled space, or path of a YAML file.

    Returns
    -------
    Space

    Raises
    ------
    InputError
        If there is no such space, or if there are mistakes in the file.
    """
    bundled = bundled_spaces()
    if name in bundled:
        return read_space(bundled[name])
    path = local_path(name)
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
        Origin of the values, for the message of an `InputError`.
    name : str
        Name of the space if the values contain no name.

    Returns
    -------
    Space

    Raises
    ------
    InputError
        If there are mistakes. The message lists all of them.
    """
    if "variants" in content:
        return _parse_listed(content, where, name)
    problems = _key_problems(content)
    configurations = content.get("configurations")
    if not isinstance(configurations, int) or isinstance(configurations, bool) or configurations < 1:
        problems.append(f"configurations must be a whole number of at least 1, got {configurations!r}")
    sampler, objective = content.get("sampler", "tpe"), content.get("objective", "kl")
    if sampler not in SAMPLERS:
        problems.append(f"sampler must be one of {', '.join(SAMPLERS)}, got {sampler!r}")
    _check_objective(objective, problems)
    searched, fixed = parse_parameters(content.get("parameters"), problems)
    first = content.get("first", {})
    _check_first(first, searched, problems)
    problems += automatic_problems(searched, fixed) + steps_problems(content.get("steps"), fixed)
    if not problems:
        problems += width_and_heads_problems(searched, fixed) + _ineffective_parameters(searched, fixed)
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
        steps=content.get("steps"),
        left_out=tuple(content.get("left_out", ())),
    )


def _key_problems(content: Mapping[str, Any]) -> list[str]:
    problems = [f"unknown key {key!r}{did_you_mean(str(key), _KEYS)}" for key in content if key not in _KEYS]
    left_out = content.get("left_out", [])
    if not isinstance(left_out, list) or not all(isinstance(sentence, str) for sentence in left_out):
        problems.append(f"left_out must be a list of sentences, got {left_out!r}")
    return problems


def _check_objective(objective: Any, problems: list[str]) -> None:
    # `in` a tuple compares values. `in` a mapping would raise for a value without a hash, such as a list.
    if objective not in tuple(METRICS):
        problems.append(f"objective must be one of {', '.join(METRICS)}, got {objective!r}")


def _parse_listed(content: Mapping[str, Any], where: str, name: str) -> Space:
    """Return a space whose configurations are listed as variants."""
    problems = _key_problems(content)
    problems += [f"{key} cannot be given together with variants" for key in _DRAWING_KEYS if key in content]
    objective, variants = content.get("objective", "kl"), content["variants"]
    _check_objective(objective, problems)
    ranges, fixed = parse_parameters(content["parameters"], problems) if content.get("parameters") else ({}, {})
    if ranges:
        problems.append(
            f"parameters must be single values if there are variants, got a range or choices for {shorten(ranges)}"
        )
    if not isinstance(variants, dict):
        problems.append(f"variants must map names to the hyperparameters that they change, got {variants!r}")
        variants = {}
    problems += steps_problems(content.get("steps"), fixed)
    base = {**DEFAULTS, **fixed}
    models = _variant_params(variants, base, problems)
    if len(models) < 2 and not problems:
        problems.append(f"variants must be at least two, so that they can be compared, got {len(models)}")
    if problems:
        raise InputError(f"{where}: {'; '.join(problems)}")
    found = variant_parameters(models)
    return Space(
        name=str(content.get("name", name)),
        about=str(content.get("about", "")),
        configurations=len(models),
        sampler="listed",
        objective=objective,
        searched=found.searched,
        fixed={key: value for key, value in (fixed | found.shared).items() if key not in found.searched},
        variants=found.variants,
        steps=content.get("steps"),
        left_out=tuple(content.get("left_out", ())),
    )


def _variant_params(variants: dict[Any, Any], base: dict[str, Any], problems: list[str]) -> dict[str, dict[str, Any]]:
    """Return all hyperparameters of each variant by its name, and add the mistakes to `problems`."""
    models: dict[str, dict[str, Any]] = {}
    for variant, changes in variants.items():
        if not isinstance(variant, str) or not variant.strip():
            problems.append(f"variants: a name must be text (put it in quotes if necessary), got {variant!r}")
        elif changes is not None and not isinstance(changes, dict):
            problems.append(f"variant {variant!r} must map hyperparameters to values, got {changes!r}")
        else:
            params, found = _apply_changes(changes or {}, base, models)
            problems += [f"variant {variant!r}: {problem}" for problem in found]
            models[variant] = params
    return models


def _apply_changes(
    changes: dict[str, Any], base: dict[str, Any], models: dict[str, dict[str, Any]]
) -> tuple[dict[str, Any], list[str]]:
    """Return all hyperparameters of a variant, and its mistakes. `models` are the variants before it."""
    found: list[str] = []
    ranges, changed = parse_parameters(changes, found) if changes else ({}, {})
    found += [f"{key} must be a value, not a range or choices" for key in ranges]
    found += [
        f"{key}: auto must hold for all variants, under parameters, got {base[key]} there and {value} here"
        for key, value in changed.items()
        if AUTO in (value, base[key])
    ]
    found = found or automatic_problems(changed, base)
    params = {**base, **changed}
    found = found or configuration_problems(with_defaults_for_auto(params))
    reference = next(iter(models.values()), params)
    different = [key for key in changed if changed[key] != reference[key]]
    effective = acting(params)
    found = found or [f"{key} acts only where {ACTS_WHERE[key]}" for key in different if key not in effective]
    same = [variant for variant, earlier in models.items() if acting(earlier) == effective]
    if same and not found:
        found.append(f"is the same model as {same[0]!r}")
    return params, found


def _check_first(first: Any, searched: dict[str, Range | Choices], problems: list[str]) -> None:
    if not isinstance(first, dict):
        problems.append(f"first must map hyperparameters to values, got {first!r}")
        return
    for name, value in first.items():
        if name in REMOVED:
            problems.append(f"first: {name} was removed: {REMOVED[name]}")
        elif name not in searched:
            problems.append(f"first: {name!r} is not searched{did_you_mean(str(name), searched)}")
        elif PARAMETERS[name].problem(value) or not searched[name].contains(value):
            problems.append(f"first: {name} must lie in its range or choices under parameters, got {value!r}")


def _ineffective_parameters(searched: dict[str, Range | Choices], fixed: dict[str, Any]) -> list[str]:
    """Return a problem for each searched hyperparameter that has no effect anywhere in the space."""
    words = ("modalities", "transport", "label_attention")
    possible = [
        entry.values if isinstance(entry := searched.get(name), Choices) else (fixed.get(name, DEFAULTS[name]),)
        for name in words
    ]
    effective = {
        name
        for values in itertools.product(*possible)
        for name in acting({**DEFAULTS, **dict(zip(words, values, strict=True))})
    }
    return [f"{name} acts only where {ACTS_WHERE[name]}" for name in searched if name not in effective]
