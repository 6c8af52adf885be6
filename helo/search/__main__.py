"""``python -m helo.search``: a leave-one-subject-out hyperparameter search of HeLo, in one command."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, NamedTuple

from helo._cli import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_OUT_OF_TIME,
    CommandParser,
    add_common_options,
    add_verbose_option,
    number_argument,
    path_argument,
    print_line,
    print_text,
    run_command,
    whole_argument,
)
from helo._text import hide_credentials
from helo.errors import InputError, SearchError
from helo.names import CellLogger, Delivery, Normalisation, Precision, SearchProtocol, enum_values

if TYPE_CHECKING:
    from rich.console import Console

    from helo.run.directory import Run
    from helo.search.seeds import SeedSearches
    from helo.search.setup.request import Request
    from helo.search.setup.search_setup import SearchSetup
    from helo.storage import Folder

PROG = "helo-search"

MAX_PRICE = 1e6
"""Largest accepted price of a cluster, in USD per hour."""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = CommandParser(
        prog=PROG,
        description="Search HeLo's hyperparameters with leave-one-subject-out folds. Without arguments, run a demo on "
        "simulated data.",
    )
    add_common_options(parser)
    add = parser.add_argument_group("search").add_argument
    add("--data", metavar="DIR", help="dataset directory, or s3://BUCKET/FOLDER (default: built-in simulated data)")
    add("--space", metavar="NAME|FILE", help="search space: demo, small, full, ablation or a YAML file (default: demo)")
    add(
        "--configurations",
        type=whole_argument,
        metavar="N",
        help="number of configurations to draw (default: that of the space)",
    )
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
    add("--seed", type=whole_argument, metavar="N", help="seed of folds, draws and training (default: 0)")
    add(
        "--seeds",
        metavar="LIST",
        help="run the search once with each of several seeds, such as 0,1,2, and report their mean and spread; RUN is "
        "then a directory with a run for each seed",
    )
    add(
        "--normalise",
        choices=enum_values(Normalisation),
        help="scale features with statistics of the training subjects, or within each subject, which uses the "
        "unlabelled windows of the test subject (default: train)",
    )
    add(
        "--inner-folds",
        type=whole_argument,
        metavar="K",
        help="inner splits of the other subjects, and models of a cell, which are averaged; 1 means a single split "
        "(default: 5, or the number of other subjects if that is smaller)",
    )
    add = parser.add_argument_group("run directory, time and cost").add_argument
    add("--out", metavar="RUN", help="run directory to create, or s3://BUCKET/FOLDER (default: a new one in runs/)")
    add("--resume", metavar="RUN", help="run directory of an interrupted, killed or unfinished search to resume")
    add(
        "--retry-failed",
        action="store_true",
        help="with --resume: run all failed cells again; cells that failed because of the machine always run again",
    )
    add(
        "--time-budget",
        metavar="TIME",
        help="end the search after this time (90s, 30m, 2h) with exit code 3 and a run that can be resumed",
    )
    add(
        "--allow-version-change",
        action="store_true",
        default=None,
        help="continue with other versions of torch or other packages than before (--resume), or on nodes that have "
        "other versions (--address); the report says so",
    )
    add("--plan", action="store_true", help="print a cost estimate from a timed probe, and do not start the search")
    add("--cluster", type=path_argument, metavar="FILE", help="with --plan: cluster file for the cost estimate")
    add(
        "--price",
        type=number_argument,
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
    add_verbose_option(add)
    add = parser.add_argument_group("resources").add_argument
    add(
        "--concurrency",
        type=whole_argument,
        metavar="N",
        help="maximum number of cells that run at the same time (default: as many as fit)",
    )
    add("--cpus-per-cell", type=whole_argument, metavar="N", help="CPUs and threads of a cell (default: 1)")
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
    from rich.console import Console

    from helo._deadline import seconds_since_boot
    from helo.search.seeds import read_searches
    from helo.search.setup.inputs import read_inputs

    started = seconds_since_boot()
    console = Console()
    command = shlex.join([PROG, *words])
    request, problems = _request(arguments), [*_pricing_problems(arguments), *_seed_problems(arguments)]
    searches = read_searches(request, arguments.seeds, command, started, problems)
    setup, run = read_inputs(request, command, started, problems) if searches is None else searches.first
    if arguments.plan:
        from helo.search.quote import print_quote

        print_quote(setup, run, console, arguments.cluster, arguments.price)
        if searches is not None:
            count = len(searches.seeds)
            print_text(console, f"This is for one seed. The search runs with {count} seeds, one after another.")
        return EXIT_OK
    if searches is None:
        end = _run(setup, run, console, _resume_command(setup, run), arguments.verbose)
        return end.show()
    return _run_seeds(searches, console, arguments.verbose)


def _run_seeds(searches: SeedSearches, console: Console, verbose: bool) -> int:
    """Run the searches of several seeds that are left; show the result of all."""
    from helo.search.session import conclude_seeds

    resume_command = _resume_command(*searches.first, searches.runs.folder)
    end = _End()
    with searches.directory():
        for number, search in enumerate(searches.left(), searches.finished + 1):
            print_text(console, f"seed {search.seed}, {number} of {len(searches.seeds)}")
            end = _run(search.setup, search.run, console, resume_command, verbose, brief=True)
            print_line(console, "")
            if end.code != EXIT_OK:
                break
    conclude_seeds(searches.runs, console)
    return end.show()


class _End(NamedTuple):
    """Exit code of a search, and the line about its end that comes last."""

    code: int = EXIT_OK
    line: str | None = None

    def show(self) -> int:
        """Print the line and return the exit code."""
        if self.line:
            _print_error(self.line)
        return self.code


def _print_error(line: object) -> None:
    print(f"{PROG}: {line}", file=sys.stderr)


def _run(
    setup: SearchSetup, run: Run | None, console: Console, resume_command: str, verbose: bool, brief: bool = False
) -> _End:
    import traceback

    # Heavy imports come after all checks of the user's input.
    from helo.search.context import SearchContext
    from helo.search.session import Ending, Screen, StoppedError, complete_search

    def print_traceback(error: BaseException) -> None:
        if not isinstance(error, InputError | KeyboardInterrupt | OSError | SearchError):
            print(hide_credentials("".join(traceback.format_exception(error))), end="", file=sys.stderr)

    context = SearchContext(setup, console, resume_command, run)
    try:
        end = complete_search(context, Screen(print_traceback, _print_error, verbose, brief))
    except StoppedError as error:
        return _End(EXIT_INTERRUPTED if error.interrupted else EXIT_FAILED, str(error))
    if end.ending is Ending.INTERRUPTED:
        code = EXIT_INTERRUPTED
    elif end.failed:
        code = EXIT_FAILED
    else:
        code = EXIT_OUT_OF_TIME if end.ending is Ending.OUT_OF_TIME else EXIT_OK
    return _End(code, end.stop)


def _resume_command(setup: SearchSetup, run: Run | None, folder: Folder | None = None) -> str:
    """Return the command that resumes a search; `folder` is that of its run, or of the runs of several seeds."""
    from helo.search.setup.inputs import options_to_repeat

    words = ["--resume", str(folder or (run.folder if run else setup.out))]
    for name, value in options_to_repeat(setup, run).items():
        for one in value if isinstance(value, list) else [value]:
            words.append(_option(name))
            if one is not True:
                words.append(f"{one:g}" if isinstance(one, float) else str(one))
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


def _seed_problems(arguments: argparse.Namespace) -> list[str]:
    """Return the problems of ``--seeds`` beside other options."""
    if arguments.seeds is None:
        return []
    others = [name for name in ("seed", "resume") if getattr(arguments, name) is not None]
    return [f"--seeds cannot be combined with --{name}" for name in others]


def _pricing_problems(arguments: argparse.Namespace) -> list[str]:
    """Return the problems of the options that belong to a cost estimate."""
    problems = []
    if not arguments.plan:
        problems += [f"--{name} needs --plan" for name in ("cluster", "price") if getattr(arguments, name) is not None]
    if arguments.price is not None and not 0 <= arguments.price <= MAX_PRICE:
        problems.append(f"--price must be from 0 to {MAX_PRICE:g}, got {arguments.price:g}")
    return problems


if __name__ == "__main__":
    sys.exit(main())
