"""Searches in processes of their own: start them, wait for them, compare their results."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pandas as pd

from helo.names import TableName
from helo.run.directory import Run
from helo.storage import open_folder

VOLATILE = ["seconds", "node", "started", "finished"]
"""Columns of tables that differ between two searches with the same results."""

LONGEST_S = 900
"""Seconds after which a command counts as hanging."""


def command(
    *words: str, cwd: Path, module: str = "helo.search", env: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """Start a command in a session of its own, with further environment variables."""
    return subprocess.Popen(
        [sys.executable, "-m", module, *words],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, **(env or {})},
    )


def done(*words: str, cwd: Path, env: Mapping[str, str] | None = None) -> str:
    """Run a search to its end and return its output."""
    process = command(*words, cwd=cwd, env=env)
    output, errors = process.communicate(timeout=LONGEST_S)
    assert process.returncode == 0, errors
    return output


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> bool:
    """Wait until the condition holds or the process has ended, and return whether the condition holds."""
    deadline = time.monotonic() + LONGEST_S
    while not condition():
        if process.poll() is not None:
            return condition()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return True


def parts(place: Path | str) -> dict[str, str]:
    """Return the name and hash of each file of a finished cell, of HeLo and of baselines."""
    folder = open_folder(place) / "ledger"
    names = [name for name in folder.names() if name[0] in "bc"]  # skips hidden files, whose writers were killed
    return {name: hashlib.sha256(folder.read(name)).hexdigest() for name in names}


RESULTS = (TableName.CELLS, TableName.BASELINES, TableName.PREDICTIONS, TableName.SUMMARY)
"""Tables with the results of a search."""


def tables(place: Path | str, names: Iterable[str] = RESULTS) -> dict[str, pd.DataFrame]:
    """Return tables of a run without `VOLATILE`."""
    run = Run.open(place)
    return {name: run.table(name).drop(columns=VOLATILE, errors="ignore") for name in names}


def assert_same_tables(one: Mapping[str, pd.DataFrame], other: Mapping[str, pd.DataFrame]) -> None:
    """Assert that the results of two runs are the same, to the bit."""
    assert one.keys() == other.keys()
    for name, table in one.items():
        pd.testing.assert_frame_equal(table, other[name], check_exact=True, obj=name)
