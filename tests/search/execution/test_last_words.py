"""Messages of processes that end without an exception."""

from __future__ import annotations

import subprocess
import sys

import pytest

from helo.search.execution.last_words import REASON

BEFORE_RUN = f"{REASON}; start it again\n"
OF_RUN = f"{REASON}; finished cells are kept; resume with:\n  python -m helo.search --resume 'eine Größe'\n"
RUN = "words.run_exists(\"python -m helo.search --resume 'eine Größe'\")"


def errors_of(*lines: str, before: str = "pass") -> str:
    """Return what a program writes on the standard error that runs a line before the context, and the others in it."""
    program = [
        "import os, re, signal",
        "from helo.search.execution.last_words import LastWords",
        before,
        "with LastWords() as words:",
        *(f"    {line}" for line in lines),
    ]
    return subprocess.run(
        [sys.executable, "-c", "\n".join(program)],
        stderr=subprocess.PIPE,
        encoding="utf-8",
        timeout=300,
        check=False,
        start_new_session=True,
    ).stderr


@pytest.mark.parametrize("end", ["os._exit(1)", "os.kill(os.getpid(), signal.SIGKILL)", "os.abort()"])
def test_a_process_that_ends_without_an_exception_has_a_message(end: str) -> None:
    assert errors_of(end) == BEFORE_RUN
    assert errors_of(RUN, end) == OF_RUN


@pytest.mark.parametrize("end", ["pass", "raise SystemExit(1)"])
def test_a_context_that_is_left_says_nothing(end: str) -> None:
    assert errors_of(RUN, end) == ""


def test_without_a_second_process_the_context_says_nothing() -> None:
    """A limit of open files, as of processes and of memory, is no reason to end a search."""
    limit = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))"
    assert errors_of(RUN, "os._exit(1)", before=limit) == ""


def test_the_message_survives_signals_to_the_whole_group() -> None:
    """A closed terminal and a scheduler send a signal to all processes of a group, Ctrl-C as well."""
    numbers = "(signal.SIGINT, signal.SIGTERM, signal.SIGHUP)"
    ignored = "int(re.search(r'SigIgn:\\s*(\\w+)', open(f'/proc/{words._process.pid}/status').read())[1], 16)"
    found = errors_of(
        f"for number in {numbers}: signal.signal(number, signal.SIG_IGN)",
        f"while not all({ignored} >> number - 1 & 1 for number in {numbers}): pass",  # some from its start
        RUN,
        f"for number in {numbers}: os.killpg(0, number)",
        "os._exit(1)",
    )
    assert found == OF_RUN
