"""``python -m helo.data``: make dataset directories."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from helo.cli import EXIT_OK, run_command
from helo.errors import require_new

PROG = "helo-data"


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog=PROG, description="Make a dataset directory for helo-search.")
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="simulate|wesad")

    simulate = kinds.add_parser("simulate", help="made-up subjects with a known best-possible score")
    for name, default in (("subjects", 8), ("clips", 6), ("windows", 10), ("emotions", 6), ("seed", 0)):
        simulate.add_argument(f"--{name}", type=int, default=default, metavar="N", help=f"default: {default}")

    wesad = kinds.add_parser("wesad", help="WESAD features (windows.csv) with PANAS self-reports (SX_quest.csv)")
    wesad.add_argument("folder", type=Path, metavar="DIR", help="folder with windows.csv and SX/SX_quest.csv")
    wesad.add_argument(
        "--items", default="panas23", metavar="SET", help="panas23, panas9, or NAME,NAME,… (default: panas23)"
    )
    for kind in (simulate, wesad):
        kind.add_argument("--out", type=Path, required=True, metavar="DIR", help="dataset directory to make")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``helo-data``."""
    arguments = build_parser().parse_args(argv)
    return run_command(PROG, lambda: _make(arguments))


def _make(arguments: argparse.Namespace) -> int:
    from helo.data import simulate, write_dataset
    from helo.data.wesad import parse_items, wesad

    out: Path = arguments.out
    require_new(out)
    if arguments.kind == "simulate":
        dataset = simulate(arguments.subjects, arguments.clips, arguments.windows, arguments.emotions, arguments.seed)
    else:
        dataset = wesad(arguments.folder, parse_items(arguments.items))
    write_dataset(dataset, out)
    modalities = ", ".join(modality.name for modality in dataset.schema.modalities)
    print(
        f"{out}: {dataset.schema.name}, {len(dataset.subject_names)} subjects, {len(dataset)} windows, "
        f"{len(dataset.schema.features)} features ({modalities}), {len(dataset.emotions)} emotions"
    )
    if dataset.missing:
        print(f"missing signals: {dataset.missing}")
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
