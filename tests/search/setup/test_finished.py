"""Finished cells from the ledger to the planner: validation losses only, and an exact resumption."""

from __future__ import annotations

import dataclasses
from array import array
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from helo.errors import InputError
from helo.evaluation.folds import Fold, loso_folds
from helo.metrics import METRICS
from helo.names import SearchProtocol, Status, enum_values
from helo.run.ledger import HISTORY_COLUMNS, CellRecord, rows_of
from helo.search.planning.outcome import Outcome
from helo.search.planning.planner import PlannedCell, Planner
from helo.search.planning.space import Range, Space
from helo.search.setup.finished import FinishedCells

WHEN = datetime(2026, 1, 2, tzinfo=UTC)
SPACE = Space("one", 6, {"dropout": Range(0.0, 0.5, log=False, whole=False)}, sampler="random")
FOLDS = loso_folds(("S2", "S3", "S5", "S7", "S11"), seed=1)


def record(
    configuration: int = 0,
    fold: str = "S2",
    status: str = Status.COMPLETED,
    losses: Sequence[float] = (0.5, 0.25),
    score: float = 0.375,
    **params: Any,
) -> CellRecord:
    """Return the record of a cell. `losses` are those of its first members; its metrics are `score` × 1, 10, 100, …"""
    history = tuple({"epoch": epoch, **dict.fromkeys(HISTORY_COLUMNS, 7.0)} for epoch in range(len(losses)))
    return CellRecord(
        configuration,
        fold,
        params,
        status,
        len(history) - 1,
        1.0,
        "here",
        WHEN,
        WHEN,
        val=None if status == Status.FAILED else {name: score * 10**number for number, name in enumerate(METRICS)},
        test=dict.fromkeys(METRICS, 0.125),
        history=history,
        first_losses=tuple(losses),
    )


def finished(records: Sequence[CellRecord], objective: str = "kl") -> FinishedCells:
    """Return the finished cells that a resumed search reads from a ledger with these records."""
    number = {fold.test: index for index, fold in enumerate(FOLDS)}
    found = FinishedCells(objective)
    for record in records:
        found.add(rows_of([(number[record.fold], record)]))
    return found


def recorded(cell: PlannedCell, folds: tuple[Fold, ...] = FOLDS) -> CellRecord:
    return record(
        cell.configuration, folds[cell.fold].test, losses=(0.5, 0.4), score=cell.params["dropout"], **cell.params
    )


def run(planner: Planner, max_cells: int) -> list[CellRecord]:
    records: list[CellRecord] = []
    while len(records) < max_cells and (cell := planner.ask()) is not None:
        records.append(recorded(cell))
        planner.tell(cell, Outcome.of_record(records[-1], "kl"))
    return records


@pytest.mark.parametrize("status", [Status.COMPLETED, Status.STOPPED])
@pytest.mark.parametrize("metric", METRICS)
def test_the_outcome_has_the_losses_of_the_first_members_and_that_of_the_cell(status: str, metric: str) -> None:
    factor = 10 ** list(METRICS).index(metric) * (-1 if METRICS[metric].higher_is_better else 1)
    found = Outcome.of_record(record(status=status, losses=(0.5, 0.25, 0.75)), metric)
    assert (found.status, found.curve) == (status, array("d", (0.5, 0.25, 0.75)))
    assert found.loss == pytest.approx(0.375 * factor)


@pytest.mark.parametrize("metric", METRICS)
def test_a_resumed_search_has_the_outcomes_of_its_cells(metric: str) -> None:
    cells = [record(), record(1, "S3", Status.STOPPED, (0.5, 0.25, 0.75)), record(1, "S2", Status.FAILED, ())]
    number = {fold.test: index for index, fold in enumerate(FOLDS)}
    expected = {(cell.configuration, number[cell.fold]): Outcome.of_record(cell, metric) for cell in cells}
    assert finished(cells, metric).outcomes == expected


def test_a_failed_cell_has_no_loss() -> None:
    assert Outcome.of_record(record(status=Status.FAILED, losses=()), "kl") == Outcome(Status.FAILED)


@pytest.mark.parametrize("field", ["test", "test_by_group"])
def test_outcomes_do_not_depend_on_test_scores(field: str) -> None:
    one = record()
    other = dataclasses.replace(one, **{field: dict.fromkeys(METRICS, 99.0)})  # type: ignore[arg-type]
    assert Outcome.of_record(one, "kl") == Outcome.of_record(other, "kl")
    assert finished([one]).outcomes[0, 0].curve == finished([other]).outcomes[0, 0].curve
    assert not [column for column in FinishedCells("kl").columns if "test" in column]


def test_params_of_all_configurations_are_read() -> None:
    records = [record(3, "S2", width=8), record(3, "S3", Status.FAILED, (), width=8), record(5, "S2", width=16)]
    assert finished(records).params == {3: {"width": 8}, 5: {"width": 16}}
    assert finished([]).params == {}


def test_cells_of_a_configuration_must_have_the_same_params() -> None:
    records = [record(3, "S2", width=8), record(3, "S3", width=16)]
    with pytest.raises(InputError) as caught:
        finished(records)
    assert str(caught.value) == "configuration 3 has different hyperparameters in different cells"


@pytest.mark.parametrize("protocol", enum_values(SearchProtocol))
@pytest.mark.parametrize("done", [0, 1, 13])
def test_a_resumed_search_runs_the_remaining_cells(protocol: str, done: int) -> None:
    def plan(records: Sequence[CellRecord]) -> Planner:
        return Planner(SPACE, len(FOLDS), 1, protocol, recorded_params=finished(records).params)

    expected = run(plan([]), 1000)
    records = run(plan([]), done)
    planner = plan(records)
    planner.restore(finished(records).outcomes)
    assert (planner.finished_cells, planner.running_cells) == (done, 0)
    rest = run(planner, 1000)
    assert planner.finished
    assert {(one.configuration, one.fold): one for one in records + rest} == {
        (one.configuration, one.fold): one for one in expected
    }
    assert len(records + rest) == len(expected)
