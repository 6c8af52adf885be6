"""Notes on how a run was made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from helo.analysis.statistics.comparisons import compare_with_references, measure_optimism
from helo.analysis.statistics.signed_rank import signed_rank_test
from helo.analysis.wording import (
    best_baseline_note,
    failure_notes,
    method_notes,
    next_step,
    optimism_note,
    verdict,
)
from helo.metrics import METRICS
from helo.names import IN_MEMORY, Normalisation, SearchProtocol
from helo.run.directory import Run
from helo.run.manifest import Manifest

STOPPED_EARLY = "A cell that was clearly behind the others of its fold was stopped early."
DROPPED_EARLY = "a configuration that scored badly in the first folds was not run in the others"


def notes_for(**manifest: Any) -> list[str]:
    return method_notes(Manifest.from_dict(manifest))


def test_note_that_shared_proposals_use_the_other_folds() -> None:
    (caution,) = notes_for(protocol=SearchProtocol.SHARED, racing=False)
    assert caution.startswith("Protocol shared: one study proposes the configurations for all folds")
    assert "Only the proposals are affected" in caution
    assert DROPPED_EARLY not in caution
    assert notes_for(protocol=SearchProtocol.SHARED) == [caution]  # a manifest from before there was racing


def test_note_that_racing_uses_the_other_folds() -> None:
    caution, rungs = notes_for(protocol=SearchProtocol.SHARED, racing=True)
    assert caution.startswith("Protocol shared: one study proposes the configurations for all folds")
    assert "Racing has the same effect" in caution
    assert DROPPED_EARLY in caution
    assert "Only the proposals are affected" not in caution
    assert rungs.startswith(STOPPED_EARLY)
    assert "never selected in its fold" in rungs


def test_rungs_over_members_are_described_for_runs_with_members() -> None:
    (_, rungs) = notes_for(protocol=SearchProtocol.SHARED, racing=True, folds={"digest": "d", "inner_folds": 5})
    assert rungs.startswith("A cell whose first members were clearly behind")
    assert "never selected in its fold" in rungs


@pytest.mark.parametrize(
    ("folds", "expected"),
    [
        (None, "the inner validation subjects decide when its training stops"),
        ({"digest": "d", "inner_folds": 1}, "it trains without the inner validation subjects"),
        ({"digest": "d", "inner_folds": 4}, "the mean of the 4 members of a cell predicts the test subject"),
    ],
)
def test_note_on_baselines_says_why_helo_is_not_refitted(folds: Any, expected: str) -> None:
    (note,) = notes_for(baselines=["ridge"], **({} if folds is None else {"folds": folds}))
    assert f"HeLo is not refitted: {expected}" in note
    assert "biased in its favour" in note


def test_nested_is_unbiased_and_has_no_configuration_to_deploy() -> None:
    (caution,) = notes_for(protocol=SearchProtocol.NESTED, racing=False)
    assert caution.startswith("Protocol nested: each fold has its own study and nothing passes between folds")
    assert "per_fold_selection is an unbiased estimate" in caution
    assert "there is no single_configuration" in caution
    assert "medoid" in caution


def test_under_nested_cells_are_stopped_but_no_configuration_is_dropped() -> None:
    caution, rungs = notes_for(protocol=SearchProtocol.NESTED, racing=True)
    assert [caution] == notes_for(protocol=SearchProtocol.NESTED, racing=False)
    assert rungs.startswith(STOPPED_EARLY)
    assert DROPPED_EARLY not in caution + rungs


@pytest.mark.parametrize("protocol", [SearchProtocol.SHARED, SearchProtocol.NESTED])
@pytest.mark.parametrize("racing", [False, True])
def test_scaling_within_subjects_is_the_last_note(protocol: str, racing: bool) -> None:
    plain = notes_for(protocol=protocol, racing=racing, normalise=Normalisation.TRAIN)
    assert plain == notes_for(protocol=protocol, racing=racing)
    *rest, scaled = notes_for(protocol=protocol, racing=racing, normalise=Normalisation.SUBJECT)
    assert rest == plain
    assert scaled.startswith("Features were scaled within each subject")


def test_minimal_manifest_gives_no_notes() -> None:
    assert method_notes(Manifest()) == []


def score_table(**by_estimate: Sequence[float] | np.ndarray) -> pd.DataFrame:
    rows = [
        (estimate, f"S{number}", *[value] * len(METRICS))
        for estimate, values in by_estimate.items()
        for number, value in enumerate(values)
    ]
    return pd.DataFrame(rows, columns=["estimate", "fold", *METRICS])


def judged(*gains: float) -> str:
    """The verdict where the search's KL is so much lower than the train mean's."""
    return verdict(score_table(per_fold_selection=[1 - gain for gain in gains], train_mean=[1.0] * len(gains)), "kl")


def test_skill_is_stated_with_its_test() -> None:
    gains = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, -0.05)
    notes_for = judged(*gains)
    assert notes_for.startswith("Skill is shown: on KL, the search beats the train mean")
    assert (
        f"for 6 of 7 subjects (mean 0.7071 against 1.000; p = {signed_rank_test(gains).p:.3f}, effect size +0.93)"
        in notes_for
    )
    assert "no skill" not in notes_for.lower()


def test_a_gain_within_chance_is_no_skill() -> None:
    notes_for = judged(0.1, -0.2, 0.3, -0.35, 0.5, 0.6, -0.05)
    assert notes_for.startswith("No skill is shown")
    assert "may do as well: the mean gain lies between -0." in notes_for
    assert judged(*[0.0] * 8).startswith("No skill is shown")


def test_an_interval_that_disagrees_with_the_test_is_explained() -> None:
    notes_for = judged(0.9, 0.8, 0.7, -0.1, -0.05, 0.6, 0.5)
    assert notes_for.startswith("No skill is shown")
    assert (
        "The test, which decides, counts subjects by the rank of their gain. The interval of the mean gain, +"
        in notes_for
    )
    assert "may do as well" not in notes_for


def test_worse_score_is_no_skill_and_is_stated() -> None:
    notes_for = judged(*[-0.1, -0.2, -0.3, -0.4, -0.5, -0.6])
    assert notes_for.startswith("Worse than the train mean, so no skill: on KL, the search beats")
    assert "for 0 of 6 subjects" in notes_for


def test_skill_cannot_be_shown_with_five_subjects() -> None:
    notes_for = judged(0.1, 0.2, 0.3, 0.4, 0.5)
    assert notes_for.startswith(
        "Skill cannot be shown with 5 subjects: at least 6 are needed for p < 0.05 in a two-sided Wilcoxon signed-rank"
        " test. On KL, the search beats the train mean, which uses no input, for 5 of 5 subjects (mean "
    )
    assert "no skill" not in notes_for.lower()
    assert judged(-0.1, -0.2).startswith("Skill cannot be shown with 2 subjects")
    assert judged(0.1).startswith("Skill cannot be shown with 1 subject: at least 6 are needed")
    assert judged(0.1, 0.2, 0.3, 0.4, 0.5, 0.6).startswith("Skill is shown")


def test_a_mean_and_a_majority_that_disagree_are_no_skill() -> None:
    notes_for = judged(*np.linspace(0.01, 0.02, 14), -5.0)
    assert notes_for.startswith("No skill is shown")
    assert "The mean and most subjects point in opposite directions." in notes_for


def test_regressor_is_better_only_if_the_test_is_significant() -> None:
    search, rng = np.full(12, 0.5), np.random.default_rng(0)
    base = {"per_fold_selection": search, "train_mean": search + rng.normal(0, 0.1, 12)}
    worse = best_baseline_note(score_table(**base, ridge=search - rng.uniform(0.01, 0.1, 12)), "kl")[0]
    assert (
        "The search, with 0.5000, is significantly worse: it is better for 0 of 12 subjects (p < 0.001, effect" in worse
    )
    better = best_baseline_note(score_table(**base, ridge=search + rng.uniform(0.01, 0.1, 12)), "kl")[0]
    assert "The search, with 0.5000, is significantly better: it is better for 12 of 12 subjects" in better
    table = score_table(**base, ridge=search + rng.normal(0, 0.1, 12))
    row = compare_with_references(table, ("kl",)).set_index("reference").loc["ridge"]
    assert row["p_holm"] > 0.05
    assert "shows no significant difference" in best_baseline_note(table, "kl")[0]


def test_optimism_gap_is_stated() -> None:
    table = measure_optimism(score_table(per_fold_selection=[0.2, 0.2, 0.2], oracle=[0.1, 0.2, 0.15]))
    (notes_for,) = optimism_note(table, "kl")
    assert "KL would look better by 0.0500 (25.0 % of 0.2000, 95 % interval" in notes_for
    same = measure_optimism(score_table(per_fold_selection=[0.2, 0.2], oracle=[0.2, 0.2]))
    assert optimism_note(same, "kl") == ["Optimism gap: none on KL. Selection by test score would give the same cells."]
    (least,) = optimism_note(table, "kl", without_choice=2)
    assert "This is a lower bound: in 2 of 3 folds only one cell ran to its end" in least
    assert optimism_note(measure_optimism(score_table(train_mean=[0.2])), "kl") == []


def test_best_regressor_is_named_with_the_search() -> None:
    scores = score_table(
        per_fold_selection=(0.1, 0.2, 0.3), train_mean=(0.5, 0.5, 0.5), knn=(0.2, 0.2, 0.5), ridge=(0.2, 0.1, 0.2)
    )
    (notes_for,) = best_baseline_note(scores, "kl")
    assert "The best of 2 fitted baselines on the same folds is ridge, with a mean KL of 0.1667." in notes_for
    assert (
        "The search, with 0.2000, shows no significant difference: it is better for 1 of 3 subjects (p = 1.000"
        in notes_for
    )
    assert "by Holm's correction for 2 comparisons" in notes_for
    assert "with 3 subjects and 2 comparisons, no corrected p can be below 0.05" in notes_for
    alone = best_baseline_note(scores[scores["estimate"] != "ridge"], "kl")
    assert alone[0].startswith("The fitted baseline on the same folds is knn, with a mean KL of")


def test_a_regressor_that_failed_on_the_hardest_subject_is_not_the_best() -> None:
    nan = float("nan")
    scores = score_table(per_fold_selection=(0.1, 0.9), mlp=(0.1, nan), ridge=(0.1, 0.8))
    assert "on the same folds is ridge, with" in best_baseline_note(scores, "kl")[0]
    assert best_baseline_note(score_table(per_fold_selection=(0.1, 0.9), mlp=(0.1, nan)), "kl") == []
    assert best_baseline_note(score_table(ridge=(0.1, 0.9)), "kl") == []


def test_failed_baselines_are_reported() -> None:
    table = pd.DataFrame(
        {
            "method": ["knn", "mlp", "mlp"],
            "fold": ["A", "A", "B"],
            "status": ["completed", "failed", "failed"],
            "reason": [None, "Traceback\nValueError: no", "no"],
        }
    )
    assert failure_notes(table) == ["mlp failed in 2 folds, first with the test subject A: ValueError: no"]


@pytest.mark.parametrize(
    ("complete", "data", "expected"),
    [
        (True, "d", ("look at it in a browser with", "python -m helo.analysis dashboard '{}'")),
        (False, "d", ("resume with", "python -m helo.search --resume '{}'")),
        (None, "d", ("if the search has ended early, resume with", "python -m helo.search --resume '{}'")),
        (False, IN_MEMORY, ("resume with, in Python", "helo.run_search(dataset, resume='{}')")),
    ],
)
def test_the_next_step_is_a_command_to_copy(
    tmp_path: Path, complete: bool | None, data: str, expected: tuple[str, str]
) -> None:
    run = Run.create(tmp_path / "my run", Manifest(data=data), [])
    assert next_step(run, complete) == (expected[0], expected[1].format(run.folder))


def test_a_complete_run_with_a_model_predicts_next(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", Manifest(), [])
    run.model.write("model.json", b"{}")
    command = f"python -m helo.predict {run.model} DATASET --out predictions.parquet"
    assert next_step(run, True) == ("predict new data with", command)
