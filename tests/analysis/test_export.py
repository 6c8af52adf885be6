"""Tables for papers: LaTeX that compiles, and CSV files that hold the numbers."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import plotly.io
import pytest

from helo.analysis import export
from helo.analysis.exhibits import EXHIBITS
from helo.analysis.export import latex_table, latex_table_by_group, write_export
from helo.analysis.source import Source
from helo.analysis.wording import format_score
from helo.errors import InputError
from helo.metrics import METRICS
from helo.run.directory import Run


@pytest.fixture
def source(run: Run) -> Source:
    return Source(run)


def table_of(source: Source) -> str:
    return latex_table(source.summary, source.comparisons, source.objective, "shared")


def rows_of(tex: str) -> dict[str, list[str]]:
    body = tex.split(r"\midrule")[1].split(r"\bottomrule")[0]
    rows = [row.strip() for row in body.split(r"\\") if row.strip()]
    return {cells[0]: cells[1:] for cells in ([cell.strip() for cell in row.split("&")] for row in rows)}


def assert_sound(tex: str) -> None:
    """What LaTeX would refuse: braces that do not match, bare specials, rows of different length."""
    bare = re.sub(r"\\[{}$&]", "", tex)
    depth = 0
    for letter in bare:
        depth += {"{": 1, "}": -1}.get(letter, 0)
        assert depth >= 0
    assert depth == 0
    assert bare.count("$") % 2 == 0
    assert not re.search(r"(?<!\\)[_%#]", bare)
    widths = {len(re.findall(r"(?<!\\)&", line)) for line in tex.splitlines() if line.rstrip().endswith(r"\\")}
    assert len(widths) == 1
    assert tex.count(r"\begin{") == tex.count(r"\end{") == 2


def test_table_has_all_estimates_and_the_best_reportable_score_in_bold(source: Source) -> None:
    tex = table_of(source)
    assert_sound(tex)
    rows = rows_of(tex)
    means = source.summary.pivot(index="estimate", columns="metric", values="mean")
    assert list(rows) == [
        *(r"per\_fold\_selection", r"single\_configuration", "oracle (not reportable)", r"train\_mean", "uniform"),
        r"best\_possible",
    ]
    place = list(METRICS).index("kl")
    assert format_score(means.loc["per_fold_selection", "kl"]) in rows[r"per\_fold\_selection"][place]
    reportable = means.drop(index=["oracle", "best_possible"])
    best = str(reportable["kl"].idxmin()).replace("_", r"\_")
    assert means["kl"].idxmin() == "best_possible"  # the lowest, and nobody's result
    assert [name for name, cells in rows.items() if r"\textbf" in cells[place]] == [best]
    for word in (r"KL $\downarrow$", r"Cosine $\uparrow$", "$n = 6$", "protocol shared", "Wilcoxon", "Holm"):
        assert word in tex
    for word in ("↓", "↑", "–"):
        assert word not in tex


def test_table_by_group_has_its_own_numbers_and_no_marks(source: Source) -> None:
    summary = source.summary_by_group
    tex = latex_table_by_group(summary, source.objective, "shared")
    assert_sound(tex)
    rows, place = rows_of(tex), list(METRICS).index("kl")
    means = summary.pivot(index="estimate", columns="metric", values="mean")
    assert format_score(means.loc["per_fold_selection", "kl"]) in rows[r"per\_fold\_selection"][place]
    assert list(rows) == list(rows_of(table_of(source)))
    assert "ast" not in tex
    for word in ("by group (clip or condition)", "$n = 6$", "protocol shared", r"\textbf", "tab:estimates-by-group"):
        assert word in tex


def test_a_run_without_groups_has_no_tables_by_group(make_run: Callable[..., Run], tmp_path: Path) -> None:
    write_export(Source(make_run(groups=None)), tmp_path / "export")
    assert (tmp_path / "export" / "summary.csv").exists()
    assert list((tmp_path / "export").glob("*by_group*")) == []


def test_only_significant_differences_are_marked(source: Source) -> None:
    table = source.comparisons.assign(p_holm=1.0)
    table.loc[(table["reference"] == "uniform") & (table["metric"] == "cosine"), "p_holm"] = 0.01
    tex = latex_table(source.summary, table, "kl")
    rows = rows_of(tex)
    marked = [
        (name, list(METRICS)[at]) for name, cells in rows.items() for at, cell in enumerate(cells[:6]) if "ast" in cell
    ]
    assert marked == [("uniform", "cosine")]
    assert "protocol" not in tex


def test_names_of_custom_methods_are_escaped(run: Run) -> None:
    baselines = run.table("baselines")
    uniform = baselines[baselines["method"] == "uniform"]
    evil = [uniform.assign(method=name) for name in (r"\input{x}_50%&$#~^", "[2pt]\x1bridge")]
    run.write_table("baselines", pd.concat([baselines, *evil]))
    tex = table_of(Source(run))
    assert r"\input{" not in tex
    assert "{}[2pt]?ridge" in tex
    assert not re.search(r"\\\\\s*\[", tex)
    assert_sound(tex)


def test_a_run_without_baselines_has_a_table(make_run: Callable[..., Run]) -> None:
    tex = table_of(Source(make_run(without=["baselines"])))
    assert_sound(tex)
    assert rows_of(tex)[r"per\_fold\_selection"][-1] == "--"


def test_files_hold_the_tables(source: Source, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "export"
    empty = write_export(source, folder)
    assert {path.name for path in folder.iterdir()} == {
        *("summary.csv", "subjects.csv", "comparisons.csv", "friedman.csv", "optimism.csv", "configurations.csv"),
        *("marginal_effects.csv", "estimates.tex", "figures", "summary_by_group.csv", "estimates_by_group.tex"),
    }  # five configurations are too few for importance
    for name in ("summary", "summary_by_group", "comparisons", "friedman", "configurations"):
        known = getattr(source, name)
        pd.testing.assert_frame_equal(pd.read_csv(folder / f"{name}.csv"), known, check_dtype=False)
    subjects = pd.read_csv(folder / "subjects.csv")
    assert list(subjects.columns) == ["subject", "estimate", *METRICS, "skill"]
    assert len(subjects) == len(source.scores)
    assert "importance" in empty
    shown = {name for name, one in EXHIBITS.items() if one.applies(source)} - set(empty)
    assert {path.name for path in (folder / "figures").iterdir()} == {
        f"{name}.{kind}" for name in shown for kind in ("html", "json")
    }
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
