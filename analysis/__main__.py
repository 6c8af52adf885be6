"""``helo-analysis``: print and report the result of a run, or show runs in a dashboard."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from helo._cli import EXIT_OK, add_common_options, print_line, run_command
from helo.errors import InputError, require_new

if TYPE_CHECKING:
    from rich.console import Console

PROG = "helo-analysis"
"""Name of the command in help and messages."""

PORT = 8050
"""Default port of the dashboard."""

LONG_LEDGER = 1000
"""Number of cells from which on the reading of a ledger is reported, and between two reports."""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog=PROG, description="Read the result of a search.")
    add_common_options(parser)
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    report = commands.add_parser(
        "report", help="print the estimates of a run and write its summary and report", description=_report.__doc__
    )
    report.add_argument("run", metavar="RUN", help="run directory of a search, or its URI")
    report.add_argument(
        "--export",
        type=Path,
        metavar="DIR",
        help="also write the tables (CSV, LaTeX) and each figure (HTML, JSON) into a new directory",
    )
    dashboard = commands.add_parser(
        "dashboard", help="show one or more runs in a browser while their searches run", description=_dashboard.__doc__
    )
    add = dashboard.add_argument
    add("runs", nargs="+", metavar="RUN", help="run directories or URIs, of finished or running searches")
    add("--host", default="127.0.0.1", metavar="H", help="address to listen on (default: 127.0.0.1, this machine only)")
    add("--port", type=int, default=PORT, metavar="N", help=f"port; 0 selects a free one (default: {PORT})")
    add("--refresh", type=float, default=2.0, metavar="S", help="seconds between updates (default: 2)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    arguments = build_parser().parse_args(argv)
    body = {"report": _report, "dashboard": _dashboard}[arguments.command]
    return run_command(PROG, lambda: body(arguments))


def _report(arguments: argparse.Namespace) -> int:
    """Print the estimates of a run, and write summary.parquet and report.html into its directory."""
    # Imported here so that --help does not wait for pandas and plotly.
    from rich.console import Console

    from helo.analysis.export import write_export
    from helo.analysis.report import write_report, write_summary
    from helo.analysis.source import read_source
    from helo.analysis.terminal import print_summary
    from helo.run.directory import Run

    console = Console()
    if arguments.export is not None:
        require_new(arguments.export, "--export")
    with console.status("report") as status:
        source = read_source(Run.open(arguments.run), _make_progress_printer(console))
        try:
            write_summary(source)
            missing = ""
        except InputError as error:  # the report of an empty or broken run says what is missing
            missing = f"no estimates: {error}"
        report = write_report(source, lambda step: status.update(f"report: {step}"))
        if arguments.export is not None:
            empty = write_export(source, arguments.export, lambda step: status.update(f"export: {step}"))
    if missing:
        print_line(console, missing)
    else:
        print_summary(source)
        console.print()
    print_line(console, f"Report: {report}")
    if arguments.export is not None:
        print_line(
            console, f"Tables and figures: {arguments.export}" + (f" (without {', '.join(empty)})" if empty else "")
        )
    return EXIT_OK


def _dashboard(arguments: argparse.Namespace) -> int:
    """Show the figures of one or more runs in a browser, side by side. They are updated while the searches run."""
    if not 0 <= arguments.port < 65536:
        raise InputError(f"--port must be from 0 to 65535, got {arguments.port}")
    if not 0.5 <= arguments.refresh <= 3600:
        raise InputError(f"--refresh must be from 0.5 to 3600 seconds, got {arguments.refresh:g}")
    from rich.console import Console

    from helo.analysis.dashboard.server import serve

    console = Console()

    def ready(address: str) -> None:
        print_line(console, f"dashboard: {address} (end with Ctrl-C)")

    serve(arguments.runs, arguments.host, arguments.port, arguments.refresh, _make_progress_printer(console), ready)
    return EXIT_OK


def _make_progress_printer(console: Console) -> Callable[[int, int], None]:
    """Return a function that prints how many cells of a long ledger have been read."""

    def print_progress(done: int, total: int) -> None:
        if total >= LONG_LEDGER and (done % LONG_LEDGER == 0 or done == total):
            print_line(console, f"reading the ledger: {done} of {total} cells")

    return print_progress


def deprecated_main() -> int:
    """Run the command under its former name, ``helo-report``."""
    print(f"helo-report is deprecated since 0.2.0 and will be removed in 0.3.0; use {PROG}", file=sys.stderr)
    return main()


if __name__ == "__main__":
    sys.exit(main())
