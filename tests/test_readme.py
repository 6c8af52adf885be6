"""What the README says is so: its commands parse, its files are there, its examples are valid."""

from __future__ import annotations

import argparse
import ast
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import helo.analysis.__main__
import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

import helo.cluster.__main__
import helo.data.__main__
import helo.predict
import helo.search.__main__
from helo.configuration import PARAMETERS
from helo.data.directory import read_schema
from helo.search.planning.space import Range, read_space

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PARSERS = {
    "helo.search": helo.search.__main__.build_parser(),
    "helo.data": helo.data.__main__.build_parser(),
    "helo.cluster": helo.cluster.__main__.build_parser(),
    "helo.predict": helo.predict.build_parser(),
    "analysis": helo.analysis.__main__.build_parser(),
}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


def command_lines() -> list[list[str]]:
    """Every ``python -m MODULE …`` of ours, in code blocks and in running text, from MODULE on."""
    pieces = [part for block in blocks("sh") for line in block.splitlines() for part in line.split("&&")]
    pieces += re.findall(r"`([^`\n]*\bpython -m [^`]*)`", re.sub(r"^```.*?^```$", "", README, flags=re.M | re.S))
    found = []
    for piece in pieces:
        words = shlex.split(piece)
        if len(words) > 2 and words[1] == "-m" and words[2] != "venv":
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
    assert {words[0] for words in command_lines()} == set(PARSERS)
    assert len(command_lines()) >= 5


@pytest.mark.parametrize("words", command_lines(), ids=" ".join)
def test_commands_parse(words: list[str]) -> None:
    PARSERS[words[0]].parse_args(words[1:])


def test_options_named_in_the_text_exist() -> None:
    named = {option for code in re.findall(r"`(--[^`\n]*)`", README) for option in re.findall(r"--[a-z-]+", code)}
    assert named
    assert named <= set().union(*map(option_strings, PARSERS.values()))


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#\s]+)[^)]*\)", README))))
def test_links_lead_somewhere(target: str) -> None:
    if not re.match(r"[a-z]+://", target):
        assert (ROOT / target).exists()


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
    """The commands for a table of one's own, word for word, on a table with columns of those names."""
    commands = [words[1:] for words in command_lines() if words[:2] in (["helo.data", "table"], ["helo.data", "check"])]
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
    assert {modality.name: modality.tokens for modality in schema.modalities} == {"ecg": 2, "eda": 2, "face": 2}
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
    """Line by line, as a notebook does it: what a line shows is what its remark says."""
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
    assert {"estimate", "metric", "ci_low", "ci_high"} <= set(summary)
    assert (cells["configuration"].nunique(), cells["fold"].nunique()) == (2, 5)
    assert isinstance(slices, go.Figure)
    assert subject != known["run"].figure("predictions")
    assert predicted.shape == (5 * 4 * 6, len(known["dataset"].emotions))
    assert again == verdict


def test_the_table_names_every_hyperparameter() -> None:
    rows = re.findall(r"^\| (`[^|]*) \|", README.split("| hyperparameter |")[1].split("\n\n")[0], flags=re.M)
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert sorted(named) == sorted(PARAMETERS)


def test_ci_finds_the_test_command() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    (expression,) = re.findall(r"sed -n '([^']+)' README\.md", script)
    done = subprocess.run(["sed", "-n", expression, "README.md"], cwd=ROOT, capture_output=True, text=True, check=True)
    (line,) = done.stdout.splitlines()
    assert line.startswith("python3 -m venv")
    assert line.endswith("pytest")
