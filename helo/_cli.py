"""How every command ends: 0 done, 2 bad input in one line, 130 interrupted."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from helo._text import make_printable
from helo.errors import InputError, StorageError

if TYPE_CHECKING:
    from rich.console import Console

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130

UNREACHABLE = frozenset({errno.ENAMETOOLONG, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.ELOOP, errno.EROFS})
"""What the system answers to a path that was given wrongly, as opposed to a disk that is full or broken."""


def print_line(console: Console, line: str) -> None:
    """Print a line as it is: paths and names are neither markup nor wrapped."""
    console.print(make_printable(line), highlight=False, markup=False, soft_wrap=True)


def run_command(prog: str, body: Callable[[], int]) -> int:
    """Run a command's body and turn what it raises into an exit code and one line on stderr."""
    try:
        return body()
    except InputError as error:
        print(f"{prog}: error: {make_printable(' '.join(str(error).split()))}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except StorageError as error:
        print(f"{prog}: error: {make_printable(' '.join(str(error).split()))}", file=sys.stderr)
        return EXIT_FAILED
    except BrokenPipeError:  # the reader of our output has gone, as in `… | head`
        sys.stderr.close()
        return EXIT_FAILED
    except OSError as error:
        if error.errno not in UNREACHABLE:
            raise
        print(f"{prog}: error: {error.filename or 'a path'}: cannot be reached ({error.strerror})", file=sys.stderr)
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        print(f"{prog}: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
