"""``python -m helo.search``: a leave-one-subject-out hyperparameter search of HeLo, in one command."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from helo._cli import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, add_common_options, run_command
from helo.names import CellLogger, Delivery, Normalisation, Precision, SearchProtocol, enum_values

if TYPE_CHECKING:
    from rich.console import Console

    from helo.run.directory import Run
    from helo.search.setup.request import Request
    from helo.search.setup.search_setup import SearchSetup

PROG = "helo-search"


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog=PROG,
        description="Search HeLo's hyperparameters with leave-one-subject-out folds. Without arguments, run a demo on "
        "simulated data.",
    )
    add_common_options(parser)
    add = parser.add_argument_group("search").add_argument
    add("--data", metavar="DIR", help="dataset directory, or s3://BUCKET/FOLDER (default: built-in simulated data)")
    add("--space", metavar="NAME|FILE", help="search space: demo, small, full, ablation or a YAML file (default: demo)")
    add("--configurations", type=int, metavar="N", help="number of configurations to draw (default: that of the space)")
    add("--sampler", choices=("tpe", "random"), help="method that draws configurations (default: that of the space)")
    add(
        "--protocol",
        choices=enum_values(SearchProtocol),
        help="one study over all folds, or an independent study for each fold (default: shared)",
    )
    add(
        "--no-racing",
        action="store_true",
        help="run every cell of every configuration: no races over folds, no rungs within cells",
    )
    add(
        "--baselines",
        metavar="LIST",
        help="fitted baselines to score on the same folds: all, none, or a comma-separated list of knn, max_entropy, "
        "ridge, random_forest, mlp (default: all)",
    )
    add("--seed", type=int, metavar="N", help="seed of folds, draws and training (default: 0)")
    add(
        "--normalise",
        choices=enum_values(Normalisation),
        help="scale features with statistics of the training subjects, or within each subject, which uses the "
        "unlabelled windows of the test subject (default: train)",
    )
    add(
        "--inner-folds",
        type=int,
        metavar="K",
        help="inner splits of the other subjects, and models of a cell, which are averaged; 1 means a single split "
        "(default: 5, or the number of other subjects if that is smaller)",
    )
    add = parser.add_argument_group("run directory, time and cost").add_argument
    add("--out", metavar="RUN", help="run directory to create, or s3://BUCKET/FOLDER (default: a new one in runs/)")
    add("--resume", metavar="RUN", help="run directory of an interrupted, killed or unfinished search to resume")
    add(
        "--time-budget",
        metavar="TIME",
        help="end the search after this time (90s, 30m, 2h) with a run that can be resumed",
    )
    add("--plan", action="store_true", help="print a cost estimate from a timed probe, and do not start the search")
    add("--cluster", type=Path, metavar="FILE", help="with --plan: cluster file for the cost estimate")
    add(
        "--price",
        type=float,
        metavar="USD",
        help="with --plan: price of the whole cluster per hour, for the cost estimate",
    )
    add(
        "--export-predictions",
        action="store_true",
        help="write the test predictions of every cell and baseline to RUN/all_predictions.parquet",
    )
    add(
        "--deliver",
        choices=enum_values(Delivery),
        help="model to fit with all subjects after the search: the recommended configuration, or the mean of the "
        "configurations of the estimate ensemble (default: recommended)",
    )
    add(
        "--log",
        action="append",
        choices=enum_values(CellLogger),
        default=[],
        help="log every cell with a callback of Ray Tune (may be repeated)",
    )
    add = parser.add_argument_group("resources").add_argument
    add(
        "--concurrency",
        type=int,
        metavar="N",
        help="maximum number of cells that run at the same time (default: as many as fit)",
    )
    add("--cpus-per-cell", type=int, metavar="N", help="CPUs and threads of a cell (default: 1)")
    add(
        "--gpus-per-cell",
        metavar="auto|F",
        help="share of a GPU for each cell; auto measures the memory of the largest configuration (default: auto)",
    )
    add(
        "--precision",
        choices=enum_values(Precision),
        help="mixed computes products in bfloat16, on GPUs that support it (default: full)",
    )
    add(
        "--compile",
        action="store_true",
        help="compile training steps with torch.compile; useful for long cells on GPUs",
    )
    add(
        "--address",
        metavar="A",
        help="address of a Ray cluster: auto or HOST:PORT (default: Ray is started on this machine)",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``helo-search`` and return its exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    arguments = build_parser().parse_args(words)
    return run_command(PROG, lambda: _search(arguments, words))


def _search(arguments: argparse.Namespace, words: list[str]) -> int:
    import time

    from rich.console import Console

    from helo.search.setup.inputs import read_inputs

    started = time.time()
    console = Console()
    command = shlex.join([PROG, *words])
    setup, run = read_inputs(_request(arguments), command, started, _pricing_problems(arguments))
    if arguments.plan:
        from helo.search.quote import print_quote

        print_quote(setup, run, console, arguments.cluster, arguments.price)
        return EXIT_OK
    return _run(setup, run, console)


def _run(setup: SearchSetup, run: Run | None, console: Console) -> int:
    import traceback

    # Heavy imports come after all checks of the user's input.
    from helo.search.context import SearchContext
    from helo.search.session import StoppedError, complete_search

    def print_error(line: object) -> None:
        print(f"{PROG}: {line}", file=sys.stderr)

    context = SearchContext(setup, console, _resume_command(setup, run), run)
    try:
        end = complete_search(context, print_error, show_estimates=True)
    except StoppedError as error:
        if not error.interrupted and not isinstance(error.__cause__, OSError):
            traceback.print_exception(error.__cause__)
        print_error(error)
        return EXIT_INTERRUPTED if error.interrupted else EXIT_FAILED
    if end.interrupted:
        return EXIT_INTERRUPTED
    if end.failures:
        print_error(end.failures)
    return EXIT_FAILED if end.failed else EXIT_OK


def _resume_command(setup: SearchSetup, run: Run | None) -> str:
    """Return the command that resumes a search."""
    from helo.search.setup.inputs import needs_dataset

    words = ["--resume", str(run.folder if run else setup.out)]
    words += ["--data", setup.data] if needs_dataset(setup, run) else []
    words += ["--address", setup.address] if setup.address else []
    return f"python -m helo.search {shlex.join(words)}"


def _request(arguments: argparse.Namespace) -> Request:
    from helo.search.setup.request import Request

    values = vars(arguments)
    fields_given = {field.name: values[field.name] for field in fields(Request) if field.name in values}
    # A flag that is absent means that the user has given no value.
    flags = {"racing": False if arguments.no_racing else None, "compile": arguments.compile or None}
    return Request(**{**fields_given, **flags}, spell=_option)


def _option(name: str) -> str:
    """Return the option that sets a field of a request."""
    return "--no-racing" if name == "racing" else f"--{name.replace('_', '-')}"


def _pricing_problems(arguments: argparse.Namespace) -> list[str]:
    """Return the problems of the options that belong to a cost estimate."""
    problems = []
    if not arguments.plan:
        problems += [f"--{name} needs --plan" for name in ("cluster", "price") if getattr(arguments, name) is not None]
    if arguments.price is not None and not arguments.price >= 0:
        problems.append(f"--price must be at least 0, got {arguments.price}")
    return problems


if __name__ == "__main__":
    sys.exit(main())
