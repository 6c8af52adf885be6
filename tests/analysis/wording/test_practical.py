"""Sentences on practical equivalence and on a new person: stated only where they are known."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from helo.analysis.export import csv_tables
from helo.analysis.source import Source
from helo.analysis.statistics.new_person import loss_bound
from helo.analysis.wording.practical import describe_equivalence, equivalence_note, new_person_note
from helo.run.directory import Run


def row_of(better: float, same: float, worse: float) -> dict[Hashable, Any]:
    return {"reference": "ridge", "p_better": better, "p_same": same, "p_worse": worse}


def scores_of(noise: float, subjects: int = 15) -> pd.DataFrame:
    """Scores of a search and of a regressor that is as good, with some noise on each subject."""
    rng = np.random.default_rng(0)
    names, base = [f"S{number}" for number in range(subjects)], rng.uniform(0.5, 1.5, subjects)
    losses = {
        "per_fold_selection": 0.8 * base,
        "train_mean": base,
        "ridge": 0.8 * base + rng.normal(0, noise, subjects),
    }
    parts = [
        pd.DataFrame({"estimate": name, "fold": names, "kl": values, "cosine": 1 - values / 9})
        for name, values in losses.items()
    ]
    return pd.concat(parts, ignore_index=True)


@pytest.mark.parametrize(
    ("chances", "words"),
    [
        ((0.01, 0.98, 0.01), "The search is practically the same as ridge (probability 0.98;"),
        ((0.999, 0.001, 0.0), "The search is practically better than ridge (probability > 0.99;"),
        ((0.0, 0.04, 0.96), "The search is practically worse than ridge (probability 0.96;"),
        ((0.3, 0.6, 0.1), "undecided (better 0.30, the same 0.60, worse 0.10;"),
    ],
)
def test_a_result_is_stated_where_its_probability_is_high(chances: tuple[float, float, float], words: str) -> None:
    (sentence,) = describe_equivalence(row_of(*chances))
    assert words in sentence
    assert "at most 2 % of skill" in sentence


def test_what_is_unknown_is_not_said() -> None:
    assert describe_equivalence(row_of(np.nan, np.nan, np.nan)) == []
    assert equivalence_note(scores_of(0.1, subjects=4), "kl", "ridge") == []
    assert equivalence_note(scores_of(0.1), "kl", "knn") == []


def test_no_difference_that_can_be_seen_may_be_sameness_or_ignorance() -> None:
    """Two methods do not differ significantly in both cases. Only the first shows that they are the same."""
    (same,) = equivalence_note(scores_of(0.005), "kl", "ridge")
    (unknown,) = equivalence_note(scores_of(0.3), "kl", "ridge")
    assert "practically the same as ridge (probability" in same
    assert "undecided" in unknown


def test_the_bound_of_a_new_person_is_that_of_the_losses() -> None:
    scores = scores_of(0.1)
    (sentence,) = new_person_note(scores, "kl")
    bound = loss_bound(scores.loc[scores["estimate"] == "per_fold_selection", "kl"])
    assert f"KL of the search is at most {bound:.3f} with a probability of 90 %" in sentence
    assert "with the train mean, at most" in sentence
    assert "15 subjects" in sentence


def test_the_bound_of_a_similarity_is_below() -> None:
    scores = scores_of(0.1)
    (sentence,) = new_person_note(scores, "cosine")
    worst = scores.loc[scores["estimate"] == "per_fold_selection", "cosine"].min()  # with 15 subjects
    assert f"Cosine of the search is at least {worst:.4f}" in sentence


def test_few_subjects_have_no_bound() -> None:
    assert new_person_note(scores_of(0.1, subjects=8), "kl") == []


def test_a_run_says_both(make_run: Callable[..., Run]) -> None:
    run = make_run(subjects=[f"P{number}" for number in range(12)])
    baselines = run.table("baselines")
    ridge = baselines[baselines["method"] == "uniform"].assign(method="ridge")
    run.write_table("baselines", pd.concat([baselines, ridge]))
    source = Source(run)
    assert "The search is practically better than ridge" in source.verdict
    assert any("For a new person" in sentence and "12 subjects" in sentence for sentence in source.notes)
    assert csv_tables(source)["equivalence"]["reference"].tolist() == ["train_mean", "uniform", "ridge"]
