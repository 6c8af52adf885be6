"""Tests of the heat map: places of cells, scores, and marks."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import plotly.io
import pytest

from helo.analysis.figures import heatmap, plot_heatmap
from helo.analysis.statistics.estimates import empty_baselines
from helo.errors import InputError
from helo.metrics import METRICS
from helo.run.directory import Run
from helo.run.selection import best_per_fold


def table(rows: list[tuple[int, str, float, float, str]]) -> pd.DataFrame:
    """Return cells from configuration, fold, validation and test score (of every metric), and status."""
    scores = [
        {f"{side}_{metric}": value for side, value in (("val", val), ("test", test)) for metric in METRICS}
        for _, _, val, test, _ in rows
    ]
    plain = [{"configuration": number, "fold": fold, "status": status} for number, fold, _, _, status in rows]
    return pd.DataFrame([one | more for one, more in zip(plain, scores, strict=True)])


def means(**scores: float) -> pd.DataFrame:
    """Return the score of the train mean (of every metric) by fold."""
    rows = [
        {"method": "train_mean", "fold": fold} | {"test_" + metric: score for metric in METRICS}
        for fold, score in scores.items()
    ]
    return pd.DataFrame(rows)


NAN = float("nan")
CELLS = table(
    [
        (3, "easy", 0.05, 0.04, "completed"),
        (3, "hard", 0.30, 0.30, "completed"),
        (5, "easy", 0.03, 0.06, "completed"),
        (5, "hard", 0.20, 0.10, "stopped"),
        (1, "hard", 0.01, 0.15, "completed"),  # in one fold only
        (2, "hard", NAN, NAN, "failed"),
    ]
)
BASELINES = means(easy=0.08, hard=0.2)


def test_rows_are_subjects_by_difficulty_and_columns_configurations_by_validation_score() -> None:
    info = heatmap._build_info(CELLS, BASELINES, "kl")
    assert info.subjects == ("hard", "easy")
    assert info.configurations == (5, 3, 1, 2)  # both folds first, then by mean validation score; no score last
    assert info.test == pytest.approx(np.array([[0.1, 0.3, 0.15, NAN], [0.06, 0.04, NAN, NAN]]), nan_ok=True)
    assert info.validation == pytest.approx(np.array([[0.2, 0.3, 0.01, NAN], [0.03, 0.05, NAN, NAN]]), nan_ok=True)
    assert info.skills == pytest.approx(np.array([[0.5, -0.5, 0.25, NAN], [0.25, 0.5, NAN, NAN]]), nan_ok=True)
    assert info.status.tolist() == [["stopped", "completed", "completed", "failed"], ["completed", "completed", "", ""]]
    assert info.chosen == ((0, 2), (1, 0))  # a stopped cell is never chosen
    assert info.failed == ((0, 3),)


def test_similarities_are_better_when_higher() -> None:
    cells = CELLS.assign(val_cosine=1 - CELLS["val_cosine"], test_cosine=1 - CELLS["test_cosine"])
    baselines = BASELINES.assign(test_cosine=1 - BASELINES["test_cosine"])
    info, other = heatmap._build_info(cells, baselines, "cosine"), heatmap._build_info(CELLS, BASELINES, "kl")
    assert (info.subjects, info.configurations, info.chosen) == (other.subjects, other.configurations, other.chosen)
    assert info.skills == pytest.approx(other.skills, nan_ok=True)


def test_without_a_train_mean_tiles_show_scores() -> None:
    info = heatmap._build_info(CELLS, empty_baselines(), "kl")
    assert not info.has_skills
    assert info.subjects == ("hard", "easy")  # by the mean of their scores
    figure = plot_heatmap(CELLS, empty_baselines(), "kl")
    assert figure.data[0].z == pytest.approx(info.test.astype(np.float32), nan_ok=True)
    assert "test KL" in figure.layout.annotations[0].text


def test_columns_are_ranks_if_each_fold_has_its_own_configurations() -> None:
    cells = table(
        [
            (0, "a", 0.3, 0.31, "completed"),
            (1, "b", 0.1, 0.11, "completed"),
            (2, "a", 0.2, 0.21, "completed"),
            (3, "b", NAN, NAN, "failed"),
        ]
    )
    info = heatmap._build_info(cells, means(a=0.5, b=0.4), "kl")
    assert info.configurations == ()
    assert info.numbers.tolist() == [[2, 0], [1, 3]]
    assert info.chosen == ((0, 0), (1, 0))
    assert info.failed == ((1, 1),)
    assert "x" not in plot_heatmap(cells, means(a=0.5, b=0.4), "kl").data[0].meta["x"]


def test_an_outlier_does_not_widen_the_colour_range() -> None:
    rows = [(0, f"S{number}", 0.1, 0.11, "completed") for number in range(40)]
    rows += [(0, "wild", 0.1, 5.0, "completed")]
    figure = plot_heatmap(table(rows), means(**{fold: 0.1 for _, fold, *_ in rows}), "kl")
    assert figure.layout.coloraxis.cmax == pytest.approx(0.1)
    assert figure.layout.coloraxis.cmin == -figure.layout.coloraxis.cmax


def test_tiles_and_marks_name_their_owners(run: Run) -> None:
    cells = run.table("cells")
    figure = plot_heatmap(cells, run.table("baselines"), "kl")
    tiles, chosen, failed = figure.data
    assert tiles.meta["x"] == {"configuration": [int(name) for name in tiles.x]}
    assert tiles.meta["y"] == {"subject": list(tiles.y)}
    assert dict(zip(chosen.y, map(int, chosen.x), strict=True)) == best_per_fold(cells, "kl")
    assert dict(zip(chosen.meta["subject"], chosen.meta["configuration"], strict=True)) == best_per_fold(cells, "kl")
    assert (list(failed.x), list(failed.y)) == (["4"], ["S7"])
    row, column = list(tiles.y).index("S7"), list(tiles.x).index("4")
    assert np.isnan(tiles.z[row][column])


def test_names_are_escaped() -> None:
    cells = CELLS.replace({"fold": {"hard": "<b>hard</b>"}})
    figure = plot_heatmap(cells, empty_baselines(), "kl")
    assert figure.data[0].y[0] == "&lt;b&gt;hard&lt;/b&gt;"
    assert figure.data[0].meta["y"]["subject"][0] == "<b>hard</b>"


def test_a_run_without_scores_is_rejected() -> None:
    with pytest.raises(InputError, match="no cell has a test score yet"):
        plot_heatmap(CELLS.assign(status="failed"), BASELINES, "kl")


def test_a_large_run_is_small_in_the_page() -> None:
    subjects, configurations = [f"S{number}" for number in range(73)], range(200)
    rng = np.random.default_rng(0)
    rows = [(one, fold, *rng.random(2), "completed") for one in configurations for fold in subjects]
    cells, baselines = table(rows), means(**dict.fromkeys(subjects, 0.5))  # type: ignore[arg-type]
    content = plotly.io.to_json(plot_heatmap(cells, baselines, "kl"), validate=False)
    assert len(content) < 1_000_000
    assert len(json.loads(content)["data"]) == 3
