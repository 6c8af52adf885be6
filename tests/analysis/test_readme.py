"""The README of analysis: complete tables, and examples that run."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from helo.analysis.exhibits import EXHIBITS, PARTS
from helo.analysis.export import csv_tables
from helo.analysis.paper.estimates_table import LATEX_FILE, LATEX_FILE_BY_GROUP
from helo.analysis.paper.images import FORMATS
from helo.analysis.paper.methods import render_methods
from helo.analysis.source import Source
from helo.analysis.web.page import PLOTLY_FILE
from helo.names import FITTED_BASELINES, Estimate, TableName
from helo.run.directory import Run

README = (Path(__file__).parents[2] / "analysis" / "README.md").read_text(encoding="utf-8")


def named_in_first_column(heading: str) -> set[str]:
    """Return the code words in the first column of the first table after a heading."""
    section = README.split(f"\n## {heading}\n")[1]
    rows = [line for line in section.split("\n## ")[0].splitlines() if line.startswith("|")]
    return {word for row in rows for word in re.findall(r"`([^`]+)`", row.split("|")[1])}


def test_every_estimate_is_explained() -> None:
    assert named_in_first_column("Estimates") == {*Estimate, *FITTED_BASELINES}


def test_every_figure_is_listed_in_its_part() -> None:
    for key, title in PARTS.items():
        (row,) = [line for line in README.splitlines() if line.startswith(f"| {title} |")]
        assert re.findall(r"`([^`]+)`", row) == [name for name, one in EXHIBITS.items() if one.part == key]


def test_every_file_of_an_export_is_listed(run: Run) -> None:
    optional = (TableName.IMPORTANCE, TableName.ABLATION, TableName.ENSEMBLE)
    tables = {f"{name}.csv" for name in (*csv_tables(Source(run)), *optional)}
    figures = {f"figures/NAME.{kind}" for kind in ("html", "json", *FORMATS)}
    texts = {LATEX_FILE, LATEX_FILE_BY_GROUP, *render_methods(Source(run))}
    assert named_in_first_column("Report, dashboard, export") == {*tables, *figures, *texts, f"figures/{PLOTLY_FILE}"}


def test_examples_run(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(built, tmp_path / "runs" / "first")
    monkeypatch.chdir(tmp_path)
    examples = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len(examples) == 4
    names: dict[str, Any] = {}
    for example in examples:
        exec(compile(example, "analysis/README.md", "exec"), names)  # one after the other, as in a notebook
    assert set(names["worse"]) <= {fold["test"] for fold in names["run"].folds}
    assert "train_mean" in names["tests"].index
    assert (tmp_path / "subjects.html").is_file()
