"""The Methods paragraph: its numbers are those of the run, and it says nothing that the run does not have."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helo.analysis.paper.estimates_table import Design, latex_table
from helo.analysis.paper.methods import methods_sentences, render_methods
from helo.analysis.paper.references import REFERENCES, cited
from helo.analysis.source import Source
from helo.run.directory import Run


def text_of(run: Run) -> str:
    return " ".join(methods_sentences(Source(Run.open(str(run.folder)))))


def change_manifest(run: Run, **changes: Any) -> Run:
    """Change the manifest. A value None removes the key; a mapping changes keys of a mapping."""
    path = Path(str(run.folder)) / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    for key, value in changes.items():
        if value is None:
            manifest.pop(key, None)
        elif isinstance(value, dict) and isinstance(manifest.get(key), dict):
            manifest[key] |= value
        else:
            manifest[key] = value
    path.write_text(json.dumps(manifest), encoding="utf-8")
    return Run.open(path.parent)


def test_the_numbers_are_those_of_the_run(run: Run) -> None:
    text = text_of(change_manifest(run, folds={"inner_folds": 5}, racing=True))
    for words in (
        "The simulated data set has 6 subjects and 240 windows.",
        "a distribution over 4 emotions (joy, fear, anger, calm)",
        "1 physiological signal (EDA) and 1 behavioural signal (ACC)",
        "Each of the 6 subjects was the test subject of one fold",
        "divided into 5 groups",
        "The mean of the 5 models predicted the test subject.",
        "each subject's own windows",
        "4 hyperparameters: learning_rate (0.0001 to 0.1, logarithmic); dropout (0.0 to 0.6);",
        "width (one of 16, 32, 64)",
        "Up to 5 configurations were tried, proposed by the TPE sampler",
        "The seed was 0.",
        "Of 30 trainings (one per configuration and fold), 29 ran to the end, 1 failed; together they took 1 min.",
        "over the 6 subjects at a level of 0.05",
        "The p values of this test come from permutations of the signs.",
        "PyTorch 2.13.0",
    ):
        assert words in text
    assert "INCOMPLETE" not in text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"normalise": None}, "Features were scaled"),
        ({"protocol": None}, "One search proposed"),
        ({"racing": False}, "ASHA"),
        ({"versions": None}, "PyTorch"),
        ({"seed": None}, "The seed"),
        ({"folds": None}, "groups"),
        ({"space": {"sampler": "random"}}, "TPE"),
    ],
    ids=str,
)
def test_what_the_run_does_not_record_is_not_said(run: Run, changes: dict[str, Any], words: str) -> None:
    recorded = {"folds": {"inner_folds": 5}, "racing": True}
    assert words in text_of(change_manifest(run, **recorded))
    assert words not in text_of(change_manifest(run, **recorded | changes))


def test_a_run_without_baselines_names_no_test(make_run: Callable[..., Run]) -> None:
    text = text_of(make_run(without=["baselines"]))
    for words in ("Wilcoxon", "rank-biserial", "Friedman", "scikit-learn [@", "train mean"):
        assert words not in text


def test_only_the_fitted_baselines_of_the_run_are_named(run: Run) -> None:
    assert "scikit-learn [@" not in text_of(run)
    baselines = run.table("baselines")
    run.write_table("baselines", baselines.replace({"method": {"uniform": "ridge"}}))
    text = text_of(run)
    assert "ridge regression" in text
    assert "[@pedregosa2011sklearn]" in text
    assert "forest" not in text


def test_practice_is_named_where_the_report_says_it(run: Run, make_run: Callable[..., Run]) -> None:
    assert "split-conformal" not in text_of(run)  # six subjects are too few
    assert "Bayesian" not in text_of(run)  # without a fitted baseline
    more = make_run("more", subjects=[f"P{number}" for number in range(12)])
    baselines = more.table("baselines")
    more.write_table("baselines", baselines.replace({"method": {"uniform": "ridge"}}))
    text = text_of(more)
    assert "The 90 % bound for a new person is split-conformal [@lei2018]." in text
    assert "Bayesian signed-rank test [@benavoli2017]" in text


@pytest.mark.parametrize(("name", "key"), [("wesad-panas23", "schmidt2018wesad"), ("dmer", "yang2024dmer")])
def test_a_known_data_set_is_cited(run: Run, name: str, key: str) -> None:
    assert key not in text_of(run)
    assert f"The data set {name} [@{key}] has" in text_of(change_manifest(run, dataset={"name": name}))


def test_transport_is_named_only_where_cells_have_it(run: Run) -> None:
    assert "transport" not in text_of(run)  # this run does not record it
    cells = run.table("cells")
    run.write_table("cells", cells.assign(param_transport="linear", param_modalities="both"))
    assert "optimal transport" in text_of(run)
    run.write_table("cells", cells.assign(param_transport="none", param_modalities="both"))
    assert "transport" not in text_of(run)


def test_an_unfinished_run_says_so_first(run: Run) -> None:
    cells = run.table("cells")
    run.write_table("cells", cells[cells["fold"].isin(["S2", "S3"])])
    assert text_of(run).startswith("INCOMPLETE: 2 of 6 subjects, 10 of 30 cells.")


def test_every_citation_has_an_entry_and_every_entry_is_cited(run: Run) -> None:
    files = render_methods(Source(run))
    keys = re.findall(r"\\cite\{(\w+)\}", files["methods.tex"])
    assert len(keys) > 8
    assert set(re.findall(r"^@\w+\{(\w+),", files["references.bib"], flags=re.MULTILINE)) == set(keys)
    assert "@" not in files["methods.txt"]
    assert "Wilcoxon, 1945" in files["methods.txt"]


def test_names_in_the_data_cannot_cite_or_command(run: Run) -> None:
    odd = change_manifest(run, dataset={"name": r"[@nobody] \input{x} 50% & co"})
    files = render_methods(Source(odd))
    assert "[@nobody]" in files["methods.txt"]
    assert r"\input" not in files["methods.tex"]
    assert r"50\% \& co" in files["methods.tex"]


@pytest.mark.parametrize("key", REFERENCES)
def test_references_name_their_year(key: str) -> None:
    work = REFERENCES[key]
    assert re.fullmatch(r".+, (19|20)\d\d", work.short)
    assert work.fields["year"] == work.short[-4:]
    assert work.fields["author"].count("{") == work.fields["author"].count("}")
    assert cited(f"[@{key}]") == [key]


def test_latex_and_bibtex_accept_the_paragraph_and_all_references(run: Run, tmp_path: Path) -> None:
    if shutil.which("pdflatex") is None or shutil.which("bibtex") is None:
        pytest.skip("no pdflatex is installed (texlive-latex-base and texlive-latex-recommended)")
    source = Source(change_manifest(run, folds={"inner_folds": 5}, racing=True))
    for name, content in render_methods(source).items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    everything = "\n\n".join(work.render(key) for key, work in REFERENCES.items())
    (tmp_path / "all.bib").write_text(everything, encoding="utf-8")
    table = latex_table(source.summary, source.comparisons, Design("kl", "shared", 6))
    (tmp_path / "estimates.tex").write_text(table, encoding="utf-8")
    (tmp_path / "article.tex").write_text(
        r"\documentclass[twocolumn]{article}\usepackage[textwidth=6.9in,columnsep=0.3in]{geometry}\usepackage{booktabs}"
        r"\begin{document}\input{estimates}\input{methods}\nocite{*}\sloppy\bibliographystyle{plain}\bibliography{all}"
        r"\end{document}",
        encoding="utf-8",
    )
    said = ""
    for command in ("pdflatex", "bibtex", "pdflatex", "pdflatex"):
        options = ["-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape"] if command == "pdflatex" else []
        arguments = [command, *options, "article"]
        done = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
        said = done.stdout
        assert done.returncode == 0, said
        if command == "bibtex":
            assert "Warning" not in said
    assert "Overfull" not in said
    assert "undefined" not in said
