"""Tests of the schedule of cells (workers, pauses, busy share) and of its two figures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.io
import pytest

from helo.analysis.figures import cost, plot_cost, plot_timeline
from helo.analysis.statistics.schedule import Stretch, infer_schedule, join_cells
from helo.errors import InputError
from helo.run.directory import Run

START = pd.Timestamp("2026-11-21T03:00:00Z")


def table(times: Sequence[tuple[float, float]], nodes: Sequence[str] = (), status: Sequence[str] = ()) -> pd.DataFrame:
    """Return cells from their starts and ends in seconds."""
    count = len(times)
    return pd.DataFrame(
        {
            "configuration": range(count),
            "fold": [f"S{number}" for number in range(count)],
            "status": list(status) or ["completed"] * count,
            "node": list(nodes) or ["here"] * count,
            "started": [START + pd.Timedelta(seconds=start) for start, _ in times],
            "finished": [START + pd.Timedelta(seconds=end) for _, end in times],
        }
    )


def test_a_cell_takes_the_first_worker_that_is_free() -> None:
    found = infer_schedule(table([(0, 10), (1, 5), (5, 9), (6, 8), (10, 12)]))
    assert found.worker.tolist() == [0, 1, 1, 2, 0]
    assert found.workers == (("here", 1), ("here", 2), ("here", 3))
    assert found.span == 12
    assert found.capacity == 36
    assert found.busy == pytest.approx((10 + 4 + 4 + 2 + 2) / 36)


def test_a_small_clock_correction_adds_no_worker() -> None:
    assert len(infer_schedule(table([(0, 10), (9.995, 20)])).workers) == 1
    assert len(infer_schedule(table([(0, 10), (9.9, 20)])).workers) == 2


def test_each_worker_belongs_to_one_node() -> None:
    found = infer_schedule(table([(0, 4), (1, 3), (4, 6), (3, 5)], nodes=["b", "a", "a", "b"]))
    assert found.workers == (("a", 1), ("b", 1), ("b", 2))
    assert found.start.tolist() == [0, 1, 3, 4]  # in order of their starts
    assert found.worker.tolist() == [1, 0, 2, 0]


def test_pauses_are_cut_out_and_do_not_count() -> None:
    """Two workers run for 10 s, and an hour later one for 20 s. Half a minute without cells is no pause."""
    found = infer_schedule(table([(0, 10), (0, 10), (3610, 3615), (3645, 3660)]))
    assert found.pauses == ((10.0, 3600.0),)
    assert found.start.tolist() == [0, 0, 10, 45]
    assert found.end.tolist() == [10, 10, 15, 60]
    assert found.span == 60
    assert found.capacity == 2 * 10 + 1 * 50
    assert found.busy == pytest.approx(40 / 70)


def test_cells_without_a_time_are_left_out() -> None:
    cells = table([(0, 0), (0, 10)], nodes=["", "here"])  # a cell of a failed node has no run time
    unknown = pd.Series(pd.NaT, index=cells.index, dtype=cells["started"].dtype)
    cells = pd.concat([cells, cells.assign(started=unknown)])
    assert infer_schedule(cells).workers == (("here", 1),)
    with pytest.raises(InputError, match="no cell has a time"):
        plot_cost(cells[:1])
    with pytest.raises(InputError, match="no cell has a time"):
        plot_timeline(cells[:0])


def test_stretches_join_short_cells_and_cells_of_equal_status() -> None:
    times = [(0, 1), (1, 2), (2, 5), (5, 6), (20, 21), (0, 30)]
    status = ["completed", "failed", "stopped", "stopped", "stopped", "completed"]
    found = infer_schedule(table(times, status=status))
    statuses = found.cells["status"].to_numpy().astype(np.str_)
    assert len(join_cells(found, statuses, 0)) == 6
    joined = join_cells(found, statuses, 4)
    assert joined[:2] == [Stretch(0, 0.0, 6.0, "stopped", 4, 0), Stretch(0, 20.0, 21.0, "stopped", 1, 5)]
    assert joined[2][:5] == (1, 0.0, 30.0, "completed", 1)
    assert sum(one.cells for one in join_cells(found, statuses, 1000)) == 6


def test_long_cells_of_another_status_are_not_joined() -> None:
    found = infer_schedule(table([(0, 10), (10, 20), (20, 30)], status=["completed", "failed", "failed"]))
    statuses = found.cells["status"].to_numpy().astype(np.str_)
    assert [one[1:5] for one in join_cells(found, statuses, 4)] == [
        (0.0, 10.0, "completed", 1),
        (10.0, 30.0, "failed", 2),
    ]


def test_cost_info() -> None:
    info = cost._build_info(
        table([(0, 10), (0, 5), (5, 10), (10, 30)], status=["completed", "failed", "stopped", "stopped"])
    )
    assert info.cells == 4
    assert info.median == 7.5
    assert info.edges[-1] == 20
    assert {status: counts.sum() for status, counts in info.counts.items()} == {
        "completed": 1,
        "stopped": 2,
        "failed": 1,
    }
    assert info.counts["stopped"][-1] == 1
    assert info.running[info.times[:-1] < 10] == pytest.approx(2)
    assert info.running[info.times[:-1] >= 10] == pytest.approx(1)
    assert info.busy == pytest.approx(40 / 60)


def test_running_cells_are_means_of_their_steps() -> None:
    """The area under the line is the run time of all cells, whatever the steps."""
    rng = np.random.default_rng(0)
    starts = rng.uniform(0, 40, 50)
    info = cost._build_info(table([(start, start + length) for start, length in zip(starts, rng.uniform(1, 9, 50))]))  # noqa: B905
    assert (info.running * np.diff(info.times)).sum() == pytest.approx(info.busy * info.workers * info.times[-1])


def test_a_cell_that_hung_is_in_the_last_bar() -> None:
    info = cost._build_info(table([(0, 1 + number / 1000) for number in range(199)] + [(0, 5000)]))
    assert info.edges[-1] < 10
    assert sum(counts.sum() for counts in info.counts.values()) == 200


def test_the_timeline_has_a_bar_per_cell(run: Run) -> None:
    cells = run.table("cells")
    figure = plot_timeline(cells)
    assert {trace.name: len(trace.x) for trace in figure.data} == {"completed": 29, "failed": 1}
    assert (figure.data[1].meta, figure.data[1].customdata[0]) == (
        {"subject": ["S7"], "configuration": [4]},
        ["S7", 4, "2.5 s"],
    )
    assert list(figure.data[0].base[:2]) == [0, 3]
    assert list(figure.layout.yaxis.ticktext) == ["worker 1"]
    assert "<b>1 worker</b>, 84 % busy" in figure.layout.annotations[0].text  # 30 × 2.5 s in 89.5 s


def test_pauses_are_noted_and_marked() -> None:
    cells = table([(0, 100), (7300, 7400)])
    for figure in (plot_cost(cells), plot_timeline(cells)):
        assert "not counting a pause of 2 h 0 min" in str(figure.layout.annotations)
        assert figure.layout.shapes[0].x0 == pytest.approx(100 / 60)  # 200 s are shown in minutes


def test_a_large_run_is_small_in_the_page() -> None:
    rng = np.random.default_rng(0)
    free, times, nodes = np.zeros(32), [], []
    for length in rng.gamma(4, 8, 14_600):
        worker = int(np.argmin(free))
        times.append((free[worker] + 0.05, free[worker] + 0.05 + length))
        nodes.append(f"node {worker // 8}")
        free[worker] = times[-1][1]
    cells = table(times, nodes, list(rng.choice(["completed", "stopped", "failed"], 14_600, p=[0.6, 0.39, 0.01])))
    figures = [plot_timeline(cells), plot_cost(cells)]
    content = "".join(plotly.io.to_json(figure, validate=False) for figure in figures)
    assert len(content) < 500_000
    assert sum(sum(trace.customdata) for trace in figures[0].data) == 14_600
    assert sum(len(trace.x) for trace in figures[0].data) < cost.MOST_BARS
