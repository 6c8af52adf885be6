"""Outcome of a finished cell, as far as planning may see it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from helo.metrics import METRICS
from helo.names import Prefix, Status

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
        Inner validation loss by epoch, starting with epoch 0 (before training); empty for a failed cell. For many
        cells, use ``array("d", ...)``: it takes a third of the memory of a tuple.
    """

    status: str
    curve: Sequence[float] = ()

    @classmethod
    def of_record(cls, record: CellRecord, objective: str) -> Outcome:
        """Return the outcome of a recorded cell, with losses of the metric `objective`. Test scores are left out."""
        if record.status == Status.FAILED:
            return cls(Status.FAILED)
        metric = METRICS[objective]
        return cls(record.status, tuple(metric.loss(row[Prefix.VAL + objective]) for row in record.history))

    @property
    def loss(self) -> float | None:
        """Loss of the best epoch; None for a failed cell.

        For a stopped cell this is an upper bound: further training could only have lowered it.
        """
        return None if self.status == Status.FAILED else min(self.curve)
