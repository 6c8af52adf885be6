"""What a reader is told about how a run was made."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from analysis.wording import cautions, failures, rivals
from helo.names import NORMALISE_SUBJECT, NORMALISE_TRAIN, PROTOCOL_NESTED, PROTOCOL_SHARED

STOPPED_EARLY = "A cell that was clearly behind the others of its fold was stopped early."
DROPPED_EARLY = "a configuration that did badly on the first folds was not tried on the others"


def said(**manifest: Any) -> list[str]:
    return cautions(manifest)


def test_shared_proposals_have_seen_the_other_folds() -> None:
    (caution,) = said(protocol=PROTOCOL_SHARED, racing=False)
    assert caution.startswith("Protocol shared: one study proposes the configurations for all folds")
    assert "Only the proposals have" in caution
    assert DROPPED_EARLY not in caution
    assert said(protocol=PROTOCOL_SHARED) == [caution]  # a manifest from before there was racing


def test_racing_has_seen_them_too() -> None:
    caution, rungs = said(protocol=PROTOCOL_SHARED, racing=True)
    assert caution.startswith("Protocol shared: one study proposes the configurations for all folds")
    assert "So has what was dropped early" in caution
    assert DROPPED_EARLY in caution
    assert "Only the proposals have" not in caution
    assert rungs.startswith(STOPPED_EARLY)
    assert "never the choice of its fold" in rungs


def test_nested_is_unbiased_and_has_no_configuration_to_deploy() -> None:
    (caution,) = said(protocol=PROTOCOL_NESTED, racing=False)
    assert caution.startswith("Protocol nested: each fold has a study of its own and nothing passes between folds")
    assert "the estimate of per_fold_selection is unbiased" in caution
    assert "there is no single_configuration" in caution
    assert "medoid" in caution


def test_under_nested_cells_are_stopped_but_no_configuration_is_dropped() -> None:
    caution, rungs = said(protocol=PROTOCOL_NESTED, racing=True)
    assert [caution] == said(protocol=PROTOCOL_NESTED, racing=False)
    assert rungs.startswith(STOPPED_EARLY)
    assert DROPPED_EARLY not in caution + rungs


@pytest.mark.parametrize("protocol", [PROTOCOL_SHARED, PROTOCOL_NESTED])
@pytest.mark.parametrize("racing", [False, True])
def test_scaling_within_subjects_is_said_last(protocol: str, racing: bool) -> None:
    plain = said(protocol=protocol, racing=racing, normalise=NORMALISE_TRAIN)
    assert plain == said(protocol=protocol, racing=racing)
    *rest, scaled = said(protocol=protocol, racing=racing, normalise=NORMALISE_SUBJECT)
    assert rest == plain
    assert scaled.startswith("Features were scaled within each subject")


def test_a_bare_manifest_says_nothing() -> None:
    assert cautions({}) == []


def score_table(**by_estimate: tuple[float, ...]) -> pd.DataFrame:
    rows = [
        (estimate, f"S{number}", value)
        for estimate, values in by_estimate.items()
        for number, value in enumerate(values)
    ]
    return pd.DataFrame(rows, columns=["estimate", "fold", "kl"])


def test_the_best_regressor_is_named_beside_the_search() -> None:
    scores = score_table(
        per_fold_selection=(0.1, 0.2, 0.3), train_mean=(0.5, 0.5, 0.5), knn=(0.2, 0.2, 0.5), ridge=(0.2, 0.1, 0.2)
    )
    (said,) = rivals(scores, "kl")
    assert "The best of 2 plain regressors on the same folds, ridge, has a mean KL of 0.1667" in said
    assert "the search is worse (0.2000), and better for 1 of 3 subjects" in said
    alone = rivals(scores[scores["estimate"] != "ridge"], "kl")
    assert alone[0].startswith("The plain regressor on the same folds, knn")


def test_a_regressor_that_failed_on_the_hardest_subject_is_not_the_best() -> None:
    nan = float("nan")
    scores = score_table(per_fold_selection=(0.1, 0.9), mlp=(0.1, nan), ridge=(0.1, 0.8))
    assert "folds, ridge, has" in rivals(scores, "kl")[0]
    assert rivals(score_table(per_fold_selection=(0.1, 0.9), mlp=(0.1, nan)), "kl") == []
    assert rivals(score_table(ridge=(0.1, 0.9)), "kl") == []


def test_failed_baselines_are_said() -> None:
    table = pd.DataFrame(
        {
            "method": ["knn", "mlp", "mlp"],
            "fold": ["A", "A", "B"],
            "status": ["completed", "failed", "failed"],
            "reason": [None, "Traceback\nValueError: no", "no"],
        }
    )
    assert failures(table) == ["mlp failed in 2 folds, first in that of A: ValueError: no"]
