"""Tables for papers: LaTeX that compiles, and CSV files that hold the numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import plotly.io
import pytest

from helo.analysis import export
from helo.analysis.exhibits import EXHIBITS
from helo.analysis.export import write_export
from helo.analysis.source import Source
from helo.errors import InputError
from helo.metrics import METRICS
from helo.run.directory import Run


@pytest.fixture
def source(run: Run) -> Source:
    return Source(run)


def test_a_run_without_groups_has_no_tables_by_group(make_run: Callable[..., Run], tmp_path: Path) -> None:
    write_export(Source(make_run(groups=None)), tmp_path / "export")
    assert (tmp_path / "export" / "summary.csv").exists()
    assert list((tmp_path / "export").glob("*by_group*")) == []


def test_files_hold_the_tables(source: Source, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "export"
    empty = write_export(source, folder)
    assert {path.name for path in folder.iterdir()} == {
        *("summary.csv", "subjects.csv", "comparisons.csv", "friedman.csv", "optimism.csv", "configurations.csv"),
        *("equivalence.csv", "emotions.csv"),
        *("marginal_effects.csv", "estimates.tex", "figures", "summary_by_group.csv", "estimates_by_group.tex"),
        *("methods.txt", "methods.tex", "references.bib"),
    }  # five configurations are too few for importance
    for name in ("summary", "summary_by_group", "comparisons", "friedman", "configurations"):
        known = getattr(source, name)
        pd.testing.assert_frame_equal(pd.read_csv(folder / f"{name}.csv"), known, check_dtype=False)
    pd.testing.assert_frame_equal(pd.read_csv(folder / "emotions.csv"), source.emotion_table, check_dtype=False)
    subjects = pd.read_csv(folder / "subjects.csv")
    assert list(subjects.columns) == ["subject", "estimate", *METRICS, "skill"]
    assert len(subjects) == len(source.scores)
    assert "importance" in empty
    shown = {name for name, one in EXHIBITS.items() if one.applies(source)} - set(empty)
    assert {path.name for path in (folder / "figures").iterdir()} == {
        "plotly.min.js",
        *(f"{name}.{kind}" for name in shown for kind in ("html", "json")),
    }
    for name in shown:  # plotly.js has 5 MB, and the pages share it
        assert (folder / "figures" / f"{name}.html").stat().st_size < 500_000
    figure = plotly.io.from_json((folder / "figures" / "subjects.json").read_text(encoding="utf-8"))
    assert set(figure.data[-1].y) == set(subjects["subject"])


def test_existing_files_are_kept_and_no_partial_folder_remains(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "export"
    with monkeypatch.context() as patch:
        patch.setattr(export, "LATEX_FILE", "no/such/folder/estimates.tex")
        with pytest.raises(InputError, match="cannot be written"):
            write_export(source, folder)
    assert list(tmp_path.glob("*export*")) == []
    write_export(source, folder)
    kept = (folder / "summary.csv").read_bytes()
    with pytest.raises(InputError, match="is already there"):
        write_export(source, folder)
    assert (folder / "summary.csv").read_bytes() == kept


def test_a_run_without_cells_writes_nothing(make_run: Callable[..., Run], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cells\.parquet: is missing"):
        write_export(Source(make_run(without=["cells"])), tmp_path / "export")
    assert not (tmp_path / "export").exists()
