"""The answer of a run: one badge and three tiles that agree with the tables, above everything else."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from helo.analysis.report import write_report
from helo.analysis.source import Source, read_source
from helo.analysis.web.answer import Badge, build_answer, render_answer, render_cautions
from helo.analysis.web.page import escape_html
from helo.analysis.wording import format_difference, format_percent
from helo.metrics import METRICS
from helo.names import TableName
from helo.run.directory import Run


def scaled(run: Run, factor: float) -> Source:
    """Multiply the KL of the train mean, so that the search is better or worse than it."""
    baselines = run.table(TableName.BASELINES)
    is_mean = baselines["method"] == "train_mean"
    baselines.loc[is_mean, "test_kl"] *= factor
    run.write_table(TableName.BASELINES, baselines)
    return read_source(run)


@pytest.mark.parametrize(
    ("factor", "badge", "line"),
    [
        (3.0, Badge.SKILL, "The search beats the train mean on KL for 6 of 6 subjects (p = 0.031)."),
        (
            0.1,
            Badge.WORSE,
            "The search is worse than the train mean on KL: better for only 0 of 6 subjects (p = 0.031).",
        ),
    ],
)
def test_badge_and_line_follow_the_test(run: Run, factor: float, badge: Badge, line: str) -> None:
    answer = build_answer(scaled(run, factor))
    assert answer.badge == badge
    assert answer.line == line
    assert [tile.number for tile in answer.tiles][1] == f"{6 if factor > 1 else 0} of 6 subjects"


def test_no_skill_is_no_worse(run: Run) -> None:
    baselines = run.table(TableName.BASELINES)
    search = read_source(run).scores.query("estimate == 'per_fold_selection'").set_index("fold")["kl"]
    mean = search.add([0.01, -0.01, 0.02, -0.02, 0.03, -0.03])
    is_mean = baselines["method"] == "train_mean"
    baselines.loc[is_mean, "test_kl"] = baselines.loc[is_mean, "fold"].map(mean)
    run.write_table(TableName.BASELINES, baselines)
    answer = build_answer(read_source(run))
    assert answer.badge == Badge.NO_SKILL
    assert "shows no skill on KL: better than the train mean for 3 of 6 subjects" in answer.line


def test_too_few_subjects(make_run: Callable[..., Run]) -> None:
    answer = build_answer(read_source(make_run(subjects=("S2", "S3", "S4"))))
    assert answer.badge == Badge.TOO_FEW
    assert answer.line == "3 subjects cannot show skill: a test needs at least 6."


def test_a_run_without_some_folds_is_incomplete(run: Run) -> None:
    cells = run.table(TableName.CELLS)
    run.write_table(TableName.CELLS, cells[cells["fold"] != "S7"])
    answer = build_answer(read_source(run))
    assert answer.badge == Badge.INCOMPLETE
    assert answer.line.startswith("So far, ")
    assert "5 of 6" in answer.cautions[0]


def test_without_baselines_there_is_nothing_to_judge(make_run: Callable[..., Run]) -> None:
    answer = build_answer(read_source(make_run(without=[TableName.BASELINES])))
    assert answer.badge == Badge.INCOMPLETE
    assert "nothing to judge yet" in answer.line
    assert answer.tiles == ()


def test_tiles_agree_with_the_tables(run: Run) -> None:
    source = read_source(run)
    baselines = run.table(TableName.BASELINES)
    ridge = baselines[baselines["method"] == "train_mean"].assign(method="ridge")
    run.write_table(TableName.BASELINES, pd.concat([baselines, ridge]))
    source = read_source(run)
    skill, better, against = build_answer(source).tiles
    rows = source.summary.set_index(["estimate", "metric"])
    assert skill.number == format_percent(rows.loc[("per_fold_selection", "kl"), "skill"])
    assert re.fullmatch(r"95 % interval [+-][\d.]+ % to [+-][\d.]+ %", skill.remarks[0])
    compared = source.comparisons.set_index(["reference", "metric"]).loc[("train_mean", "kl")]
    assert better.number == f"{compared['better']:.0f} of 6 subjects"
    assert against.title.endswith("ridge")
    assert against.number == f"{format_difference(compared['gain'])} {METRICS['kl'].label}"


def test_a_report_begins_with_the_answer(run: Run) -> None:
    content = Path(str(write_report(read_source(run)))).read_text(encoding="utf-8")
    body = content[content.index("<main") :]
    places = [body.index(part) for part in ("<h1", 'class="badge', 'class="tiles"', 'id="differences"', "<h2 id=")]
    assert places == sorted(places)
    verdict = escape_html(read_source(run).verdict)
    assert body.count(verdict) == 1
    assert body.index("<details>") < body.index(verdict) < body.index("</details>")


def test_damaged_files_are_named_above_the_tiles(run: Run) -> None:
    path = run.folder.here / "explanations.parquet"
    path.write_bytes(path.read_bytes()[:100])
    source = read_source(Run.open(str(run.folder)))
    answer = build_answer(source)
    assert ["explanations.parquet" in caution for caution in answer.cautions] == [True]
    assert "explanations.parquet" in render_cautions(answer)
    assert "explanations.parquet" not in render_answer(source)
