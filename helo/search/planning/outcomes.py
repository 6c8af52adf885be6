"""Finished cells as the planner sees them."""

from __future__ import annotations

import json
from array import array
from typing import Any

import pyarrow as pa

from helo.errors import InputError
from helo.metrics import METRICS
from helo.names import Column, Prefix, Status
from helo.run.ledger import CellRecord
from helo.search.planning.race import Outcome


def outcome(record: CellRecord, objective: str) -> Outcome:
    """The inner validation losses of a cell; its test scores stay behind."""
    if record.status == Status.FAILED:
        return Outcome(Status.FAILED)
    return Outcome(record.status, tuple(METRICS[objective].loss(row[Prefix.VAL + objective]) for row in record.history))


class Finished:
    """The finished cells of a search that goes on, as far as its planner has to know them.

    - `columns`: of the ledger, what `add` needs
    - `params`: the hyperparameters of every configuration that has a finished cell
    - `outcomes`: (configuration, fold number) → outcome
    """

    def __init__(self, objective: str) -> None:
        self.objective = objective
        self.columns = (Column.PARAMS, Column.STATUS, f"{Column.HISTORY}.{Prefix.VAL}{objective}")
        self.params: dict[int, dict[str, Any]] = {}
        self.outcomes: dict[tuple[int, int], Outcome] = {}
        self._texts: dict[int, str] = {}

    def add(self, rows: pa.Table) -> None:
        """Take some cells of a ledger.

        Raises `InputError` if two cells of one configuration differ in their hyperparameters: they are of different
        searches.
        """
        configurations, folds = rows[Column.CONFIGURATION].to_pylist(), rows[Column.FOLD_NUMBER].to_pylist()
        for configuration, text in zip(configurations, rows[Column.PARAMS].to_pylist(), strict=True):
            if self._texts.setdefault(configuration, text) != text:
                raise InputError(f"configuration {configuration} has different hyperparameters in different cells")
            if configuration not in self.params:
                self.params[configuration] = json.loads(text)
        history = rows[Column.HISTORY].combine_chunks()
        ends = history.offsets.to_numpy()
        losses = METRICS[self.objective].loss(
            history.values.field(Prefix.VAL + self.objective).to_numpy(zero_copy_only=False)
        )
        for place, status in enumerate(rows[Column.STATUS].to_pylist()):
            curve = array("d", b"" if status == Status.FAILED else losses[ends[place] : ends[place + 1]].tobytes())
            self.outcomes[configurations[place], folds[place]] = Outcome(status, curve)
