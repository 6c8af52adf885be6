"""``python -m helo.data``: make and check dataset directories."""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helo._cli import EXIT_FAILED, EXIT_OK, add_common_options, run_command
from helo.errors import InputError, require_new
from helo.names import ModalitySelection, enum_values

if TYPE_CHECKING:
    from helo.data import Dataset

PROG = "helo-data"

DOWNLOAD_OPTIONS = ("device", "window", "step", "jobs")
"""Options of ``wesad`` that apply to the official download only. They are None unless given."""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog=PROG, description="Make a dataset directory for helo-search, or check one.")
    add_common_options(parser)
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="simulate|wesad|dmer|table|check")
    makers = [_simulate_parser(kinds), _wesad_parser(kinds), _dmer_parser(kinds), _table_parser(kinds)]
    for maker in makers:
        maker.add_argument("--out", type=Path, required=True, metavar="DIR", help="dataset directory to make")
    check = kinds.add_parser(
        "check", help="describe a dataset and warn of problems that would make its scores meaningless"
    )
    check.add_argument("folder", metavar="DIR", help="dataset directory, or its URI")
    check.add_argument("--strict", action="store_true", help="exit with 1 if there are warnings")
    return parser


def _simulate_parser(kinds: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = kinds.add_parser(
        "simulate", help="simulated subjects with a known best possible score"
    )
    for name, default in (("subjects", 8), ("clips", 6), ("windows", 10), ("emotions", 6), ("seed", 0)):
        parser.add_argument(
            f"--{name}",
            type=int,
            default=default,
            metavar="N",
            help=f"number of {name} (default: {default})" if name != "seed" else "seed of the generator (default: 0)",
        )
    parser.add_argument(
        "--modalities",
        default=str(ModalitySelection.BOTH),
        choices=enum_values(ModalitySelection),
        help="roles of the modalities (default: both)",
    )
    return parser


def _wesad_parser(kinds: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = kinds.add_parser(
        "wesad", help="WESAD: the official download, or features (windows.csv), with PANAS self-reports"
    )
    parser.add_argument(
        "folder",
        type=Path,
        metavar="PATH",
        help="the download (a zip file, or a folder with S2/S2.pkl ...), or a folder with windows.csv and "
        "S2/S2_quest.csv ...",
    )
    parser.add_argument(
        "--items",
        default="panas23",
        metavar="SET",
        help="PANAS items of the label: panas23, panas9, or NAME,NAME,… (default: panas23)",
    )
    download = parser.add_argument_group("the official download only")
    download.add_argument(
        "--device", choices=("wrist", "chest", "both"), help="device whose signals are read (default: both)"
    )
    download.add_argument("--window", type=float, metavar="SECONDS", help="length of a window (default: 30)")
    download.add_argument(
        "--step", type=float, metavar="SECONDS", help="time between the starts of windows (default: 15)"
    )
    download.add_argument(
        "--jobs", type=int, metavar="N", help="number of subjects read at a time (default: by cores and memory)"
    )
    return parser


def _dmer_parser(kinds: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = kinds.add_parser("dmer", help="DMER: its feature files (n.mat) with PANAS scores")
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder with 1.mat, 2.mat ..., or Features/1.mat ...")
    parser.add_argument(
        "--labels", type=Path, metavar="DIR", help="folder with 1/datas.mat ...; needed if the scores are not in n.mat"
    )
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument(
        "--leave-out", metavar="N,N,…", help="subjects to leave out (default: 3,4,13,16,17,27,31, as the authors do)"
    )
    choice.add_argument("--keep-all", action="store_true", help="keep all subjects")
    return parser


def _table_parser(kinds: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = kinds.add_parser("table", help="a CSV or Parquet table with a row per window")
    parser.add_argument("file", type=Path, metavar="FILE", help=".csv, .csv.gz, .tsv or .parquet")
    parser.add_argument("--subject", required=True, metavar="COLUMN", help="column of the subject")
    parser.add_argument("--group", metavar="COLUMN", help="column of the clip or condition")
    parser.add_argument(
        "--emotions",
        required=True,
        nargs="+",
        metavar="COLUMN",
        help="columns of ratings or shares: names or patterns (label_*), separated by commas or spaces, or "
        "EMOTION=COLUMN",
    )
    parser.add_argument(
        "--modality",
        required=True,
        nargs="+",
        action="extend",
        metavar="NAME=ROLE:PATTERNS[:TOKENS]",
        help="columns of a modality, such as eda=physiological:EDA_*,SCR_*:2; ROLE is physiological or behavioural; "
        "without TOKENS each column is a token",
    )
    parser.add_argument("--main", metavar="NAME", help="main modality (default: the first physiological one)")
    parser.add_argument("--name", help="name of the dataset (default: that of FILE)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``helo-data`` and return its exit code."""
    arguments = build_parser().parse_args(argv)
    return run_command(PROG, lambda: (_check if arguments.kind == "check" else _make)(arguments))


def _check(arguments: argparse.Namespace) -> int:
    from helo.data import read_dataset
    from helo.data.check import check
    from helo.data.terminal import print_check

    result = check(read_dataset(arguments.folder))
    print_check(result)
    return EXIT_FAILED if arguments.strict and result.warnings else EXIT_OK


def _make(arguments: argparse.Namespace) -> int:
    from helo.data import write_dataset

    out: Path = arguments.out
    require_new(out)
    readers = {"simulate": _simulate, "wesad": _wesad, "dmer": _dmer, "table": _table}
    dataset = readers[arguments.kind](arguments)
    write_dataset(dataset, out)
    if arguments.kind == "wesad":
        shutil.rmtree(_cache_folder(out), ignore_errors=True)
    modalities = ", ".join(modality.name for modality in dataset.schema.modalities)
    print(
        f"{out}: {dataset.schema.name}, {len(dataset.subject_names)} subjects, {len(dataset)} windows, "
        f"{len(dataset.schema.features)} features ({modalities}), {len(dataset.emotions)} emotions"
    )
    if dataset.missing:
        print(f"missing signals: {dataset.missing}")
    print(f"next: python -m helo.data check {shlex.quote(str(out))}")
    return EXIT_OK


def _log(line: str) -> None:
    print(line, flush=True)


def _simulate(arguments: argparse.Namespace) -> Dataset:
    from helo.data import simulate

    numbers = (arguments.subjects, arguments.clips, arguments.windows, arguments.emotions, arguments.seed)
    return simulate(*numbers, modalities=arguments.modalities)


def _cache_folder(out: Path) -> Path:
    """Return the folder that keeps the features of finished subjects until all are finished."""
    return out.parent / f".{out.name}-parts"


def _wesad(arguments: argparse.Namespace) -> Dataset:
    from helo.data.wesad import DownloadSettings, is_download, parse_items, read_download, read_feature_table

    items = parse_items(arguments.items)
    given: dict[str, Any] = {
        name: value for name in DOWNLOAD_OPTIONS if (value := getattr(arguments, name)) is not None
    }
    if not is_download(arguments.folder):
        if given:
            options = ", ".join(f"--{name}" for name in given)
            raise InputError(
                f"{arguments.folder}: {options}: these apply to the official download only (a zip file, or a folder "
                "with S2/S2.pkl ...); leave them out"
            )
        return read_feature_table(arguments.folder, items)
    wrong = [f"--{name} must be above 0, got {given[name]:g}" for name in given if not _is_positive(given[name])]
    if wrong:
        raise InputError("; ".join(wrong))
    jobs = given.pop("jobs", None)
    cache = _cache_folder(arguments.out)
    return read_download(arguments.folder, items, DownloadSettings(**given), jobs=jobs, cache=cache, log=_log)


def _is_positive(value: str | float) -> bool:
    """Return whether an option is a finite number above 0, or text."""
    return isinstance(value, str) or 0 < value < float("inf")


def _dmer(arguments: argparse.Namespace) -> Dataset:
    from helo.data.dmer import LEFT_OUT, parse_subjects, read_dmer

    leave_out: tuple[int, ...] = LEFT_OUT
    if arguments.keep_all:
        leave_out = ()
    elif arguments.leave_out is not None:
        leave_out = parse_subjects(arguments.leave_out)
    return read_dmer(arguments.folder, labels=arguments.labels, leave_out=leave_out, log=_log)


def _table(arguments: argparse.Namespace) -> Dataset:
    from helo.data.table import TableColumns, parse_modality, read_table

    columns = TableColumns(
        subject=arguments.subject,
        group=arguments.group,
        emotions=arguments.emotions,
        modalities=[parse_modality(text) for text in arguments.modality],
        main=arguments.main,
    )
    return read_table(arguments.file, columns, name=arguments.name, log=_log)


if __name__ == "__main__":
    sys.exit(main())
