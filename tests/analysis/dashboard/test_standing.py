"""How a search stands: from its lock, its journal and its cells, in every case that a user may meet."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from helo.analysis.dashboard.standing import Failure, State, find_standing, group_failures, measure_pace
from helo.analysis.source import Source
from helo.names import SearchPhase
from helo.run.directory import Run
from helo.run.journal import Entry

START = datetime(2026, 11, 21, 3, tzinfo=UTC)
END = START + timedelta(seconds=90)
"""Start of the synthetic run, and the end of its last cell, to half a second."""


def after(later: float, phase: str, text: str = "", **known: object) -> Entry:
    return Entry(START + timedelta(seconds=later), phase, text, **known)  # type: ignore[arg-type]


def facts_of(source: Source, journal: list[Entry], now: datetime) -> dict[str, str]:
    return dict(find_standing(source, journal, True, now).facts)


@pytest.fixture
def half(run: Run) -> Source:
    """Half of the cells of a run, as while its search runs."""
    cells = run.table("cells")
    run.write_table("cells", cells[:15])
    return Source(run)


@pytest.fixture
def whole(run: Run) -> Source:
    return Source(run)


def with_model(run: Run) -> Source:
    run.model.write("model.json", b"{}")
    return Source(run)


def test_a_running_search_has_phase_pace_time_left_and_memory(half: Source) -> None:
    journal = [
        after(0, SearchPhase.STARTING),
        after(1, SearchPhase.BASELINES, baselines=(3, 12), cells=(0, 30), memory=(2 * 2**30, 16 * 2**30)),
    ]
    standing = find_standing(half, journal, True, START + timedelta(seconds=45))
    assert (standing.state, standing.phase, standing.command) == (State.RUNNING, "baselines", None)
    assert (standing.counted, standing.done, standing.total) == ("cells of baselines", 3, 12)
    journal.append(after(40, SearchPhase.CELLS, "cells 14/30", cells=(14, 30), baselines=(12, 12)))
    standing = find_standing(half, journal, True, START + timedelta(seconds=45))
    assert (standing.phase, standing.counted, standing.done, standing.total) == ("search", "cells", 15, 30)
    assert dict(standing.facts) == {
        "Time left": "about 45 s",  # 15 cells in 45 seconds
        "Cells a minute": "20",
        "Last cell": "0 s ago",
        "Memory of its machine": "2.0 GiB of 16.0 GiB in use",
    }
    assert standing.lines == ((START + timedelta(seconds=40), "cells 14/30"),)


def test_racing_lowers_the_number_of_cells(half: Source) -> None:
    journal = [after(0, SearchPhase.STARTING), after(40, SearchPhase.CELLS, cells=(14, 20), baselines=(0, 0))]
    standing = find_standing(half, journal, True, START + timedelta(seconds=45))
    assert (standing.done, standing.total) == (15, 20)


def test_the_time_left_of_the_model_is_that_of_its_fit(whole: Source) -> None:
    journal = [after(0, SearchPhase.STARTING), after(100, SearchPhase.MODEL, seconds=60.0)]
    journal.append(after(100, SearchPhase.MODEL, "fitting configuration 1"))
    standing = find_standing(whole, journal, True, START + timedelta(seconds=110))
    assert (standing.state, standing.phase) == (State.RUNNING, "fitting the model")
    assert dict(standing.facts)["Time left"] == "about 50 s"


def test_a_finished_search_offers_its_model(run: Run) -> None:
    journal = [after(0, SearchPhase.STARTING), after(120, SearchPhase.COMPLETE)]
    for entries in (journal, []):  # runs of earlier versions have no journal
        standing = find_standing(with_model(run), entries, False, END)
        assert (standing.state, standing.phase) == (State.FINISHED, "with its model")
        assert standing.command is not None
        assert standing.command[1].startswith("python -m helo.predict ")


@pytest.mark.parametrize(
    ("last", "phrase"),
    [
        (SearchPhase.OUT_OF_TIME, "its time was up"),
        (SearchPhase.INTERRUPTED, "it was interrupted"),
        (SearchPhase.FAILED, "failed with ValueError: no"),
        (SearchPhase.CELLS, "its process has ended"),
        (None, "no process works on it"),
    ],
)
def test_a_stopped_search_says_why_and_how_to_resume(half: Source, last: str | None, phrase: str) -> None:
    text = "failed with ValueError: no" if last == SearchPhase.FAILED else ""
    journal = [] if last is None else [after(0, SearchPhase.STARTING), after(50, last, text)]
    standing = find_standing(half, journal, False, END)
    assert standing.state is State.STOPPED
    assert phrase in standing.phase
    assert standing.command == ("resume with", f"python -m helo.search --resume {half.run.folder}")
    assert [name for name, _ in standing.facts] == ["Last cell"]


@pytest.mark.parametrize("journal", [[], [after(95, SearchPhase.OUT_OF_TIME)]])
def test_a_search_that_had_no_time_for_its_model_is_not_finished(whole: Source, journal: list[Entry]) -> None:
    standing = find_standing(whole, journal, False, END)
    assert standing.state is State.STOPPED
    assert "all cells are finished, the model is not fitted yet" in standing.phase
    assert standing.command == ("resume with", f"python -m helo.search --resume {whole.run.folder}")


def test_a_model_that_could_not_be_fitted_is_no_reason_to_resume(whole: Source) -> None:
    standing = find_standing(whole, [after(95, SearchPhase.COMPLETE)], False, END)
    assert (standing.state, standing.phase, standing.command) == (State.FINISHED, "no model was fitted", None)


def test_cells_that_a_finished_search_has_lost_are_run_by_resuming(half: Source) -> None:
    standing = find_standing(half, [after(95, SearchPhase.COMPLETE)], False, END)
    assert standing.state is State.STOPPED
    assert standing.command is not None


def test_an_unknown_lock_leaves_the_state_open_until_the_search_has_ended(half: Source) -> None:
    assert find_standing(half, [after(50, SearchPhase.CELLS)], None, END).state is State.UNKNOWN
    assert find_standing(half, [after(50, SearchPhase.INTERRUPTED)], None, END).state is State.STOPPED


def test_failures_are_grouped_by_their_reason() -> None:
    reasons = ["Traceback\nValueError: no", None, "ValueError: no", "", "fine"]
    cells = pd.DataFrame(
        {
            "configuration": [4, 5, 6, 7, 8],
            "fold": ["S2", "S3", "S4", "S5", "S6"],
            "status": ["failed"] * 4 + ["completed"],
            "reason": pd.array(reasons, dtype="string"),
        }
    )
    assert group_failures(cells) == (
        Failure("ValueError: no", 2, "configuration 4, fold S2"),
        Failure("no reason is recorded", 2, "configuration 5, fold S3"),
    )


def test_the_pace_is_that_of_the_latest_cells_since_the_start() -> None:
    slow = pd.Series(pd.date_range(START, periods=20, freq="60s"))
    fast = pd.Series(pd.date_range(START + timedelta(hours=1), periods=100, freq="2s"))
    times = pd.concat([slow, fast])
    assert measure_pace(times, None, times.max()) == pytest.approx(0.5)
    resumed = START + timedelta(hours=1, seconds=-10)
    assert measure_pace(times[:25], resumed, resumed + timedelta(seconds=20)) == pytest.approx(5 / 20)
    assert measure_pace(times, times.max(), times.max()) is None
    # It falls while no cell finishes.
    assert measure_pace(times, None, times.max() + timedelta(seconds=100)) == pytest.approx(50 / 200)


def test_a_run_without_cells_is_shown_by_its_baselines(make_run: Callable[..., Run]) -> None:
    from helo.analysis.dashboard.watched import WatchedRun
    from helo.run.journal import Journal

    run = make_run(without=("cells", "epochs", "predictions"))
    with run.lock():
        Journal(run.folder).write("baselines 3/12", SearchPhase.BASELINES, cells=(0, 30), baselines=(3, 12))
        overview = WatchedRun(str(run.folder)).overview()
    assert overview.progress == "No cell has finished yet."
    assert overview.standing is not None
    assert (overview.standing.state, overview.standing.done, overview.standing.total) == (State.RUNNING, 3, 12)
