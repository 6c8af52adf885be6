"""``--help``, ``--version`` and completion of every command: they import nothing heavy."""

from __future__ import annotations

import argparse
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import helo

PROGRAMS = {
    "helo.search.__main__": "helo-search",
    "helo.data.__main__": "helo-data",
    "helo.cluster.__main__": "helo-cluster",
    "helo.predict": "helo-predict",
    "helo.analysis.__main__": "helo-analysis",
}
COMMANDS = list(PROGRAMS)
HEAVY = {"torch", "ray", "botocore", "pandas", "optuna", "plotly", "scipy", "ot", "rich", "shtab"}
LIGHTER = {"numpy", "pyarrow", "yaml"}  # helo.data imports these for its package's names: a third of a second


@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_heavy_is_imported(command: str) -> None:
    code = f"import sys; import {command}; print(*sys.modules, sep='\\n')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    never = HEAVY if command == "helo.data.__main__" else HEAVY | LIGHTER
    assert set(done.stdout.split()) & never == set()


@pytest.mark.parametrize(
    "words",
    [
        ["helo.search"],
        ["helo.data"],
        ["helo.data", "simulate"],
        ["helo.data", "wesad"],
        ["helo.data", "dmer"],
        ["helo.data", "table"],
        ["helo.data", "check"],
        ["helo.cluster"],
        ["helo.cluster", "check"],
        ["helo.cluster", "watch-spot"],
        ["helo.predict"],
        ["analysis"],
        ["analysis", "report"],
    ],
    ids=" ".join,
)
def test_help(words: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", *words, "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stdout.startswith("usage: ")
    assert done.stderr == ""


@pytest.mark.parametrize("module", COMMANDS)
def test_version(module: str) -> None:
    words = ["-m", module.removesuffix(".__main__"), "--version"]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [PROGRAMS[module], helo.__version__]


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
@pytest.mark.parametrize("module", COMMANDS)
def test_completion_scripts(module: str, shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    build_parser = importlib.import_module(module).build_parser
    with pytest.raises(SystemExit) as ended:
        build_parser().parse_args(["--print-completion", shell])
    assert ended.value.code == 0
    script = capsys.readouterr().out
    assert PROGRAMS[module] in script
    assert "version" in script


def test_a_shell_completes_an_option_and_a_path(tmp_path: Path) -> None:
    """Bash calls the function of the script as it does when somebody presses the tab key."""
    script = subprocess.run(
        [sys.executable, "-m", "helo.search", "--print-completion", "bash"], capture_output=True, text=True, check=True
    )
    (tmp_path / "completion.bash").write_text(script.stdout, encoding="utf-8")
    (tmp_path / "windows.parquet").touch()
    function = script.stdout.split("complete -o bashdefault -F ")[1].split()[0]
    offered = []
    for words in ("helo-search --proto", "helo-search --data win"):
        typed = f"COMP_WORDS=({words}); COMP_CWORD={len(words.split()) - 1}"
        call = f"source completion.bash; {typed}; {function}; printf '%s\\n' \"${{COMPREPLY[@]}}\""
        done = subprocess.run(["bash", "-c", call], cwd=tmp_path, capture_output=True, text=True, check=True)
        offered.append(done.stdout.split())
    assert offered == [["--protocol"], ["windows.parquet"]]


def actions_of(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yield the options and arguments of a command and of its subcommands."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from actions_of(command)


@pytest.mark.parametrize("module", COMMANDS)
def test_every_path_may_begin_with_a_tilde(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A URI or a name is left to the code that opens it."""
    monkeypatch.setenv("HOME", "/home/someone")
    for action in actions_of(importlib.import_module(module).build_parser()):
        if callable(action.type) and isinstance(value := action.type("7"), Path):
            assert value == Path("7")
            assert action.type("~/data") == Path("/home/someone/data"), action.option_strings
