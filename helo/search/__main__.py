"""``python -m helo.search``: a leave-one-subject-out hyperparameter search of HeLo, in one command."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from helo.cli import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, run_command, say
from helo.errors import InputError, did_you_mean, require_new, shorten
from helo.names import (
    FITTED_BASELINES,
    LOGS,
    NORMALISATIONS,
    NORMALISE_TRAIN,
    PRECISION_FULL,
    PRECISION_MIXED,
    PRECISIONS,
    PROTOCOL_SHARED,
    PROTOCOLS,
)

if TYPE_CHECKING:
    from rich.console import Console

    from helo.data.dataset import Dataset
    from helo.fitting import Engine
    from helo.run import Run
    from helo.search.plan import SearchPlan
    from helo.search.resources import Resources

PROG = "helo-search"
SIMULATED = "simulated"
AUTO = "auto"

ADDRESS_TIMEOUT_S = 5.0
"""How long to wait for a Ray cluster's port to answer."""

FIXED = ("out", "space", "configurations", "sampler", "seed", "normalise", "protocol", "no_racing", "baselines",
         "cpus_per_cell",
         "precision", "compile")  # fmt: skip
"""Arguments that decide what is computed: a run that is resumed has them from its manifest."""


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog=PROG,
        description="Search HeLo's hyperparameters with leave-one-subject-out folds; without arguments, "
        "a demo on simulated data.",
    )
    what = parser.add_argument_group("what is searched")
    add = what.add_argument
    add("--data", metavar="DIR", help="dataset directory (default: built-in simulated data)")
    add("--space", metavar="NAME|FILE", help="search space: demo, small, full, ablation or a YAML file (default: demo)")
    add("--configurations", type=int, metavar="N", help="configurations to draw (default: the space's)")
    add("--sampler", choices=("tpe", "random"), help="how configurations are drawn (default: the space's)")
    add("--protocol", choices=PROTOCOLS,
        help="one study over all folds, or a study per fold with nothing between them (default: shared)")  # fmt: skip
    add("--no-racing", action="store_true",
        help="run every cell of every configuration to its end: no races over folds, no rungs within them")  # fmt: skip
    add("--baselines", metavar="LIST",
        help="what else is scored on the same folds: all, none, or some of knn, max_entropy, ridge, random_forest, "
        "mlp, parted by commas (default: all)")  # fmt: skip
    add("--seed", type=int, metavar="N", help="seed of folds, draws and training (default: 0)")
    add("--normalise", choices=NORMALISATIONS,
        help="scale features with the training subjects' statistics, or within each subject, which uses the "
        "test subject's unlabelled windows (default: train)")  # fmt: skip
    where = parser.add_argument_group("where it goes, and how long it may take")
    add = where.add_argument
    add("--out", type=Path, metavar="RUN", help="run directory (default: a new one in runs/)")
    add("--resume", type=Path, metavar="RUN", help="go on with a run that was interrupted, killed or out of time")
    add("--time-budget", metavar="TIME", help="end in this time (90s, 30m, 2h) with a run that can be resumed")
    add("--plan", action="store_true",
        help="say what the search would cost, from a timed probe, and do not start it")  # fmt: skip
    add("--cluster", type=Path, metavar="FILE", help="with --plan: a cluster file, whose instances are priced")
    add("--price", type=float, metavar="USD", help="with --plan: price of the whole cluster per hour")
    add("--export-predictions", action="store_true",
        help="also write the test predictions of every cell and baseline: RUN/all_predictions.parquet")  # fmt: skip
    add("--log", action="append", choices=LOGS, default=[], help="also log every cell there, by Ray's own callbacks")
    on = parser.add_argument_group("what it runs on")
    add = on.add_argument
    add("--concurrency", type=int, metavar="N", help="cells at a time (default: as many as fit)")
    add("--cpus-per-cell", type=int, metavar="N", help="CPUs and threads of a cell (default: 1)")
    add("--gpus-per-cell", metavar="auto|F",
        help="share of a GPU per cell; auto measures what the largest configuration needs (default: auto)")  # fmt: skip
    add("--precision", choices=PRECISIONS,
        help="mixed computes products in bfloat16, for GPUs that are made for it (default: full)")  # fmt: skip
    add("--compile", action="store_true", help="compile training steps (torch.compile): for long cells on GPUs")
    add("--address", metavar="A", help="Ray cluster to use, such as auto (default: this machine alone)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``helo-search``."""
    words = list(sys.argv[1:] if argv is None else argv)
    arguments = build_parser().parse_args(words)
    return run_command(PROG, lambda: _search(arguments, words))


def _search(arguments: argparse.Namespace, words: list[str]) -> int:
    import time

    from rich.console import Console

    started = time.time()
    console = Console()
    _check(arguments)
    budget = _seconds(arguments.time_budget)
    run = _run_to_resume(arguments)
    plan = _plan(arguments, words, run, None if budget is None else started + budget)
    if arguments.plan:
        from helo.search.quote import print_quote

        print_quote(plan, run, console, arguments.cluster, arguments.price)
        return EXIT_OK
    return _run(plan, run, console)


def _run(plan: SearchPlan, run: Run | None, console: Console) -> int:
    import time
    import traceback

    # Heavy imports after all that the user can get wrong has been checked.
    from analysis.report import write_report, write_summary
    from analysis.source import read_source
    from analysis.tables import print_summary
    from helo.search.driver import deliver_model, run_search

    def announce(made: Run, resources: Resources) -> None:
        nonlocal run
        resumed, run = run is not None, made
        dataset, space = plan.dataset, plan.space
        racing = "racing" if plan.racing else "no racing"
        share = f", {resources.gpus_per_cell:g} of a GPU each" if resources.gpus_per_cell else ""
        say(
            console,
            f"{dataset.schema.name}: {len(dataset.subject_names)} subjects, {len(dataset)} windows, "
            f"{len(dataset.emotions)} emotions; space {space.name}: {space.configurations} configurations × "
            f"{len(dataset.subject_names)} folds, protocol {plan.protocol}, {racing}; "
            f"{resources.concurrency} cells at a time{share}; seed {plan.seed}",
        )
        if dataset.missing:
            say(console, f"missing signals: {dataset.missing}")
        say(
            console,
            f"run directory: {made.path}" + (f", {len(made.ledger.parts())} cells are there" if resumed else ""),
        )

    again = f"python -m helo.search --resume {shlex.quote(str(run.path if run else plan.out))}"
    if plan.address:
        again += f" --address {shlex.quote(plan.address)}"
    try:
        run, complete = run_search(plan, console, announce, run)
        finished = len(run.ledger.parts())
        in_time = plan.deadline is not None and time.time() >= plan.deadline
        if not complete:
            why = "time is up" if in_time else "interrupted"
            print(f"{PROG}: {why}; {finished} cells are finished; go on with: {again}", file=sys.stderr)
        if finished:
            source = read_source(run)
            write_summary(source)
            path = write_report(source)  # before anything is printed: whoever reads may be gone
            print_summary(source, console)
            say(console, f"report: {path}")
        if complete and deliver_model(plan, run, console, again):
            write_report(read_source(run))  # which names the model
    except (Exception, KeyboardInterrupt) as error:
        if run is None or isinstance(error, InputError):
            raise
        interrupted = isinstance(error, KeyboardInterrupt)
        if isinstance(error, OSError):
            reason = f"{error.filename or run.path}: {error.strerror or error}"
        else:
            reason = "interrupted" if interrupted else f"failed with {type(error).__name__} (above)"
        if not interrupted and not isinstance(error, OSError):
            traceback.print_exc()
        print(f"{PROG}: {reason}; {len(run.ledger.parts())} cells are finished; go on with: {again}", file=sys.stderr)
        return EXIT_INTERRUPTED if interrupted else EXIT_FAILED
    if not complete and not in_time:
        return EXIT_INTERRUPTED
    return _report_failures(run) if finished else EXIT_OK


def _report_failures(run: Run) -> int:
    """Say how many cells failed and why the first did; a run in which all did has failed itself."""
    from helo.names import CELLS, CONFIGURATION, FAILED, FOLD, REASON, STATUS

    cells = run.table(CELLS)
    failed = cells[cells[STATUS] == FAILED]
    if failed.empty:
        return EXIT_OK
    first = failed.iloc[0]
    reason = str(first[REASON]).strip().splitlines()[-1]
    print(
        f"{PROG}: {len(failed)} of {len(cells)} cells failed, the first (configuration {first[CONFIGURATION]}, "
        f"fold {first[FOLD]}): {reason}",
        file=sys.stderr,
    )
    return EXIT_FAILED if len(failed) == len(cells) else EXIT_OK


def _check(arguments: argparse.Namespace) -> None:
    """Everything that is wrong with the arguments themselves, in one line."""
    problems = []
    for name in ("configurations", "concurrency", "cpus_per_cell"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            problems.append(f"--{name.replace('_', '-')} must be at least 1, got {value}")
    share = _share(arguments.gpus_per_cell)
    if share is not None and not (0 <= share <= 1 or (share.is_integer() and share > 0)):
        problems.append(f"--gpus-per-cell must be auto, from 0 to 1, or a whole number, got {arguments.gpus_per_cell}")
    if arguments.seed is not None and arguments.seed < 0:
        problems.append(f"--seed must be at least 0, got {arguments.seed}")
    if arguments.address is not None:
        problems += _address_problems(arguments.address)
    _baselines(arguments.baselines)
    if arguments.resume is not None:
        given = [f"--{name.replace('_', '-')}" for name in FIXED if _is_given(getattr(arguments, name))]
        if given:
            problems.append(f"--resume goes on with what the run was started with; leave out {shorten(given, 9)}")
    if not arguments.plan:
        problems += [f"--{name} needs --plan" for name in ("cluster", "price") if getattr(arguments, name) is not None]
    if arguments.price is not None and not arguments.price >= 0:
        problems.append(f"--price must be at least 0, got {arguments.price}")
    if _seconds(arguments.time_budget) == 0:
        problems.append("--time-budget must be above 0")
    if problems:
        raise InputError("; ".join(problems))


def _baselines(text: str | None) -> tuple[str, ...]:
    if text is None or text == "all":
        return FITTED_BASELINES
    names = () if text == "none" else tuple(word.strip() for word in text.split(","))
    for name in names:
        if name in ("all", "none"):
            raise InputError(f"--baselines: {name!r} stands alone, got {text!r}")
        if name not in FITTED_BASELINES:
            known = ("all", "none", *FITTED_BASELINES)
            raise InputError(f"--baselines: unknown {name!r}{did_you_mean(name, known)}; known are {', '.join(known)}")
    return tuple(name for name in FITTED_BASELINES if name in names)


def _is_given(value: object) -> bool:
    return value is not None and value is not False


def _share(text: str | None) -> float | None:
    """A share of a GPU; None for auto; NaN for what is neither."""
    if text is None or text == AUTO:
        return None
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _seconds(text: str | None) -> float | None:
    from helo.text import seconds

    if text is None:
        return None
    try:
        return seconds(text)
    except ValueError:
        raise InputError(f"--time-budget must be a number and s, m, h or d, such as 90s or 2h, got {text!r}") from None


def _run_to_resume(arguments: argparse.Namespace) -> Run | None:
    if arguments.resume is None:
        return None
    from helo.run import Run

    return Run.open(arguments.resume)


def _plan(arguments: argparse.Namespace, words: list[str], run: Run | None, deadline: float | None) -> SearchPlan:
    """Read every input, before anything is written."""
    from dataclasses import replace

    data = arguments.data or (str(run.manifest.get("data", "")) if run else "") or SIMULATED
    if run is None:
        from helo.search.space import load_space

        space = load_space(arguments.space or "demo")
        if space.variants and (arguments.configurations is not None or arguments.sampler is not None):
            raise InputError(f"space {space.name} lists its configurations: --configurations and --sampler act on none")
        if arguments.configurations is not None:
            space = replace(space, configurations=arguments.configurations)
        if arguments.sampler is not None:
            space = replace(space, sampler=arguments.sampler)
        out = arguments.out or _new_run(f"{Path(data).resolve().name}-{space.name}")
        require_new(out)
    dataset = _dataset(data)

    from helo.fitting import Engine
    from helo.search.plan import SearchPlan

    wish, gpus = _resources(arguments)
    if run is None:
        plan = SearchPlan(
            dataset=dataset,
            space=space,
            out=out,
            seed=arguments.seed or 0,
            resources=wish,
            normalise=arguments.normalise or NORMALISE_TRAIN,
            protocol=arguments.protocol or PROTOCOL_SHARED,
            engine=Engine(precision=arguments.precision or PRECISION_FULL, compiled=arguments.compile),
            baselines=_baselines(arguments.baselines),
            racing=not (arguments.no_racing or space.variants),  # a table needs all of its cells
        )
    else:
        from helo.search.resume import plan_of

        plan = plan_of(run, dataset, wish)
    if not gpus and arguments.address is None:
        _check_engine(plan.engine)
    return replace(
        plan,
        address=arguments.address,
        gpus=gpus,
        data=data if data == SIMULATED else str(Path(data).resolve()),
        command=shlex.join([PROG, *words]),
        deadline=deadline,
        loggers=tuple(dict.fromkeys(arguments.log)),
        export_predictions=arguments.export_predictions,
    )


def _check_engine(engine: Engine) -> None:
    """On a CPU both have been measured to cost time: nobody wants them there."""
    for given, name in ((engine.precision == PRECISION_MIXED, "--precision mixed"), (engine.compiled, "--compile")):
        if given:
            raise InputError(f"{name} makes cells faster on GPUs only, and this machine has none; leave it out")


def _address_problems(address: str) -> list[str]:
    """What is wrong with an address. Asking a port is quick; Ray tries for minutes."""
    import socket

    if address == "auto":
        return []
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdecimal() or not 0 < int(port) < 65536:
        return [f"--address must be auto or HOST:PORT, got {address!r}"]
    try:
        socket.create_connection((host, int(port)), timeout=ADDRESS_TIMEOUT_S).close()
    except OSError as error:
        return [f"--address {address}: no Ray cluster answers there ({error.strerror or error})"]
    return []


def _dataset(name: str) -> Dataset:
    from helo.data import read_dataset, simulate

    return simulate() if name == SIMULATED else read_dataset(name)


def _resources(arguments: argparse.Namespace) -> tuple[Resources, int]:
    """What a cell shall get, and how many GPUs this machine has."""
    import torch

    from helo.search.resources import Resources

    gpus, share = torch.cuda.device_count(), _share(arguments.gpus_per_cell)
    if share is not None and share > gpus and arguments.address is None:
        raise InputError(f"--gpus-per-cell must be 0 or auto on this machine, which has {gpus} GPUs, got {share:g}")
    return Resources(arguments.concurrency, arguments.cpus_per_cell or 1, share), gpus


def _new_run(name: str) -> Path:
    from datetime import datetime

    base = Path("runs") / f"{name}-{datetime.now().astimezone():%Y%m%d-%H%M%S}"
    candidate, number = base, 2
    while candidate.exists():
        candidate, number = base.with_name(f"{base.name}-{number}"), number + 1
    return candidate


if __name__ == "__main__":
    sys.exit(main())
