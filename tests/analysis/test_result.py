"""A run in Python: what its files say, and one line where they do not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
import pytest

import helo
from helo.analysis.exhibits import EXHIBITS
from helo.analysis.result import RunResult
from helo.analysis.source import Source
from helo.configuration import DEFAULTS
from helo.errors import InputError
from helo.metrics import METRICS
from helo.names import Column, Status, TableName
from helo.run.directory import Run
from helo.run.ledger import CellRecord
from helo.run.manifest import Manifest
from helo.run.tables import CELL_COLUMNS, cells_table

NOW = datetime(2026, 1, 2, tzinfo=UTC)
EVIL = "</td><script>alert(1)</script>"


def record(configuration: int, fold: str, value: float = 0.1) -> CellRecord:
    scores = dict.fromkeys(METRICS, value)
    return CellRecord(
        configuration, fold, DEFAULTS, Status.COMPLETED, 3, 2.0, "here", NOW, NOW, 2, val=scores, test=scores
    )


@pytest.fixture
def going_on(make_run: Callable[..., Run]) -> Run:
    """A search that has not written any table yet; two cells are finished."""
    run = make_run(without=(TableName.CELLS, TableName.EPOCHS, TableName.PREDICTIONS, TableName.BASELINES))
    for number, fold in enumerate(("S2", "S3")):
        run.ledger.append(record(0, fold, 0.1 + number), number)
    return run


def test_tables_equal_the_files(run: Run) -> None:
    result = helo.load_run(str(run.folder.here))
    assert isinstance(result, RunResult)
    assert result.path == run.folder.here
    assert result.manifest == run.manifest.as_dict()
    assert [fold["test"] for fold in result.folds] == ["S2", "S3", "S4", "S5", "S6", "S7"]
    for name in (TableName.CELLS, TableName.EPOCHS, TableName.PREDICTIONS, TableName.BASELINES):
        pd.testing.assert_frame_equal(getattr(result, name), run.table(name))
    source = Source(run)
    pd.testing.assert_frame_equal(result.summary, source.summary)
    pd.testing.assert_frame_equal(result.summary_by_group, source.summary_by_group)
    assert len(result.summary_by_group) == len(result.summary)
    pd.testing.assert_frame_equal(result.scores, source.scores)
    pd.testing.assert_frame_equal(result.comparisons, source.comparisons)
    assert (result.verdict, result.notes, result.objective) == (source.verdict, source.notes, "kl")


def test_without_groups_the_summary_by_group_is_empty(make_run: Callable[..., Run]) -> None:
    result = helo.load_run(str(make_run(groups=None).folder))
    assert result.summary_by_group.empty
    assert list(result.summary_by_group.columns) == list(result.summary.columns)


def test_importance_needs_enough_configurations(run: Run, make_run: Callable[..., Run]) -> None:
    many = make_run("many", configurations=12)
    pd.testing.assert_frame_equal(helo.load_run(str(many.folder)).importance, Source(many).importance)
    with pytest.raises(InputError, match="too few to tell"):
        helo.load_run(str(run.folder)).importance  # noqa: B018


# --- figures ----------------------------------------------------------------------------------


def test_every_figure_of_the_report_has_a_name(make_run: Callable[..., Run]) -> None:
    result = helo.load_run(str(make_run(configurations=12).folder))
    assert result.figures == tuple(EXHIBITS)
    for name in result.figures:
        assert isinstance(result.figure(name), go.Figure)


def test_no_progress_figure_without_draws(run: Run) -> None:
    listed = Run(
        run.folder,
        Manifest.from_dict(
            {**run.manifest.as_dict(), "space": {"objective": "kl", "variants": {"whole": {}, "less": {}}}}
        ),
    )
    assert set(EXHIBITS) - set(RunResult(listed).figures) >= {"progress"}


def test_a_figure_shows_the_chosen_subject(run: Run) -> None:
    result = helo.load_run(str(run.folder))
    first, second = (result.figure("predictions", subject=name).to_dict()["data"] for name in ("S2", "S3"))
    assert first != second
    with pytest.raises(InputError, match="unknown subject 'S99'"):
        result.figure("predictions", subject="S99")
    with pytest.raises(InputError, match="does not change with the subject"):
        result.figure("estimates", subject="S2")


def test_an_unknown_figure_is_refused(run: Run) -> None:
    with pytest.raises(
        InputError, match=r"unknown figure 'slice' \(did you mean 'slices'\?\); known are differences, "
    ):
        helo.load_run(str(run.folder)).figure("slice")


# --- how it shows itself ----------------------------------------------------------------------


def test_html_shows_verdict_and_estimates(run: Run) -> None:
    result = helo.load_run(str(run.folder))
    for shown in (repr(result), result._repr_html_()):
        assert str(run.folder.here) in shown
        assert result.verdict in " ".join(shown.split())
        assert all(name in shown for name in ("per_fold_selection", "oracle", "train_mean", "KL"))


def test_html_fits_a_screen(make_run: Callable[..., Run]) -> None:
    for built in (make_run(), make_run("one", subjects=("S2",))):
        first, *lines = repr(helo.load_run(str(built.folder))).splitlines()
        assert str(built.folder.here) in first
        assert len(lines) < 25
        assert all(len(line) <= 80 for line in lines)
        assert "…" not in "".join(lines)


def test_html_needs_no_style_sheet(run: Run) -> None:
    shown = helo.load_run(str(run.folder))._repr_html_()
    assert "class=" not in shown
    assert shown.count("text-align: left") == 7  # the head and six estimates
    assert "not reportable" in shown


def test_names_are_escaped(make_run: Callable[..., Run]) -> None:
    run = make_run("evil")
    run.write_table(TableName.BASELINES, run.table(TableName.BASELINES).replace({"method": {"uniform": EVIL}}))
    shown = helo.load_run(str(run.folder))._repr_html_()
    assert "&lt;script&gt;" in shown
    assert "<script" not in shown


def test_html_shows_why_results_are_missing(make_run: Callable[..., Run]) -> None:
    result = helo.load_run(str(make_run(without=(TableName.CELLS,)).folder))
    for shown in (repr(result), result._repr_html_()):
        assert "cells.parquet: is missing; the search has not got that far" in shown


# --- a search that is not over ----------------------------------------------------------------


def test_ledger_is_read_while_a_search_runs(going_on: Run) -> None:
    result = helo.load_run(str(going_on.folder))
    pd.testing.assert_frame_equal(result.cells, cells_table(going_on.ledger.rows(CELL_COLUMNS)))
    assert list(result.cells[Column.FOLD]) == ["S2", "S3"]
    assert result.epochs.empty
    assert result.baselines.empty
    assert result.summary.set_index("estimate")["subjects"]["per_fold_selection"].eq(2).all()
    assert "per_fold_selection" in repr(result)
    with pytest.raises(InputError, match=r"predictions\.parquet: is missing; the search has not got that far"):
        result.predictions  # noqa: B018
    assert "it is in progress or was interrupted" in result.notes[0]
    assert "it is in progress or was interrupted" in result.report().read_text(encoding="utf-8")


def test_is_complete(make_run: Callable[..., Run]) -> None:
    run = make_run(configurations=2)
    assert helo.load_run(str(run.folder)).complete is True
    cells = run.table("cells")
    run.write_table("cells", cells[:-1])
    assert helo.load_run(str(run.folder)).complete is False
    racing = Run(run.folder, Manifest.from_dict({**run.manifest.as_dict(), "racing": True}))
    assert RunResult(racing).complete is None  # as in a run of an earlier version: the cell may have been dropped
    assert RunResult(Run(run.folder, racing.manifest.with_cells(11))).complete is True
    assert RunResult(Run(run.folder, racing.manifest.with_cells(12))).complete is False
    run.write_table("cells", cells[cells["configuration"] == 0])
    assert RunResult(racing).complete is False  # a configuration has not started
    run.model.write("model.json", b"{}")
    assert RunResult(racing).complete is True


# --- what is wrong ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("manifest.json", "{", "manifest.json: cannot be read"),
        ("manifest.json", "[]", "manifest.json: is not the manifest of a run"),
        ("manifest.json", "{}", "space.objective must be one of chebyshev"),
        ("folds.json", "3", "folds.json: is not a list of folds"),
        ("folds.json", "", "folds.json: cannot be read"),
    ],
)
def test_broken_run_is_reported_in_one_line(run: Run, file: str, content: str, message: str) -> None:
    (run.folder.here / file).write_text(content, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        helo.load_run(str(run.folder))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a run directory"):
        helo.load_run(tmp_path)


def test_missing_model_is_reported(run: Run) -> None:
    with pytest.raises(InputError, match="model: is not there; a model is fitted at the end of a search"):
        helo.load_run(str(run.folder)).model  # noqa: B018


def test_the_report_is_written_again(run: Run) -> None:
    assert helo.load_run(str(run.folder)).report() == run.report
    assert run.report.stat().st_size > 100_000
