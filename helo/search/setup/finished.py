"""Finished cells of a search that is resumed, in the form that its planner needs."""

from __future__ import annotations

import json
from array import array
from typing import Any

import pyarrow as pa

from helo.errors import InputError
from helo.metrics import METRICS
from helo.names import Column, Prefix, Status
from helo.search.planning.outcome import Outcome


class FinishedCells:
    """Hyperparameters and outcomes of the finished cells of a search.

    Parameters
    ----------
    objective : str
        Metric whose losses the planner compares.

    Attributes
    ----------
    columns : tuple of str
        Columns of the ledger that `add` needs.
    params : dict of int to dict
        Configuration → hyperparameters, for every configuration that has a finished cell.
    outcomes : dict of (int, int) to Outcome
        (configuration, fold number) → outcome.
    """

    def __init__(self, objective: str) -> None:
        self.objective = objective
        self.columns = (Column.PARAMS, Column.STATUS, f"{Column.HISTORY}.{Prefix.VAL}{objective}")
        self.params: dict[int, dict[str, Any]] = {}
        self.outcomes: dict[tuple[int, int], Outcome] = {}
        self._json: dict[int, str] = {}

    def add(self, rows: pa.Table) -> None:
        """Add rows of a ledger.

        Raises
        ------
        InputError
            If two cells of one configuration differ in their hyperparameters, so that they belong to different
            searches.
        """
        configurations, folds = rows[Column.CONFIGURATION].to_pylist(), rows[Column.FOLD_NUMBER].to_pylist()
        for configuration, text in zip(configurations, rows[Column.PARAMS].to_pylist(), strict=True):
            if self._json.setdefault(configuration, text) != text:
                raise InputError(f"configuration {configuration} has different hyperparameters in different cells")
            if configuration not in self.params:
                self.params[configuration] = json.loads(text)
        history = rows[Column.HISTORY].combine_chunks()
        ends = history.offsets.to_numpy()
        values = history.values.field(Prefix.VAL + self.objective).to_numpy(zero_copy_only=False)
        losses = METRICS[self.objective].loss(values)
        for place, status in enumerate(rows[Column.STATUS].to_pylist()):
            curve = array("d")
            if status != Status.FAILED:
                curve.frombytes(losses[ends[place] : ends[place + 1]].tobytes())
            self.outcomes[configurations[place], folds[place]] = Outcome(status, curve)
