"""``python -m helo.data``: make and check dataset directories."""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helo._cli import (
    EXIT_FAILED,
    EXIT_OK,
    CommandParser,
    add_common_options,
    number_argument,
    path_argument,
    run_command,
    whole_argument,
)
from helo._text import make_printable
from helo.errors import InputError, require_new
from helo.names import ModalitySelection, enum_values

if TYPE_CHECKING:
    from helo.data import Dataset
    from helo.data.labels import Answers

PROG = "helo-data"

DOWNLOAD_OPTIONS = ("device", "window", "step", "jobs")
"""Options of ``wesad`` that apply to the official download only. They are None unless given."""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = CommandParser(prog=PROG, description="Make a dataset directory for helo-search, or check one.")
    add_common_options(parser)
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="simulate|wesad|dmer|e4|table|check")
    makers = [add(kinds) for add in (_simulate_parser, _wesad_parser, _dmer_parser, _e4_parser, _table_parser)]
    for maker in makers:
        maker.add_argument("--out", type=path_argument, required=True, metavar="DIR", help="dataset directory to make")
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
            type=whole_argument,
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
        type=path_argument,
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
    download.add_argument("--window", type=number_argument, metavar="SECONDS", help="length of a window (default: 30)")
    download.add_argument(
        "--step", type=number_argument, metavar="SECONDS", help="time between the starts of windows (default: 15)"
    )
    download.add_argument(
        "--jobs",
        type=whole_argument,
        metavar="N",
        help="number of subjects read at a time (default: by cores and memory)",
    )
    return parser


def _dmer_parser(kinds: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = kinds.add_parser("dmer", help="DMER: its feature files (n.mat) with PANAS scores")
    parser.add_argument(
        "folder", type=path_argument, metavar="DIR", help="folder with 1.mat, 2.mat ..., or Features/1.mat ..."
    )
    parser.add_argument(
        "--labels",
        type=path_argument,
        metavar="DIR",
        help="folder with 1/datas.mat ...; needed if the scores are not in n.mat",
    )
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument(
        "--leave-out", metavar="N,N,…", help="subjects to leave out (default: 3,4,13,16,17,27,31, as the authors do)"
    )
    choice.add_argument("--keep-all", action="store_true", help="keep all subjects")
    return parser


def _table_parser(kinds: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = kinds.add_parser(
        "table", help="a table with a row per window: CSV, Parquet, Excel, SPSS or Stata"
    )
    parser.add_argument(
        "file",
        type=path_argument,
        metavar="FILE",
        help=".csv, .tsv, .txt, .csv.gz, .tsv.gz, .parquet, .xlsx, .sav or .dta",
    )
    parser.add_argument("--subject", required=True, metavar="COLUMN", help="column of the subject")
    parser.add_argument(
        "--subject-pattern",
        metavar="REGEX",
        help="regular expression that finds the person in a cell of --subject, such as '(S[0-9]+)_' for S2_session1",
    )
    parser.add_argument("--group", metavar="COLUMN", help="column of the clip or condition")
    _add_labels(parser)
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


def _add_labels(parser: argparse.ArgumentParser) -> None:
    """Add the options for the label columns of a table."""
    labels = parser.add_mutually_exclusive_group(required=True)
    labels.add_argument(
        "--emotions",
        nargs="+",
        action="extend",
        metavar="COLUMN",
        help="columns of ratings or shares: names or patterns (label_*), separated by commas or spaces, or "
        "EMOTION=COLUMN",
    )
    labels.add_argument("--one-hot", metavar="COLUMN", help="column of the class of each row, a word or a number")
    scales = parser.add_mutually_exclusive_group()
    scales.add_argument("--scale", metavar="LOW:HIGH", help="scale of the ratings if LOW means 'not at all'")
    scales.add_argument(
        "--poles",
        metavar="LOW:HIGH",
        help="scale whose ends are opposites, such as valence: each column is two emotions",
    )
    parser.add_argument(
        "--drop-unrated",
        action="store_true",
        help="leave out rows that lack a rating, or whose emotions are all absent",
    )


def _e4_parser(kinds: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = kinds.add_parser(
        "e4", help="recordings of the Empatica E4 wristband (CSV folders or zip files), with a table of ratings"
    )
    parser.add_argument(
        "folder", type=path_argument, metavar="DIR", help="folder with a folder or zip file of recordings per subject"
    )
    parser.add_argument(
        "--ratings",
        type=path_argument,
        required=True,
        metavar="FILE",
        help="table with a row per rated span of time: subject, start, end, ratings",
    )
    for name, meaning in (
        ("subject", "the subject, which is also the name of its folder"),
        ("start", "the start: seconds after the start of the recording, or Unix time"),
        ("end", "the end, likewise"),
    ):
        parser.add_argument(f"--{name}", default=name, metavar="COLUMN", help=f"column of {meaning} (default: {name})")
    parser.add_argument("--group", metavar="COLUMN", help="column of the clip or condition")
    _add_labels(parser)
    parser.add_argument(
        "--window", type=number_argument, default=30.0, metavar="SECONDS", help="length of a window (default: 30)"
    )
    parser.add_argument(
        "--step",
        type=number_argument,
        default=15.0,
        metavar="SECONDS",
        help="time between the starts of windows (default: 15)",
    )
    parser.add_argument("--name", help="name of the dataset (default: that of DIR)")
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
    import numpy as np

    from helo.data import write_dataset
    from helo.data.findings import about_subjects

    out: Path = arguments.out
    require_new(out)
    readers = {"simulate": _simulate, "wesad": _wesad, "dmer": _dmer, "e4": _e4, "table": _table}
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
    _, windows = np.unique(dataset.subjects, return_counts=True)
    for finding in about_subjects(sorted(dataset.subject_names), windows):
        print(make_printable(f"warning: {finding.text}"))
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


def _e4(arguments: argparse.Namespace) -> Dataset:
    from helo.data.e4 import RatedColumns, read_e4

    columns = RatedColumns(
        subject=arguments.subject,
        start=arguments.start,
        end=arguments.end,
        emotions=tuple(arguments.emotions or ()),
        one_hot=arguments.one_hot,
        group=arguments.group,
        answers=_answers(arguments),
    )
    return read_e4(
        arguments.folder,
        arguments.ratings,
        columns,
        window=arguments.window,
        step=arguments.step,
        name=arguments.name,
        log=_log,
    )


def _answers(arguments: argparse.Namespace) -> Answers:
    """Return the meaning of the cells of label columns."""
    from helo.data.labels import Answers, parse_bounds

    scales = {
        name: parse_bounds(text, f"--{name}")
        for name in ("scale", "poles")
        if (text := getattr(arguments, name)) is not None
    }
    if scales and arguments.one_hot is not None:
        raise InputError(
            f"--{next(iter(scales))} applies to ratings, so that it does not go with --one-hot; leave it out"
        )
    return Answers(**scales, drop_unrated=arguments.drop_unrated)


def _table(arguments: argparse.Namespace) -> Dataset:
    from helo.data.table import TableColumns, parse_modality, read_table

    columns = TableColumns(
        subject=arguments.subject,
        group=arguments.group,
        emotions=arguments.emotions or (),
        one_hot=arguments.one_hot,
        modalities=[parse_modality(text) for text in arguments.modality],
        main=arguments.main,
        answers=_answers(arguments),
        subject_pattern=arguments.subject_pattern,
    )
    return read_table(arguments.file, columns, name=arguments.name, log=_log)


if __name__ == "__main__":
    sys.exit(main())
