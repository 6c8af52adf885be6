"""Tests of the figures of the search: progress, savings, importance, slices, parallel coordinates."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from helo.analysis.figures import (
    importance,
    parallel,
    plot_importance,
    plot_parallel,
    plot_progress,
    plot_savings,
    plot_slices,
    progress,
    savings,
    slices,
)
from helo.analysis.figures._style import NARROW
from helo.analysis.statistics.cell_counts import CellCounts, count_cells
from helo.analysis.statistics.configurations import adjusted_means, configurations_table
from helo.analysis.statistics.importance import compute_marginal_effects
from helo.errors import InputError
from helo.run.directory import Run
from helo.run.manifest import Manifest

SPACE: dict[str, Any] = {
    "learning_rate": {"low": 1e-4, "high": 1e-1, "log": True},
    "dropout": {"low": 0.0, "high": 0.6},
    "width": {"choices": [16, 32, 64]},
    "fusion": {"choices": ["concat", "mean"]},
    "depth": {"value": 1},
}


@pytest.fixture
def cells(run: Run) -> pd.DataFrame:
    return run.table("cells")


def tables(cells: pd.DataFrame, space: dict[str, Any] | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
    table = configurations_table(cells, "kl", nested=False, folds=6)
    return table, compute_marginal_effects(table, "kl", SPACE if space is None else space)


def owned(figure: go.Figure) -> set[int]:
    """Return the configurations that a click on some point of the figure chooses."""
    return {number for trace in figure.data for number in (trace.meta or {}).get("configuration", ())}


def timed(*rows: tuple[int, str, float, float, float, str]) -> pd.DataFrame:
    """Return cells from configuration, fold, score, start, end (in seconds) and status."""
    columns = ["configuration", "fold", "val_kl", "started", "finished", "status"]
    cells = pd.DataFrame(rows, columns=columns)
    start = pd.Timestamp("2026-11-21T03:00:00Z")
    return cells.assign(**{name: start + pd.to_timedelta(cells[name], unit="s") for name in ("started", "finished")})


RACE = timed(
    (0, "A", 1.0, 0, 10, "completed"),
    (1, "A", 0.5, 0, 12, "completed"),
    (0, "B", 3.0, 10, 20, "completed"),
    (1, "B", 2.0, 100, 130, "stopped"),  # the search was resumed: no cell ran from 20 to 100
    (2, "A", 0.4, 105, 140, "completed"),  # dropped after its first fold
    (3, "A", 0.1, 130, 145, "failed"),
)


def test_progress_of_a_race() -> None:
    info = progress._build_info(RACE.sample(frac=1, random_state=1), "kl", False, 2)
    assert info.cells == 6
    assert info.seconds == pytest.approx(20 + 45)
    assert info.configurations == (0, 1, 2)
    assert info.finished == (3, 4, 5)
    assert info.times == pytest.approx((20, 50, 60))
    # B is 1.75 harder than A: 2 would have had 2.15 there.
    assert info.means == pytest.approx((2.0, 1.25, 1.275))
    assert info.tried == (2, 2, 1)
    assert info.best.cells == (3, 4, 6)
    assert info.best.seconds == pytest.approx((20, 50, 65))
    assert info.best.scores == pytest.approx((2.0, 1.25, 1.25))


def test_progress_before_any_configuration_has_all_folds() -> None:
    info = progress._build_info(RACE, "kl", False, 3)
    assert info.best.scores == ()
    assert info.tried == (2, 2, 1)
    assert owned(progress._draw_figure(info)) == {0, 1, 2}


def test_progress_of_nested_studies() -> None:
    cells = timed(
        (0, "A", 1.0, 0, 10, "completed"),
        (1, "A", 0.1, 0, 11, "stopped"),  # never chosen
        (2, "B", 3.0, 0, 12, "completed"),
        (3, "A", 2.0, 10, 13, "completed"),
        (4, "B", 2.0, 12, 14, "completed"),
        (5, "A", 0.5, 13, 15, "completed"),
    )
    info = progress._build_info(cells, "kl", True, 2)
    assert info.configurations == ()
    assert info.best.cells == (3, 5, 6, 6)
    assert info.best.scores == pytest.approx((2.0, 1.5, 1.25, 1.25))
    similar = progress._build_info(cells.assign(val_cosine=-cells["val_kl"]), "cosine", True, 2)
    assert similar.best.scores == pytest.approx((-2.0, -1.5, -1.25, -1.25))


def test_progress_of_a_run(cells: pd.DataFrame) -> None:
    info = progress._build_info(cells.sample(frac=1, random_state=0), "kl", False, 6)
    means = cells.groupby("configuration")["val_kl"].mean()
    assert info.finished == (6, 12, 18, 24, 29)
    assert info.means[:4] == pytest.approx([means[number] for number in range(4)])
    assert info.tried == (6, 6, 6, 6, 5)
    assert info.best.scores[-1] == pytest.approx(means[:4].min())
    assert progress._build_info(cells, "cosine", False, 6).best.scores[-1] == pytest.approx(
        cells.groupby("configuration")["val_cosine"].mean()[:4].max()
    )


def test_a_cell_takes_the_epochs_of_all_its_members() -> None:
    """Five members train for all epochs of their configuration, and a stopped cell has trained two of them."""
    cells = pd.DataFrame(
        [
            (0, "A", "completed", 50, 10),
            (0, "B", "completed", 50, 10),
            (1, "A", "stopped", 20, 30),  # 150 epochs to its end
            (1, "B", "completed", 150, 30),
            (2, "A", "stopped", 4, 8),  # 40 epochs to its end
        ],
        columns=["configuration", "fold", "status", "epochs", "param_epochs"],
    )
    found = savings.savings(cells, counted(cells))
    assert found.typical == pytest.approx((50 + 150 + 40) / 3)
    assert found.epochs_saved == 130 + 36 + 80


def counted(cells: pd.DataFrame, cells_in_all: int | None = None, **manifest: Any) -> CellCounts:
    """Count the cells of a search with racing on two folds; by default, it has ended with these cells."""
    space = {"configurations": cells["configuration"].nunique()}
    known = {"racing": True, "space": space, "cells": cells_in_all or len(cells), **manifest}
    return count_cells(cells, 2, Manifest.from_dict(known))


def test_what_has_not_finished_is_not_saved() -> None:
    cells = pd.DataFrame(
        [(0, "A", "completed", 10), (0, "B", "completed", 20), (1, "A", "stopped", 5)],
        columns=["configuration", "fold", "status", "epochs"],
    )
    space = {"configurations": 5}
    going_on = savings.savings(cells, counted(cells, 10, space=space))
    assert (going_on.dropped, going_on.waiting, going_on.epochs_saved, going_on.epochs_waiting) == (0, 7, 10, 7 * 15)
    assert going_on.share_run == pytest.approx(35 / 45)
    assert "The other 7 have not finished and do not count." in going_on.sentence
    assert [part.name for part in savings._build_info(going_on).parts][-2:] == ["not run", "not finished"]
    ended = savings.savings(cells, counted(cells, 3, space=space))
    assert (ended.dropped, ended.waiting, ended.epochs_saved) == (7, 0, 10 + 7 * 15)
    interrupted = savings.savings(cells, counted(cells, 6, space=space))
    assert (interrupted.dropped, interrupted.waiting) == (4, 3)


def test_savings_by_hand() -> None:
    cells = pd.DataFrame(
        [
            (0, "A", "completed", 10),
            (0, "B", "completed", 20),
            (1, "A", "stopped", 5),
            (1, "B", "stopped", 16),  # more than a completed cell takes: nothing was saved here
            (2, "A", "failed", 3),
        ],
        columns=["configuration", "fold", "status", "epochs"],
    )
    found = savings.savings(cells, counted(cells))
    assert found[:7] == (6, 2, 2, 1, 1, 0, 15.0)
    assert found[7:] == (30, 21, 3, 10 + 15, 0)
    assert found.share_run == pytest.approx(54 / 79)
    assert "Of 6 cells, 2 ran to their end, 2 were stopped at a rung, 1 failed and 1 were dropped" in found.sentence
    assert "about 68% of the epochs" in found.sentence
    info = savings._build_info(found)
    assert [part.name for part in info.parts] == ["ran to its end", "stopped at a rung", "failed", "not run"]
    assert np.sum([part.shares for part in info.parts], axis=0) == pytest.approx([1, 1])
    assert info.parts[3].shares == pytest.approx((1 / 6, 25 / 79))


def test_importance_marks_significant_shares() -> None:
    table = pd.DataFrame(
        {
            "parameter": ["<b>", "width"],
            "share": [0.3, 0.7],
            "low": [0.1, np.nan],
            "high": [0.5, np.nan],
            "noise": [0.4, 0.2],
            "configurations": [20, 12],
        }
    )
    info = importance._build_info(table)
    assert info.parameters == ("width", "<b>")
    assert info.significant == (True, False)
    figure = importance._draw_figure(info)
    assert [list(trace.x) for trace in figure.data] == [[0.2, 0.4], [0.7], [0.3]]
    assert "<b>" not in figure.data[0].y
    with pytest.raises(InputError, match="no hyperparameter made a difference"):
        plot_importance(table.assign(share=0.0))


def test_slices_info(cells: pd.DataFrame) -> None:
    table, effects = tables(cells)
    info = slices._build_info(table, effects, "kl", 6, SPACE)
    by_name = {one.parameter: one for one in info.slices}
    assert set(by_name) == {"learning_rate", "dropout", "width", "fusion"}  # depth does not vary
    assert by_name["learning_rate"].log
    assert not by_name["dropout"].log
    assert by_name["dropout"].categories == ()
    assert set(by_name["width"].values) <= set(by_name["width"].categories) <= {"16", "32", "64"}
    assert list(by_name["width"].categories) == sorted(by_name["width"].categories, key=int)
    assert by_name["dropout"].folds == (6, 6, 6, 6, 5)
    assert by_name["dropout"].means == pytest.approx(adjusted_means(cells, "kl")["mean"].tolist())
    assert by_name["dropout"].values == pytest.approx(cells.groupby("configuration")["param_dropout"].first())
    counts = cells.drop_duplicates("configuration")["param_width"].value_counts()
    shown = [effect.configurations for effect in by_name["width"].effects]
    assert sorted(shown) == sorted(counts[counts >= slices.LEAST])
    assert owned(slices._draw_figure(info)) == {0, 1, 2, 3, 4}


def test_slices_recognise_choices_stored_as_floats(cells: pd.DataFrame) -> None:
    space = {"width": {"choices": [64, 32, 16]}}
    info = slices._build_info(*tables(cells.astype({"param_width": float}), space), "kl", 6, space)
    width = next(one for one in info.slices if one.parameter == "width")
    assert list(width.categories) == sorted(width.categories, key=int, reverse=True)


def test_slices_accept_none_as_a_choice(cells: pd.DataFrame) -> None:
    masks = cells.assign(param_mask=cells["configuration"].map({0: None, 1: 0.5, 2: 0.5, 3: None, 4: 0.5}))
    space = {"mask": {"choices": [None, 0.5]}}
    info = slices._build_info(*tables(masks, space), "kl", 6, space)
    mask = next(one for one in info.slices if one.parameter == "mask")
    assert mask.categories == ("None", "0.5")
    assert mask.values == ("None", "0.5", "0.5", "None", "0.5")
    assert [effect.configurations for effect in mask.effects] == [3]  # two configurations are too few for a mean


def test_slices_without_a_space(cells: pd.DataFrame) -> None:
    space = {"learning_rate": "nonsense"}
    assert not any(one.log for one in slices._build_info(*tables(cells, space), "kl", 6, space).slices)


def many(count: int) -> pd.DataFrame:
    """Return a table of configurations whose score is proportional to their number."""
    table = pd.DataFrame({"configuration": range(count), "param_dropout": np.linspace(0, 0.5, count), "folds": 6})
    return table.assign(adjusted_val_kl=table["configuration"] / 10, recommended=table["configuration"] == count - 2)


def test_slices_of_many_configurations_are_thinned() -> None:
    table = many(1000)
    info = slices._build_info(table, compute_marginal_effects(table, "kl", SPACE), "kl", 6, SPACE)
    assert info.left_out == 600
    assert info.slices[0].configurations[0] == 0
    assert info.slices[0].configurations[-1] == 999
    assert "400 of 1000 configurations" in slices._draw_figure(info).layout.title.text


def test_parallel_info() -> None:
    table = pd.DataFrame(
        {
            "configuration": [0, 1, 2],
            "param_learning_rate": [1e-3, 1e-1, 1e-2],
            "param_transport": ["fused", "linear", "fused"],
            "param_ot_alpha": [0.25, 0.5, 0.75],
            "adjusted_val_kl": [1.0, 3.0, 2.0],
            "adjusted_val_cosine": [1.0, 3.0, 2.0],
            "recommended": [False, False, True],
        }
    )
    space = {"transport": {"choices": ["linear", "fused"]}, "learning_rate": {"low": 1e-4, "high": 1, "log": True}}
    info = parallel._build_info(table, compute_marginal_effects(table, "kl", space), "kl", space)
    # The means of linear and fused differ most, then come those with one bin only.
    assert [axis.title for axis in info.axes] == ["learning_rate", "ot_alpha", "transport", "validation KL ↓"]
    lines = {line.configuration: line for line in info.lines}
    assert [line.configuration for line in info.lines] == [1, 2, 0]  # the best is drawn last
    assert lines[0].heights == pytest.approx((0, 0, 1, 1))
    assert lines[2].heights == pytest.approx((0.5, 1, 1, 0.5))  # halfway on a logarithmic axis
    assert lines[1].heights == pytest.approx((1, parallel._IDLE, 0, 0))  # α does not act, and 3 is the worst
    assert lines[1].words == ("0.1", "does not act", "linear", "3.0000")
    assert [line.recommended for line in info.lines] == [False, True, False]
    assert [line.group for line in info.lines] == ["the worse half", "best half", "best tenth"]
    assert info.axes[-1].ticks == ((0.0, "3"), (1.0, "1"))
    figure = parallel._draw_figure(info)
    assert all(isinstance(trace, go.Scatter) for trace in figure.data)  # parcoords need WebGL and eval
    assert owned(figure) == {0, 1, 2}
    similar = parallel._build_info(table, compute_marginal_effects(table, "cosine", space), "cosine", space)
    assert {line.configuration: line.heights[-1] for line in similar.lines} == {0: 0.0, 1: 1.0, 2: 0.5}


def test_parallel_of_many_draws_the_best_and_the_recommended() -> None:
    table = many(400)
    info = parallel._build_info(table, compute_marginal_effects(table, "kl", SPACE), "kl", SPACE)
    drawn = {line.configuration for line in info.lines}
    assert set(range(100)) <= drawn
    assert 398 in drawn
    assert 150 <= len(drawn) <= 151
    assert len(drawn) + info.left_out == 400
    assert sum(line.group == "best tenth" for line in info.lines) == 40
    assert f"{len(drawn)} of 400 configurations" in parallel._draw_figure(info).layout.title.text


def test_narrow_pages(cells: pd.DataFrame) -> None:
    table, effects = tables(cells)
    for figure in (plot_slices(table, effects, "kl", 6, SPACE), plot_progress(cells, "kl", False, 6)):
        narrow = figure.layout.meta[NARROW]
        assert narrow["height"] > figure.layout.height
        assert all(value == [0.0, 1.0] for key, value in narrow.items() if key.startswith("xaxis"))
    wide = cells.assign(**{f"param_more_{letter}": cells["configuration"] for letter in "abc"})
    low, high = plot_parallel(*tables(wide), "kl", SPACE).layout.meta[NARROW]["xaxis.range"]
    assert 3 > low > 2  # three of seven hyperparameters are not shown
    assert high > 7


def test_empty_figures_give_a_reason(cells: pd.DataFrame) -> None:
    failed = cells.assign(status="failed")
    one = cells[cells["configuration"] == 0]
    for nested in (False, True):
        with pytest.raises(InputError, match="no cell has a score yet"):
            plot_progress(failed, "kl", nested, 6)
    with pytest.raises(InputError, match="no cell ran to its end"):
        plot_progress(cells.assign(status="stopped"), "kl", True, 6)
    with pytest.raises(InputError, match="no cell ran to its end yet"):
        plot_savings(failed, count_cells(failed, 6, Manifest()))
    with pytest.raises(InputError, match="no cell has a score yet"):
        plot_slices(*tables(failed), "kl", 6)
    with pytest.raises(InputError, match="no parameter takes two values"):
        plot_slices(*tables(one), "kl", 6)
    with pytest.raises(InputError, match="fewer than two configurations"):
        plot_parallel(*tables(one), "kl")
    with pytest.raises(InputError, match="no parameter takes two values"):
        plot_parallel(many(3).assign(param_dropout=0.1), compute_marginal_effects(many(3), "kl", {}), "kl")
