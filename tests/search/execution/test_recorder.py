"""What the callback of Ray Tune writes to the ledger."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from helo.evaluation.folds import loso_folds
from helo.metrics import METRICS
from helo.names import Column, Status
from helo.run.ensemble.candidates import CANDIDATES, CandidateCells
from helo.run.ledger import CellRecord, Ledger, LedgerWriter
from helo.search.execution.cells import CellSettings
from helo.search.execution.elastic import ConcurrencyLimit
from helo.search.execution.progress import SearchProgress
from helo.search.execution.recorder import CellRecorder, Reporting
from helo.search.execution.trials import QueueSearcher
from helo.search.planning.planner import PlannedCell, Planner
from helo.search.planning.queue import Queue
from helo.search.planning.space import Range, Space
from helo.search.setup.finished import FinishedCells

WHEN = datetime(2026, 1, 2, tzinfo=UTC)
SPACE = Space("tiny", 12, {"width": Range(4, 64, log=False, whole=True)}, {"epochs": 1}, sampler="random")
FOLDS = loso_folds(("a", "b", "c"), 0)


def finished(cell: PlannedCell, loss: float, status: str) -> CellRecord:
    """The record of a cell as its worker returns it: with out-of-fold predictions unless it was stopped."""
    predicted = np.full((4, 2), 0.5, np.float32)
    return CellRecord(
        cell.configuration,
        FOLDS[cell.fold].test,
        cell.params,
        status,
        1,
        0.1,
        "here",
        WHEN,
        WHEN,
        val=dict.fromkeys(METRICS, loss),
        test=dict.fromkeys(METRICS, 1 - loss),
        first_losses=(1.0, loss),
        windows=np.arange(2),
        predictions=predicted[:2],
        out_of_fold=predicted if status == Status.COMPLETED else None,
    )


def search(folder: Path, losses: list[float], resumes_after: int | None = None) -> list[tuple[str, str, float, bool]]:
    """Record cells with these losses, a quarter of them stopped; return fold, status, loss, whether all was kept."""
    ledger, candidates = Ledger(folder), CandidateCells()
    searcher = QueueSearcher(Queue(Planner(SPACE, len(FOLDS), 0, racing=False)), None, ConcurrencyLimit(1, 1, 0.0))
    for number, loss in enumerate(losses):
        if number == resumes_after:
            read = FinishedCells("kl")
            for _, rows in ledger.blocks(read.columns, verify=True):
                read.add(rows)
            candidates = read.candidates
        with LedgerWriter(ledger) as writer:
            reporting = Reporting(writer, SearchProgress(36, "kl", Console(quiet=True)), candidates=candidates)
            cell = searcher.queue.ask()
            assert isinstance(cell, PlannedCell)
            record = finished(cell, loss, Status.STOPPED if number % 4 == 3 else Status.COMPLETED)
            CellRecorder(searcher, FOLDS, CellSettings(), reporting)._record(cell, record, has_checkpoint=False)
    found = ledger.rows(["val", "status", "fold", Column.OUT_OF_FOLD]).to_pylist()
    return [(row["fold"], row["status"], row["val"]["kl"], row[Column.OUT_OF_FOLD] is not None) for row in found]


@pytest.mark.parametrize("resumes_after", [None, 17])
def test_only_the_best_completed_cells_of_a_fold_keep_their_out_of_fold_predictions(
    tmp_path: Path, resumes_after: int | None
) -> None:
    rows = search(tmp_path, np.linspace(0.1, 0.5, 36).tolist(), resumes_after)
    for fold in "abc":
        completed = [row for row in rows if row[:2] == (fold, Status.COMPLETED)]
        assert len(completed) == CANDIDATES + 1
        assert [kept for *_, kept in sorted(completed)] == [True] * CANDIDATES + [False]
    assert not any(kept for _, status, _, kept in rows if status == Status.STOPPED)
