"""What the selected configurations learnt, as matrices with names. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
from helo.analysis.statistics.estimates import chosen_cells
from numpy.typing import NDArray

from helo.errors import InputError
from helo.names import Column, Explanation, Role
from helo.run.selection import best_per_fold


def empty_explanations() -> pd.DataFrame:
    """An empty ``explanations.parquet``, for runs that have none."""
    return pd.DataFrame(
        columns=[Column.CONFIGURATION, Column.FOLD, Column.KIND, Column.ROW, Column.COLUMN, Column.VALUE]
    )


class LearntMatrices(NamedTuple):
    """Matrices of one kind by fold, and how many folds have a selected configuration."""

    matrices: dict[str, NDArray[np.float64]]
    folds: int

    @property
    def mean(self) -> NDArray[np.float64]:
        """The mean over folds."""
        mean: NDArray[np.float64] = np.mean(list(self.matrices.values()), axis=0)
        return mean

    @property
    def coverage(self) -> str:
        """Over whom the mean is."""
        whole = len(self.matrices) == self.folds
        return f"mean of {self.folds} folds" if whole else f"mean of {len(self.matrices)} of {self.folds} folds"


def learnt_matrices(explanations: pd.DataFrame, cells: pd.DataFrame, objective: str, kind: str) -> LearntMatrices:
    """What the configuration that each fold selects learnt, in the order of the folds in `cells`.

    `explanations`, `cells`: as in ``explanations.parquet`` and ``cells.parquet``. Left out are folds whose
    configuration has no such part, whose best epoch was the one before training, so that it learnt nothing, and whose
    matrix is not finite. `InputError` says why if none is left.
    """
    choice = best_per_fold(cells, objective)
    if not choice:
        raise InputError("no fold has a completed cell")
    if explanations.empty:
        raise InputError("the run does not say what its cells learnt: it was made before they kept it")
    rows = chosen_cells(explanations[explanations[Column.KIND] == kind], choice)
    if rows.empty:
        raise InputError(f"no selected configuration {_PARTS[kind]}")
    selected = chosen_cells(cells, choice)
    trained = set(selected.loc[selected[Column.BEST_EPOCH].fillna(0) > 0, Column.FOLD])
    rows = rows[rows[Column.FOLD].isin(trained)]
    if rows.empty:
        raise InputError("no selected cell learnt anything: before training their validation scores were best")
    rows = rows.sort_values([Column.ROW, Column.COLUMN], kind="stable")
    groups = {str(fold): _matrix(group) for fold, group in rows.groupby(Column.FOLD, sort=False)}
    folds = [str(fold) for fold in cells[Column.FOLD].unique()]
    found = {fold: groups[fold] for fold in folds if fold in groups and np.isfinite(groups[fold]).all()}
    if not found:
        raise InputError("what the selected cells learnt is not finite")
    return LearntMatrices(found, len(choice))


_PARTS: Final[dict[str, str]] = {
    Explanation.LABEL_CORRELATION: "has label attention",
    Explanation.TRANSPORT_PLAN: "has transport",
}


def _matrix(rows: pd.DataFrame) -> NDArray[np.float64]:
    shape = int(rows[Column.ROW].max()) + 1, int(rows[Column.COLUMN].max()) + 1
    matrix: NDArray[np.float64] = rows[Column.VALUE].to_numpy(float).reshape(shape)
    return matrix


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
        elif entry.get("role") == Role.BEHAVIOURAL:
            columns += _tokens(name, entry)
    return rows, columns


def _tokens(name: str, entry: Mapping[str, Any]) -> list[str]:
    count, features = int(entry.get("tokens", 0)), list(entry.get("columns", ()))
    if count == len(features):
        return [str(feature) for feature in features]
    return [name] if count == 1 else [f"{name} {number}" for number in range(1, count + 1)]
