"""Outcome of a finished cell, as far as planning may see it."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from helo.metrics import METRICS
from helo.names import Status

if TYPE_CHECKING:
    from helo.run.ledger import CellRecord


@dataclass(frozen=True, slots=True)
class Outcome:
    """Inner validation losses of a finished cell. There is no field for a test score.

    Attributes
    ----------
    status : str
        A `helo.names.Status`.
    curve : sequence of float
        Out-of-fold loss of the first members by epoch, starting with epoch 0 (before training); empty for a failed
        cell. An ``array("d", ...)`` takes a third of the memory of a tuple.
    loss : float or None
        Out-of-fold loss of the cell, over all other subjects; None for a failed cell. In a stopped cell, subjects of
        members that were not trained count with the mean training label.
    """

    status: str
    curve: Sequence[float] = ()
    loss: float | None = None

    @classmethod
    def of_record(cls, record: CellRecord, objective: str) -> Outcome:
        """Return the outcome of a recorded cell, with losses of the metric `objective`. Test scores are left out."""
        if record.status == Status.FAILED or record.val is None:
            return cls(Status.FAILED)
        losses = array("d", record.first_losses)  # the planner keeps those of all cells
        return cls(record.status, losses, float(METRICS[objective].loss(record.val[objective])))
