"""Parts that all commands share: exit codes, common options, and error messages.

Exit codes: 0 for success, 1 for a failure, 2 for bad input, 3 for a search whose time was up, 130 for an interruption.
An error is one line on stderr.
"""

from __future__ import annotations

import argparse
import codecs
import errno
import io
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from helo import __version__
from helo._paths import local_path
from helo._text import hide_credentials, make_printable
from helo.errors import InputError, SearchError, StorageError, describe_error

if TYPE_CHECKING:
    from rich.console import Console

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_BAD_INPUT = 2
EXIT_OUT_OF_TIME = 3
EXIT_INTERRUPTED = 130

MOST_LETTERS = 1000
"""Maximum number of letters of an error about the arguments of a command."""

UNREACHABLE = frozenset({errno.ENAMETOOLONG, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.ELOOP, errno.EROFS})
"""Error numbers of the operating system that mean a wrong path. Others, such as a full disk, are not bad input."""

FAILING = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE})
"""Error numbers of the operating system that mean a fault of the machine, such as a full disk."""

_PLAIN = {
    "×": "x",
    "−": "-",
    "–": "-",
    "±": "+-",
    "…": "...",
    "·": "*",
    "→": "->",
    "↓": "v",
    "↑": "^",
    "≥": ">=",
    "≤": "<=",
    "━": "#",
    "─": "-",
}
"""Letters of messages → what is written in their place where the encoding of the output lacks them."""


def _plain_letters(error: UnicodeError) -> tuple[str, int]:
    """Error handler of an encoding: replace letters that it lacks."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(_PLAIN.get(letter, "?") for letter in text), error.end


def allow_any_letter() -> None:
    """Let standard output and standard error take every text, whatever the locale.

    In the C locale they may be in ASCII, and writing any other letter would end the program.
    """
    codecs.register_error("helo-plain", _plain_letters)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="helo-plain")


def print_line(console: Console, line: str) -> None:
    """Print a line without markup, highlighting and wrapping, so that paths and names can be copied."""
    console.print(make_printable(line), highlight=False, markup=False, soft_wrap=True)


def print_text(console: Console, text: str, width: int | None = None, style: str = "") -> None:
    """Print sentences, on a terminal in lines that end between words.

    A word is never broken, so that a path or URI that is longer than the line can be copied.

    Parameters
    ----------
    console : rich.console.Console
        Console to print on.
    text : str
        The sentences.
    width : int, optional
        Maximum number of columns. By default that of a terminal; elsewhere the text stays one line.
    style : str
        Style of the text.
    """
    if width is None and not console.is_terminal:
        print_line(console, text)
        return
    import textwrap

    # rich breaks words that are longer than a line, or does not wrap at all.
    for line in textwrap.wrap(
        make_printable(text), width or console.width, break_long_words=False, break_on_hyphens=False
    ):
        console.print(line, style=style, highlight=False, markup=False, soft_wrap=True)


def with_command(introduction: str, command: str) -> str:
    """Return a message that ends with a command to copy, which stands on a line of its own.

    >>> print(with_command("resume with", "python -m helo.search --resume runs/first"))
    resume with:
      python -m helo.search --resume runs/first
    """
    return f"{introduction}:\n  {command}"


def print_command(console: Console, introduction: str, command: str) -> None:
    """Print a command to copy on a line of its own."""
    for line in with_command(introduction, command).splitlines():
        print_line(console, line)


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--version`` and ``--print-completion`` to the parser of a command, whose help may have any letter."""
    allow_any_letter()
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument(
        "--print-completion",
        action=_PrintCompletion,
        choices=("bash", "zsh", "tcsh"),
        default=argparse.SUPPRESS,
        help="print a script that completes this command in a shell, and exit",
    )


def add_verbose_option(add: Callable[..., Any]) -> None:
    """Add ``--verbose`` to the group of options whose ``add_argument`` is given."""
    add("--verbose", action="store_true", help="also print what the estimates mean and how the run was made")


def _one_line(error: object) -> str:
    """Return a message in one line that acts on no terminal and shows no credentials."""
    return hide_credentials(make_printable(" ".join(str(error).split())))


class CommandParser(argparse.ArgumentParser):
    """Parser of a command whose errors are one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        """Print an error about the arguments, and exit."""
        text = _one_line(message)
        text = text if len(text) <= MOST_LETTERS else f"{text[:MOST_LETTERS]}…"
        self.exit(EXIT_BAD_INPUT, f"{self.prog}: error: {text} (--help shows the usage)\n")


def path_argument(text: str) -> Path:
    """Return the path in an argument. Shells do not replace ``~`` in ``--out=~/run``."""
    try:
        return local_path(text)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def whole_argument(text: str) -> int:
    """Return the whole number in an argument. Unlike ``int``, refuse digits of other scripts and ``1_000``."""
    if not re.fullmatch(r"[+-]?[0-9]{1,30}", text.strip()):
        raise argparse.ArgumentTypeError(f"must be a whole number, got {text!r:.60}")
    return int(text)


def number_argument(text: str) -> float:
    """Return the number in an argument. Unlike ``float``, refuse digits of other scripts and ``1_000``."""
    try:
        if text.isascii() and "_" not in text and len(text) < 100:
            return float(text)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"must be a number, got {text!r:.60}")


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
        If the operating system reports an error that is neither in `UNREACHABLE` nor in `FAILING`.
    """
    try:
        return body()
    except InputError as error:
        print(f"{prog}: error: {_one_line(error)}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except StorageError as error:
        print(f"{prog}: error: {_one_line(error)}", file=sys.stderr)
        return EXIT_FAILED
    except SearchError as error:
        print(f"{prog}: {_one_line(error)}", file=sys.stderr)
        return EXIT_FAILED
    except UnicodeEncodeError as error:
        if not error.reason.startswith("surrogates"):
            raise
        # Libraries fail on stand-ins for bytes that the locale has no letter for, as in the path of the environment.
        print(
            f"{prog}: error: a path has letters that the encoding of this locale ({sys.getfilesystemencoding()}) "
            "lacks; set LC_ALL=C.UTF-8 or PYTHONUTF8=1",
            file=sys.stderr,
        )
        return EXIT_BAD_INPUT
    except BrokenPipeError:  # the reader of the output has exited, as in `… | head`
        sys.stderr.close()
        return EXIT_FAILED
    except OSError as error:
        if error.errno in FAILING:
            print(f"{prog}: error: {make_printable(describe_error(error))}", file=sys.stderr)
            return EXIT_FAILED
        if error.errno not in UNREACHABLE:
            raise
        print(f"{prog}: error: {error.filename or 'a path'}: cannot be reached ({error.strerror})", file=sys.stderr)
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        print(f"{prog}: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
