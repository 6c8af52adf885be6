"""The searched hyperparameters of a run: tried values, bounds, and the configurations in which they act."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from helo.configuration import DEFAULTS, PARAMETERS, acting
from helo.names import Column, Prefix


class SearchedParameter(NamedTuple):
    """A hyperparameter with its values in all configurations in which it acts.

    Attributes
    ----------
    name : str
        Name of the hyperparameter.
    values : Series
        Numbers, or labels of choices, indexed by configuration.
    choices : tuple of str
        Labels of the tried choices in the order of the space; empty for a number.
    log : bool
        Whether the space is logarithmic.
    whole : bool
        Whether all values are integers.
    low, high : float
        Bounds of the space, widened to the tried values; NaN for choices.
    defined : bool
        Whether the space searches the hyperparameter. Listed variants may change other hyperparameters.
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
    """Return the hyperparameters with at least two values in the configurations in which they act.

    A hyperparameter may be inactive in a configuration, as α is unless transport is fused. Inactive values are left
    out.

    Parameters
    ----------
    configurations : DataFrame
        A row per configuration, with columns ``configuration`` and ``param_<name>``.
    parameters : mapping
        Hyperparameters of the manifest's space: name → ``{low, high, log, choices}`` or ``{value}``.

    Returns
    -------
    list of SearchedParameter
        In the order of the columns.
    """
    table = configurations.set_index(Column.CONFIGURATION)
    acts = find_acting(table)
    searched = []
    for column in (name for name in table.columns if name.startswith(Prefix.PARAM)):
        name = column.removeprefix(Prefix.PARAM)
        definition = parameters.get(name)
        definition = definition if isinstance(definition, Mapping) else {}
        values = table.loc[acts[name], column]
        if None in (definition.get("choices") or ()):  # pandas reads the choice None as a missing value
            values = values.astype(object).where(values.notna(), str(None))
        values = values.dropna()
        if values.map(str).nunique() > 1:
            searched.append(_searched(name, values, definition))
    return searched


def find_acting(table: pd.DataFrame) -> pd.DataFrame:
    """Return whether each hyperparameter acts in each configuration; absent hyperparameters have their defaults."""
    params = table.filter(regex=f"^{Prefix.PARAM}").rename(columns=lambda column: column.removeprefix(Prefix.PARAM))
    # Only hyperparameters with string values switch others off, so there are few combinations to evaluate.
    words = [name for name in params if isinstance(DEFAULTS.get(name), str)]
    acts = pd.DataFrame(True, index=params.index, columns=params.columns)
    # With a list of one name, versions of pandas differ in whether the keys are tuples.
    by = words[0] if len(words) == 1 else words
    groups = params.groupby(by, dropna=False).groups if words else {(): params.index}
    for values, rows in groups.items():
        given = dict(zip(words, values if isinstance(values, tuple) else (values,), strict=True))
        active = acting({**DEFAULTS, **given})
        acts.loc[rows, [name for name in params if name in DEFAULTS and name not in active]] = False
    return acts


def _searched(name: str, values: pd.Series, definition: Mapping[str, Any]) -> SearchedParameter:
    offered = definition.get("choices")
    defined = bool(definition) and "value" not in definition
    numeric = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    if offered or not numeric:
        # A column with integers and floats holds floats only: 64.0 has the label of the choice 64.
        label_of = {choice: str(choice) for choice in offered or () if isinstance(choice, int | float | str)}
        labels = [label_of.get(value, str(value)) for value in values.tolist()]
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
