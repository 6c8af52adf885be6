"""How every command ends: 0 done, 2 bad input in one line, 130 interrupted."""

from __future__ import annotations

import sys
from collections.abc import Callable

from helo.errors import InputError

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130


def run_command(prog: str, body: Callable[[], int]) -> int:
    """Run a command's body and turn what it raises into an exit code and one line on stderr."""
    try:
        return body()
    except InputError as error:
        print(f"{prog}: error: {' '.join(str(error).split())}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        print(f"{prog}: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader of our output has gone, as in `… | head`
        sys.stderr.close()
        return EXIT_FAILED
