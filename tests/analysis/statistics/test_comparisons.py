"""Statistical tests over subjects, compared with direct calls of SciPy, statsmodels and autorank."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from autorank import autorank
from autorank._util import get_sorted_rank_groups
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import PermutationMethod, bootstrap, friedmanchisquare, permutation_test, wilcoxon
from statsmodels.stats.multitest import multipletests

from helo.analysis.statistics.comparisons import (
    compare_across_runs,
    compare_with_references,
    friedman_test,
    measure_optimism,
    rank_methods,
    references,
    subject_table,
)
from helo.analysis.statistics.signed_rank import holm_correction, signed_rank_test, smallest_p
from helo.analysis.wording import verdict
from helo.errors import InputError
from helo.metrics import METRICS
from helo.names import FITTED_BASELINES

ALL = (
    "per_fold_selection",
    "single_configuration",
    "ensemble",
    "oracle",
    "train_mean",
    "uniform",
    *FITTED_BASELINES,
    "best_possible",
)
POOL = ("per_fold_selection", "train_mean", "uniform", *FITTED_BASELINES)


def score_table(subjects: int, seed: int = 0, estimates: tuple[str, ...] = ALL) -> pd.DataFrame:
    """Return random scores with small differences between estimates and subjects of different difficulty."""
    rng = np.random.default_rng(seed)
    level = rng.uniform(0.2, 0.6, subjects)
    rows = [
        (estimate, f"S{number:02d}", *np.clip(level[number] + 0.02 * place + rng.normal(0, 0.05, 6), 0.01, 0.99))
        for place, estimate in enumerate(estimates)
        for number in rng.permutation(subjects)
    ]
    return pd.DataFrame(rows, columns=["estimate", "fold", *METRICS])


def wide(scores: pd.DataFrame, metric: str) -> pd.DataFrame:
    return scores.pivot(index="fold", columns="estimate", values=metric)


def better_by(table: pd.DataFrame, reference: str, metric: str) -> np.ndarray:
    sign = 1 if METRICS[metric].higher_is_better else -1
    return (sign * (table["per_fold_selection"] - table[reference])).to_numpy()


# --- the signed-rank test


@pytest.mark.parametrize("subjects", [6, 15, 19, 20, 49, 73])
def test_signed_rank_test_agrees_with_scipy(subjects: int) -> None:
    differences = np.random.default_rng(subjects).normal(0.3, 1, subjects)
    expected = wilcoxon(differences)
    assert signed_rank_test(differences)[:2] == pytest.approx((expected.statistic, expected.pvalue), rel=1e-12)


@pytest.mark.parametrize("subjects", [2, 5, 9, 12])
@pytest.mark.parametrize("tied", [False, True])
def test_below_twenty_subjects_p_comes_from_all_permutations(subjects: int, tied: bool) -> None:
    differences = np.random.default_rng(subjects).normal(0.2, 0.3, subjects)
    if tied:
        differences = np.round(differences, 1)
        differences[:2] = 0.2, -0.2
    differences = differences[differences != 0]
    expected = wilcoxon(differences, method=PermutationMethod(n_resamples=2 ** len(differences)))
    found = signed_rank_test(differences)
    assert found.statistic == expected.statistic
    assert found.p == pytest.approx(expected.pvalue, rel=1e-9)


def test_many_tied_differences_are_permuted_at_random_and_reproducibly() -> None:
    differences = np.round(np.random.default_rng(1).normal(0.05, 0.2, 18), 1) + 0.05
    expected = wilcoxon(differences, method=PermutationMethod(n_resamples=20_000, rng=np.random.default_rng(5))).pvalue
    found = signed_rank_test(differences).p
    assert found == pytest.approx(expected, abs=5 * np.sqrt(expected * (1 - expected) / 9999))
    assert found == signed_rank_test(differences).p


def test_zeros_infinities_and_too_few_differences() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert signed_rank_test([0.0, 0.0, 0.0]) == (0.0, 1.0, 0.0)
        assert signed_rank_test([0.0, 1.0, 2.0, -3.0, 0.0]) == signed_rank_test([1.0, 2.0, -3.0])
        assert signed_rank_test([np.inf, 1.0, 2.0, -3.0]) == signed_rank_test([9.0, 1.0, 2.0, -3.0])
        assert signed_rank_test([np.inf, -np.inf, np.inf]).p == 1
        for nothing in ([], [1.0], [1.0, np.nan]):
            assert np.isnan(signed_rank_test(nothing)).all()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([-3.0, -1.5, -1.0, 0.0, 0.5, 1.0, 2.0, np.inf]), min_size=2, max_size=14))
def test_negated_differences_change_only_the_sign_of_the_effect(differences: list[float]) -> None:
    one, other = signed_rank_test(differences), signed_rank_test([-value for value in differences])
    assert one.statistic == other.statistic
    assert one.p == pytest.approx(other.p)
    assert one.effect == pytest.approx(-other.effect)
    assert -1 <= one.effect <= 1
    assert smallest_p(len(differences)) <= one.p * (1 + 1e-9) <= 1 + 1e-6
    if all(value >= 0 for value in differences) and any(differences):
        assert one.effect == 1
        assert one.p == pytest.approx(smallest_p(sum(value > 0 for value in differences)))


@pytest.mark.parametrize("p", [[0.3], [0.04, 0.01], [0.01, 0.01, 0.5, 0.9], [1.0, 1.0], [0.0, 0.02, 0.03, 0.04]])
def test_holm_agrees_with_statsmodels_and_ignores_nan(p: list[float]) -> None:
    found = holm_correction([p[0], np.nan, *p[1:]])
    assert np.isnan(found[1])
    np.testing.assert_allclose(np.delete(found, 1), multipletests(p, method="holm")[1])
    assert np.isnan(holm_correction([np.nan])).all()


# --- comparisons


@pytest.mark.parametrize("subjects", [8, 15, 30])
def test_comparisons_agree_with_scipy_and_statsmodels(subjects: int) -> None:
    scores = score_table(subjects)
    table = compare_with_references(scores)
    assert len(table) == len(METRICS) * len(POOL[1:])
    for metric, rows in table.groupby("metric", sort=False):
        assert rows["reference"].tolist() == list(POOL[1:])
        by_subject = wide(scores, metric)
        p = []
        for row in rows.to_dict("records"):
            differences = better_by(by_subject, row["reference"], metric)
            expected = wilcoxon(differences, method="exact")
            p.append(expected.pvalue)
            assert (row["statistic"], row["p"]) == pytest.approx((expected.statistic, expected.pvalue))
            plus = wilcoxon(differences, alternative="greater").statistic
            assert row["effect"] == pytest.approx(2 * plus / (subjects * (subjects + 1) / 2) - 1)
            assert row["gain"] == pytest.approx(differences.mean())
            assert row["better"] == (differences > 0).sum()
            assert row["score"] == pytest.approx(by_subject["per_fold_selection"].mean())
            drawn = bootstrap(
                (differences,), np.mean, method="percentile", n_resamples=9999, rng=np.random.default_rng(0)
            ).confidence_interval
            assert (row["gain_low"], row["gain_high"]) == pytest.approx(tuple(drawn))
        # The verdict's own comparison, which comes first, stands alone.
        assert rows["reference"].iloc[0] == "train_mean"
        np.testing.assert_allclose(rows["p_holm"], [p[0], *multipletests(p[1:], method="holm")[1]])


def test_references_exclude_the_search_and_the_bounds() -> None:
    scores = score_table(6, estimates=(*ALL, "mine"))
    assert references(scores) == [*POOL[1:], "mine"]
    assert references(scores[scores["estimate"].isin(["oracle", "uniform"])]) == ["uniform"]


def test_only_common_subjects_are_compared() -> None:
    scores = score_table(9)
    gone = (scores["estimate"] == "ridge") & scores["fold"].isin(["S00", "S04"])
    found = compare_with_references(scores[~gone], ("kl",)).set_index("reference")
    assert found.loc["ridge", "subjects"] == 7
    assert found.loc["knn", "subjects"] == 9
    rest = wide(scores, "kl").drop(index=["S00", "S04"])
    assert found.loc["ridge", "p"] == pytest.approx(wilcoxon(better_by(rest, "ridge", "kl")).pvalue)


def test_equal_infinite_and_single_scores() -> None:
    scores = score_table(7, estimates=("per_fold_selection", "train_mean", "knn"))
    same = scores[scores["estimate"] == "per_fold_selection"]
    scores.loc[scores["estimate"] == "train_mean", METRICS] = (
        same.set_index("fold")[list(METRICS)].reindex(scores.loc[scores["estimate"] == "train_mean", "fold"]).to_numpy()
    )
    scores.loc[(scores["estimate"] == "knn") & (scores["fold"] == "S03"), "kl"] = np.inf
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = compare_with_references(scores).set_index(["metric", "reference"])
        alone = compare_with_references(scores[scores["fold"] == "S02"], ("kl",))
        none = compare_with_references(scores[scores["estimate"] != "per_fold_selection"], ("kl",))
        friedman_test(scores)
        assert rank_methods(scores, "kl").subjects == 7
        scores.loc[scores["fold"] == "S01", "kl"] = np.inf  # in both
        both = compare_with_references(scores, ("kl",)).set_index("reference")
    equal = found.loc[("kl", "train_mean")]
    assert equal[["gain", "gain_low", "gain_high", "better", "p", "p_holm", "effect"]].tolist() == [0, 0, 0, 0, 1, 1, 0]
    endless = found.loc[("kl", "knn")]
    assert endless["gain"] == np.inf
    assert np.isnan(endless["gain_low"])
    assert 0 < endless["p"] <= 1
    assert alone[["p", "p_holm", "effect", "gain_low"]].isna().all(axis=None)
    assert alone["gain"].notna().all()
    assert (none["subjects"] == 0).all()
    assert none[["gain", "p"]].isna().all(axis=None)
    assert both.loc["train_mean", "p"] == 1


def rounded_away(scores: pd.DataFrame, size: float) -> pd.DataFrame:
    """Scores whose last bits are other ones for each method, as in float32."""
    rng = np.random.default_rng(5)
    noise = {name: scores[name] + size * rng.uniform(-1, 1, len(scores)) for name in METRICS}
    return scores.assign(**noise)


def test_rounding_is_no_difference() -> None:
    """All labels are equal: the search was worse than the train mean, with p = .031 and an effect of -1."""
    scores = score_table(6)
    perfect = scores.assign(**{name: metric.perfect for name, metric in METRICS.items()})
    shifted = perfect[scores["estimate"].isin(["train_mean", "oracle"])].index
    perfect.loc[shifted, list(METRICS)] -= 1e-9  # for all subjects in the same direction
    table = compare_with_references(perfect)
    for column, expected in {"better": 0, "gain": 0, "statistic": 0, "p": 1, "effect": 0}.items():
        assert (table[column] == expected).all(), column
    assert np.isnan(subject_table(perfect, "kl")["skill"]).all()
    assert (friedman_test(perfect)["p"] == 1).all()
    assert len(set(rank_methods(perfect, "kl").mean_ranks)) == 1
    assert (measure_optimism(perfect)["gap"] == 0).all()
    assert "no skill" in verdict(perfect, "kl").lower()


@pytest.mark.parametrize("subjects", [6, 25])
def test_last_bits_change_no_test(subjects: int) -> None:
    """Scores with a few digits have ties, which rounding errors must not break."""
    scores = score_table(subjects)
    scores = scores.assign(**{name: scores[name].round(1) for name in METRICS})
    noisy = rounded_away(scores, 1e-9)
    for statistics in (compare_with_references, friedman_test):
        expected, found = statistics(scores), statistics(noisy)
        numbers = expected.select_dtypes("number").columns
        np.testing.assert_allclose(found[numbers], expected[numbers], atol=1e-6)
    assert rank_methods(noisy, "kl").mean_ranks == rank_methods(scores, "kl").mean_ranks


def test_differences_that_scores_resolve_count() -> None:
    scores = score_table(6)
    own = scores[scores["estimate"] == "per_fold_selection"].set_index("fold")["kl"].sort_index()
    is_reference = scores["estimate"] == "train_mean"
    scores.loc[is_reference, "kl"] = scores[is_reference]["fold"].map(own + np.linspace(1e-5, 2e-5, 6))
    row = compare_with_references(scores, ["kl"]).set_index("reference").loc["train_mean"]
    assert (row["better"], row["p"], row["effect"]) == (6, 2 / 64, 1)


@pytest.mark.parametrize(("subjects", "seed"), [(2, 0), (5, 1), (12, 2)])
def test_comparisons_do_not_depend_on_row_order(subjects: int, seed: int) -> None:
    scores = score_table(subjects, seed)
    shuffled = scores.sample(frac=1, random_state=seed)
    expected = compare_with_references(scores, ("kl", "cosine")).set_index(["metric", "reference"])
    found = compare_with_references(shuffled, ("kl", "cosine")).set_index(["metric", "reference"])
    pd.testing.assert_frame_equal(found, expected, rtol=1e-12)
    assert (expected["p_holm"] >= expected["p"]).all()


# --- Friedman and ranks


@pytest.mark.parametrize("subjects", [12, 40])
def test_friedman_agrees_with_scipy(subjects: int) -> None:
    scores = score_table(subjects)
    table = friedman_test(scores).set_index("metric")
    for metric in METRICS:
        pool = wide(scores, metric)[list(POOL)]
        expected = friedmanchisquare(*pool.to_numpy().T)
        row = table.loc[metric]
        assert row["statistic"] == pytest.approx(expected.statistic)
        assert (row["methods"], row["subjects"]) == (len(POOL), subjects)
        assert row["kendall_w"] == pytest.approx(expected.statistic / (subjects * (len(POOL) - 1)))
        if subjects >= 20:
            assert row["p"] == pytest.approx(expected.pvalue)
        else:
            # Chi square is an approximation here; permutations differ from it and by their own chance.
            assert row["p"] == pytest.approx(expected.pvalue, abs=0.02)


def test_friedman_of_three_methods_and_three_subjects_is_exact() -> None:
    """All subjects agree: of 6 ** 3 orders, 6 are as extreme. Chi square says 0.0498."""
    rows = [(name, f"S{n}", *[0.1 * place] * 6) for place, name in enumerate(POOL[:3]) for n in range(3)]
    table = friedman_test(pd.DataFrame(rows, columns=["estimate", "fold", *METRICS]))
    np.testing.assert_allclose(table["p"], 6 / 6**3)
    np.testing.assert_allclose(table["kendall_w"], 1)


def test_friedman_of_equal_or_too_few_methods() -> None:
    scores = score_table(9)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        alike = friedman_test(scores.assign(**dict.fromkeys(METRICS, 0.5)))
        two = friedman_test(scores[scores["estimate"].isin(POOL[:2])])
        nothing = friedman_test(scores[scores["estimate"] != "per_fold_selection"])
    assert (alike["p"] == 1).all()
    assert (alike["statistic"] == 0).all()
    assert two[["statistic", "p", "kendall_w"]].isna().all(axis=None)
    assert nothing["p"].isna().all()


def test_a_method_without_all_subjects_is_not_in_the_pool() -> None:
    scores = score_table(9)
    some = scores[(scores["estimate"] != "knn") | (scores["fold"] != "S03")]
    assert (friedman_test(some)["methods"] == len(POOL) - 1).all()
    assert "knn" not in rank_methods(some, "kl").methods


@pytest.mark.parametrize("metric", ["kl", "cosine"])
@pytest.mark.parametrize("subjects", [7, 25])
def test_ranks_agree_with_autorank(metric: str, subjects: int, capsys: pytest.CaptureFixture[str]) -> None:
    scores = score_table(subjects)
    found = rank_methods(scores, metric)
    assert capsys.readouterr() == ("", "")
    pool = wide(scores, metric)[list(POOL)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        order = "descending" if METRICS[metric].higher_is_better else "ascending"
        result = autorank(pool, order=order, force_mode="nonparametric")
    expected = result.rankdf["meanrank"].astype(float)
    assert dict(zip(found.methods, found.mean_ranks, strict=True)) == pytest.approx(expected.to_dict())
    assert list(found.mean_ranks) == sorted(found.mean_ranks)
    assert found.critical_difference == pytest.approx(result.cd)
    direct, _, groups = get_sorted_rank_groups(result, METRICS[metric].higher_is_better)
    assert list(found.mean_ranks) == pytest.approx(direct.astype(float).tolist())
    assert list(found.groups) == groups
    first = pool.rank(axis=1, ascending=not METRICS[metric].higher_is_better).mean()
    assert found.mean_ranks[0] == pytest.approx(first.min())  # rank 1 is the best


def test_ranks_need_enough_methods_and_subjects() -> None:
    with pytest.raises(InputError, match=r"at least 3 methods and 5 subjects .* got 8 and 4"):
        rank_methods(score_table(4), "kl")
    with pytest.raises(InputError, match="got 2 and 9"):
        rank_methods(score_table(9, estimates=POOL[:2]), "kl")


# --- optimism, subjects, time


def test_optimism_gap_is_the_mean_improvement_of_the_oracle() -> None:
    scores = score_table(8, estimates=("per_fold_selection", "oracle"))
    table = measure_optimism(scores).set_index("metric")
    for metric in METRICS:
        by_subject = wide(scores, metric)
        gaps = -better_by(by_subject.rename(columns={"oracle": "reference"}), "reference", metric)
        row = table.loc[metric]
        assert row["gap"] == pytest.approx(gaps.mean())
        assert row["per_cent"] == pytest.approx(100 * gaps.mean() / by_subject["per_fold_selection"].mean())
        assert row["gap_low"] < row["gap"] < row["gap_high"]
        assert row["subjects"] == 8


def test_the_subject_table_has_all_scores_and_the_skill_of_each_subject() -> None:
    scores = score_table(5)
    table = subject_table(scores, "kl")
    assert list(table.columns) == ["subject", "estimate", *METRICS, "skill"]
    assert len(table) == len(scores)
    one = table.set_index(["subject", "estimate"])
    expected = 1 - one.loc[("S02", "knn"), "kl"] / one.loc[("S02", "train_mean"), "kl"]
    assert one.loc[("S02", "knn"), "skill"] == pytest.approx(expected)
    assert subject_table(scores[scores["estimate"] != "train_mean"], "kl")["skill"].isna().all()


def test_resampling_is_vectorised_and_done_once_per_sample_size(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def counted_bootstrap(*args: Any, **kwargs: Any) -> Any:
        calls.append("bootstrap")
        return bootstrap(*args, **kwargs)

    def counted_permutations(*args: Any, **kwargs: Any) -> Any:
        calls.append("permutations")
        assert kwargs["vectorized"]
        return permutation_test(*args, **kwargs)

    monkeypatch.setattr("helo.analysis.statistics.estimates.bootstrap", counted_bootstrap)
    monkeypatch.setattr("scipy.stats.permutation_test", counted_permutations)
    scores = score_table(19)
    compare_with_references(scores)
    assert calls == ["bootstrap"]  # all differences have 19 subjects and no ties
    friedman_test(scores)
    assert calls == ["bootstrap"] + ["permutations"] * len(METRICS)


def test_runs_are_compared_on_common_subjects() -> None:
    rng = np.random.default_rng(4)
    one = pd.DataFrame({"fold": [f"S{n}" for n in range(12)], "estimate": "per_fold_selection", "kl": rng.random(12)})
    other = one.iloc[2:].assign(kl=one["kl"].iloc[2:] - rng.normal(0.1, 0.1, 10))
    third = one.iloc[:11].assign(kl=one["kl"].iloc[:11] + rng.normal(0.1, 0.1, 11))
    strangers = one.assign(fold=[f"P{n}" for n in range(12)])
    runs = {"one": one, "other": other, "third": third, "strangers": strangers}
    table = compare_across_runs(runs, "kl").set_index("run")
    assert list(table.index) == ["other", "third", "strangers"]
    nine = [f"S{number}" for number in range(2, 11)]  # the subjects that all three have
    for name in ("other", "third"):
        difference = one.set_index("fold")["kl"][nine] - runs[name].set_index("fold")["kl"][nine]
        row = table.loc[name]
        assert row["gain"] == pytest.approx(difference.mean())
        assert row["p"] == pytest.approx(wilcoxon(difference).pvalue)
        assert (row["better"], row["subjects"]) == ((difference > 0).sum(), 9)
        assert row["reference_score"] == pytest.approx(one["kl"].iloc[2:11].mean())
        assert row["gain_low"] < row["gain"] < row["gain_high"]
    assert table.loc["strangers", "subjects"] == 0
    assert np.isnan(table.loc["strangers", "p"])
