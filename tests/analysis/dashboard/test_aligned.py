"""Alignment of the same figure of several runs: ranges, order, colour scales and colours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest

from helo.analysis.dashboard.aligned import Changes, align, find_frame
from helo.analysis.dashboard.extents import find_extents
from helo.analysis.exhibits import EXHIBITS
from helo.analysis.figures._style import BLUE, GREY, ORANGE, VERMILLION
from helo.analysis.source import Source
from helo.run.directory import Run


def aligned(*figures: go.Figure) -> list[dict[str, Any]]:
    return [changes.always for changes in align([find_frame(figure) for figure in figures])]


def points(x: list[Any], y: list[Any], **layout: Any) -> go.Figure:
    return go.Figure(go.Scatter(x=x, y=y), {"xaxis": {"title": {"text": "score"}}, **layout})


def test_ranges_become_their_union() -> None:
    first, second = aligned(points([0.0, 10.0], [1, 2]), points([5.0, 20.0], [1, 2]))
    assert first["layout.xaxis.range"] == second["layout.xaxis.range"] == [-0.5, 20.75]


def test_given_ranges_and_their_direction_are_kept() -> None:
    title = {"title": {"text": "score"}}
    up, down = ({"xaxis": title | {"range": ends}} for ends in ([0.0, 1.0], [3.0, 0.5]))
    first, second = aligned(points([0.2], [1], **up), points([0.2], [1], **down))
    assert first["layout.xaxis.range"] == [0.0, 3.0]
    assert second["layout.xaxis.range"] == [3.0, 0.0]


def test_times_in_different_units_show_the_same_time() -> None:
    short = points([0.0, 60.0], [1, 2], xaxis={"title": {"text": "time of a cell in s"}, "rangemode": "tozero"})
    long = points([0.0, 10.0], [1, 2], xaxis={"title": {"text": "time of a cell in min"}, "rangemode": "tozero"})
    first, second = aligned(short, long)
    assert first["layout.xaxis.range"] == [0.0, 630.0]
    assert second["layout.xaxis.range"] == [0.0, 10.5]


def test_axes_that_show_something_else_are_left_alone() -> None:
    other = points([5.0, 20.0], [1, 2], xaxis={"title": {"text": "another score"}})
    first, second = aligned(points([0.0, 10.0], [1, 2]), other)
    assert first["layout.xaxis.range"] == [-0.5, 10.5]
    assert second["layout.xaxis.range"] == [4.25, 20.75]


def test_categories_have_the_order_of_the_first_run() -> None:
    axis = {"type": "category", "title": {"text": "test subject"}}
    given = {"categoryorder": "array", "categoryarray": ["S3", "S2"], "autorange": "reversed"}
    first = points(["S2", "S3"], [1, 2], xaxis=axis | given)
    second = points(["S2", "S4", "S3"], [1, 2, 3], xaxis=axis)
    changes = aligned(first, second)
    assert [one["layout.xaxis.categoryarray"] for one in changes] == [["S3", "S2", "S4"]] * 2
    assert [one["layout.xaxis.range"] for one in changes] == [[2.5, -0.5], [-0.5, 2.5]]


def test_configurations_of_different_runs_are_unrelated() -> None:
    axis = {"type": "category", "title": {"text": "configuration: by number of folds"}}
    first, second = aligned(points(["0", "1"], [1, 2], xaxis=axis), points(["2"], [1], xaxis=axis))
    assert not any(path.startswith("layout.xaxis") for path in first | second)


def heat(limit: float, shown: str = "skill") -> go.Figure:
    figure = go.Figure(go.Heatmap(z=[[0.0]], coloraxis="coloraxis"))
    bar = {"tickvals": [-limit, 0, limit], "ticktext": [f"-{limit}", "0", f"{limit}"]}
    figure.update_layout(coloraxis={"cmin": -limit, "cmax": limit, "colorbar": bar})
    return figure.add_annotation(text=shown)


def test_colour_scales_share_their_limits_and_ticks() -> None:
    first, second = aligned(heat(0.2), heat(0.5))
    assert first == second
    assert (first["layout.coloraxis.cmin"], first["layout.coloraxis.cmax"]) == (-0.5, 0.5)
    assert first["layout.coloraxis.colorbar.ticktext"] == ["-0.5", "0", "0.5"]
    first, second = aligned(heat(0.2), heat(0.5, "score"))
    assert (first["layout.coloraxis.cmax"], second["layout.coloraxis.cmax"]) == (0.2, 0.5)


def test_a_colour_stands_for_one_method() -> None:
    def methods(**colours: str) -> go.Figure:
        return go.Figure([go.Scatter(x=[1], name=name, marker={"color": colour}) for name, colour in colours.items()])

    common = {"train_mean": GREY, "per_fold_selection": BLUE}
    first, second, third = aligned(*(methods(**common, **{name: VERMILLION}) for name in ("ridge", "knn", "ridge")))
    assert "data[2].marker.color" not in first | third
    assert second["data[2].marker.color"] == ORANGE
    assert not any(path.startswith(("data[0]", "data[1]")) for path in second)


def test_a_choice_has_ranges_of_its_own() -> None:
    def figure(high: float, alone: float) -> go.Figure:
        found = points([1, 2], [0.0, high])
        return found.update_layout(meta={"choices": {"subject": {"S2": [{"y": np.array([0.0, alone])}]}}})

    first, second = align([find_frame(one) for one in (figure(10.0, 100.0), figure(20.0, 50.0))])
    assert first.always["layout.yaxis.range"] == [-1.0, 21.0]
    assert first.choices == second.choices
    assert first.choices["subject"]["S2"] == {"layout.yaxis.range": [-5.0, 105.0]}


def test_arrows_stay_at_the_ends_of_the_common_range() -> None:
    def figure(end: float) -> go.Figure:
        marker = {"symbol": ["circle", "triangle-right"]}
        trace = go.Scatter(x=[0.5, 0.98 * end], y=["a", "b"], marker=marker, hovertext=["0.5", "2.5"])
        return go.Figure(trace, {"xaxis": {"title": {"text": "score"}, "range": [0.0, end]}})

    first, second = aligned(figure(1.0), figure(2.0))
    assert first["data[0].x"] == second["data[0].x"] == [0.5, 1.96]
    wide = go.Figure(go.Scatter(x=[3.9]), {"xaxis": {"title": {"text": "score"}, "range": [0.0, 4.0]}})
    assert aligned(figure(1.0), wide)[0]["data[0].x"] == [0.5, 2.5]  # the value is inside of the common range


def test_a_single_figure_stays_as_it_is() -> None:
    frame = find_frame(points([0.0, 10.0], [1, 2]))
    assert align([frame, None]) == (Changes({}, {}), Changes({}, {}))


def test_extents_hold_error_bars_bars_and_stacks() -> None:
    error = go.Figure(go.Scatter(x=[1.0, 2.0], y=[5, 6], error_x={"array": [1.0, 1.0], "arrayminus": [0.0, 0.0]}))
    assert find_extents(error)["xaxis"] == pytest.approx((0.9, 3.1))
    bars = go.Figure([go.Bar(x=["a", "b"], y=[1.0, 2.0]), go.Bar(x=["a", "b"], y=[3.0, 1.0])])
    assert find_extents(bars)["yaxis"] == pytest.approx((0.0, 3.15))
    assert find_extents(bars.update_layout(barmode="stack"))["yaxis"] == pytest.approx((0.0, 4.2))
    log = points([1.0, 100.0, 0.0], [1, 2, 3], xaxis={"type": "log"})
    assert find_extents(log)["xaxis"] == pytest.approx((-0.1, 2.1))


def test_every_figure_shows_all_its_values_once_aligned(make_run: Callable[..., Run]) -> None:
    """Runs with other subjects, configurations and scores: no value of a figure is outside of its axes."""
    other = make_run("other", subjects=("S7", "S2", "S9", "S10", "S4"), configurations=9, epochs=7)
    sources = [Source(make_run()), Source(other)]
    for name in set(EXHIBITS) - {"importance"}:  # which needs more configurations
        figures = [EXHIBITS[name].plot(source) for source in sources]
        changes = aligned(*figures)
        for figure, own in zip(figures, changes, strict=True):
            for axis, (low, high) in find_extents(figure).items():
                ends = own.get(f"layout.{axis}.range")
                if ends is not None and figure.layout[axis].range is None:
                    assert min(ends) <= low < high <= max(ends), (name, axis)
        for path in changes[0].keys() & changes[1].keys():
            # Units of time may differ; another test has them.
            if path.endswith((".range", ".categoryarray")) and name not in ("timeline", "cost", "progress"):
                assert sorted(changes[0][path], key=str) == sorted(changes[1][path], key=str), (name, path)
