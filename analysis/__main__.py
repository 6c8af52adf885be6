"""``helo-analysis``: print and report the result of a run, or show runs in a dashboard."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from helo._cli import (
    EXIT_OK,
    CommandParser,
    add_common_options,
    add_verbose_option,
    number_argument,
    path_argument,
    print_command,
    print_line,
    run_command,
    whole_argument,
)
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
    parser = CommandParser(prog=PROG, description="Read the result of a search.")
    add_common_options(parser)
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    report = commands.add_parser(
        "report", help="print the estimates of a run and write its summary and report", description=_report.__doc__
    )
    report.add_argument("run", metavar="RUN", help="run directory of a search, of one or several seeds, or its URI")
    report.add_argument(
        "--export",
        type=path_argument,
        metavar="DIR",
        help="also write the tables (CSV, LaTeX) and each figure (HTML, JSON) into a new directory",
    )
    _add_figures(report)
    add_verbose_option(report.add_argument)
    compare = commands.add_parser(
        "compare", help="compare runs, on the same data or over several data sets", description=_compare.__doc__
    )
    compare.add_argument("runs", nargs="+", metavar="RUN", help="run directories or URIs, two or more")
    compare.add_argument(
        "--metric", metavar="NAME", help="metric to compare on, such as chebyshev (default: objective of the first run)"
    )
    compare.add_argument(
        "--export", type=path_argument, metavar="DIR", help="write tables and figures into a new directory"
    )
    _add_figures(compare)
    dashboard = commands.add_parser(
        "dashboard", help="show one or more runs in a browser while their searches run", description=_dashboard.__doc__
    )
    add = dashboard.add_argument
    add("runs", nargs="+", metavar="RUN", help="run directories or URIs, of finished or running searches")
    add("--host", default="127.0.0.1", metavar="H", help="address to listen on (default: 127.0.0.1, this machine only)")
    add("--port", type=whole_argument, default=PORT, metavar="N", help=f"port; 0 selects a free one (default: {PORT})")
    add("--refresh", type=number_argument, default=2.0, metavar="S", help="seconds between updates (default: 2)")
    return parser


def _add_figures(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--figures",
        metavar="LIST",
        help="with --export, also write each figure as an image: formats out of svg, pdf and png, separated by commas;"
        " needs Chromium or Chrome",
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    arguments = build_parser().parse_args(argv)
    body = {"report": _report, "compare": _compare, "dashboard": _dashboard}[arguments.command]
    return run_command(PROG, lambda: body(arguments))


def _report(arguments: argparse.Namespace) -> int:
    """Print the estimates of a run, and write summary.parquet and report.html into its directory."""
    # Imported here so that --help does not wait for pandas and plotly.
    from rich.console import Console

    from helo.analysis.export import write_export
    from helo.analysis.report import write_report, write_summary
    from helo.analysis.source import read_source
    from helo.analysis.terminal import print_estimates, print_verdict
    from helo.analysis.wording import next_step
    from helo.run.directory import Run
    from helo.run.seeds import has_seeds

    console = Console()
    if arguments.export is not None:
        require_new(arguments.export, "--export")
    formats = _image_formats(arguments)
    if has_seeds(arguments.run):
        return _report_seeds(arguments, console, formats)
    with console.status("report") as status:
        source = read_source(Run.open(arguments.run), _make_progress_printer(console))
        missing = unwritten = report = ""
        try:
            _ = source.summary
        except InputError as error:  # the report of an empty or broken run says what is missing
            missing = f"no estimates: {error}"
        try:
            if not missing:
                write_summary(source)
            report = str(write_report(source, lambda step: status.update(f"report: {step}")))
        except InputError as error:  # an export of a run that cannot be written is still possible
            if arguments.export is None:
                raise
            unwritten = str(error)
        if arguments.export is not None:
            empty = write_export(source, arguments.export, lambda step: status.update(f"export: {step}"), formats)
    if missing:
        print_line(console, missing)
    else:
        print_estimates(source, console, arguments.verbose)
        print_verdict(source, console)
    print_line(console, f"Report: not written; {unwritten}" if unwritten else f"Report: {report}")
    if arguments.export is not None:
        print_line(
            console, f"Tables and figures: {arguments.export}" + (f" (without {', '.join(empty)})" if empty else "")
        )
    ended, awaits_model = (None, False) if missing else (source.counts.ended, source.awaits_model)
    print_command(console, *next_step(source.run, ended, awaits_model))
    return EXIT_OK


def _report_seeds(arguments: argparse.Namespace, console: Console, formats: Sequence[str]) -> int:
    from helo.analysis.seeds import read_seeds
    from helo.analysis.seeds_report import write_seeds_export, write_seeds_report
    from helo.analysis.seeds_text import print_seeds
    from helo.run.seeds import SeedRuns

    with console.status("report"):
        result = read_seeds(SeedRuns.open(arguments.run), _make_progress_printer(console))
        if arguments.export is not None:
            write_seeds_export(result, arguments.export, formats)
        report = write_seeds_report(result)
    print_seeds(result, console)
    print_line(console, f"Report: {report}")
    if arguments.export is not None:
        print_line(console, f"Tables and figures: {arguments.export}")
    return EXIT_OK


def _compare(arguments: argparse.Namespace) -> int:
    """Compare runs on the same data with each other, and the search with its references over several data sets."""
    from rich.console import Console

    from helo.analysis.comparison import compare_runs, read_runs, write_comparison
    from helo.analysis.comparison_text import print_comparison
    from helo.run.seeds import expand_seeds

    if arguments.export is not None:
        require_new(arguments.export, "--export")
    formats = _image_formats(arguments)
    console = Console()
    comparison = compare_runs(
        read_runs(expand_seeds(arguments.runs), _make_progress_printer(console)), arguments.metric or ""
    )
    if arguments.export is not None:
        write_comparison(comparison, arguments.export, formats)
    print_comparison(comparison, console)
    if arguments.export is not None:
        print_line(console, f"Tables and figures: {arguments.export}")
    return EXIT_OK


def _image_formats(arguments: argparse.Namespace) -> tuple[str, ...]:
    """Return the formats of ``--figures``, checked before anything is computed."""
    from helo.analysis.paper.images import find_browser, parse_formats

    if arguments.figures is None:
        return ()
    if arguments.export is None:
        raise InputError("--figures needs --export DIR, the new directory for the images")
    formats = parse_formats(arguments.figures)
    find_browser()
    return formats


def _dashboard(arguments: argparse.Namespace) -> int:
    """Show the figures of one or more runs in a browser, side by side. They are updated while the searches run."""
    if not 0 <= arguments.port < 65536:
        raise InputError(f"--port must be from 0 to 65535, got {arguments.port}")
    if not 0.5 <= arguments.refresh <= 3600:
        raise InputError(f"--refresh must be from 0.5 to 3600 seconds, got {arguments.refresh:g}")
    from rich.console import Console

    from helo.analysis.dashboard.server import serve
    from helo.run.seeds import expand_seeds

    console = Console()

    def ready(address: str) -> None:
        print_line(console, f"dashboard: {address} (end with Ctrl-C)")

    serve(
        expand_seeds(arguments.runs),
        arguments.host,
        arguments.port,
        arguments.refresh,
        _make_progress_printer(console),
        ready,
    )
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
