"""Comparison over data sets: scales, combination, and errors under the null hypothesis."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import combine_pvalues, wilcoxon

from helo.analysis.statistics.estimates import skill
from helo.analysis.statistics.meta_analysis import COMBINED, Pairs, meta_analysis, pair_skills, skill_by_subject
from helo.metrics import METRICS


def scores_of(subjects: int, seed: int, scale: float = 1.0, gain: float = 0.2) -> pd.DataFrame:
    """Scores of two methods on a data set whose losses have some scale."""
    rng = np.random.default_rng(seed)
    names = [f"S{number}" for number in range(subjects)]
    difficulty = rng.uniform(0.5, 1.5, subjects)
    rows = []
    for estimate, level in (("per_fold_selection", 1 - gain), ("train_mean", 1.0)):
        losses = scale * difficulty * level * rng.uniform(0.9, 1.1, subjects)
        rows.append(pd.DataFrame({"estimate": estimate, "fold": names, "kl": losses, "cosine": 1 - losses / 10}))
    return pd.concat(rows, ignore_index=True)


def pairs_of(subjects: int, seed: int, scale: float = 1.0, gain: float = 0.2) -> Pairs:
    return pair_skills(scores_of(subjects, seed, scale, gain), "kl", "per_fold_selection", "train_mean")


def test_the_mean_of_the_skills_is_the_skill_of_the_means() -> None:
    scores = scores_of(9, 1)
    for metric in ("kl", "cosine"):
        means = scores.groupby("estimate")[metric].mean()
        expected = skill(means["per_fold_selection"], means["train_mean"], metric)
        assert skill_by_subject(scores, metric)["per_fold_selection"].mean() == pytest.approx(expected)


def test_the_scale_of_a_data_set_does_not_matter() -> None:
    small, large = pairs_of(12, 3, scale=0.01), pairs_of(12, 3, scale=40)
    np.testing.assert_allclose(small.differences, large.differences)


def test_better_is_above_for_every_metric() -> None:
    scores = scores_of(12, 5, gain=0.5)
    for metric in ("kl", "cosine"):
        assert METRICS[metric].higher_is_better == (metric == "cosine")
        assert (pair_skills(scores, metric, "per_fold_selection", "train_mean").differences > 0).all()


def test_without_a_train_mean_there_is_no_skill() -> None:
    scores = scores_of(6, 1)
    alone = scores[scores["estimate"] != "train_mean"]
    assert pair_skills(alone, "kl", "per_fold_selection", "per_fold_selection").subjects == ()


def test_each_data_set_has_the_test_of_its_own_pairs() -> None:
    pairs = {"a": pairs_of(8, 1), "b": pairs_of(15, 2, gain=0.02)}
    table = meta_analysis(pairs).set_index("dataset")
    assert list(table.index) == ["a", "b", COMBINED]
    for name, one in pairs.items():
        assert table.loc[name, "p"] == pytest.approx(wilcoxon(one.differences, method="exact").pvalue)
        assert table.loc[name, "smd"] == pytest.approx(one.differences.mean() / one.differences.std(ddof=1))
        assert table.loc[name, "smd_low"] < table.loc[name, "smd"] < table.loc[name, "smd_high"]
    assert table.loc[COMBINED, "subjects"] == 23


def test_p_is_combined_as_scipy_does_it() -> None:
    pairs = {"a": pairs_of(8, 1, gain=0.02), "b": pairs_of(15, 2, gain=0.02), "c": pairs_of(30, 3, gain=-0.02)}
    table = meta_analysis(pairs).set_index("dataset")
    one_sided = []
    for name, one in pairs.items():
        half = table.loc[name, "p"] / 2
        above = wilcoxon(one.differences, alternative="greater").statistic
        is_better = above > len(one.subjects) * (len(one.subjects) + 1) / 4
        one_sided.append(half if is_better else 1 - half)
    weights = [np.sqrt(len(one.subjects)) for one in pairs.values()]
    p = combine_pvalues(one_sided, method="stouffer", weights=weights).pvalue
    assert table.loc[COMBINED, "p"] == pytest.approx(2 * min(p, 1 - p))
    smd = table["smd"].drop(COMBINED)
    assert table.loc[COMBINED, "smd"] == pytest.approx(np.average(smd, weights=weights))


def test_two_data_sets_that_agree_say_more_than_each_and_two_that_differ_say_less() -> None:
    one, other = pairs_of(8, 1, gain=0.03), pairs_of(8, 7, gain=0.03)
    opposite = Pairs(other.subjects, other.reference, other.judged)
    agree = meta_analysis({"a": one, "b": other})["p"].tolist()
    differ = meta_analysis({"a": one, "b": opposite})["p"].tolist()
    assert agree[2] < min(agree[:2])
    assert differ[2] > max(differ[:2])


def test_under_the_null_hypothesis_few_combined_results_are_significant() -> None:
    rng = np.random.default_rng(0)
    significant = 0
    for _ in range(300):
        pairs = {
            name: Pairs(tuple("abcdefghij"[:count]), rng.normal(size=count), rng.normal(size=count))
            for name, count in (("x", 7), ("y", 10))
        }
        significant += meta_analysis(pairs)["p"].iloc[-1] < 0.05
    assert significant <= 28  # 15 are expected; more than 28 have a probability of 0.001


def test_a_data_set_without_differences_does_not_take_part_in_the_mean() -> None:
    same = np.array([0.1, 0.2, 0.3])
    single = Pairs(("A",), np.array([0.4]), np.array([0.1]))
    table = meta_analysis({"a": Pairs(("A", "B", "C"), same, same), "b": pairs_of(9, 1), "c": single})
    rows = table.set_index("dataset")
    assert rows.loc["a", "p"] == 1
    assert rows.loc[["a", "c"], "smd"].isna().all()
    assert rows.loc[COMBINED, "smd"] == pytest.approx(rows.loc["b", "smd"])
    assert np.isfinite(rows.loc[COMBINED, ["p", "difference"]].to_numpy(float)).all()


def test_one_data_set_is_not_combined() -> None:
    assert list(meta_analysis({"a": pairs_of(6, 1)})["dataset"]) == ["a"]
