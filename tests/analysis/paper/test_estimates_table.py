"""The LaTeX table of the estimates: its numbers, its names, and its width in print."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from helo.analysis.paper.estimates_table import Design, latex_table, latex_table_by_group
from helo.analysis.source import Source
from helo.metrics import METRICS
from helo.run.directory import Run

DESIGN = Design("kl", "shared", 6)
OTHERS = [metric for metric in METRICS if metric != "kl"]


@pytest.fixture
def source(run: Run) -> Source:
    return Source(run)


def table_of(source: Source) -> str:
    return latex_table(source.summary, source.comparisons, DESIGN)


def rows_of(tex: str) -> dict[str, dict[str, str]]:
    """Return the cells of both blocks: name of a row → metric, "interval" or "skill" → cell."""
    found: dict[str, dict[str, str]] = {}
    blocks = tex.split(r"\midrule")[1:]
    for block, columns in zip(blocks, (["kl", "interval", "skill"], OTHERS), strict=True):
        for row in block.split(r"\bottomrule")[0].strip().splitlines():
            name, *cells = (cell.strip() for cell in re.split(r"(?<!\\)&", row.removesuffix(r"\\")))
            name = name.removeprefix(r"\raggedright\hspace{0pt}")
            found.setdefault(name, {}).update(zip(columns, cells, strict=True))
    return found


def shown(value: float, metric: str) -> str:
    return f"{value:.{3 if metric in ('canberra', 'clark') else 4}f}"  # of uniform, both are above 1


def test_the_rows_have_printed_names_and_the_scores_of_the_run(source: Source) -> None:
    rows = rows_of(table_of(source))
    assert list(rows) == ["HeLo", "HeLo single", r"Oracle$^{\dagger}$", "Train mean", "Uniform", "Best possible"]
    means = source.summary.pivot(index="estimate", columns="metric", values="mean")
    for metric in METRICS:
        assert shown(means.loc["per_fold_selection", metric], metric) in rows["HeLo"][metric]
    (aim,) = source.summary.query("estimate == 'per_fold_selection' and metric == 'kl'").to_dict("records")
    assert rows["HeLo"]["interval"] == f"[{aim['ci_low']:.4f}, {aim['ci_high']:.4f}]"
    assert rows["HeLo"]["skill"] == f"$+${100 * aim['skill']:.1f}"


def test_the_best_score_that_may_be_reported_is_bold(source: Source) -> None:
    rows = rows_of(table_of(source))
    means = source.summary.pivot(index="estimate", columns="metric", values="mean")
    assert means["kl"].idxmin() == "best_possible"  # the lowest, and nobody's result
    assert means.loc[["per_fold_selection", "train_mean", "uniform"], "kl"].idxmin() == "per_fold_selection"
    assert [name for name, cells in rows.items() if r"\textbf" in cells["kl"]] == ["HeLo"]


def test_the_caption_says_what_the_numbers_are(source: Source) -> None:
    tex = table_of(source)
    for words in (
        "$n = 6$ subjects",
        "protocol shared",
        r"95\,\%",
        "nats",
        "Wilcoxon",
        "Holm",
        r"\usepackage{booktabs}",
    ):
        assert words in tex
    assert r"KL$\downarrow$" in tex
    assert r"Cosine$\uparrow$" in tex
    assert "incomplete" not in tex
    assert not set("↓↑–") & set(tex)


def test_an_unfinished_run_is_called_incomplete(source: Source) -> None:
    tex = latex_table(source.summary, source.comparisons, DESIGN._replace(folds=9))
    assert r"$n = 6$ subjects of 9 (\textsc{incomplete run})" in tex


def test_all_rows_have_the_subjects_in_the_caption(run: Run) -> None:
    baselines = run.table("baselines")
    run.write_table("baselines", baselines[(baselines["method"] != "uniform") | (baselines["fold"] != "S2")])
    source = Source(run)
    assert set(source.summary["subjects"]) == {5}
    tex = table_of(source)
    assert "Uniform" in rows_of(tex)
    assert "$n = 5$ subjects of 6" in tex


def test_a_star_marks_a_significant_difference_only(source: Source) -> None:
    table = source.comparisons.assign(p_holm=1.0)
    table.loc[(table["reference"] == "uniform") & (table["metric"] == "cosine"), "p_holm"] = 0.01
    rows = rows_of(latex_table(source.summary, table, Design("kl", "", 6)))
    marked = [(name, metric) for name, cells in rows.items() for metric, cell in cells.items() if "ast" in cell]
    assert marked == [("Uniform", "cosine")]


def test_without_a_test_of_the_row_there_are_no_stars(source: Source) -> None:
    tex = latex_table(source.summary, None, DESIGN)
    assert r"\ast" not in tex
    assert "Wilcoxon" not in tex


def test_the_table_by_group_has_its_own_numbers_and_no_stars(source: Source) -> None:
    summary = source.summary_by_group
    tex = latex_table_by_group(summary, DESIGN)
    means = summary.pivot(index="estimate", columns="metric", values="mean")
    assert shown(means.loc["per_fold_selection", "kl"], "kl") in rows_of(tex)["HeLo"]["kl"]
    assert r"\ast" not in tex
    for words in ("by group (clip or condition)", "$n = 6$", "protocol shared", "tab:estimates-by-group"):
        assert words in tex


def test_estimates_without_a_score_are_left_out(make_run: Callable[..., Run]) -> None:
    source = Source(make_run(configurations=1))  # which fails on the last subject, so no configuration is in all folds
    assert "single_configuration" in set(source.summary["estimate"])
    assert list(rows_of(table_of(source)))[:2] == ["HeLo", r"Oracle$^{\dagger}$"]


def test_a_run_without_baselines_has_no_skill(make_run: Callable[..., Run]) -> None:
    assert rows_of(table_of(Source(make_run(without=["baselines"]))))["HeLo"]["skill"] == "--"


def odd_names(run: Run) -> Source:
    """Add methods with names and scores that are hard to print."""
    baselines = run.table("baselines")
    uniform = baselines[baselines["method"] == "uniform"]
    names = (r"\input{x}_50%&$#~^", "[2pt]\x1bridge", "*", "a" * 60, "<b>naïve 抗</b>", "under_" * 9, '--"|')
    large = {f"test_{metric}": uniform[f"test_{metric}"] * 12 for metric in ("clark", "canberra", "kl")}
    added = [uniform.assign(method=name, **large) for name in names]
    run.write_table("baselines", pd.concat([baselines, *added]))
    return Source(run)


def test_names_of_added_methods_are_escaped(run: Run) -> None:
    tex = table_of(odd_names(run))
    assert r"\input{" not in tex
    assert not re.search(r"\\\\\s*[\[*]", tex)  # LaTeX would read it as an argument of the line break
    bare = re.sub(r"\\[{}$&%#_]", "", "\n".join(line for line in tex.splitlines() if not line.startswith("%")))
    assert bare.count("{") == bare.count("}")
    assert not re.search(r"[%#\x1b抗]", bare)


@pytest.mark.parametrize("odd", [False, True])
def test_latex_sets_the_tables_within_a_column_of_two(run: Run, tmp_path: Path, odd: bool) -> None:
    """Debian: apt install texlive-latex-base texlive-latex-recommended."""
    if shutil.which("pdflatex") is None:
        pytest.skip("no pdflatex is installed (texlive-latex-base and texlive-latex-recommended)")
    source = odd_names(run) if odd else Source(run)
    (tmp_path / "estimates.tex").write_text(table_of(source), encoding="utf-8")
    by_group = latex_table_by_group(source.summary_by_group, DESIGN)
    (tmp_path / "estimates_by_group.tex").write_text(by_group, encoding="utf-8")
    (tmp_path / "article.tex").write_text(
        r"\documentclass[twocolumn]{article}"
        r"\usepackage[textwidth=6.9in,columnsep=0.3in]{geometry}\usepackage{booktabs}\begin{document}"
        r"\typeout{column: \the\columnwidth}\input{estimates}\clearpage\input{estimates_by_group}\end{document}",
        encoding="utf-8",
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "article.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout
    assert "column: 238.4" in done.stdout  # 3.3 in
    assert "Overfull" not in done.stdout
    assert (tmp_path / "article.pdf").stat().st_size > 10_000
