"""Details of subjects and configurations as JSON: what pages show, in the words and numbers of the tables."""

from __future__ import annotations

import json
from collections.abc import Callable

from helo.analysis.dashboard.watched import WatchedRun
from helo.analysis.source import read_source
from helo.analysis.web.details import build_details, details_to_json, render_details
from helo.analysis.wording import format_percent, format_score
from helo.run.directory import Run


def test_scores_beside_the_train_mean_and_distributions(run: Run) -> None:
    source = read_source(run)
    details = build_details(source, *source.choices)
    all_subjects = details["subject"]
    entry = all_subjects["of"]["S4"]
    table = source.subjects[source.subjects["subject"] == "S4"].set_index("estimate")
    assert {all_subjects["estimates"][row[0]] for row in entry["scores"]} == set(table.index) >= {"train_mean"}
    for place, skill, *scores in entry["scores"]:
        row = table.loc[all_subjects["estimates"][place]]
        assert skill == format_percent(row["skill"])
        assert scores[3] == format_score(row["kl"])
    assert format_score(table.loc["train_mean", "kl"]) in entry["line"]
    assert entry["size"] == "3 windows in 3 groups."
    assert [all_subjects["groups"][place] for place, _ in entry["groups"]] == ["base", "stress", "fun"]
    shares = source.emotion_shares[source.emotion_shares["subject"] == "S4"]
    assert [row[0] for row in entry["shares"]] == [f"{share:.4f}" for share in shares["reported"]]
    assert "apart" not in entry


def test_parameters_scores_and_counts_of_a_configuration(run: Run) -> None:
    source = read_source(run)
    details = build_details(source, [], [4])["configuration"]
    entry = details["of"]["4"]
    values = dict(zip(details["parameters"], entry["values"], strict=True))
    assert values["width"] in ("16", "32", "64")
    assert values["depth"] == "1"
    facts = dict(zip(details["facts"], entry["facts"], strict=True))
    assert facts["Ran to its end in"] == "5 of 6 folds"
    assert facts["Failed in"] == "1 of 6 folds"
    assert facts["Was chosen in"] == f"{len(entry.get('chosen', []))} of 6 folds"
    assert set(details["of"]) == {"4"}


def test_a_subject_that_the_tables_leave_out_is_marked(run: Run) -> None:
    baselines = run.table("baselines")
    run.write_table("baselines", baselines[(baselines["method"] != "train_mean") | (baselines["fold"] != "S3")])
    source = read_source(run)
    details = build_details(source, ["S3", "S4"], [])["subject"]
    assert details["of"]["S3"]["apart"]
    assert "apart" not in details["of"]["S4"]
    assert details["compared"] == 5


def test_a_run_without_cells_or_predictions(make_run: Callable[..., Run]) -> None:
    assert render_details(read_source(make_run("empty", without=("cells",)))) == ""
    source = read_source(make_run("early", without=("predictions",)))
    entry = json.loads(details_to_json(source, ["S4"], []))["subject"]["of"]["S4"]
    assert entry["size"].startswith("The number of windows is known once")
    assert entry["scores"]
    assert entry["shares"] == []


def test_the_dashboard_sends_the_chosen_ones_only(run: Run) -> None:
    watched = WatchedRun(str(run.folder))
    found = json.loads(watched.details("S4", "2"))
    assert (list(found["subject"]["of"]), list(found["configuration"]["of"])) == (["S4"], ["2"])
    assert json.loads(watched.details("", "99")) == {}
    assert watched.details("S4", "2") is watched.details("S4", "2")
