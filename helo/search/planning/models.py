"""Models of a search space: configurations that differ in hyperparameters without effect only are one model."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from helo.configuration import DEFAULTS, acting
from helo.search.planning.space import Choices, Range, Space

Model = tuple[tuple[str, Any], ...]
"""Hyperparameters that have an effect, with their values."""

MAX_GRID: Final = 10_000
"""Maximum number of combinations of values that are listed. A larger space is not searched to its end."""


def model_of(params: Mapping[str, Any]) -> Model:
    """Return the model of a complete configuration.

    >>> model_of({**DEFAULTS, "transport": "none"}) == model_of({**DEFAULTS, "transport": "none", "ot_entropy": 1.0})
    True
    """
    return tuple(sorted(acting(params).items()))


def list_models(space: Space) -> dict[Model, dict[str, Any]] | None:
    """Return the models of a space whose hyperparameters have few values.

    Parameters
    ----------
    space : Space
        Search space without variants.

    Returns
    -------
    dict or None
        Model → searched values of the first configuration that is this model. None if a hyperparameter has infinitely
        many values, or if there are more than `MAX_GRID` combinations.
    """
    values = [_values(entry) for entry in space.searched.values()]
    listed = [one for one in values if one is not None]
    if len(listed) < len(values) or math.prod(map(len, listed)) > MAX_GRID:
        return None
    models: dict[Model, dict[str, Any]] = {}
    for combination in itertools.product(*listed):
        drawn = dict(zip(space.searched, combination, strict=True))
        models.setdefault(model_of({**DEFAULTS, **space.fixed, **drawn}), drawn)
    return models


def _values(entry: Range | Choices) -> list[Any] | range | None:
    """Return all values of a hyperparameter; None if there are infinitely many."""
    if isinstance(entry, Choices):
        return list(entry.values)
    if entry.low == entry.high:
        return [int(entry.low) if entry.whole else entry.low]
    return range(int(entry.low), int(entry.high) + 1) if entry.whole else None


def space_of_models(space: Space) -> Space:
    """Return the space with no more configurations than it has models. `Space.left_out` says so.

    Parameters
    ----------
    space : Space
        The requested space.

    Returns
    -------
    Space
        The space to search. It does not change if it is reduced again.
    """
    models = None if space.variants else list_models(space)
    if models is None or len(models) >= space.configurations:
        return space
    count = "1 model" if len(models) == 1 else f"{len(models)} different models"
    sentence = f"the space holds {count}, fewer than the {space.configurations} configurations that were asked for"
    return replace(space, configurations=len(models), left_out=(*space.left_out, sentence))
