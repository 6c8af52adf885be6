"""Means that are adjusted for the folds, and the table of configurations."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

from helo.analysis.statistics.configurations import adjust_means, adjusted_means, configurations_table
from helo.metrics import METRICS
from helo.run.directory import Run


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def table(*rows: tuple[int, str, float, str]) -> pd.DataFrame:
    """Cells from configuration, fold, score (validation, and 1 more as test) and status."""
    cells = pd.DataFrame(rows, columns=["configuration", "fold", "val_kl", "status"])
    for metric in METRICS:
        cells[f"val_{metric}"] = cells["val_kl"]
        cells[f"test_{metric}"] = cells["val_kl"] + 1
    return cells.assign(best_epoch=3, epochs=4, param_width=16)


def raced(rng: np.random.Generator) -> np.ndarray:
    """Scores of 12 configurations on 6 folds, the later folds harder; half of the configurations have the first 3."""
    scores = rng.normal(0, 1, (12, 1)) + 2.0 * np.arange(6) + rng.normal(0, 0.3, (12, 6))
    scores[6:, 3:] = np.nan
    return scores


def test_complete_tables_have_plain_means(rng: np.random.Generator) -> None:
    scores = rng.normal(size=(7, 5))
    means, errors = adjust_means(scores)
    assert means == pytest.approx(scores.mean(axis=1))
    residual = scores - scores.mean(axis=1, keepdims=True) - scores.mean(axis=0) + scores.mean()
    assert errors == pytest.approx(np.sqrt((residual**2).sum() / (6 * 4) / 5))


def test_a_configuration_with_all_folds_keeps_its_mean(rng: np.random.Generator) -> None:
    scores = raced(rng)
    assert adjust_means(scores)[0][:6] == pytest.approx(scores[:6].mean(axis=1))


def test_easy_folds_give_no_advantage() -> None:
    """By hand: fold C is 3 harder than the mean of A and B, so 1 would have had 2.5 + 3 there: mean 3.5."""
    scores = np.array([[1.0, 2.0, 4.5], [2.0, 3.0, np.nan]])
    assert np.nanmean(scores[1]) == scores[0].mean()
    assert adjust_means(scores)[0] == pytest.approx([2.5, 3.5])


def test_difficulty_of_folds_changes_no_comparison(rng: np.random.Generator) -> None:
    scores, harder = raced(rng), np.array([3.0, 0.0, -2.0, 5.0, 1.0, -1.0])
    assert adjust_means(scores + harder)[0] == pytest.approx(adjust_means(scores)[0] + 1.0)
    plain = np.nanmean(scores + harder, axis=1) - np.nanmean(scores, axis=1)
    assert np.ptp(plain) > 0.5  # plain means do compare the folds
    assert adjust_means(scores + harder)[1] == pytest.approx(adjust_means(scores)[1])


def test_agrees_with_statsmodels(rng: np.random.Generator) -> None:
    scores = raced(rng)
    scores[8, 0] = np.nan
    c, f = np.nonzero(np.isfinite(scores))
    design = np.hstack([np.eye(12)[c], np.eye(6)[f][:, 1:]])
    fit = sm.OLS(scores[c, f], design).fit()
    asked = np.hstack([np.eye(12), np.full((12, 5), 1 / 6)])
    wanted = fit.t_test(asked)
    means, errors = adjust_means(scores)
    assert means == pytest.approx(wanted.effect)
    assert errors == pytest.approx(wanted.sd)


def test_nested_configurations_with_one_fold_each() -> None:
    """As under nested: the score, less its fold's mean, plus the mean of the folds' means."""
    nan = np.nan
    scores = np.array([[1.0, nan], [3.0, nan], [nan, 10.0], [nan, 11.0], [nan, 15.0]])
    means, errors = adjust_means(scores)
    assert means == pytest.approx([6.0, 8.0, 5.0, 6.0, 10.0])  # folds' means 2 and 12, together 7
    assert np.isnan(errors).all()


def test_infinite_and_missing_scores() -> None:
    scores = np.array([[1.0, np.inf], [2.0, 4.0], [np.nan, np.nan], [3.0, 5.0]])
    means, errors = adjust_means(scores)
    assert means[0] == np.inf
    assert np.isnan(means[2])
    assert means[[1, 3]] == pytest.approx([3.0, 4.0])
    assert np.isfinite(errors[[1, 3]]).all()
    assert np.isnan(errors[[0, 2]]).all()
    assert np.isnan(adjust_means(np.full((2, 3), np.nan))[0]).all()


def test_failed_cells_do_not_count_and_stopped_ones_do() -> None:
    cells = table(
        (0, "A", 1.0, "completed"), (0, "B", 3.0, "stopped"), (1, "A", 0.1, "failed"), (1, "B", 4.0, "stopped")
    )
    found = adjusted_means(cells, "kl")
    assert found["mean"].tolist() == pytest.approx([2.0, 3.0])
    assert found["folds"].tolist() == [2, 1]


def test_configurations_table() -> None:
    cells = table(
        (0, "A", 1.0, "completed"),
        (0, "B", 3.0, "completed"),
        (1, "A", 0.5, "stopped"),  # the best score of A, but a stopped cell is never taken
        (1, "B", 2.0, "completed"),
        (2, "A", 9.0, "failed"),
    )
    cells.loc[0, "test_kl"] = 9.0
    found = configurations_table(cells, "kl", nested=False).set_index("configuration")
    assert found["param_width"].tolist() == [16, 16, 16]
    assert found[["folds", "completed", "stopped", "failed"]].to_numpy().tolist() == [
        [2, 2, 0, 0],
        [2, 1, 1, 0],
        [0, 0, 0, 1],
    ]
    assert found["adjusted_val_kl"].tolist()[:2] == pytest.approx([2.0, 1.25])
    assert found["adjusted_test_kl"].tolist()[:2] == pytest.approx([6.5, 2.25])
    assert found["chosen"].to_dict() == {0: 1, 1: 1, 2: 0}
    assert found["best_on_test"].to_dict() == {0: 1, 1: 1, 2: 0}
    assert found["recommended"].to_dict() == {0: False, 1: True, 2: False}
    assert np.isnan(found["adjusted_val_kl"][2])
    assert not configurations_table(cells, "kl", nested=False, folds=3)["recommended"].any()


def test_best_on_test_differs_from_chosen() -> None:
    cells = table((0, "A", 1.0, "completed"), (1, "A", 2.0, "completed"))
    cells["test_kl"] = [5.0, 4.0]
    found = configurations_table(cells, "kl", nested=True)
    assert found["chosen"].tolist() == [1, 0]
    assert found["best_on_test"].tolist() == [0, 1]
    cells["test_cosine"] = [0.9, 0.8]
    assert configurations_table(cells, "cosine", nested=True)["best_on_test"].tolist() == [1, 0]


def test_table_of_a_run(run: Run) -> None:
    cells = run.table("cells")
    found = configurations_table(cells, "kl", nested=False, folds=6)
    assert found["configuration"].tolist() == [0, 1, 2, 3, 4]
    assert found["failed"].tolist() == [0, 0, 0, 0, 1]
    assert found["chosen"].sum() == found["best_on_test"].sum() == 6
    assert found["recommended"].sum() == 1
