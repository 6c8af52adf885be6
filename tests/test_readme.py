"""Documents are true: their commands parse, their links lead to files, and their examples work."""

from __future__ import annotations

import argparse
import ast
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

import helo
import helo.analysis.__main__
import helo.cluster.__main__
import helo.data.__main__
import helo.predict
import helo.search.__main__
from helo._yaml import read_yaml
from helo.configuration import DEFAULTS, PARAMETERS
from helo.data.directory import read_schema
from helo.search.planning.space import Range, read_space

ROOT = Path(__file__).parents[1]
DOCUMENTS = [
    ROOT / name
    for name in (
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "analysis/README.md",
        "cluster/README.md",
        "helo/README.md",
        "helo/data/README.md",
        "search_spaces/README.md",
    )
]
TEXT = "\n".join(path.read_text(encoding="utf-8") for path in DOCUMENTS)
PARSERS = {
    "helo.search": helo.search.__main__.build_parser(),
    "helo.data": helo.data.__main__.build_parser(),
    "helo.cluster": helo.cluster.__main__.build_parser(),
    "helo.predict": helo.predict.build_parser(),
    "helo.analysis": helo.analysis.__main__.build_parser(),
    "analysis": helo.analysis.__main__.build_parser(),
}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)


def command_lines() -> list[list[str]]:
    """Every ``python -m MODULE …`` of ours, in code blocks and with arguments in running text, from MODULE on."""
    pieces = [part for block in blocks("sh") for line in block.splitlines() for part in line.split("&&")]
    pieces += re.findall(r"`([^`\n]*\bpython -m [^`\s]+ [^`]*)`", re.sub(r"^```.*?^```$", "", TEXT, flags=re.M | re.S))
    found = []
    for piece in pieces:
        words = shlex.split(piece)
        if len(words) > 2 and words[1] == "-m" and words[2] != "venv" and not words[0].endswith("pytest"):
            assert re.fullmatch(r"(.*/)?python3?", words[0])
            found.append(words[2:])
    return found


def option_strings(parser: argparse.ArgumentParser) -> set[str]:
    options = set(parser._option_string_actions)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for choice in action.choices.values():
                options |= option_strings(choice)
    return options


def test_there_are_commands() -> None:
    assert {words[0] for words in command_lines()} | {"analysis"} == set(PARSERS)
    assert len(command_lines()) >= 5


@pytest.mark.parametrize("words", command_lines(), ids=" ".join)
def test_commands_parse(words: list[str]) -> None:
    PARSERS[words[0]].parse_args(words[1:])


def test_options_named_in_the_text_exist() -> None:
    named = {option for code in re.findall(r"`(--[^`\n]*)`", TEXT) for option in re.findall(r"--[a-z-]+", code)}
    assert named
    assert named <= set().union(*map(option_strings, PARSERS.values()))


