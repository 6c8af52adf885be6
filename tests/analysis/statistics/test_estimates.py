"""The estimates against plain computations on the same tables."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.stats import bootstrap

from helo.analysis.statistics import estimates
from helo.analysis.statistics.common_subjects import common_subjects, keep_common, subjects_by_estimate
from helo.analysis.statistics.estimates import (
    bootstrap_interval,
    bootstrap_intervals,
    completed,
    empty_baselines,
    empty_ensemble,
    estimate_names,
    has_scores_by_group,
    paired,
    scored,
    skill,
    subject_scores,
)
from helo.metrics import METRICS
from helo.names import Prefix
from helo.run.directory import Run

FOLDS = 6


@pytest.fixture
def cells(run: Run) -> pd.DataFrame:
    return run.table("cells")


@pytest.fixture
def baselines(run: Run) -> pd.DataFrame:
    return run.table("baselines")


def summarise(
    cells: pd.DataFrame,
    baselines: pd.DataFrame,
    objective: str,
    folds: int,
    seed: int = 0,
    prefix: str = Prefix.TEST,
    ensemble: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Summarise the scores of the subjects that all estimates have, as the report does."""
    scores = subject_scores(cells, baselines, objective, folds, prefix, ensemble)
    names = estimate_names(baselines, empty_ensemble() if ensemble is None else ensemble)
    return estimates.summarise(keep_common(scores, common_subjects(subjects_by_estimate(scores))), names, seed)


def by_estimate(summary: pd.DataFrame, column: str) -> pd.DataFrame:
    return summary.pivot(index="estimate", columns="metric", values=column)


def test_rows_and_columns(cells: pd.DataFrame, baselines: pd.DataFrame) -> None:
    summary = summarise(cells, baselines, "kl", FOLDS)
    assert list(summary.columns) == [*("estimate", "metric", "mean", "std", "ci_low", "ci_high", "subjects", "skill")]
    assert list(dict.fromkeys(summary["estimate"])) == [
        *("per_fold_selection", "single_configuration", "oracle", "train_mean", "uniform", "best_possible")
    ]
    assert summary.groupby("estimate")["metric"].apply(list).map(tuple).unique().tolist() == [tuple(METRICS)]


def test_an_ensemble_is_an_estimate_like_the_others(cells: pd.DataFrame, baselines: pd.DataFrame) -> None:
    uniform = baselines[baselines["method"] == "uniform"]
    ensemble = uniform.drop(columns="method").assign(weights='{"0": 1.0}')
    for prefix in (Prefix.TEST, Prefix.TEST_BY_GROUP):
        summary = summarise(cells, baselines, "kl", FOLDS, prefix=prefix, ensemble=ensemble)
        assert list(dict.fromkeys(summary["estimate"]))[1:4] == ["single_configuration", "ensemble", "oracle"]
        found, expected = (
            summary[summary["estimate"] == name].drop(columns="estimate").reset_index(drop=True)
            for name in ("ensemble", "uniform")
        )
        pd.testing.assert_frame_equal(found, expected)
        without = summarise(cells, baselines, "kl", FOLDS, prefix=prefix, ensemble=empty_ensemble())
        pd.testing.assert_frame_equal(without, summarise(cells, baselines, "kl", FOLDS, prefix=prefix))
        rest = summary[summary["estimate"] != "ensemble"].reset_index(drop=True)
        pd.testing.assert_frame_equal(rest, without)  # no other estimate changes


def test_fitted_baselines_come_after_the_trivial_ones(cells: pd.DataFrame, baselines: pd.DataFrame) -> None:
    ridge = baselines[baselines["method"] == "uniform"].assign(method="ridge")
    summary = summarise(cells, pd.concat([ridge, baselines]), "kl", FOLDS)
    order = list(dict.fromkeys(summary["estimate"]))
    assert order[-3:] == ["uniform", "ridge", "best_possible"]


