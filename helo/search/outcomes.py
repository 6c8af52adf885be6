"""Finished cells as the planner sees them, and the planner of a search that goes on."""

from __future__ import annotations

from collections.abc import Sequence

from helo.errors import InputError, shorten
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
    """Bring a new planner to where its search had come.

    Raises `InputError` if there is a cell that this search would never have run.
    """
    number = {fold.test: position for position, fold in enumerate(folds)}
    strange = planner.restore(
        {(record.configuration, number[record.fold]): outcome(record, objective) for record in records}
    )
    if strange:
        names = shorten((f"{configuration}/{folds[fold].test}" for configuration, fold in sorted(strange)), most=3)
        raise InputError(f"the ledger has cells that are not of this search (configuration/fold {names})")
