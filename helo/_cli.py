"""Parts that all commands share: exit codes, common options, and error messages.

Exit codes: 0 for success, 1 for a failure, 2 for bad input, 130 for an interruption. An error is one line on stderr.
"""

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
"""Error numbers of the operating system that mean a wrong path. Others, such as a full disk, are not bad input."""


def print_line(console: Console, line: str) -> None:
    """Print a line without markup, highlighting and wrapping, so that paths and names can be copied."""
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
    """Option that prints a completion script and exits."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: Any, values: Any, option: str | None = None) -> None:
        # Imported here because the import would slow down every start of a command.
        import shtab

        _complete_paths(parser, shtab.FILE)
        print(shtab.complete(parser, shell=values))
        parser.exit()


def _complete_paths(parser: argparse.ArgumentParser, rule: Any) -> None:
    """Let the shell complete paths in arguments whose metavar stands for a path."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                _complete_paths(command, rule)
        elif action.metavar in ("DATASET", "DIR", "FILE", "MODEL", "NAME|FILE", "PATH", "RUN"):
            action.complete = rule  # type: ignore[attr-defined]


def run_command(prog: str, body: Callable[[], int]) -> int:
    """Run the body of a command, and turn its exceptions into an exit code and one line on stderr.

    Parameters
    ----------
    prog : str
        Name of the command, for the line on stderr.
    body : callable
        Function without arguments that returns an exit code.

    Returns
    -------
    int
        Exit code.

    Raises
    ------
    OSError
        If the operating system reports an error that is not in `UNREACHABLE`.
    """
    try:
        return body()
    except InputError as error:
        print(f"{prog}: error: {make_printable(' '.join(str(error).split()))}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except StorageError as error:
        print(f"{prog}: error: {make_printable(' '.join(str(error).split()))}", file=sys.stderr)
        return EXIT_FAILED
    except BrokenPipeError:  # the reader of the output has exited, as in `… | head`
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