def test_moments_and_interval_agree_with_scipy(cells: pd.DataFrame, baselines: pd.DataFrame) -> None:
    summary = summarise(cells, baselines, "kl", FOLDS, seed=7)
    done = cells[cells["status"] == "completed"]
    chosen = done.loc[done.groupby("fold")["val_kl"].idxmin()]
    for metric in METRICS:
        values = chosen[f"test_{metric}"].to_numpy()
        drawn = bootstrap(
            (values,), np.mean, method="percentile", n_resamples=9999, rng=np.random.default_rng(7)
        ).confidence_interval
        row = summary[(summary["estimate"] == "per_fold_selection") & (summary["metric"] == metric)].iloc[0]
        assert row["mean"] == pytest.approx(values.mean())
        assert row["std"] == pytest.approx(values.std(ddof=1))
        assert (row["ci_low"], row["ci_high"]) == pytest.approx(tuple(drawn), rel=1e-6)
        assert row["ci_low"] < row["mean"] < row["ci_high"]
        assert row["subjects"] == FOLDS


def test_the_order_of_rows_does_not_matter(cells: pd.DataFrame, baselines: pd.DataFrame) -> None:
    shuffled = cells.sample(frac=1, random_state=0), baselines.iloc[::-1]
    expected = summarise(cells, baselines, "kl", FOLDS)
    found = summarise(*shuffled, "kl", FOLDS)
    pd.testing.assert_frame_equal(found, expected, rtol=1e-12)


def test_single_configuration_is_the_best_mean_of_those_that_completed(
    cells: pd.DataFrame, baselines: pd.DataFrame
) -> None:
    whole = cells[cells["configuration"] < 4]  # the last configuration failed on one subject
    best = whole.groupby("configuration")["val_kl"].mean().idxmin()
    expected = whole[whole["configuration"] == best]["test_clark"].mean()
    summary = by_estimate(summarise(cells, baselines, "kl", FOLDS), "mean")
    assert summary.loc["single_configuration", "clark"] == pytest.approx(expected)


def test_similarities_are_maximised(cells: pd.DataFrame, baselines: pd.DataFrame) -> None:
    done = cells[cells["status"] == "completed"]
    expected = done.loc[done.groupby("fold")["val_cosine"].idxmax(), "test_cosine"].mean()
    summary = by_estimate(summarise(cells, baselines, "cosine", FOLDS), "mean")
    assert summary.loc["per_fold_selection", "cosine"] == pytest.approx(expected)


@pytest.mark.parametrize("objective", METRICS)
def test_oracle_is_never_worse_than_selection(cells: pd.DataFrame, baselines: pd.DataFrame, objective: str) -> None:
    means = by_estimate(summarise(cells, baselines, objective, FOLDS), "mean")
    for metric in METRICS:
        for estimate in ("per_fold_selection", "single_configuration"):
            assert METRICS[metric].improvement(means.loc["oracle", metric], means.loc[estimate, metric]) >= 0


def test_failed_cells_do_not_count(cells: pd.DataFrame, baselines: pd.DataFrame) -> None:
    failed = cells["status"] == "failed"
    assert cells.loc[failed, "val_kl"].iloc[0] < cells.loc[~failed, "val_kl"].min()  # it would win
    without = cells[~failed]
    pd.testing.assert_frame_equal(summarise(cells, baselines, "kl", FOLDS), summarise(without, baselines, "kl", FOLDS))


def test_stopped_cells_count_for_the_single_configuration_only(cells: pd.DataFrame, baselines: pd.DataFrame) -> None:
    """The configuration that is best over all folds was stopped in some of them."""
    means = cells[cells["configuration"] < 4].groupby("configuration")["val_kl"].mean()
    best = int(means.idxmin())
    stopped = (cells["configuration"] == best) & cells["fold"].isin(["S2", "S5"])
    summary = summarise(cells.assign(status=cells["status"].where(~stopped, "stopped")), baselines, "kl", FOLDS)
    whole, without = (summarise(table, baselines, "kl", FOLDS) for table in (cells, cells[~stopped]))

    def rows(table: pd.DataFrame, *estimates: str) -> pd.DataFrame:
        return table[table["estimate"].isin(estimates)]

    single = "single_configuration"
    pd.testing.assert_frame_equal(rows(summary, single), rows(whole, single))
    assert not rows(without, single).equals(rows(whole, single))  # with those cells gone it is another one
    alone = ("per_fold_selection", "oracle")
    pd.testing.assert_frame_equal(rows(summary, *alone), rows(without, *alone))
    assert not rows(without, *alone).equals(rows(whole, *alone))


