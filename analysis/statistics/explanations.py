"""Label correlations and transport plans that the selected configurations learnt. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from helo.analysis.statistics.estimates import chosen_cells
from helo.errors import InputError
from helo.names import Column, Explanation, Role
from helo.run.selection import best_per_fold


def empty_explanations() -> pd.DataFrame:
    """Return an empty table with the columns of ``explanations.parquet``, for runs without this file."""
    return pd.DataFrame(
        columns=[Column.CONFIGURATION, Column.FOLD, Column.KIND, Column.ROW, Column.COLUMN, Column.VALUE]
    )


class LearntMatrices(NamedTuple):
    """Learnt matrices of one kind.

    Attributes
    ----------
    matrices : dict of str to ndarray
        Fold → matrix. All matrices have the same shape.
    folds : int
        Number of folds with a selected configuration, including those without a matrix.
    """

    matrices: dict[str, NDArray[np.float64]]
    folds: int

    @property
    def mean(self) -> NDArray[np.float64]:
        """Mean matrix over folds."""
        mean: NDArray[np.float64] = np.mean(list(self.matrices.values()), axis=0)
        return mean

    @property
    def coverage(self) -> str:
        """Number of folds in the mean, in words."""
        if len(self.matrices) == self.folds:
            return f"mean of {self.folds} folds"
        return f"mean of {len(self.matrices)} of {self.folds} folds"


def learnt_matrices(explanations: pd.DataFrame, cells: pd.DataFrame, objective: str, kind: str) -> LearntMatrices:
    """Return the matrices that the selected configuration of each fold learnt.

    A fold is left out if its configuration lacks this part of the model, if its best epoch was the one before
    training, or if its matrix is not finite.

    Parameters
    ----------
    explanations : DataFrame
        Columns of ``explanations.parquet``.
    cells : DataFrame
        Columns of ``cells.parquet``.
    objective : str
        Metric whose inner validation score selects configurations.
    kind : str
        One of `helo.names.Explanation`.

    Returns
    -------
    LearntMatrices
        Matrices in the order of the folds in `cells`.

    Raises
    ------
    InputError
        If all folds are left out. The message states the reason.
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
    matrices = {fold: groups[fold] for fold in folds if fold in groups and np.isfinite(groups[fold]).all()}
    if not matrices:
        raise InputError("what the selected cells learnt is not finite")
    return LearntMatrices(matrices, len(choice))


_PARTS: Final[dict[str, str]] = {
    Explanation.LABEL_CORRELATION: "has label attention",
    Explanation.TRANSPORT_PLAN: "has transport",
}


def _matrix(rows: pd.DataFrame) -> NDArray[np.float64]:
    shape = int(rows[Column.ROW].max()) + 1, int(rows[Column.COLUMN].max()) + 1
    matrix: NDArray[np.float64] = rows[Column.VALUE].to_numpy(float).reshape(shape)
    return matrix


def token_names(modalities: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Return the names of the rows and columns of a transport plan.

    A token of one feature has the name of the feature. Any other token has the name of its modality and, if the
    modality has several tokens, its number.

    Parameters
    ----------
    modalities : mapping
        Modalities of the manifest: name → ``role``, ``main``, ``tokens`` and ``columns``.

    Returns
    -------
    rows : list of str
        Names of the tokens of the main modality.
    columns : list of str
        Names of the tokens of all behavioural modalities.

    Examples
    --------
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
