"""The searched hyperparameters of a run: what was tried, on which scale, and where it acts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from helo.configuration import DEFAULTS, PARAMETERS, acting
from helo.names import Column, Prefix


class SearchedParameter(NamedTuple):
    """A hyperparameter and what it was in each configuration in which it acts.

    - `values`: indexed by configuration: numbers, or the labels of choices
    - `choices`: the labels that were tried, in the order of the space; empty for a number
    - `log`: whether the space is logarithmic in it; `whole`: whether it is a whole number
    - `low`, `high`: bounds of the space, or what was tried where that is more; NaN for choices
    - `defined`: whether the space searches it; listed variants change hyperparameters that it does not search
    """

    name: str
    values: pd.Series
    choices: tuple[str, ...]
    log: bool
    whole: bool
    low: float
    high: float
    defined: bool


def searched_parameters(configurations: pd.DataFrame, parameters: Mapping[str, Any]) -> list[SearchedParameter]:
    """The hyperparameters that take two values or more where they act, in the order of the columns.

    - `configurations`: a row per configuration, with columns ``configuration`` and ``param_<name>``
    - `parameters`: name to ``{low, high, log, choices}`` or ``{value}``, as in the manifest's space

    A value that does not act (α where transport is not fused) says nothing and is left out.
    """
    table = configurations.set_index(Column.CONFIGURATION)
    acts = _acts(table)
    found = []
    for column in (name for name in table.columns if name.startswith(Prefix.PARAM)):
        name = column.removeprefix(Prefix.PARAM)
        definition = parameters.get(name)
        definition = definition if isinstance(definition, Mapping) else {}
        values = table.loc[acts[name], column]
        if None in (definition.get("choices") or ()):  # a choice like any other
            values = values.astype(object).where(values.notna(), str(None))
        values = values.dropna()
        if values.map(str).nunique() > 1:
            found.append(_searched(name, values, definition))
    return found


def _acts(table: pd.DataFrame) -> pd.DataFrame:
    """Whether each parameter acts in each configuration; parameters that the run does not know have their default."""
    params = table.filter(regex=f"^{Prefix.PARAM}").rename(columns=lambda column: column.removeprefix(Prefix.PARAM))
    # Only words decide what acts, so there are few combinations to ask about.
    words = [name for name in params if isinstance(DEFAULTS.get(name), str)]
    found = pd.DataFrame(True, index=params.index, columns=params.columns)
    groups = params.groupby(words, dropna=False).groups if words else {(): params.index}
    for values, rows in groups.items():
        given = dict(zip(words, values if isinstance(values, tuple) else (values,), strict=True))
        active = acting({**DEFAULTS, **given})
        found.loc[rows, [name for name in params if name in DEFAULTS and name not in active]] = False
    return found


def _searched(name: str, values: pd.Series, definition: Mapping[str, Any]) -> SearchedParameter:
    offered = definition.get("choices")
    defined = bool(definition) and "value" not in definition
    numeric = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    if offered or not numeric:
        # A column that mixes whole and broken numbers holds floats: 64.0 is the choice 64.
        known = {choice: str(choice) for choice in offered or () if isinstance(choice, int | float | str)}
        labels = [known.get(value, str(value)) for value in values.tolist()]
        order = dict.fromkeys(str(choice) for choice in offered or ())
        choices = tuple(value for value in (*order, *sorted(set(labels) - set(order))) if value in labels)
        return SearchedParameter(
            name, pd.Series(labels, values.index), choices, False, False, math.nan, math.nan, defined
        )
    numbers = values.astype(float)
    bounds = [float(value) for value in (definition.get("low"), definition.get("high")) if value is not None]
    low, high = min([*bounds, numbers.min()]), max([*bounds, numbers.max()])
    rule = PARAMETERS.get(name)
    whole = bool((numbers == np.round(numbers)).all()) and (rule is None or rule.kind is int)
    return SearchedParameter(name, numbers, (), bool(definition.get("log")) and low > 0, whole, low, high, defined)
