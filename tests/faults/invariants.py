"""What holds after every command, and after the last one, whatever the faults."""

from __future__ import annotations

import contextlib
import re
import time
from pathlib import Path

import pyarrow.parquet as pq
from faults.search import Search
from searches import assert_same_tables, parts, tables

from helo.names import FileName, Status, TableName
from helo.storage import open_folder

SECRET = "planted-7f3a9c51"
"""Value of AWS_SECRET_ACCESS_KEY in the environment of every command."""

TABLES = (
    *(TableName.CELLS, TableName.EPOCHS, TableName.PREDICTIONS, TableName.EXPLANATIONS, TableName.BASELINES),
    *(TableName.ENSEMBLE, TableName.ENSEMBLE_PREDICTIONS, TableName.SUMMARY, TableName.SUMMARY_BY_GROUP),
)

GONE_S = 240
"""Seconds after which a process that is left counts as left for ever."""

_RAYS_OWN = re.compile(r"\[[\d:, -]+ E \d+ \d+\] (core_worker\.cc|rpc_client\.h):")
"""Start of a line that the core of Ray writes past Python when it loses its raylet or its GCS server."""

_COMMAND = re.compile(r"^  python -m helo\.search (--resume .+)$", re.MULTILINE)


def command_in(text: str) -> str | None:
    """Return the arguments of the last command that a search has printed to go on with."""
    found = _COMMAND.findall(text)
    return found[-1] if found else None


def finished_parts(search: Search) -> dict[str, str]:
    """Return name and hash of the parts of the ledger. Cells that failed because of the machine run again."""
    if not search.has_run():
        return {}
    folder = open_folder(search.run) / FileName.LEDGER
    return {
        name: digest
        for name, digest in parts(search.run).items()
        if pq.read_table(folder.open(name), columns=["status"])["status"].to_pylist() != [Status.FAILED]
    }


def assert_nothing_lost(before: dict[str, str], search: Search) -> dict[str, str]:
    """Assert that the parts of finished cells are as they were, and return the present ones."""
    found = finished_parts(search)
    assert before.items() <= found.items(), f"lost or changed: {sorted(before.items() - found.items())}"
    return found


def assert_ended_well(code: int, output: str, errors: str, codes: set[int], has_run: bool) -> None:
    """Assert that the exit code is one of several, and that the terminal has what the code promises."""
    assert code in codes, f"exit code {code}: {errors}"
    assert "Traceback" not in output + errors, output + errors
    for line in errors.splitlines():
        known = line.startswith(("helo-search: ", "  python -m helo.search --resume ")) or _RAYS_OWN.match(line)
        assert known, f"noise in: {errors}"
    if code in (1, 130) and has_run:
        assert errors.splitlines()[-1:] == [f"  python -m helo.search {command_in(errors)}"], errors
    if code == 2:
        assert errors.count("\n") == 1, errors


def assert_no_secret(*folders: Path) -> None:
    """Assert that no file contains the planted key."""
    for folder in folders:
        for path in folder.rglob("*"):
            with contextlib.suppress(OSError):  # files come and go while a command runs
                if path.is_file() and not path.is_symlink():
                    assert SECRET.encode() not in path.read_bytes(), path


def assert_all_gone(search: Search) -> None:
    """Assert that all processes of a search end."""
    deadline = time.monotonic() + GONE_S
    while left := search.processes():
        assert time.monotonic() < deadline, f"left: {left}"
        time.sleep(0.1)


def assert_same_results(search: Search, undisturbed: Path) -> None:
    """Assert that a complete run has the results and the files of an undisturbed one."""
    assert_same_tables(tables(search.run, TABLES), tables(undisturbed, TABLES))
    folder, whole = open_folder(search.run), open_folder(undisturbed)
    weights = f"{FileName.MODEL}/weights.safetensors"
    assert folder.read(weights) == whole.read(weights)
    left = {name for name in folder.names() if name[0] != "."} - {*whole.names()}
    assert left <= {FileName.CHECKPOINTS}
    assert not (folder / FileName.CHECKPOINTS).names()


def kept_logs(errors: str, temporary: Path) -> set[str]:
    """Return the names of the temporary folders whose logs a message names. They stay for a day."""
    return set(re.findall(rf"\(logs: {re.escape(str(temporary))}/([^/)]+)", errors))


def assert_nothing_temporary(temporary: Path, kept: set[str]) -> None:
    """Assert that no temporary file is left, apart from kept logs and the empty folder of torch's compiled code."""
    left = [path for path in temporary.rglob("*") if path.relative_to(temporary).parts[0] not in kept]
    assert not [path for path in left if not path.name.startswith("torchinductor_")], f"left: {sorted(left)}"