def test_configuration_stopped_in_all_folds_can_be_the_single_configuration(
    cells: pd.DataFrame, baselines: pd.DataFrame
) -> None:
    stopped = cells[cells["configuration"] == 0].assign(configuration=9, status="stopped", val_kl=0.0)
    scores = subject_scores(pd.concat([cells, stopped]), baselines, "kl", FOLDS)
    single = scores[scores["estimate"] == "single_configuration"].set_index("fold")
    assert single["kl"].to_dict() == dict(zip(stopped["fold"], stopped["test_kl"], strict=True))
    chosen = scores[scores["estimate"] == "per_fold_selection"]
    pd.testing.assert_frame_equal(
        chosen, (plain := subject_scores(cells, baselines, "kl", FOLDS))[plain["estimate"] == "per_fold_selection"]
    )


def test_failed_cells_have_no_scores_and_stopped_ones_do(cells: pd.DataFrame) -> None:
    stopped = cells.assign(status=cells["status"].where(cells["fold"] != "S3", "stopped"))
    assert len(scored(stopped)) == len(cells) - 1
    assert set(completed(stopped)["fold"]) == set(cells["fold"]) - {"S3"}


def test_skill_is_computed_from_means(cells: pd.DataFrame, baselines: pd.DataFrame) -> None:
    summary = summarise(cells, baselines, "kl", FOLDS)
    means, skills = by_estimate(summary, "mean"), by_estimate(summary, "skill")
    assert (skills.loc["train_mean"] == 0).all()
    for metric in METRICS:
        score, reference = means.loc["uniform", metric], means.loc["train_mean", metric]
        expected = (score - reference) / (1 - reference) if METRICS[metric].higher_is_better else 1 - score / reference
        assert skills.loc["uniform", metric] == pytest.approx(expected)


def test_skill_compares_the_same_subjects(cells: pd.DataFrame, baselines: pd.DataFrame) -> None:
    easy = cells[cells["fold"] != "S2"]
    summary = summarise(easy, baselines, "kl", FOLDS)
    scores = summary[(summary["estimate"] == "per_fold_selection") & (summary["metric"] == "kl")].iloc[0]
    reference = baselines[(baselines["method"] == "train_mean") & (baselines["fold"] != "S2")]["test_kl"].mean()
    assert scores["subjects"] == FOLDS - 1
    assert scores["skill"] == pytest.approx(1 - scores["mean"] / reference)


def test_perfect_reference_and_perfect_score() -> None:
    assert np.isnan(skill(0.1, 0.0, "kl"))
    assert np.isnan(skill(0.9, 1.0, "cosine"))
    assert skill(0.0, 0.2, "kl") == 1
    assert skill(1.0, 0.2, "cosine") == 1


def test_fold_without_a_completed_cell_is_missing_in_all_rows(cells: pd.DataFrame, baselines: pd.DataFrame) -> None:
    broken = cells.assign(status=cells["status"].where(cells["fold"] != "S3", "failed"))
    summary = by_estimate(summarise(broken, baselines, "kl", FOLDS), "subjects")
    compared = ["per_fold_selection", "oracle", "train_mean", "uniform", "best_possible"]
    assert (summary.loc[compared] == FOLDS - 1).all(axis=None)
    assert (summary.loc["single_configuration"] == 0).all()


def test_single_configuration_needs_every_fold_of_the_run(cells: pd.DataFrame, baselines: pd.DataFrame) -> None:
    early = cells[cells["fold"] != "S7"]  # an interrupted run: no cell of S7 has finished
    subjects = by_estimate(summarise(early, baselines, "kl", FOLDS), "subjects")
    assert (subjects.loc["single_configuration"] == 0).all()
    assert (subjects.loc["per_fold_selection"] == FOLDS - 1).all()


def test_run_without_completed_cells(cells: pd.DataFrame, baselines: pd.DataFrame) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        summary = summarise(cells.assign(status="failed"), baselines, "kl", FOLDS)
        assert summarise(cells.assign(status="failed"), empty_baselines(), "kl", FOLDS)["mean"].isna().all()
    searched = summary[summary["estimate"] == "oracle"]
    assert searched[["mean", "std", "ci_low", "ci_high", "skill"]].isna().all(axis=None)


def test_no_skill_without_baselines(cells: pd.DataFrame) -> None:
    summary = summarise(cells, empty_baselines(), "kl", FOLDS)
    assert summary["skill"].isna().all()
    assert summary["mean"].notna().all()


