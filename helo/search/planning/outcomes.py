"""Finished cells as the planner sees them."""

from __future__ import annotations

import json
from array import array
from typing import Any

import pyarrow as pa

from helo.errors import InputError
from helo.metrics import as_loss
from helo.names import CONFIGURATION, FAILED, FOLD_NUMBER, HISTORY, PARAMS, STATUS, VAL
from helo.run.ledger import CellRecord
from helo.search.planning.race import Outcome


def outcome(record: CellRecord, objective: str) -> Outcome:
    """The inner validation losses of a cell; its test scores stay behind."""
    if record.status == FAILED:
        return Outcome(FAILED)
    return Outcome(record.status, tuple(as_loss(objective, row[VAL + objective]) for row in record.history))


class Finished:
    """The finished cells of a search that goes on, as far as its planner has to know them.

    - `columns`: of the ledger, what `add` needs
    - `params`: the hyperparameters of every configuration that has a finished cell
    - `outcomes`: (configuration, fold number) → outcome
    """

    def __init__(self, objective: str) -> None:
        self.objective = objective
        self.columns = (PARAMS, STATUS, f"{HISTORY}.{VAL}{objective}")
        self.params: dict[int, dict[str, Any]] = {}
        self.outcomes: dict[tuple[int, int], Outcome] = {}
        self._texts: dict[int, str] = {}

    def add(self, rows: pa.Table) -> None:
        """Take some cells of a ledger.

        Raises `InputError` if two cells of one configuration differ in their hyperparameters: they are of different
        searches.
        """
        configurations, folds = rows[CONFIGURATION].to_pylist(), rows[FOLD_NUMBER].to_pylist()
        for configuration, text in zip(configurations, rows[PARAMS].to_pylist(), strict=True):
            if self._texts.setdefault(configuration, text) != text:
                raise InputError(f"configuration {configuration} has different hyperparameters in different cells")
            if configuration not in self.params:
                self.params[configuration] = json.loads(text)
        history = rows[HISTORY].combine_chunks()
        ends = history.offsets.to_numpy()
        losses = as_loss(self.objective, history.values.field(VAL + self.objective).to_numpy(zero_copy_only=False))
        for place, status in enumerate(rows[STATUS].to_pylist()):
            curve = array("d", b"" if status == FAILED else losses[ends[place] : ends[place + 1]].tobytes())
            self.outcomes[configurations[place], folds[place]] = Outcome(status, curve)
