"""The facts of a run, and above all the configuration to deploy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from helo.analysis.description import describe_run
from helo.analysis.source import Source
from helo.names import TableName
from helo.run.directory import Run
from helo.run.manifest import Manifest
from helo.run.selection import medoid

RECOMMENDED = "Recommended configuration"
SEARCHED = ("learning_rate", "dropout", "width", "fusion")


def found(run: Run, **manifest: Any) -> dict[str, str]:
    return dict(describe_run(Source(Run(run.folder, Manifest.from_dict({**run.manifest.as_dict(), **manifest})))))


def words(cells: pd.DataFrame, number: int) -> str:
    """A configuration as the report writes it, with what was searched only."""
    row = cells[cells["configuration"] == number].iloc[0]
    rate, dropout, width, fusion = (row[f"param_{name}"] for name in SEARCHED)
    return f"number {number}: learning_rate {rate:.4g}, dropout {dropout:.4g}, width {width}, fusion {fusion}"


def test_shared_protocol_recommends_the_best_configuration_over_all_folds(run: Run) -> None:
    cells = run.table(TableName.CELLS)
    whole = cells[cells["configuration"] < 4]  # the last one failed with one subject
    best = int(whole.groupby("configuration")["val_kl"].mean().idxmin())
    assert found(run)[RECOMMENDED] == words(cells, best)


def test_stopped_cells_of_the_recommended_configuration_count(run: Run) -> None:
    cells = run.table(TableName.CELLS)
    tempting = cells[cells["configuration"] == 1].assign(configuration=7, val_kl=0.0, status="stopped")
    run.write_table(TableName.CELLS, pd.concat([cells, tempting]))
    assert found(run)[RECOMMENDED] == words(run.table(TableName.CELLS), 7)
    run.write_table(TableName.CELLS, pd.concat([cells, tempting.assign(status="failed")]))
    assert found(run)[RECOMMENDED] != words(run.table(TableName.CELLS), 7)
    assert found(run)[RECOMMENDED].startswith("number ")


def test_nested_protocol_recommends_the_medoid_of_the_choices(run: Run) -> None:
    cells = run.table(TableName.CELLS)
    subjects = list(dict.fromkeys(cells["fold"]))
    own = cells["configuration"] * len(subjects) + cells["fold"].map(subjects.index)
    cells = cells.assign(configuration=own)
    run.write_table(TableName.CELLS, cells)
    number = medoid(cells, "kl")
    assert number is not None
    assert found(run, protocol="nested")[RECOMMENDED] == f"{words(cells, number)} (the medoid of the folds' choices)"
    assert RECOMMENDED not in found(run)  # no configuration has all folds


def test_no_recommendation_without_a_configuration_in_all_folds(run: Run) -> None:
    cells = run.table(TableName.CELLS)
    run.write_table(TableName.CELLS, cells[cells["fold"] != "S7"])
    assert RECOMMENDED not in found(run)
    assert RECOMMENDED in found(run, protocol="nested")
    run.write_table(TableName.CELLS, cells.assign(status="failed"))
    assert RECOMMENDED not in found(run, protocol="nested")


def test_no_recommendation_without_cells_or_objective(make_run: Callable[..., Run], run: Run) -> None:
    assert RECOMMENDED not in found(run, space={})
    without = found(make_run("bare", without=[TableName.CELLS]))
    assert RECOMMENDED not in without
    assert "cells.parquet: is missing" in without["Cells"]


def test_cells_are_counted_by_status(run: Run) -> None:
    cells = run.table(TableName.CELLS)
    stopped = cells["status"].where(cells["configuration"] != 2, "stopped")
    run.write_table(TableName.CELLS, cells.assign(status=stopped))
    assert found(run)["Cells"] == "30 finished: 23 completed, 6 stopped, 1 failed"
    assert found(run)["Why cells failed"] == "loss is not finite (1)"


@pytest.mark.parametrize(("racing", "expected"), [(True, "on"), (False, "off")])
def test_racing_is_on_or_off(run: Run, racing: bool, expected: str) -> None:
    assert found(run, racing=racing, protocol="nested")["Racing"] == expected
    assert found(run, racing=racing, protocol="nested")["Protocol"] == "nested"


def test_facts_missing_from_the_manifest_are_left_out(run: Run) -> None:
    assert "Racing" not in found(run)
    assert set(dict(describe_run(Source(Run(run.folder, Manifest()))))) == {
        "Run",
        "Cells",
        "Why cells failed",
        "Time",
    }