def test_intervals_computed_together_equal_single_intervals() -> None:
    """To the last bit: a summary does not change with what else is in it."""
    rng = np.random.default_rng(0)
    samples = [rng.random(size) for size in (15, 15, 7, 15, 73, 7)] + [np.full(15, 0.1), np.array([0.3])]
    samples += [np.append(rng.random(14), np.inf), np.array([])]
    together = bootstrap_intervals(samples, seed=3)
    np.testing.assert_array_equal(together, [bootstrap_interval(values, seed=3) for values in samples])
    for place in (0, 2, 4):
        drawn = bootstrap(
            (samples[place],), np.mean, method="percentile", n_resamples=9999, rng=np.random.default_rng(3)
        ).confidence_interval
        assert together[place] == tuple(drawn)


def test_interval_of_one_or_equal_scores_gives_no_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(bootstrap_interval(np.array([0.3]))).all()
        assert np.isnan(bootstrap_interval(np.array([]))).all()
        assert np.isnan(bootstrap_interval(np.array([0.1, np.inf]))).all()
        assert bootstrap_interval(np.full(6, 0.1)) == (0.1, 0.1)


def test_subject_scores_and_pairs(cells: pd.DataFrame, baselines: pd.DataFrame) -> None:
    scores = subject_scores(cells, baselines, "kl")
    assert list(scores.columns) == ["estimate", "fold", *METRICS]
    assert not scores.duplicated(["estimate", "fold"]).any()
    both = paired(scores[scores["fold"] != "S2"], "kl", "per_fold_selection", "train_mean")
    assert sorted(both.index) == ["S3", "S4", "S5", "S6", "S7"]
    assert paired(scores, "kl", "per_fold_selection", "no such estimate").empty


# --- by group


def test_estimates_by_group_use_the_same_configurations_and_the_other_scores(
    cells: pd.DataFrame, baselines: pd.DataFrame
) -> None:
    by_group = summarise(cells, baselines, "kl", FOLDS, prefix=Prefix.TEST_BY_GROUP)
    windows = [f"test_{metric}" for metric in METRICS]
    swapped = [
        table.drop(columns=windows).rename(columns=lambda name: name.replace("test_by_group_", "test_"))
        for table in (cells, baselines)
    ]
    pd.testing.assert_frame_equal(by_group, summarise(swapped[0], swapped[1], "kl", FOLDS))
    done = cells[cells["status"] == "completed"]
    chosen = done.loc[done.groupby("fold")["val_kl"].idxmin()]
    means = by_estimate(by_group, "mean")
    assert means.loc["per_fold_selection", "kl"] == pytest.approx(chosen["test_by_group_kl"].mean())
    reference = baselines[baselines["method"] == "train_mean"]["test_by_group_kl"].mean()
    skills = by_estimate(by_group, "skill")
    assert skills.loc["per_fold_selection", "kl"] == pytest.approx(
        1 - means.loc["per_fold_selection", "kl"] / reference
    )
    best = done.groupby("fold")["test_by_group_kl"].min().mean()
    assert means.loc["oracle", "kl"] == pytest.approx(best)


def test_skill_by_group_needs_a_reference_for_the_same_subjects(cells: pd.DataFrame, baselines: pd.DataFrame) -> None:
    """Scores by group that are missing are never replaced by scores of windows."""
    columns = [f"test_by_group_{metric}" for metric in METRICS]
    baselines.loc[(baselines["method"] == "train_mean") & (baselines["fold"] == "S2"), columns] = np.nan
    summary = summarise(cells, baselines, "kl", FOLDS, prefix=Prefix.TEST_BY_GROUP)
    assert by_estimate(summary, "skill").loc["per_fold_selection"].notna().all()
    assert (by_estimate(summary, "subjects") == FOLDS - 1).all(axis=None)
    without = summarise(cells, baselines.drop(columns=columns), "kl", FOLDS, prefix=Prefix.TEST_BY_GROUP)
    assert by_estimate(without, "skill").isna().all(axis=None)
    assert (by_estimate(without, "subjects").loc["train_mean"] == 0).all()
    assert (by_estimate(without, "subjects").loc["per_fold_selection"] == FOLDS).all()


def test_tables_without_groups_have_no_scores_by_group(cells: pd.DataFrame) -> None:
    assert has_scores_by_group(cells)
    assert not has_scores_by_group(cells.drop(columns=[f"test_by_group_{metric}" for metric in METRICS]))
