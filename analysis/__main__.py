"""``python -m analysis report RUN``: the estimates of a run and its report."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from helo.cli import EXIT_OK, run_command

PROG = "python -m analysis"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    arguments = _parser().parse_args(argv)
    return run_command(PROG, lambda: _report(arguments.run))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=PROG, description="Read the result of a search.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    report = commands.add_parser(
        "report",
        help="print the estimates of a run and write its summary and report",
        description=_report.__doc__,
    )
    report.add_argument("run", type=Path, metavar="RUN", help="the directory of a run, as helo.search wrote it")
    return parser


def _report(path: Path) -> int:
    """Print the estimates of a run; write summary.parquet and report.html into its directory."""
    # Imported here so that --help does not wait for pandas and plotly.
    from analysis.report import write_report, write_summary
    from analysis.tables import print_summary
    from helo.run import Run

    run = Run.open(path)
    write_summary(run)
    report = write_report(run)
    print_summary(run)
    print(f"\nReport: {report}")
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
