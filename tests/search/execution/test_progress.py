"""The progress line in every width, in a pipe, and its two phases."""

from __future__ import annotations

import io
import re

import pytest
from rich.cells import cell_len
from rich.console import Console

from helo.names import Status
from helo.search.execution.progress import MIN_BAR, SearchProgress, compose_line


class Clock:
    """A clock that a test sets."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def begin(width: int, is_terminal: bool = True, baselines: tuple[int, int] = (0, 120)) -> tuple[SearchProgress, Clock]:
    clock = Clock()
    console = Console(file=io.StringIO(), width=width, force_terminal=is_terminal, color_system=None)
    return SearchProgress(14600, "chebyshev", console, 1000, baselines, clock), clock


def run_baselines(progress: SearchProgress, clock: Clock) -> None:
    """Finish half of the baselines at ten seconds each."""
    progress.start_baselines()
    for number in range(1, 61):
        clock.now += 10
        progress.baseline_finished(Status.COMPLETED, number, 120)


def run_cells(progress: SearchProgress, clock: Clock) -> None:
    """Finish the other baselines likewise, and three cells at twenty seconds each."""
    for number in range(61, 121):
        clock.now += 10
        progress.baseline_finished(Status.COMPLETED, number, 120)
    clock.now += 5
    progress.start_cells()
    for status in (Status.COMPLETED, Status.STOPPED, Status.FAILED):
        clock.now += 20
        progress.cell_finished(status, 14000, (1234, 0.0898))


def drawn(progress: SearchProgress) -> list[str]:
    """The lines as rich draws them in the width of the terminal."""
    console = progress.console
    with console.capture() as captured:
        console.print(progress)
    return captured.get().splitlines()


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_the_line_keeps_bar_count_and_time_left_in_every_width(width: int) -> None:
    progress, clock = begin(width)
    run_baselines(progress, clock)
    (line,) = drawn(progress)
    assert cell_len(line.rstrip()) <= width - len("^C")
    assert len(re.findall("[━─]", line)) >= MIN_BAR
    assert "baselines" in line
    assert "60/120" in line
    assert "10 min" in line
    run_cells(progress, clock)
    first, line = drawn(progress)
    assert "120/120" in first
    assert "20 min" in first
    assert cell_len(line.rstrip()) <= width - len("^C")
    assert len(re.findall("[━─]", line)) >= MIN_BAR
    assert "1003/14000" in line
    assert re.search(r"(≤|at most) 72 h 12 min", line)  # 12,997 cells of 20 s


@pytest.mark.parametrize(
    ("width", "shown", "dropped"),
    [
        (40, ["cells"], ["failed", "left", "best"]),
        (60, ["cells", "1 failed", "≤ 72 h 12 min left"], ["best", "stopped"]),
        (80, ["1 failed", "≤ 72 h 12 min left", "best chebyshev 0.0898"], ["at most", "configuration"]),
        (120, ["1 failed", "at most 72 h 12 min left", "best chebyshev 0.0898", "0:01:00"], ["configuration"]),
        (160, ["1 failed", "at most 72 h 12 min left", "configuration 1234", "0:01:00", "1 stopped"], []),
    ],
)
def test_the_least_important_parts_drop_first(width: int, shown: list[str], dropped: list[str]) -> None:
    progress, clock = begin(width)
    run_cells(progress, clock)
    line = drawn(progress)[-1]
    assert [part for part in shown if part not in line] == []
    assert [part for part in dropped if part in line] == []


def test_a_pipe_gets_lines_with_bar_count_and_time_left_of_each_phase() -> None:
    progress, clock = begin(80, is_terminal=False)
    with progress:
        run_baselines(progress, clock)
        run_cells(progress, clock)
    assert isinstance(progress.console.file, io.StringIO)
    lines = progress.console.file.getvalue().splitlines()
    assert "baselines ━━━━━━━━━━────────── 60/120, about 10 min left, 0:10:00" in lines
    assert "baselines ━━━━━━━━━━━━━━━━━━━━ 120/120, took 20 min" in lines
    assert lines[-1] == (
        "cells ━─────────────────── 1003/14000, at most 72 h 12 min left, 1 failed, "
        "best validation chebyshev 0.0898 (configuration 1234), 1 stopped, 0:01:00"
    )


def test_a_resumed_search_has_no_time_left_before_a_cell_and_no_line_of_finished_baselines() -> None:
    progress, clock = begin(80, baselines=(120, 120))
    (line,) = drawn(progress)
    assert "1000/14600, starting workers" in line
    progress.start_cells()
    clock.now += 3
    (line,) = drawn(progress)
    assert "1000/14600, 0:00:03" in line
    clock.now += 7
    progress.cell_finished(Status.COMPLETED, 1002, None)
    assert "1001/1002, at most 10 s left" in compose_line(progress.cells).text


def test_a_search_without_baselines_starts_with_its_cells() -> None:
    progress, _ = begin(80, baselines=(0, 0))
    assert [line.split()[0] for line in drawn(progress)] == ["cells"]
