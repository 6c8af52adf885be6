"""The subjects that all rows of a table have."""

from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from helo.analysis.statistics.common_subjects import (
    LEAST_SHARE,
    common_subjects,
    keep_common,
    subjects_by_estimate,
)

ROWS = st.dictionaries(st.sampled_from(["a", "b", "c", "d", "e"]), st.frozensets(st.sampled_from("ABCDEFGH")))


@given(ROWS)
def test_all_rows_have_the_common_subjects_and_the_first_row_keeps_half(rows: dict[str, frozenset[str]]) -> None:
    found = common_subjects(rows)
    assert {*found.rows} | {*found.left_out} == {*rows}
    assert len(found.rows) + len(found.left_out) == len(rows)
    for name in found.rows:
        assert found.subjects <= rows[name]
    if any(rows.values()):
        first = next(subjects for subjects in rows.values() if subjects)
        assert found.subjects
        assert len(found.subjects) >= LEAST_SHARE * len(first)
        assert found.limiting == {name: len(first - rows[name]) for name in found.rows if first - rows[name]}
        assert found.subjects == first.intersection(*(rows[name] for name in found.rows))
    else:
        assert not found.subjects
        assert not found.rows


def test_a_row_without_subjects_empties_nothing() -> None:
    found = common_subjects({"none": "", "search": "AB", "mean": "ABC", "failed": ""})
    assert found.subjects == {"A", "B"}
    assert found.rows == ("search", "mean")
    assert found.left_out == {"none": 0, "failed": 0}
    assert not common_subjects({}).subjects


def test_a_subject_counts_only_with_all_scores() -> None:
    scores = pd.DataFrame(
        {
            "estimate": ["search", "search", "mean", "mean", "knn"],
            "fold": ["A", "B", "A", "B", "A"],
            "kl": [0.1, np.inf, 0.2, 0.3, np.nan],
            "cosine": [0.9, 0.8, np.nan, 0.7, np.nan],
        }
    )
    assert subjects_by_estimate(scores) == {"search": {"A", "B"}, "mean": {"B"}, "knn": set()}
    kept = keep_common(scores, common_subjects(subjects_by_estimate(scores)))
    assert kept[["estimate", "fold"]].to_numpy().tolist() == [["search", "B"], ["mean", "B"]]
