"""The guide to datasets: its commands parse, its examples are valid, and the quick ones run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import helo.data.__main__
import helo.data.findings
from helo.data.directory import _MODALITY_KEYS, _SCHEMA_KEYS, read_dataset, read_schema

README = (Path(helo.data.__main__.__file__).parent / "README.md").read_text(encoding="utf-8")
MAX_LINES = 210
PREFIX = ["python", "-m", "helo.data"]


def code_blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


def commands() -> list[list[str]]:
    """Return the arguments of every ``python -m helo.data`` command, in blocks and in running text."""
    lines = [line for block in code_blocks("sh") for line in block.splitlines()]
    text = re.sub(r"^```.*?^```$", "", README, flags=re.MULTILINE | re.DOTALL)
    lines += re.findall(r"`(python -m helo\.data [^`]*)`", text)
    words = [shlex.split(line) for line in lines]
    assert all(line[:3] == PREFIX for line in words)
    return [line[3:] for line in words]


def test_every_command_is_shown() -> None:
    assert {words[0] for words in commands()} == {"simulate", "wesad", "dmer", "e4", "table", "check"}
    assert len(README.splitlines()) <= MAX_LINES


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_commands_parse(words: list[str]) -> None:
    helo.data.__main__.build_parser().parse_args(words)


def test_the_options_of_every_command_exist() -> None:
    parser = helo.data.__main__.build_parser()
    known = set(re.findall(r"--[a-z-]+", " ".join(str(action.choices) for action in parser._actions)))
    for action in parser._actions:
        for command in (action.choices or {}) if isinstance(action.choices, dict) else {}:
            known |= set(action.choices[command]._option_string_actions)  # type: ignore[index]
    named = {word for code in re.findall(r"`(--[^`\n]*)`", README) for word in re.findall(r"--[a-z-]+", code)}
    assert named - {"--data"} <= known  # --data is an option of the search


def test_the_example_of_dataset_yaml_is_valid_and_every_key_is_explained(tmp_path: Path) -> None:
    (text,) = code_blocks("yaml")
    (tmp_path / "dataset.yaml").write_text(text, encoding="utf-8")
    schema = read_schema(tmp_path / "dataset.yaml")
    assert schema.main.name == "ecg"
    assert {modality.name: modality.token_features for modality in schema.modalities} == {"ecg": 1, "eda": 2, "face": 1}
    for key in (*_SCHEMA_KEYS, *_MODALITY_KEYS):
        assert re.search(rf"^\| .*`{key}`.* \|", README, flags=re.MULTILINE), key


def test_every_kind_of_warning_is_explained() -> None:
    source = Path(helo.data.findings.__file__).read_text(encoding="utf-8")
    kinds = set(re.findall(r'Finding\("([a-z ]+)", True', source))
    assert len(kinds) >= 14
    for kind in kinds:
        assert all(word in README for word in kind.split()), kind


def test_the_quick_commands_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Word for word, on a table with the columns that the commands name."""
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(0)
    columns = ["hr", "rmssd", "EDA_level", "EDA_slope", "EDA_peaks", "EDA_area", "au6", "au12"]
    table = pd.DataFrame(draw.normal(size=(60, len(columns))), columns=columns)
    for name in ("rating_joy", "rating_fear", "rating_calm"):
        table[name] = draw.integers(1, 6, size=60)
    table["id"], table["clip"] = [f"P{number // 15}" for number in range(60)], [f"c{n // 5 % 3}" for n in range(60)]
    table.to_csv("windows.csv", index=False)
    makers = [words for words in commands() if words[0] in ("simulate", "table")]
    checks = [words for words in commands() if words[0] == "check"]
    assert (len(makers), len(checks)) == (3, 2)
    for words in makers + checks:
        assert helo.data.__main__.main(words) == 0, words
        assert capsys.readouterr().err == ""
    mine = read_dataset(tmp_path / "datasets" / "mine").schema
    assert {modality.name: modality.tokens for modality in mine.modalities} == {"ecg": 2, "eda": 4, "face": 2}


def test_the_example_of_a_reader_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = code_blocks("python")
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "README.md", "exec"), {})
    assert read_dataset(tmp_path / "datasets" / "my-study").subject_names == ("A", "B")
