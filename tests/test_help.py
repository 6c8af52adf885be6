"""``--help`` answers at once: nothing heavy is imported for it."""

from __future__ import annotations

import subprocess
import sys

import pytest

COMMANDS = [
    "helo.search.__main__",
    "helo.data.__main__",
    "helo.cluster.__main__",
    "helo.predict",
    "helo.analysis.__main__",
]
HEAVY = {"torch", "ray", "botocore", "pandas", "optuna", "plotly", "scipy", "ot", "rich"}
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
