"""What the selected configurations learnt, as matrices with names. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.estimates import chosen_cells
from helo.names import BEHAVIOURAL, COLUMN, CONFIGURATION, FOLD, KIND, ROW, VALUE


def no_explanations() -> pd.DataFrame:
    """An empty ``explanations.parquet``, for runs that have none."""
    return pd.DataFrame(columns=[CONFIGURATION, FOLD, KIND, ROW, COLUMN, VALUE])


def matrices(explanations: pd.DataFrame, choice: Mapping[str, int], kind: str) -> dict[str, NDArray[np.float64]]:
    """The matrices of one kind by fold, in the order of `choice`: fold → configuration.

    `explanations` is as in ``explanations.parquet``. A fold whose configuration learnt no such thing has none; nor has
    one whose matrix is not whole numbers throughout, or of another shape than the first.
    """
    rows = chosen_cells(explanations[explanations[KIND] == kind], choice).sort_values([ROW, COLUMN], kind="stable")
    groups = {str(fold): group for fold, group in rows.groupby(FOLD, sort=False)}
    found: dict[str, NDArray[np.float64]] = {}
    for fold in choice:
        if fold not in groups:
            continue
        group = groups[fold]
        shape = int(group[ROW].max()) + 1, int(group[COLUMN].max()) + 1
        values = group[VALUE].to_numpy(float)
        alike = all(matrix.shape == shape for matrix in found.values())
        if len(values) == shape[0] * shape[1] and np.isfinite(values).all() and alike:
            found[fold] = values.reshape(shape)
    return found


def token_names(modalities: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Names of a transport plan's rows and columns: the main modality's tokens, and all behavioural ones.

    `modalities` is the manifest's: name → ``role``, ``main``, ``tokens`` and ``columns``. A token of one feature has
    the name of its column, another one that of its modality and its number. What the manifest leaves out has no names.

    >>> eda = {"role": "physiological", "main": True, "tokens": 2, "columns": ["level", "slope"]}
    >>> video = {"role": "behavioural", "tokens": 2, "columns": ["a", "b", "c", "d"]}
    >>> token_names({"eda": eda, "video": video})
    (['level', 'slope'], ['video 1', 'video 2'])
    """
    rows: list[str] = []
    columns: list[str] = []
    for name, entry in modalities.items():
        if entry.get("main"):
            rows += _tokens(name, entry)
        elif entry.get("role") == BEHAVIOURAL:
            columns += _tokens(name, entry)
    return rows, columns


def _tokens(name: str, entry: Mapping[str, Any]) -> list[str]:
    count, features = int(entry.get("tokens", 0)), list(entry.get("columns", ()))
    if count == len(features):
        return [str(feature) for feature in features]
    return [name] if count == 1 else [f"{name} {number}" for number in range(1, count + 1)]
