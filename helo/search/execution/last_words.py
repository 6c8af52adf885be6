"""What the terminal says if the process of a search ends without an exception.

The core of Ray ends the process in which it runs as soon as it misses its raylet, or for a minute its GCS server. A
signal that cannot be handled does the same. A small second process waits for that and prints a message.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from types import TracebackType
from typing import Final

from helo._cli import with_command
from helo.search.execution.signals import ENDING

REASON: Final = (
    "helo-search: the process of the search was killed, or ended by Ray because its raylet or GCS server has died"
)

_SHOW_CURSOR: Final = b"\r\n\x1b[?25h"
"""What a terminal needs after a progress display that nothing has ended."""

_SCRIPT: Final = f"""
import signal, sys
for number in {[int(number) for number in (signal.SIGINT, *ENDING)]}:
    signal.signal(number, signal.SIG_IGN)
texts = sys.stdin.buffer.read().split(b"\\0")
if len(texts) > 1 and texts[-2]:
    start = {_SHOW_CURSOR!r} if sys.stderr.isatty() else b""
    sys.stderr.buffer.write(start + texts[-2] + b"\\n")
"""
"""Program of the second process. Each text ends with a zero byte; an empty one says that all went well."""


class LastWords:
    """Context in which a message on the standard error follows the end of this process.

    Until `run_exists` is called, the message does not say how to resume the search.

    Examples
    --------
    >>> with LastWords() as words:
    ...     words.run_exists("python -m helo.search --resume runs/first")
    """

    def __enter__(self) -> LastWords:
        """Start the second process."""
        # The pipe closes when this process ends. Its other children do not inherit it.
        command = [sys.executable, "-I", "-S", "-c", _SCRIPT]
        self._process: subprocess.Popen[bytes] | None = None
        with contextlib.suppress(OSError):  # a limit of processes, files or memory; the search does not need it
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        self._say(f"{REASON}; start it again")
        return self

    def run_exists(self, resume_command: str) -> None:
        """Let the message end with the command that resumes the search."""
        self._say(with_command(f"{REASON}; finished cells are kept; resume with", resume_command))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End the second process, which prints nothing."""
        if self._process is not None:
            self._process.communicate(b"\0")

    def _say(self, text: str) -> None:
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError):  # somebody has killed the second process
                self._process.stdin.write(text.encode("utf-8", "surrogateescape") + b"\0")
                self._process.stdin.flush()
