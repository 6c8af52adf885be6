"""Commands in a locale whose encoding lacks letters that they print."""

from __future__ import annotations

import importlib
import io
import json
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path

import pytest
from rich.console import Console

from helo._cli import allow_any_letter, print_line, run_command
from helo.data import __main__ as data_command
from helo.data import simulate, write_dataset
from helo.errors import InputError
from helo.storage import open_folder

COMMANDS = (
    "helo.search.__main__",
    "helo.data.__main__",
    "helo.cluster.__main__",
    "helo.predict",
    "helo.analysis.__main__",
)


def printed(action: Callable[[], object]) -> str:
    """Return what an action prints on standard output and standard error in the C locale."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict")
    with redirect_stdout(stream), redirect_stderr(stream), suppress(SystemExit):
        action()
    stream.flush()
    return stream.buffer.getvalue().decode("ascii")  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize("module", COMMANDS)
def test_help_is_printed(module: str) -> None:
    assert "usage: " in printed(lambda: importlib.import_module(module).main(["--help"]))


def test_messages_and_tables_are_printed(tmp_path: Path) -> None:
    data = simulate(subjects=4, clips=2, windows=4, emotions=3)
    write_dataset(data, tmp_path / "dätä")
    assert "4 subjects" in printed(lambda: data_command.main(["check", str(tmp_path / "dätä")]))
    assert "n?where: " in printed(lambda: data_command.main(["check", str(tmp_path / "nöwhere")]))


def test_letters_that_are_missing_are_replaced_by_similar_ones() -> None:
    def action() -> None:
        allow_any_letter()
        print_line(Console(), "6 configurations × 8 folds … ±.01, ä \udcc3")

    assert printed(action) == "6 configurations x 8 folds ... +-.01, ? ?\n"


def test_a_library_that_does_not_take_a_path_ends_in_one_line() -> None:
    """PyTorch and pyarrow encode paths in UTF-8, which has no stand-ins for bytes."""
    output = printed(lambda: run_command("helo-x", lambda: len("\udcc3".encode())))
    assert output.startswith("helo-x: error: a path has letters that the encoding of this locale (")
    assert output.count("\n") == 1


def test_a_path_in_another_encoding_keeps_its_bytes(tmp_path: Path) -> None:
    """In the C locale, a path has a character for each byte that is not ASCII."""
    given = "runs/ä".encode().decode("ascii", "surrogateescape")
    open_folder(tmp_path).write_json("manifest.json", {"data": given})
    assert json.loads((tmp_path / "manifest.json").read_bytes()) == {"data": "runs/ä"}
    with pytest.raises(InputError, match=r"the encoding of this locale .* lacks; (set LC_ALL|rename it)"):
        open_folder(given)
