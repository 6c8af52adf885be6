"""``python -m helo.search``: a leave-one-subject-out hyperparameter search of HeLo, in one command."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from helo.cli import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, run_command
from helo.errors import InputError, require_new
from helo.names import NORMALISATIONS, NORMALISE_TRAIN

if TYPE_CHECKING:
    from helo.data.dataset import Dataset
    from helo.run import Run
    from helo.search.driver import SearchPlan
    from helo.search.tune import Resources

PROG = "helo-search"
SIMULATED = "simulated"
GPU_SHARE = 0.25
"""Share of a GPU per cell, unless said otherwise: HeLo is small, four cells keep a GPU busier than one."""

ADDRESS_TIMEOUT_S = 5.0
"""How long to wait for a Ray cluster's port to answer."""


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog=PROG,
        description="Search HeLo's hyperparameters with leave-one-subject-out folds; without arguments, "
        "a demo on simulated data.",
    )
    add = parser.add_argument
    add(
        "--data",
        default=SIMULATED,
        metavar="DIR",
        help="dataset directory (default: built-in simulated data)",
    )
    add("--space", metavar="NAME|FILE", help="search space: demo, small, full or a YAML file (default: demo)")
    add("--out", type=Path, metavar="RUN", help="run directory (default: a new one in runs/)")
    add("--configurations", type=int, metavar="N", help="configurations to draw (default: the space's)")
    add("--sampler", choices=("tpe", "random"), help="how configurations are drawn (default: the space's)")
    add("--seed", type=int, default=0, metavar="N", help="seed of folds, draws and training (default: 0)")
    add("--normalise", choices=NORMALISATIONS, default=NORMALISE_TRAIN,
        help="scale features with the training subjects' statistics, or within each subject, which uses the "
        "test subject's unlabelled windows (default: train)")  # fmt: skip
    add("--concurrency", type=int, metavar="N", help="cells at a time (default: as many as fit)")
    add("--cpus-per-cell", type=int, default=1, metavar="N", help="CPUs and threads of a cell (default: 1)")
    add("--gpus-per-cell", type=float, metavar="F",
        help=f"share of a GPU per cell (default: {GPU_SHARE} where there is a GPU, else 0)")  # fmt: skip
    add("--address", metavar="A", help="Ray cluster to use, such as auto (default: this machine alone)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``helo-search``."""
    words = list(sys.argv[1:] if argv is None else argv)
    arguments = build_parser().parse_args(words)
    return run_command(PROG, lambda: _search(arguments, words))


def _search(arguments: argparse.Namespace, words: list[str]) -> int:
    from rich.console import Console

    console = Console()
    plan = _plan(arguments, words)

    # Heavy imports after all that the user can get wrong has been checked.
    from analysis.report import write_report, write_summary
    from analysis.tables import print_summary
    from helo.search.driver import run_search

    def announce(run: Run) -> None:
        dataset, space = plan.dataset, plan.space
        console.print(
            f"{dataset.schema.name}: {len(dataset.subject_names)} subjects, {len(dataset)} windows, "
            f"{len(dataset.emotions)} emotions; space {space.name}: {space.configurations} configurations × "
            f"{len(dataset.subject_names)} folds, {plan.resources.concurrency} cells at a time; "
            f"seed {plan.seed}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
        console.print(f"run directory: {run.path}", highlight=False, markup=False, soft_wrap=True)

    run, complete = run_search(plan, console, announce)
    finished = len(run.ledger.parts())
    if not complete:
        print(
            f"{PROG}: interrupted; {finished} finished cells are in {run.ledger.folder}, their tables in {run.path}",
            file=sys.stderr,
        )
    if finished:
        write_summary(run)
        print_summary(run, console)
        console.print(f"report: {write_report(run)}", highlight=False, markup=False, soft_wrap=True)
    return _report_failures(run) if complete else EXIT_INTERRUPTED


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


def _plan(arguments: argparse.Namespace, words: list[str]) -> SearchPlan:
    """Check every argument and read every input, before anything is written."""
    from dataclasses import replace

    from helo.search.space import load_space

    problems = []
    for name in ("configurations", "concurrency", "cpus_per_cell"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            problems.append(f"--{name.replace('_', '-')} must be at least 1, got {value}")
    gpus = arguments.gpus_per_cell
    if gpus is not None and not (0 <= gpus <= 1 or (float(gpus).is_integer() and gpus > 0)):
        problems.append(f"--gpus-per-cell must be from 0 to 1, or a whole number, got {gpus}")
    if arguments.seed < 0:
        problems.append(f"--seed must be at least 0, got {arguments.seed}")
    if arguments.address is not None:
        problems += _address_problems(arguments.address)
    if problems:
        raise InputError("; ".join(problems))
    space = load_space(arguments.space or "demo")
    if arguments.configurations is not None:
        space = replace(space, configurations=arguments.configurations)
    if arguments.sampler is not None:
        space = replace(space, sampler=arguments.sampler)
    out = arguments.out or _new_run(f"{Path(arguments.data).resolve().name}-{space.name}")
    require_new(out)
    dataset = _dataset(arguments.data)

    from helo.search.driver import SearchPlan

    resources, gpu_count = _resources(arguments)
    return SearchPlan(
        dataset=dataset,
        space=space,
        out=out,
        seed=arguments.seed,
        resources=resources,
        normalise=arguments.normalise,
        address=arguments.address,
        gpus=gpu_count,
        command=shlex.join([PROG, *words]),
    )


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
    """What a cell gets, and how many cells run at a time on this machine; also its number of GPUs."""
    import os

    import torch

    from helo.search.tune import Resources

    gpus = torch.cuda.device_count()
    share = arguments.gpus_per_cell
    if share is None:
        share = GPU_SHARE if gpus else 0.0
    if share > gpus and arguments.address is None:
        raise InputError(f"--gpus-per-cell must be 0 on this machine, which has {gpus} GPUs, got {share:g}")
    cpus = arguments.cpus_per_cell
    fitting = max(1, (os.cpu_count() or 1) // cpus)
    if share and gpus:
        fitting = max(1, min(fitting, int(gpus / share)))
    return Resources(arguments.concurrency or fitting, cpus, share), gpus


def _new_run(name: str) -> Path:
    from datetime import datetime

    base = Path("runs") / f"{name}-{datetime.now().astimezone():%Y%m%d-%H%M%S}"
    candidate, number = base, 2
    while candidate.exists():
        candidate, number = base.with_name(f"{base.name}-{number}"), number + 1
    return candidate


if __name__ == "__main__":
    sys.exit(main())
