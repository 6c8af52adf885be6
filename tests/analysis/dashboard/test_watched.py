"""Tests of a watched run: changes are read once, slow figures are drawn in a thread."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from helo.analysis.dashboard import watched as module
from helo.analysis.dashboard.watched import WatchedRun
from helo.analysis.exhibits import EXHIBITS
from helo.analysis.source import read_source
from helo.metrics import METRICS
from helo.run.directory import Run
from helo.run.ledger import CellRecord
from helo.run.manifest import Manifest


def record(configuration: int, fold: str, loss: float = 0.2) -> CellRecord:
    now = datetime.now(UTC)
    scores = dict.fromkeys(METRICS, loss)
    history = tuple(
        {"epoch": epoch, "train_loss": 1.0, "alignment_loss": 0.1, "unconverged": 0.0}
        | {f"val_{metric}": loss + 1 - epoch for metric in METRICS}
        for epoch in (0, 1)
    )
    params = {"learning_rate": 0.01 * (configuration + 1), "dropout": 0.1}
    return CellRecord(
        configuration, fold, params, "completed", 1, 2.0, "here", now, now, 1, None, scores, scores, history
    )


@pytest.fixture
def running(make_run: Callable[..., Run]) -> Run:
    """Create a run whose search has only written its ledger, with two cells."""
    run = make_run("running", without=("cells", "epochs", "predictions"))
    for number, fold in enumerate(("S2", "S3")):
        run.ledger.append(record(0, fold), number)
    return run


def settle() -> None:
    for thread in threading.enumerate():
        if thread.daemon and thread is not threading.current_thread() and "_make_late" in thread.name:
            thread.join()


def test_a_new_cell_is_read(running: Run) -> None:
    watched = WatchedRun(str(running.folder))
    first = watched.refresh()
    assert watched.refresh() == first  # nothing is new
    before = watched.figure("subjects")
    assert watched.figure("subjects") is before  # made once
    assert "2 of 30 cells" in watched.overview().progress
    running.ledger.append(record(0, "S4", loss=0.1), 2)
    assert watched.refresh() > first
    assert "3 of 30 cells" in watched.overview().progress
    assert "S4" in watched.figure("subjects")["figure"]
    assert "S4" not in before["figure"]
    assert watched.choices() == (["S2", "S3", "S4"], [0])


def test_removed_parts_are_dropped_and_broken_parts_noted(running: Run) -> None:
    watched = WatchedRun(str(running.folder))
    parts = running.ledger.files()
    running.ledger.set_aside(parts[0])
    running.ledger.folder.write("c00007-f0003.parquet", b"half a")
    watched.refresh()
    assert "1 of 30" in watched.overview().progress
    assert any("c00007-f0003.parquet" in note for note in watched.overview().cautions)


def test_tables_replace_the_ledger_once_written(running: Run, make_run: Callable[..., Run]) -> None:
    watched = WatchedRun(str(running.folder))
    assert any("has not written its tables" in note for note in watched.overview().cautions)
    assert "predictions.parquet: is missing" in watched.figure("predictions")["reason"]
    whole = make_run("whole")
    for name in ("cells", "epochs", "predictions"):
        running.write_table(name, whole.table(name))
    before = watched.version
    assert watched.refresh() > before
    assert not any("has not written its tables" in note for note in watched.overview().cautions)
    assert json.loads(watched.figure("predictions")["figure"])["data"]


def test_slow_figures_are_drawn_in_a_thread_and_again_after_changes(
    running: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REST", 0)
    watched = WatchedRun(str(running.folder))
    before = watched.version
    assert "will appear soon" in watched.figure("learning")["reason"]
    settle()
    assert watched.refresh() > before  # so that pages request the figure again
    first = watched.figure("learning")["figure"]
    running.ledger.append(record(0, "S5"), 3)
    watched.refresh()
    assert watched.figure("learning")["figure"] == first  # the last version, until the new one is drawn
    settle()
    watched.refresh()
    assert "S5" in watched.figure("learning")["figure"]
    assert "S5" not in first


def test_slow_figures_are_not_drawn_again_during_their_pause(running: Run) -> None:
    watched = WatchedRun(str(running.folder))
    watched.figure("learning")
    settle()
    first = watched.figure("learning")["figure"]
    running.ledger.append(record(0, "S5"), 3)
    watched.refresh()
    watched._late["learning"] = watched._late["learning"]._replace(due=float("inf"))
    assert watched.figure("learning")["figure"] == first
    settle()
    assert watched.figure("learning")["figure"] == first


@pytest.mark.parametrize("name", sorted(EXHIBITS))
def test_figures_equal_those_of_the_report(run: Run, name: str) -> None:
    watched = WatchedRun(str(run.folder))
    watched.figure(name)
    settle()
    watched.refresh()
    found = watched.figure(name)
    if name == "importance":  # five configurations are too few
        assert "at least 10" in found["reason"]
    else:
        shown = EXHIBITS[name].plot(read_source(run))
        assert len(json.loads(found["figure"])["data"]) == len(shown.data)


def test_a_search_that_has_ended_says_so(run: Run) -> None:
    run.model.write("model.json", b"{}")
    overview = WatchedRun(str(run.folder)).overview()
    assert overview.progress == "30 cells finished (1 failed); the search has ended."
    assert overview.standing is not None
    assert [failure.cells for failure in overview.standing.failures] == [1]


def test_a_search_without_its_model_has_not_ended(run: Run) -> None:
    assert WatchedRun(str(run.folder)).overview().progress == "30 of 30 cells finished (1 failed)."


def test_cells_that_racing_dropped_are_not_waiting(run: Run) -> None:
    run.update_manifest(Manifest.from_dict({**run.manifest.as_dict(), "racing": True}).with_cells(20))
    run.write_table("cells", run.table("cells")[:20])
    run.model.write("model.json", b"{}")
    progress = WatchedRun(str(run.folder)).overview().progress
    assert progress == "20 of 30 cells finished, 10 dropped by racing; the search has ended."


def test_a_run_without_cells_gives_the_reason(make_run: Callable[..., Run]) -> None:
    run = make_run(without=("cells", "epochs", "predictions", "baselines"))
    watched = WatchedRun(str(run.folder))
    assert watched.overview().progress == "No cell has finished yet."
    assert watched.choices() == ([], [])