def heading_anchors(path: Path) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a document."""
    text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
    titles = re.findall(r"^#+ (.*)$", text, flags=re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    for target, _, anchor in re.findall(r"\]\(([^)#\s]*)(#([^)\s]*))?\)", document.read_text(encoding="utf-8")):
        if not re.match(r"[a-z]+://", target):
            path = document.parent / target if target else document
            assert path.exists(), target
            assert not anchor or anchor in heading_anchors(path), f"{target}#{anchor}"


def test_the_first_page_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 130


def test_every_folder_that_people_open_has_a_page() -> None:
    assert {path for path in ROOT.glob("*/README.md") if not path.parent.name.startswith(".")} <= set(DOCUMENTS)


def test_versions_agree() -> None:
    citation = read_yaml(ROOT / "CITATION.cff")
    assert citation["version"] == helo.__version__
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert f"## [{helo.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"version {helo.__version__}" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_dataset_example_is_valid(tmp_path: Path) -> None:
    (text,) = (block for block in blocks("yaml") if "role:" in block)
    (tmp_path / "dataset.yaml").write_text(text, encoding="utf-8")
    schema = read_schema(tmp_path / "dataset.yaml")
    assert schema.name == "my-study"
    assert schema.main.name == "ecg"
    assert {modality.name: modality.token_features for modality in schema.modalities} == {
        "ecg": 1,
        "eda": 2,
        "face": 1,
    }


def test_the_example_of_a_table_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Run the commands for a user's table, word for word, on a table with these columns."""
    kinds = (["helo.data", "table"], ["helo.data", "check"])
    lines = [words for words in command_lines() if words[:2] in kinds and "datasets/mine" in words]
    commands = [list(words) for words in dict.fromkeys(tuple(words[1:]) for words in lines)]
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(0)
    columns = ["hr", "rmssd", "EDA_level", "EDA_slope", "EDA_peaks", "EDA_area", "au6", "au12", "note"]
    table = pd.DataFrame(draw.normal(size=(40, len(columns))), columns=columns)
    for name in ("rating_joy", "rating_fear", "rating_calm"):
        table[name] = draw.integers(1, 6, size=40)
    table["id"], table["clip"] = [f"P{number // 10}" for number in range(40)], [f"c{n // 5 % 2}" for n in range(40)]
    table.to_csv("windows.csv", index=False)
    assert [words[0] for words in commands] == ["table", "check"]
    for words in commands:
        assert helo.data.__main__.main(words) == 0
    schema = read_schema(tmp_path / "datasets" / "mine" / "dataset.yaml")
    assert {modality.name: modality.tokens for modality in schema.modalities} == {"ecg": 2, "eda": 4, "face": 2}
    assert list(schema.emotions) == ["rating_joy", "rating_fear", "rating_calm"]
    assert "note" in capsys.readouterr().out


def test_the_space_example_is_valid(tmp_path: Path) -> None:
    (text,) = (block for block in blocks("yaml") if "configurations:" in block)
    (tmp_path / "own.yaml").write_text(text, encoding="utf-8")
    space = read_space(tmp_path / "own.yaml")
    assert space.searched["ot_entropy"] == Range(1e-3, 1.0, log=True, whole=False)
    assert space.first == {"ot_entropy": 0.1}


def test_the_ablation_example_is_valid(tmp_path: Path) -> None:
    (text,) = (block for block in blocks("yaml") if "variants:" in block)
    (tmp_path / "own.yaml").write_text(text, encoding="utf-8")
    assert list(read_space(tmp_path / "own.yaml").variants)[:2] == ["whole model", "no transport"]


@pytest.mark.slow
def test_the_notebook_example_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the example line by line as a notebook does, and compare what each line shows with its comment."""
    (example,) = (block for block in blocks("python") if "run_search" in block)
    monkeypatch.chdir(tmp_path)
    known: dict[str, Any] = {}
    shown = []
    for statement in ast.parse(example).body:
        line = ast.unparse(statement)
        if isinstance(statement, ast.Expr):
            shown.append(eval(line, known))
        else:
            exec(line, known)
    verdict, summary, cells, slices, subject, predicted, again = shown
    assert "train mean" in verdict
    assert "cannot be shown" not in verdict  # enough subjects for a result
    assert {"estimate", "metric", "ci_low", "ci_high"} <= set(summary)
    assert (cells["configuration"].nunique(), cells["fold"].nunique()) == (2, 8)
    assert isinstance(slices, go.Figure)
    assert subject != known["run"].figure("predictions")
    assert predicted.shape == (8 * 4 * 6, len(known["dataset"].emotions))
    assert again == verdict


def test_the_table_has_every_hyperparameter_with_its_default_and_values() -> None:
    text = (ROOT / "search_spaces/README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) \|", text.split("| hyperparameter |")[1], flags=re.M)
    expected = {}
    for name, rule in PARAMETERS.items():
        default = DEFAULTS[name]
        if rule.words:
            expected[name] = (f"`{default}`", ", ".join(f"`{word}`" for word in rule.words))
        else:
            expected[name] = (f"{default:g}", f"{rule.low:g} to {rule.high:g}")
    assert {name: (default, values) for name, default, values in rows} == expected


def test_ci_finds_the_test_command() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    (expression,) = re.findall(r"sed -n '([^']+)' README\.md", script)
    done = subprocess.run(["sed", "-n", expression, "README.md"], cwd=ROOT, capture_output=True, text=True, check=True)
    (line,) = done.stdout.splitlines()
    assert line.startswith("python3 -m venv")
    assert line.endswith("pytest")
