"""Errors and skill of each emotion, against values computed one window at a time."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from scipy.stats import bootstrap

from helo.analysis.source import read_source
from helo.analysis.statistics.emotions import emotion_shares, share_intervals, summarise_emotions, train_means
from helo.errors import InputError
from helo.run.directory import Run
from helo.run.selection import best_per_fold


def test_errors_and_train_means_agree_with_a_loop_over_windows(make_run: Callable[..., Run]) -> None:
    run = make_run(groups=["a", "a", "b"], emotions=("joy", "fear", "anger"))
    predictions, cells = run.table("predictions"), run.table("cells")
    predictions = predictions[~((predictions["fold"] == "S5") & (predictions["group"] == "b"))]  # sizes differ
    shares = emotion_shares(predictions, cells, "kl").set_index(["subject", "emotion"])
    choice = best_per_fold(cells, "kl")
    once = {(row["fold"], row["window"]): row for row in predictions[::-1].to_dict("records")}
    for subject in choice:
        others = [row for (fold, _), row in once.items() if fold != subject]
        own = predictions[(predictions["fold"] == subject) & (predictions["configuration"] == choice[subject])]
        for emotion in ("joy", "fear", "anger"):
            trivial = sum(row[f"true_{emotion}"] for row in others) / len(others)
            errors = [abs(row[f"pred_{emotion}"] - row[f"true_{emotion}"]) for row in own.to_dict("records")]
            theirs = [abs(trivial - row[f"true_{emotion}"]) for row in own.to_dict("records")]
            found = shares.loc[(subject, emotion)]
            assert found["windows"] == len(errors) == (2 if subject == "S5" else 3)
            assert found["train_mean"] == pytest.approx(trivial)
            assert found["error"] == pytest.approx(sum(errors) / len(errors))
            assert found["train_mean_error"] == pytest.approx(sum(theirs) / len(theirs))
            assert found["reported"] == pytest.approx(own[f"true_{emotion}"].mean())
            assert found["predicted"] == pytest.approx(own[f"pred_{emotion}"].mean())


def test_means_are_over_subjects_and_the_largest_skill_comes_first(run: Run) -> None:
    source = read_source(run)
    shares, table = source.emotion_shares, source.emotion_table
    assert list(table["skill"]) == sorted(table["skill"], reverse=True)
    for row in table.to_dict("records"):
        own = shares[shares["emotion"] == row["emotion"]]
        assert row["subjects"] == len(own) == 6
        assert row["error"] == pytest.approx(own["error"].mean())
        assert row["skill"] == pytest.approx(1 - own["error"].sum() / own["train_mean_error"].sum())
        assert row["error_low"] < row["error"] < row["error_high"]
        drawn = bootstrap(
            (own["error"].to_numpy(), own["train_mean_error"].to_numpy()),
            lambda error, reference, axis: 1 - error.mean(axis=axis) / reference.mean(axis=axis),
            paired=True,
            method="percentile",
            n_resamples=9999,
            rng=np.random.default_rng(1),
        ).confidence_interval
        assert (row["skill_low"], row["skill_high"]) == pytest.approx((drawn.low, drawn.high), abs=0.02)


def test_only_the_subjects_of_every_table_count(run: Run) -> None:
    """S3 has no train-mean score, so it is in no table."""
    baselines = run.table("baselines")
    run.write_table("baselines", baselines[(baselines["method"] != "train_mean") | (baselines["fold"] != "S3")])
    source = read_source(run)
    assert source.common.subjects == {"S2", "S4", "S5", "S6", "S7"}
    assert set(source.common_shares["subject"]) == source.common.subjects
    assert set(source.emotion_table["subjects"]) == {5}
    assert set(source.emotion_shares["subject"]) == source.common.subjects | {"S3"}


def test_an_emotion_that_the_train_mean_knows_exactly_has_no_skill(run: Run) -> None:
    shares = read_source(run).emotion_shares
    shares.loc[shares["emotion"] == "calm", "train_mean_error"] = 0.0
    last = summarise_emotions(shares).iloc[-1]
    assert last["emotion"] == "calm"
    assert all(math.isnan(last[name]) for name in ("skill", "skill_low", "skill_high"))


def test_one_subject_has_neither_train_mean_nor_intervals(make_run: Callable[..., Run]) -> None:
    run = make_run(subjects=("S2",))
    shares = emotion_shares(run.table("predictions"), run.table("cells"), "kl")
    assert shares["train_mean"].isna().all()
    table = summarise_emotions(shares)
    assert table["error"].notna().all()
    assert table[["skill", "error_low", "train_mean_error"]].isna().all().all()
    with pytest.raises(InputError, match="no predictions of selected configurations"):
        emotion_shares(run.table("predictions")[:0], run.table("cells"), "kl")


def test_a_window_counts_once_in_the_train_mean(run: Run) -> None:
    predictions = run.table("predictions")
    once = predictions[predictions["configuration"] == 0]
    pd.testing.assert_frame_equal(train_means(predictions), train_means(once))


def test_intervals_of_shares_agree_with_scipy() -> None:
    shares = np.random.default_rng(0).dirichlet(np.ones(3), size=12)
    gap = np.vstack([shares, np.full(3, np.nan)])
    drawn = bootstrap((shares,), np.mean, method="percentile", n_resamples=9999, rng=np.random.default_rng(1))
    expected = np.array([drawn.confidence_interval.low, drawn.confidence_interval.high])
    np.testing.assert_allclose(share_intervals(gap), expected, atol=0.01)
    assert np.isnan(share_intervals(shares[:1])).all()
