"""A run at any moment: no table, figure, file or sentence compares different subjects, and each says how many."""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from helo.analysis.exhibits import EXHIBITS
from helo.analysis.export import csv_tables
from helo.analysis.figures import subjects as subjects_figure
from helo.analysis.paper.estimates_table import Design, latex_table, latex_table_by_group
from helo.analysis.report import write_report
from helo.analysis.result import RunResult
from helo.analysis.source import Source
from helo.analysis.statistics.estimates import subject_scores
from helo.analysis.terminal import print_estimates, print_verdict
from helo.analysis.web.tables import TABLES
from helo.errors import InputError
from helo.names import Estimate, Prefix
from helo.run.directory import Run
from helo.run.manifest import Manifest

SUBJECTS = ("S2", "S3", "S4", "S5", "S6", "S7")
FITTED = ("knn", "ridge")


@pytest.fixture(scope="module", autouse=True)
def few_resamples() -> Iterator[None]:
    """Few resamples: intervals and p values do not matter here, and they would take most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("helo.analysis.statistics.estimates.RESAMPLES", 99)
        patch.setattr("helo.analysis.statistics.comparisons.RESAMPLES", 99)
        yield


@pytest.fixture(scope="module")
def whole(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The synthetic run with two fitted baselines and an ensemble. Its tables are overwritten by each example."""
    path = tmp_path_factory.mktemp("partial") / "run"
    shutil.copytree(built, path)
    run = Run.open(path)
    baselines = run.table("baselines")
    uniform, better = (baselines[baselines["method"] == name] for name in ("uniform", "best_possible"))
    run.write_table("baselines", pd.concat([baselines, uniform.assign(method="knn"), better.assign(method="ridge")]))
    run.write_table("ensemble", uniform.drop(columns="method").assign(weights='{"0": 1.0}'))
    return run


@pytest.fixture(scope="module")
def tables(whole: Run) -> dict[str, pd.DataFrame]:
    return {name: whole.table(name) for name in ("cells", "baselines", "ensemble")}


def partial_source(run: Run, tables: dict[str, pd.DataFrame], draw: np.random.Generator, share: float) -> Source:
    """Return the run with some of its cells, fitted baselines and ensembles, as an unfinished search leaves it."""
    cells, baselines, ensemble = (tables[name] for name in ("cells", "baselines", "ensemble"))
    run.write_table("cells", cells[draw.random(len(cells)) < share])
    fitted = baselines["method"].isin(FITTED)
    run.write_table("baselines", baselines[~fitted | (draw.random(len(baselines)) < draw.random() + 0.3)])
    run.write_table("ensemble", ensemble[draw.random(len(ensemble)) < 2 * draw.random()])
    return Source(run)


def printed(source: Source) -> str:
    file = io.StringIO()
    print_estimates(source, Console(file=file, width=100))
    print_verdict(source, Console(file=file, width=100))
    return " ".join(file.getvalue().split())


def counts_in(sentences: str) -> set[int]:
    """Return the numbers of subjects that sentences speak of, other than those of the whole run."""
    found = re.findall(r"(?:for \d+ of|with) (\d+) subjects?\b", sentences)
    return {int(number) for number in found}


def check_tables(source: Source, subjects: set[str]) -> None:
    """Every table has the same subjects in all of its rows, and its means are over these subjects."""
    assert all(found == subjects for found in source.subjects.groupby("estimate")["subject"].agg(set))
    for table in (source.summary, source.summary_by_group, source.comparisons, source.friedman, source.optimism):
        assert set(table["subjects"]) <= {0, len(subjects)}
    for summary, prefix in ((source.summary, Prefix.TEST), (source.summary_by_group, Prefix.TEST_BY_GROUP)):
        every = subject_scores(
            source.cells, source.baselines, source.objective, source.folds, prefix, ensemble=source.ensemble
        )
        expected = every[every["fold"].isin(subjects)].groupby("estimate")["kl"].mean()
        rows = summary[(summary["metric"] == "kl") & (summary["subjects"] > 0)].set_index("estimate")
        np.testing.assert_allclose(rows["mean"], expected[rows.index])
        reference = expected["train_mean"]
        np.testing.assert_allclose(rows["skill"], 1 - rows["mean"] / reference, atol=1e-12)


def check_sentences(source: Source, subjects: set[str]) -> None:
    """The count of subjects stands in every result, and an unfinished run says so first."""
    first = f"INCOMPLETE: {len(subjects)} of 6 subjects, {len(source.cells)} of 30 cells."
    unfinished = len(source.cells) < 30
    shown = printed(source)
    for text in (source.verdict, shown):
        assert text.startswith(first) is unfinished
        assert counts_in(text) <= {len(subjects)}
    assert f"Means over {len(subjects)} test subject" in shown
    design = Design(source.objective, "shared", source.folds)
    for latex in (
        latex_table(source.summary, source.comparisons, design),
        latex_table_by_group(source.summary_by_group, design),
    ):
        assert f"$n = {len(subjects)}$" in latex
    for sentence in source.notes:
        assert counts_in(sentence) <= {len(subjects)}


