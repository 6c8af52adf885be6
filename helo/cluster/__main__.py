"""``python -m helo.cluster``: check a cluster file, and watch for a spot notice."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from helo._cli import (
    EXIT_BAD_INPUT,
    EXIT_OK,
    CommandParser,
    add_common_options,
    number_argument,
    path_argument,
    run_command,
    whole_argument,
)
from helo._text import make_printable
from helo.errors import InputError

PROG = "helo-cluster"


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = CommandParser(
        prog=PROG, description="Check a cluster file, or watch for the notice that a spot machine will be removed."
    )
    add_common_options(parser)
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="check|watch-spot")
    look = kinds.add_parser("check", help="list the faults and the price of a cluster file, without starting anything")
    look.add_argument(
        "file", type=path_argument, metavar="FILE", help="file for ray up (.yaml), KubeRay (.yaml) or Slurm (.sh)"
    )
    look.add_argument(
        "--gpus-per-cell",
        type=number_argument,
        default=0.25,
        metavar="F",
        help="share of a GPU per cell (default: 0.25)",
    )
    look.add_argument("--cpus-per-cell", type=whole_argument, default=1, metavar="N", help="CPUs per cell (default: 1)")
    spot = kinds.add_parser(
        "watch-spot", help="wait on a spot worker for the notice of the cloud, then drain the Ray node"
    )
    spot.add_argument("--cloud", choices=("aws", "gcp"), required=True, help="cloud that runs this machine")
    spot.add_argument(
        "--address",
        metavar="HOST:PORT",
        help="address of the Ray cluster (default: the one that this machine belongs to)",
    )
    spot.add_argument(
        "--metadata", metavar="URL", help="address of the metadata service (default: the one of the cloud)"
    )
    spot.add_argument(
        "--every",
        type=number_argument,
        default=5.0,
        metavar="SECONDS",
        help="seconds between two requests (default: 5)",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``python -m helo.cluster`` and return its exit code."""
    arguments = build_parser().parse_args(argv)
    command = _check if arguments.kind == "check" else _watch
    return run_command(PROG, lambda: command(arguments))


def _check(arguments: argparse.Namespace) -> int:
    from helo.cluster.check import check, report

    if not 0 <= arguments.gpus_per_cell < float("inf"):
        raise InputError(f"--gpus-per-cell must be at least 0, got {arguments.gpus_per_cell}")
    if arguments.cpus_per_cell < 1:
        raise InputError(f"--cpus-per-cell must be at least 1, got {arguments.cpus_per_cell}")
    found = check(arguments.file)
    for fault in found.faults:
        print(
            f"{PROG}: error: {make_printable(arguments.file)}: {make_printable(' '.join(fault.split()))}",
            file=sys.stderr,
        )
    if found.faults:
        return EXIT_BAD_INPUT
    print(f"{arguments.file}: no faults found")
    for line in report(found, arguments.gpus_per_cell, arguments.cpus_per_cell):
        print(make_printable(line))
    return EXIT_OK


def _watch(arguments: argparse.Namespace) -> int:
    from helo.cluster.spot import watch

    if not arguments.every > 0:
        raise InputError(f"--every must be above 0, got {arguments.every}")
    if arguments.metadata and not arguments.metadata.startswith("http://"):
        raise InputError(f"--metadata must be an http:// address, got {arguments.metadata}")
    watch(arguments.cloud, arguments.address, arguments.metadata, arguments.every, _tell)
    return EXIT_OK


def _tell(line: str) -> None:
    print(f"{PROG}: {make_printable(line)}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
