"""Finished cells as the planner sees them, and the planner of a search that goes on."""

from __future__ import annotations

from collections.abc import Sequence

from helo.errors import InputError
from helo.folds import Fold
from helo.ledger import CellRecord
from helo.metrics import as_loss
from helo.names import FAILED, VAL
from helo.search.planner import Planner
from helo.search.race import Outcome


def outcome(record: CellRecord, objective: str) -> Outcome:
    """The inner validation losses of a cell; its test scores stay behind."""
    if record.status == FAILED:
        return Outcome(FAILED)
    return Outcome(record.status, tuple(as_loss(objective, row[VAL + objective]) for row in record.history))


def known_params(records: Sequence[CellRecord]) -> dict[int, dict[str, object]]:
    """The hyperparameters of every configuration that has a finished cell.

    Raises `InputError` if two cells of one configuration differ in them: they are of different searches.
    """
    found: dict[int, dict[str, object]] = {}
    for record in records:
        if found.setdefault(record.configuration, dict(record.params)) != dict(record.params):
            raise InputError(f"configuration {record.configuration} has different hyperparameters in different cells")
    return found


def restore(planner: Planner, records: Sequence[CellRecord], folds: tuple[Fold, ...], objective: str) -> None:
    """Bring a new planner to where its search had come."""
    number = {fold.test: position for position, fold in enumerate(folds)}
    planner.restore({(record.configuration, number[record.fold]): outcome(record, objective) for record in records})
