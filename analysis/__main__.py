"""``python -m analysis``: the estimates of a run and its report, or a dashboard of runs that are under way."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from helo._cli import EXIT_OK, add_common_options, run_command, say
from helo.errors import InputError, require_new

if TYPE_CHECKING:
    from rich.console import Console

PROG = "helo-analysis"
PORT = 8050


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog=PROG, description="Read the result of a search.")
    add_common_options(parser)
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    report = commands.add_parser(
        "report", help="print the estimates of a run and write its summary and report", description=_report.__doc__
    )
    report.add_argument("run", metavar="RUN", help="the directory of a run, as helo.search wrote it, or its URI")
    report.add_argument(
        "--export",
        type=Path,
        metavar="DIR",
        help="also write tables (CSV, LaTeX) and each figure (a page of its own, JSON) into a new directory",
    )
    dashboard = commands.add_parser(
        "dashboard", help="show runs in a browser, side by side, while they go on", description=_dashboard.__doc__
    )
    add = dashboard.add_argument
    add("runs", nargs="+", metavar="RUN", help="directories or URIs of runs, finished or not")
    add("--host", default="127.0.0.1", metavar="H", help="address to listen at (default: 127.0.0.1, this machine only)")
    add("--port", type=int, default=PORT, metavar="N", help=f"port; 0 takes a free one (default: {PORT})")
    add("--refresh", type=float, default=2.0, metavar="S", help="seconds between two looks at the runs (default: 2)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    arguments = build_parser().parse_args(argv)
    body = {"report": _report, "dashboard": _dashboard}[arguments.command]
    return run_command(PROG, lambda: body(arguments))


def _report(arguments: argparse.Namespace) -> int:
    """Print the estimates of a run; write summary.parquet and report.html into its directory."""
    # Imported here so that --help does not wait for pandas and plotly.
    from helo.analysis.export import write_export
    from helo.analysis.report import write_report, write_summary
    from helo.analysis.source import read_source
    from helo.analysis.terminal import print_summary
    from rich.console import Console

    from helo.run.directory import Run

    console = Console()
    if arguments.export is not None:
        require_new(arguments.export, "--export")
    with console.status("report") as status:
        source = read_source(Run.open(arguments.run), _reading(console))
        try:
            write_summary(source)
            nothing = ""
        except InputError as error:  # a run that is empty or broken has a report, too: it says what is missing
            nothing = f"no estimates: {error}"
        report = write_report(source, lambda step: status.update(f"report: {step}"))
        if arguments.export is not None:
            empty = write_export(source, arguments.export, lambda step: status.update(f"export: {step}"))
    if nothing:
        say(console, nothing)
    else:
        print_summary(source)
        console.print()
    say(console, f"Report: {report}")
    if arguments.export is not None:
        say(console, f"Tables and figures: {arguments.export}" + (f" (without {', '.join(empty)})" if empty else ""))
    return EXIT_OK


def _dashboard(arguments: argparse.Namespace) -> int:
    """Show the figures of runs in a browser, side by side, and keep them up to date while their searches go on."""
    if not 0 <= arguments.port < 65536:
        raise InputError(f"--port must be from 0 to 65535, got {arguments.port}")
    if not 0.5 <= arguments.refresh <= 3600:
        raise InputError(f"--refresh must be from 0.5 to 3600 seconds, got {arguments.refresh:g}")
    from helo.analysis.dashboard.server import serve
    from rich.console import Console

    console = Console()

    def ready(address: str) -> None:
        say(console, f"dashboard: {address} (end with Ctrl-C)")

    serve(arguments.runs, arguments.host, arguments.port, arguments.refresh, _reading(console), ready)
    return EXIT_OK


def _reading(console: Console) -> Callable[[int, int], None]:
    """Says how far the reading of a long ledger is."""

    def told(done: int, of: int) -> None:
        if of >= 1000 and (done % 1000 == 0 or done == of):
            say(console, f"reading the ledger: {done} of {of} cells")

    return told


def deprecated_main() -> int:
    """Run ``helo-report``, the name of this command up to 0.1.0."""
    print(f"helo-report is deprecated and will be removed in 0.3.0: use {PROG}", file=sys.stderr)
    return main()


if __name__ == "__main__":
    sys.exit(main())
