"""Tests of the content of the figures, mostly before it is drawn."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from helo.analysis.figures import (
    comparisons,
    estimates,
    learning,
    plot_comparisons,
    plot_estimates,
    plot_learning,
    plot_predictions,
    plot_ranks,
    plot_subjects,
    predictions,
    ranks,
    subjects,
)
from helo.analysis.figures._links import choose
from helo.analysis.figures._style import NARROW, Grid
from helo.analysis.source import Source
from helo.analysis.statistics.comparisons import Ranks
from helo.analysis.statistics.comparisons import compare_with_references as compare
from helo.analysis.statistics.comparisons import rank_methods as mean_ranks
from helo.analysis.statistics.emotions import train_means
from helo.analysis.statistics.estimates import subject_scores
from helo.errors import InputError
from helo.run.directory import Run
from helo.run.selection import best_per_fold

SUBJECTS = ("S2", "S3", "S4", "S5", "S6", "S7")
EMOTIONS = ("joy", "fear", "anger", "calm")


@pytest.fixture
def cells(run: Run) -> pd.DataFrame:
    return run.table("cells")


def test_estimates_info(run: Run) -> None:
    summary = Source(run).summary
    info = estimates._build_info(summary, ["kl"])
    rows = summary[summary["metric"] == "kl"]
    assert info.panels[0].estimates == tuple(rows["estimate"])
    assert info.panels[0].means == tuple(rows["mean"])
    assert info.panels[0].lows == tuple(rows["ci_low"])
    assert info.panels[0].reference == rows.set_index("estimate").loc["train_mean", "mean"]


def test_estimates_without_score_are_left_out(run: Run, cells: pd.DataFrame) -> None:
    run.write_table("cells", cells.assign(status="failed"))
    assert estimates._build_info(Source(run).summary, ["kl"]).panels[0].estimates == (
        "train_mean",
        "uniform",
        "best_possible",
    )


@pytest.mark.parametrize("metric", ["kl", "cosine"])
def test_subjects_info_has_the_hardest_first(run: Run, cells: pd.DataFrame, metric: str) -> None:
    scores = subject_scores(cells, run.table("baselines"), "kl")
    info = subjects._build_info(scores, metric)
    assert sorted(info.subjects) == sorted(SUBJECTS)
    assert list(info.reference) == sorted(info.reference, reverse=metric == "kl")
    wide = scores.pivot(index="fold", columns="estimate", values=metric)
    assert list(info.searched) == wide.loc[list(info.subjects), "per_fold_selection"].tolist()


def with_regressors(run: Run) -> pd.DataFrame:
    """Return the scores of the run with two regressors: ridge is best but failed on a subject, knn has all subjects."""
    scores = subject_scores(run.table("cells"), run.table("baselines"), "kl")
    uniform = scores[scores["estimate"] == "uniform"]
    ridge = uniform[uniform["fold"] != "S3"].assign(estimate="ridge", kl=0.01)
    return pd.concat([scores, ridge, uniform.assign(estimate="knn", kl=uniform["kl"] / 2)], ignore_index=True)


def test_the_best_regressor_is_the_third_marker(run: Run) -> None:
    scores = with_regressors(run)
    info = subjects._build_info(scores, "kl")
    assert info.regressor == "knn"
    expected = scores[scores["estimate"] == "knn"].set_index("fold")["kl"]
    assert list(info.regressed) == expected[list(info.subjects)].tolist()
    figure = subjects._draw_figure(info)
    points = [trace for trace in figure.data if trace.mode == "markers"]
    assert [trace.name for trace in points] == ["train_mean", "knn", "per_fold_selection"]
    for trace in points:
        assert list(trace.meta["subject"]) == list(info.subjects)  # a click selects


def test_without_a_regressor_there_are_two_markers(run: Run, cells: pd.DataFrame) -> None:
    figure = plot_subjects(subject_scores(cells, run.table("baselines"), "kl"), "kl")
    assert [trace.name for trace in figure.data if trace.mode == "markers"] == ["train_mean", "per_fold_selection"]


def test_names_of_subjects_are_compared_raw_and_shown_escaped(run: Run) -> None:
    scores = with_regressors(run).replace({"fold": {"S2": "<b>S2"}})
    point = next(trace for trace in plot_subjects(scores, "kl").data if trace.mode == "markers")
    assert "<b>S2" in point.meta["subject"]
    assert "&lt;b&gt;S2" in point.y


def test_comparisons_info(run: Run) -> None:
    table = compare(with_regressors(run))
    info = comparisons._build_info(table, "cosine")
    rows = table[table["metric"] == "cosine"]
    assert info.references == ("train_mean", "uniform", "knn", "ridge")
    assert info.gains == tuple(rows["gain"])
    assert info.p == tuple(rows["p_holm"])
    assert info.better == tuple(rows["better"])


def test_only_significant_differences_are_filled(run: Run) -> None:
    table = compare(with_regressors(run), ("kl",)).assign(p_holm=[0.01, 0.05, 0.2, np.nan])
    (trace,) = plot_comparisons(table, "kl").data
    assert list(trace.marker.symbol) == ["circle", "triangle-right-open", "circle-open", "circle-open"]
    figure = plot_comparisons(table.assign(gain_low=np.nan, gain_high=np.nan), "kl")
    assert set(figure.data[0].error_x.array) == {0}
    assert "the search is better" in figure.layout.xaxis.title.text
    assert "right" in figure.layout.meta[NARROW]["xaxis.title.text"]
    assert comparisons._build_info(table.assign(gain=[np.inf, 0.1, 0.2, 0.3]), "kl").references[0] == "uniform"


def test_ranks_info(run: Run) -> None:
    found = mean_ranks(with_regressors(run), "kl")
    info = ranks._build_info(found)
    assert info.methods == found.methods
    assert set(info.methods) == {"per_fold_selection", "train_mean", "uniform", "knn"}
    assert len(info.bars) == len(found.groups)


def test_overlapping_bars_have_different_levels() -> None:
    found = Ranks("kl", 9, tuple("abcdef"), (1.0, 2.0, 3.0, 4.0, 5.0, 6.0), 2.0, ((0, 2), (1, 3), (2, 4), (3, 5)))
    info = ranks._build_info(found)
    assert [(bar.best, bar.worst) for bar in info.bars] == [(1, 3), (2, 4), (3, 5), (4, 6)]
    for one in info.bars:
        for other in info.bars:
            if one != other and one.best <= other.worst and other.best <= one.worst:
                assert one.level != other.level
    figure = plot_ranks(found)
    assert list(figure.data[-1].x) == list(found.mean_ranks)
    assert figure.layout.yaxis.range[0] > figure.layout.yaxis.range[1]  # the best on top
    assert "critical difference 2.00" in figure.layout.annotations[0].text


def test_learning_info(run: Run, cells: pd.DataFrame) -> None:
    epochs = run.table("epochs")
    info = learning._build_info(cells, epochs, "kl")
    choice = best_per_fold(cells, "kl")
    curves = info.selected.curves
    assert curves.folds == SUBJECTS
    assert curves.configurations == tuple(choice[fold] for fold in SUBJECTS)
    assert np.isnan(curves.scores).sum() == len(SUBJECTS) - 1
    shown = np.split(curves.scores, np.flatnonzero(np.isnan(curves.scores)))
    for fold, scores in zip(SUBJECTS, shown, strict=True):
        rows = epochs[(epochs["fold"] == fold) & (epochs["configuration"] == choice[fold])]
        assert scores[~np.isnan(scores)] == pytest.approx(rows["val_kl"].tolist())
        assert curves.kept_scores[SUBJECTS.index(fold)] == rows["val_kl"].iloc[3]
    assert curves.kept_epochs == (3,) * len(SUBJECTS)
    selected = epochs[epochs["configuration"] == epochs["fold"].map(choice)]
    assert info.selected.mean is not None
    assert info.selected.mean.scores == pytest.approx(selected.groupby("epoch")["val_kl"].mean().tolist())


def test_learning_of_a_subject_and_of_a_configuration(run: Run, cells: pd.DataFrame) -> None:
    info = learning._build_info(cells, run.table("epochs"), "kl")
    assert info.subjects["S4"].curves.folds == ("S4",) * 5
    assert info.subjects["S4"].curves.configurations == (0, 1, 2, 3, 4)
    assert info.subjects["S4"].selected is not None
    assert info.subjects["S4"].selected.configurations == (best_per_fold(cells, "kl")["S4"],)
    assert info.configurations[2].curves.folds == SUBJECTS
    assert info.configurations[4].curves.folds == SUBJECTS[:-1]  # its last cell failed
    shown = choose(plot_learning(cells, run.table("epochs"), "kl"), subject="S4")
    assert shown.data[2].meta["configuration"] == [0, 1, 2, 3, 4]


def test_learning_of_long_runs_is_thinned(monkeypatch: pytest.MonkeyPatch, make_run: Callable[..., Run]) -> None:
    run = make_run(epochs=80)
    cells, epochs = run.table("cells"), run.table("epochs")
    whole = learning._build_info(cells, epochs, "kl")
    monkeypatch.setattr(learning, "MOST_VALUES", 100)
    thin = learning._build_info(cells, epochs, "kl")
    for before, after in zip(whole.subjects.values(), thin.subjects.values(), strict=True):
        assert after.curves.kept_scores == before.curves.kept_scores
        assert after.curves.configurations == before.curves.configurations
        per_curve = np.split(after.curves.epochs, np.flatnonzero(np.isnan(after.curves.scores)))
        assert all(learning.THINNED <= len(one) <= learning.THINNED + 2 for one in per_curve)
        assert {0, 80} <= set(after.curves.epochs.tolist())
    assert thin.selected.mean == whole.selected.mean


def test_learning_mean_stops_where_a_fold_stops(run: Run, cells: pd.DataFrame) -> None:
    epochs = run.table("epochs")
    early = epochs[(epochs["fold"] != "S2") | (epochs["epoch"] < 3)]
    mean = learning._build_info(cells, early, "kl").selected.mean
    assert mean is not None
    assert mean.epochs == (0, 1, 2)


def test_predictions_info(run: Run, cells: pd.DataFrame) -> None:
    table = run.table("predictions")
    trivial = train_means(table)
    info = predictions._build_info(table, cells, "kl", trivial)
    assert info.emotions == EMOTIONS
    assert info.groups == ("base", "stress", "fun")
    assert info.subjects == SUBJECTS
    chosen = best_per_fold(cells, "kl")["S4"]
    rows = table[(table["fold"] == "S4") & (table["configuration"] == chosen) & (table["group"] == "fun")]
    for side, prefix in ((info.reported, "true_"), (info.predicted, "pred_")):
        assert side[2][2] == pytest.approx(rows[[prefix + e for e in EMOTIONS]].mean().tolist())
        assert sum(side[2][2] or ()) == pytest.approx(1)
    for everyone, side in zip(info.everyone, (info.reported, info.predicted), strict=True):
        assert everyone[1].shares == pytest.approx(np.mean([of_subject[1] or () for of_subject in side], axis=0))
    figure = choose(plot_predictions(table, cells, "kl", trivial), subject="S4")
    assert figure.data[6].y == pytest.approx(info.reported[2][2], abs=1e-4)
    with pytest.raises(InputError, match="did you mean 'S4'"):
        choose(figure, subject="S44")
    with pytest.raises(InputError, match="does not change with the configuration"):
        choose(figure, configuration=1)


def test_predictions_without_groups_and_with_gaps(make_run: Callable[..., Run]) -> None:
    run = make_run("no groups", groups=None)
    cells = run.table("cells")
    table = run.table("predictions")
    assert predictions._build_info(table, cells, "kl", train_means(table)).groups == ("all windows",)
    run = make_run()
    table = run.table("predictions")
    table = table[(table["fold"] != "S3") | (table["group"] != "fun")]
    info = predictions._build_info(table, cells, "kl", train_means(table))
    assert info.reported[1][2] is None
    assert isinstance(predictions._draw_figure(info), go.Figure)


def test_predictions_of_many_groups_are_cut(make_run: Callable[..., Run]) -> None:
    run = make_run(groups=[f"clip {number}" for number in range(40)])
    table = run.table("predictions")
    info = predictions._build_info(table, run.table("cells"), "kl", train_means(table))
    assert len(info.groups) == predictions.MOST_GROUPS
    assert info.left_out == 4
    assert "the first 36 of 40 groups" in str(predictions._draw_figure(info).layout.annotations)


def test_empty_figures_give_a_reason(run: Run, cells: pd.DataFrame) -> None:
    failed = cells.assign(status="failed")
    scores = subject_scores(failed, run.table("baselines"), "kl")
    with pytest.raises(InputError, match="no estimate"):
        plot_estimates(Source(run).summary[:0])
    with pytest.raises(InputError, match="no subject"):
        plot_subjects(scores, "kl")
    with pytest.raises(InputError, match="no selected cell"):
        plot_learning(failed, run.table("epochs"), "kl")
    with pytest.raises(InputError, match="no predictions"):
        plot_predictions(run.table("predictions"), failed, "kl", train_means(run.table("predictions")))


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
