"""How every command ends: 0 done, 2 bad input in one line, 130 interrupted."""

from __future__ import annotations

import argparse
import errno
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from helo import __version__
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


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--version`` and ``--print-completion`` to the parser of a command."""
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument(
        "--print-completion",
        action=_PrintCompletion,
        choices=("bash", "zsh", "tcsh"),
        default=argparse.SUPPRESS,
        help="print a script that completes this command in a shell, and exit",
    )


class _PrintCompletion(argparse.Action):
    """Print a completion script and exit."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: Any, values: Any, option: str | None = None) -> None:
        # Imported here so that no other use of a command waits for it.
        import shtab

        _complete_paths(parser, shtab.FILE)
        print(shtab.complete(parser, shell=values))
        parser.exit()


def _complete_paths(parser: argparse.ArgumentParser, rule: Any) -> None:
    """Let a shell complete paths for arguments whose metavar names one."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                _complete_paths(command, rule)
        elif action.metavar in ("DATASET", "DIR", "FILE", "MODEL", "NAME|FILE", "PATH", "RUN"):
            action.complete = rule  # type: ignore[attr-defined]


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
