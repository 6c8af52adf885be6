"""What the figures show, tested between the tables and plotly."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from analysis.estimates import subject_scores, summarise
from analysis.figures import (
    estimates,
    learning,
    plot_estimates,
    plot_learning,
    plot_predictions,
    plot_subjects,
    predictions,
    subjects,
)
from analysis.figures._style import Grid
from helo.errors import InputError
from helo.run import Run
from helo.selection import best_per_fold

SUBJECTS = ("S2", "S3", "S4", "S5", "S6", "S7")
EMOTIONS = ("joy", "fear", "anger", "calm")


@pytest.fixture
def cells(run: Run) -> pd.DataFrame:
    return run.table("cells")


def test_estimates_info(run: Run, cells: pd.DataFrame) -> None:
    summary = summarise(cells, run.table("baselines"), "kl", 6)
    info = estimates._info(summary, ["kl"])
    rows = summary[summary["metric"] == "kl"]
    assert info.panels[0].estimates == tuple(rows["estimate"])
    assert info.panels[0].means == tuple(rows["mean"])
    assert info.panels[0].lows == tuple(rows["ci_low"])
    assert info.panels[0].reference == rows.set_index("estimate").loc["train_mean", "mean"]


def test_estimates_without_score_are_left_out(run: Run, cells: pd.DataFrame) -> None:
    summary = summarise(cells.assign(status="failed"), run.table("baselines"), "kl", 6)
    assert estimates._info(summary, ["kl"]).panels[0].estimates == ("train_mean", "uniform", "best_possible")


@pytest.mark.parametrize("metric", ["kl", "cosine"])
def test_subjects_info_has_the_hardest_first(run: Run, cells: pd.DataFrame, metric: str) -> None:
    scores = subject_scores(cells, run.table("baselines"), "kl")
    info = subjects._info(scores, metric)
    assert sorted(info.subjects) == sorted(SUBJECTS)
    assert list(info.reference) == sorted(info.reference, reverse=metric == "kl")
    wide = scores.pivot(index="fold", columns="estimate", values=metric)
    assert list(info.searched) == wide.loc[list(info.subjects), "per_fold_selection"].tolist()


def test_learning_info(run: Run, cells: pd.DataFrame) -> None:
    epochs = run.table("epochs")
    info = learning._info(cells, epochs, "kl")
    choice = best_per_fold(cells, "kl")
    assert [curve.fold for curve in info.curves] == list(SUBJECTS)
    for curve in info.curves:
        rows = epochs[(epochs["fold"] == curve.fold) & (epochs["configuration"] == choice[curve.fold])]
        assert curve.epochs == (0, 1, 2, 3, 4)
        assert curve.scores == tuple(rows["val_kl"])
        assert curve.best_epoch == 3
    assert info.means == pytest.approx(np.mean([curve.scores for curve in info.curves], axis=0))


def test_learning_mean_stops_where_a_fold_stops(run: Run, cells: pd.DataFrame) -> None:
    epochs = run.table("epochs")
    early = epochs[(epochs["fold"] != "S2") | (epochs["epoch"] < 3)]
    assert learning._info(cells, early, "kl").mean_epochs == (0, 1, 2)


def test_predictions_info(run: Run, cells: pd.DataFrame) -> None:
    table = run.table("predictions")
    info = predictions._info(table, cells, "kl")
    assert info.emotions == EMOTIONS
    assert info.groups == ("base", "stress", "fun")
    assert info.subjects == SUBJECTS
    chosen = best_per_fold(cells, "kl")["S4"]
    rows = table[(table["fold"] == "S4") & (table["configuration"] == chosen) & (table["group"] == "fun")]
    for side, prefix in ((info.reported, "true_"), (info.predicted, "pred_")):
        assert side[2][2] == pytest.approx(rows[[prefix + e for e in EMOTIONS]].mean().tolist())
        assert sum(side[2][2] or ()) == pytest.approx(1)


def test_predictions_without_groups_and_with_gaps(make_run: Callable[..., Run]) -> None:
    run = make_run("no groups", groups=None)
    cells = run.table("cells")
    assert predictions._info(run.table("predictions"), cells, "kl").groups == ("all windows",)
    run = make_run()
    table = run.table("predictions")
    info = predictions._info(table[(table["fold"] != "S3") | (table["group"] != "fun")], cells, "kl")
    assert info.reported[1][2] is None
    assert isinstance(predictions._figure(info), go.Figure)


def test_predictions_of_many_groups_are_cut(make_run: Callable[..., Run]) -> None:
    run = make_run(groups=[f"clip {number}" for number in range(32)])
    info = predictions._info(run.table("predictions"), run.table("cells"), "kl")
    assert len(info.groups) == predictions.MOST_GROUPS
    assert info.left_out == 20
    assert "the first 12 of 32 groups" in str(predictions._figure(info).layout.annotations)


def test_every_figure_says_why_it_is_empty(run: Run, cells: pd.DataFrame) -> None:
    failed = cells.assign(status="failed")
    scores = subject_scores(failed, run.table("baselines"), "kl")
    with pytest.raises(InputError, match="no estimate"):
        plot_estimates(summarise(failed, run.table("baselines"), "kl", 6)[:0])
    with pytest.raises(InputError, match="no subject"):
        plot_subjects(scores, "kl")
    with pytest.raises(InputError, match="no selected cell"):
        plot_learning(failed, run.table("epochs"), "kl")
    with pytest.raises(InputError, match="no predictions"):
        plot_predictions(run.table("predictions"), failed, "kl")


@pytest.mark.parametrize(("panels", "columns"), [(1, 1), (4, 3), (6, 3), (12, 1)])
def test_panels_lie_inside_and_apart(panels: int, columns: int) -> None:
    grid = Grid(panels, columns, panel=200, gap=60)
    domains = [grid.domain(index) for index in range(panels)]
    for x, y in domains:
        assert 0 <= x[0] < x[1] <= 1 + 1e-12
        assert -1e-12 <= y[0] < y[1] <= 1
        inner = grid.height - grid.top - grid.bottom
        assert (y[1] - y[0]) * inner == pytest.approx(200)
    for one in range(panels):
        for other in range(one):
            beside = domains[other][0][1] <= domains[one][0][0] or domains[one][0][1] <= domains[other][0][0]
            below = domains[one][1][1] <= domains[other][1][0]
            assert beside or below
