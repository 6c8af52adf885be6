"""Who a subject is, and what a configuration is, against the tables of the run."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import pytest

from helo.analysis.source import Source, read_source
from helo.analysis.statistics.profiles import ConfigurationProfile, describe_configurations, describe_subjects
from helo.run.directory import Run


def configurations_of(source: Source) -> list[ConfigurationProfile]:
    numbers = source.choices[1]
    return describe_configurations(numbers, source.configurations, source.cells, "kl", source.choice)


def test_windows_and_groups_of_a_subject(make_run: Callable[..., Run]) -> None:
    source = read_source(make_run(groups=["a", "b", "b"]))
    found = describe_subjects(["S4"], source.subjects, source.choice, source.predictions, source.emotion_shares)[0]
    assert (found.windows, dict(found.groups)) == (3, {"a": 1, "b": 2})  # five configurations predict each window
    assert found.configuration == source.choice["S4"]
    scores = source.scores[source.scores["fold"] == "S4"].set_index("estimate")["kl"]
    pd.testing.assert_series_equal(found.scores.set_index("estimate")["kl"], scores)
    assert list(found.shares["emotion"]) == ["joy", "fear", "anger", "calm"]


def test_a_subject_without_predictions_has_unknown_windows(run: Run) -> None:
    source = read_source(run)
    none = source.predictions[:0], source.emotion_shares[:0]
    found = describe_subjects(["S4", "S99"], source.subjects, {"S4": 2}, *none)
    assert [(one.windows, dict(one.groups), one.configuration) for one in found] == [(None, {}, 2), (None, {}, None)]
    assert len(found[1].scores) == len(found[1].shares) == 0


def test_scores_and_counts_of_configurations(run: Run) -> None:
    source = read_source(run)
    cells, profiles = source.cells, configurations_of(source)
    for one in profiles:
        own = cells[cells["configuration"] == one.number]
        assert one.validation == pytest.approx(own.loc[own["status"] == "completed", "val_kl"].mean())
        assert sum(one.counts.values()) == len(own) == 6
        assert one.counts["failed"] == (1 if one.number == 4 else 0)
        assert one.folds == tuple(own["fold"])
        assert one.parameters["width"] == own["param_width"].iloc[0]
        assert isinstance(one.parameters["fusion"], str)
    assert sorted(one.rank or 0 for one in profiles) == [1, 2, 3, 4, 5]
    best = min(profiles, key=lambda one: one.adjusted)
    assert best.rank == 1
    chosen = {subject: one.number for one in profiles for subject in one.chosen_by}
    assert chosen == source.choice
    assert [one.number for one in profiles if one.recommended] == [
        int(source.configurations.set_index("recommended").loc[True, "configuration"])
    ]


def test_a_parameter_without_effect_is_marked(run: Run) -> None:
    cells = run.table("cells").assign(param_transport="linear", param_ot_alpha=0.5)
    cells.loc[cells["configuration"] == 1, "param_transport"] = "fused"
    run.write_table("cells", cells)
    inactive = {one.number: one.inactive for one in configurations_of(read_source(run))}
    assert "ot_alpha" in inactive[0]
    assert "ot_alpha" not in inactive[1]
