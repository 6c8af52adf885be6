"""Tests of the figure of the answer, of values beyond an axis, and of the descriptions of figures."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from helo.analysis.exhibits import EXHIBITS
from helo.analysis.figures import DESCRIPTION, differences, plot_comparisons, plot_differences, plot_estimates
from helo.analysis.figures._style import find_range
from helo.analysis.source import read_source
from helo.errors import InputError
from helo.names import TableName
from helo.run.directory import Run


@pytest.fixture
def far(run: Run) -> Run:
    """Return a run in which the uniform distribution is far worse than all other methods."""
    baselines = run.table(TableName.BASELINES)
    baselines.loc[baselines["method"] == "uniform", "test_kl"] = 5.0
    run.write_table(TableName.BASELINES, baselines)
    return run


@pytest.mark.parametrize("metric", ["kl", "cosine"])
def test_differences_are_gains_over_the_train_mean(run: Run, metric: str) -> None:
    source = read_source(run)
    info = differences._build_info(source.scores, metric)
    wide = source.scores.pivot(index="fold", columns="estimate", values=metric)
    gains = wide["train_mean"] - wide["per_fold_selection"]
    gains = gains if metric == "kl" else -gains
    assert dict(zip(info.subjects, info.gains, strict=True)) == pytest.approx(gains.to_dict())
    assert list(info.gains) == sorted(info.gains, reverse=True)
    row = source.comparisons.set_index(["metric", "reference"]).loc[(metric, "train_mean")]
    assert (info.mean, info.low, info.high) == pytest.approx((row["gain"], row["gain_low"], row["gain_high"]))


def test_names_of_many_subjects_do_not_collide(make_run: Callable[..., Run]) -> None:
    few = plot_differences(read_source(make_run("few")).scores, "kl")
    many = plot_differences(read_source(make_run("many", subjects=[f"P{n}" for n in range(30)])).scores, "kl")
    assert few.layout.xaxis.tickangle == 0
    assert many.layout.xaxis.tickangle == -90


def test_differences_need_both_scores(make_run: Callable[..., Run]) -> None:
    with pytest.raises(InputError, match="train-mean"):
        plot_differences(read_source(make_run(without=["baselines"])).scores, "kl")


def test_a_far_baseline_does_not_take_the_width(far: Run) -> None:
    source = read_source(far)
    for figure, place in (
        (plot_estimates(source.summary, ("kl",)), "mean"),
        (plot_comparisons(source.comparisons, "kl"), "gain"),
    ):
        trace, (low, high) = figure.data[0], figure.layout.xaxis.range
        name = list(trace.y).index("uniform")
        near = [0.0] if place == "gain" else []
        near += [value for number, value in enumerate(trace.x) if number != name]
        assert high < 1
        assert all(low < value < high for value in near)
        assert max(near) - min(near) > 0.4 * (high - low), place
        assert low < trace.x[name] < high
        assert trace.marker.symbol[name].removesuffix("-open") == "triangle-right"
        assert trace.text[name] == trace.hovertext[name]
        assert float(trace.text[name]) == pytest.approx(5.0, abs=0.5)
        assert [text for number, text in enumerate(trace.text) if number != name] == [""] * (len(trace.x) - 1)
        assert trace.error_x.array[name] == 0


def test_a_near_baseline_stays_in_place(run: Run) -> None:
    baselines = run.table(TableName.BASELINES)
    baselines.loc[baselines["method"] == "uniform", "test_kl"] = 0.22
    run.write_table(TableName.BASELINES, baselines)
    figure = plot_estimates(read_source(run).summary, ("kl",))
    assert figure.layout.xaxis.range is None
    assert "triangle-right" not in figure.data[0].marker.symbol


@pytest.mark.parametrize("far", [[np.nan], [], [1.2]])
def test_no_range_without_far_values(far: list[float]) -> None:
    assert find_range([0.0, np.nan, 1.0], far) is None


def test_values_far_on_the_left_have_room_for_their_label() -> None:
    low, high = find_range([0.0, 1.0], [-7.0])  # type: ignore[misc]
    assert low < -0.2
    assert high < 1.1


def test_every_figure_says_what_it_shows(make_run: Callable[..., Run]) -> None:
    source = read_source(make_run(configurations=12))
    for name, one in EXHIBITS.items():
        description = one.plot(source).layout.meta[DESCRIPTION]
        assert description.endswith("."), name
        assert any(letter.isdigit() for letter in description) or name == "slices"
