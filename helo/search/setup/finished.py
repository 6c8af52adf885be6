"""Finished cells of a search that is resumed, in the form that its planner needs."""

from __future__ import annotations

import json
from array import array
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from helo.errors import InputError
from helo.metrics import METRICS
from helo.names import Column, Status
from helo.run.ensemble.candidates import CandidateCells
from helo.run.ledger import runs_again
from helo.search.planning.outcome import Outcome


class FinishedCells:
    """Hyperparameters and outcomes of the finished cells of a search.

    Parameters
    ----------
    objective : str
        Metric whose losses the planner compares.
    retry_failed : bool
        Whether all failed cells run again, also those that are expected to fail again.

    Attributes
    ----------
    columns : tuple of str
        Columns of the ledger that `add` needs.
    params : dict of int to dict
        Configuration → hyperparameters, for every configuration that has a finished cell.
    outcomes : dict of (int, int) to Outcome
        (configuration, fold number) → outcome.
    again : set of (int, int)
        (configuration, fold number) of cells that failed because of the machine and have no outcome: they run again.
    candidates : CandidateCells
        The best completed cells of each fold, which alone keep their out-of-fold predictions.
    """

    def __init__(self, objective: str, retry_failed: bool = False) -> None:
        self.objective, self.retry_failed = objective, retry_failed
        self.columns = (
            *(Column.PARAMS, Column.STATUS, Column.VAL, Column.FIRST_LOSSES),
            *(Column.FAULT, Column.REASON),
        )
        self.params: dict[int, dict[str, Any]] = {}
        self.outcomes: dict[tuple[int, int], Outcome] = {}
        self.again: set[tuple[int, int]] = set()
        self.candidates = CandidateCells()
        self._json: dict[int, str] = {}

    def runs_again(self, status: str, fault: str | None, reason: str | None) -> bool:
        """Return whether a cell with this outcome runs again, see `helo.run.ledger.runs_again`."""
        return runs_again(status, fault, reason, self.retry_failed)

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
        first = rows[Column.FIRST_LOSSES].combine_chunks()
        ends = first.offsets.to_numpy()
        values = first.values.to_numpy(zero_copy_only=False)
        scores = pc.struct_field(rows[Column.VAL], self.objective).to_numpy()
        losses = METRICS[self.objective].loss(scores)
        faults, reasons = rows[Column.FAULT].to_pylist(), rows[Column.REASON].to_pylist()
        for place, status in enumerate(rows[Column.STATUS].to_pylist()):
            if self.runs_again(status, faults[place], reasons[place]):
                self.again.add((configurations[place], folds[place]))
                continue
            outcome = Outcome(Status.FAILED)
            if status != Status.FAILED:
                curve = array("d")
                curve.frombytes(values[ends[place] : ends[place + 1]].tobytes())
                outcome = Outcome(status, curve, float(losses[place]))
            if status == Status.COMPLETED:
                self.candidates.add(configurations[place], folds[place], float(losses[place]))
            self.outcomes[configurations[place], folds[place]] = outcome