def check_figures(source: Source, subjects: set[str]) -> None:
    """Figures of results show these subjects and no others."""
    assert {*subjects_figure._build_info(source.judged, source.objective).subjects} == subjects
    comparisons = EXHIBITS["comparisons"].plot(source)
    assert {data[-1] for data in comparisons.data[0].customdata} == {len(subjects)}
    notes = [note.text for note in EXHIBITS["predictions"].plot(source).layout.annotations]
    assert f"mean of {len(subjects)} test subjects" in " ".join(map(str, notes))
    try:
        assert source.ranks.subjects == len(subjects)
    except InputError:
        assert len(subjects) < 5 or source.friedman["methods"].max() < 3


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), share=st.sampled_from([0.06, 0.15, 0.4, 0.8, 1.0]))
def test_no_row_and_no_sentence_mixes_subjects(
    whole: Run, tables: dict[str, pd.DataFrame], seed: int, share: float
) -> None:
    source = partial_source(whole, tables, np.random.default_rng(seed), share)
    subjects = set(source.common.subjects)
    done = source.cells[source.cells["status"] == "completed"]
    if done.empty:
        assert "nothing to judge yet" in source.verdict
        assert source.verdict.startswith("INCOMPLETE: ")
        return
    assert subjects
    assert subjects <= set(done["fold"])
    check_tables(source, subjects)
    check_sentences(source, subjects)
    check_figures(source, subjects)


@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), share=st.sampled_from([0.15, 0.5, 0.9]))
def test_variants_are_compared_on_the_subjects_of_the_verdict(
    whole: Run, tables: dict[str, pd.DataFrame], seed: int, share: float
) -> None:
    drawn = tables["cells"].drop_duplicates("configuration")["param_dropout"]
    space = {"objective": "kl", "variants": {f"v{place}": {"dropout": value} for place, value in enumerate(drawn)}}
    listed = Run(whole.folder, Manifest.from_dict({**whole.manifest.as_dict(), "space": space}))
    source = partial_source(listed, tables, np.random.default_rng(seed), share)
    subjects = set(source.common.subjects)
    first = source.cells[(source.cells["configuration"] == 0) & (source.cells["status"] == "completed")]
    ablation = source.ablation
    assert ablation is not None
    assert set(ablation["subjects"]) <= {0, len(subjects)}
    assert set(source.summary["subjects"]) <= {0, len(subjects)}
    judged = source.judged[source.judged["estimate"] == Estimate.PER_FOLD_SELECTION]
    assert set(judged["fold"]) == (subjects if len(first) else set())
    if len(first):
        assert counts_in(source.verdict) <= {len(subjects)}
        assert set(source.comparisons["subjects"]) <= {0, len(subjects)}


# --- single cases


def without_cells(run: Run, *folds: str) -> None:
    cells = run.table("cells")
    run.write_table("cells", cells[~cells["fold"].isin(folds)])


def test_an_unfinished_run_says_so_first(run: Run) -> None:
    without_cells(run, "S4", "S7")
    source, first = Source(run), "INCOMPLETE: 4 of 6 subjects, 20 of 30 cells."
    result = RunResult(run)
    assert result.complete is False
    assert source.verdict.startswith(f"{first} Skill cannot be shown with 4 subjects: at least 6 are needed")
    assert printed(source).startswith(first)
    assert first in repr(result)
    for table in csv_tables(source).values():
        if "subject" in table:
            assert set(table.groupby("estimate")["subject"].agg(frozenset)) == {frozenset({"S2", "S3", "S5", "S6"})}
        elif "subjects" in table:
            assert set(table["subjects"]) <= {0, 4}
    report = Path(write_report(source)).read_text(encoding="utf-8")
    assert 0 < report.index(f'<p class="caution">{first}</p>') < report.index('<dl class="tiles">')


def test_a_search_that_has_ended_without_a_subject_is_not_incomplete(run: Run) -> None:
    cells = run.table("cells")
    run.write_table("cells", cells.assign(status=cells["status"].where(cells["fold"] != "S3", "failed")))
    source = Source(run)
    assert source.verdict.startswith("Only 5 of 6 subjects have the scores to compare. ")
    assert "Only 5 of the 6 folds have a completed cell; the others are left out." in source.notes


def test_a_baseline_that_lacks_subjects_limits_all_rows_and_one_that_lacks_most_is_left_out(run: Run) -> None:
    baselines = run.table("baselines")
    uniform = baselines[baselines["method"] == "uniform"]
    ridge, mlp = uniform[2:].assign(method="ridge"), uniform[:2].assign(method="mlp")
    run.write_table("baselines", pd.concat([baselines, ridge, mlp]))
    source = Source(run)
    subjects = source.summary.groupby("estimate")["subjects"].max()
    assert subjects.pop("mlp") == 0
    assert set(subjects) == {4}
    notes = " ".join(source.notes)
    assert "These rows lack subjects that others have: ridge (2 subjects)." in notes
    assert "compare the 4 subjects that all rows have" in notes
    assert "too few of the 4 subjects: mlp (0)." in notes
    assert "mlp" not in printed(source).split("Means over")[0]
    assert "mlp" not in TABLES["estimates"].render(source)


def test_runs_beside_each_other_show_the_same_subjects(make_run: Callable[..., Run]) -> None:
    from helo.analysis.dashboard.compared import find_compared, render_comparison

    whole, half, other = make_run("whole"), make_run("half"), make_run("other", subjects=("P1", "P2"))
    without_cells(half, "S4", "S7")
    compared = find_compared({run.folder.name: Source(run) for run in (whole, half, other)})
    assert compared is not None
    shown: Any = render_comparison(compared)
    body = shown.children[1].children.children[2].children
    rows = [[cell.children for cell in row.children] for row in body]
    assert [row[1] for row in rows] == ["4", "4", "2"]
    assert rows[0][2:4] == rows[1][2:4]  # the same cells on the same subjects
    assert rows[1][-1] == "0 of 4"
    assert rows[2][4] == "too few of the same subjects"
