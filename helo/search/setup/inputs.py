"""From what is asked of a search to its plan: every input is read, and nothing is written.

Nothing heavy is imported before the values that were asked for are found to be sound.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from helo.errors import InputError
from helo.names import CellLogger, Precision
from helo.search.setup.request import DEFAULTS, SIMULATED, Request, problems_of
from helo.storage import open_folder, place_of, require_new_folder

if TYPE_CHECKING:
    from helo.data.dataset import Dataset
    from helo.run.directory import Run
    from helo.search.planning.space import Space
    from helo.search.setup.search_setup import SearchSetup
    from helo.search.sizing.resources import Resources
    from helo.settings import Engine

IN_MEMORY: Final = "a Dataset in memory"
"""Stands in a manifest for data that have no path: whoever resumes the run gives them again."""


def read_inputs(
    request: Request, command: str, started: float, more: Sequence[str] = ()
) -> tuple[SearchSetup, Run | None]:
    """Check what is asked for, read every input, and return the setup, and the run to go on with if there is one.

    `command`: for the manifest; `started`: Unix time from which the time budget counts; `more`: problems that the
    caller has found with what is asked. Raises `InputError` with all that is wrong with it, or with the first input
    that is.
    """
    problems = [*problems_of(request), *more]
    if problems:
        raise InputError("; ".join(problems))
    run = None
    if request.resume is not None:
        from helo.run.directory import Run

        run = Run.open(request.resume)
    return _plan(request, run, command, started), run


def needs_dataset(setup: SearchSetup, run: Run | None) -> bool:
    """Whether resuming this search needs its dataset: the manifest does not know where it is."""
    return (setup.data if run is None else run.manifest.data) == IN_MEMORY


def _plan(request: Request, run: Run | None, command: str, started: float) -> SearchSetup:
    """Read every input, before anything is written."""
    data = _data(request, run)
    if run is None:
        space = _space(request)
        named = open_folder(data).name if isinstance(data, str | os.PathLike) else data.schema.name
        out = open_folder(request.out if request.out is not None else _new_run(f"{named}-{space.name}"))
        require_new_folder(out, request.spell("out"))
    else:
        out = run.folder
    if out.here is None and _logs_to_files(request):
        raise InputError(
            f"{request.spell('log')} writes files beside the search, which object storage cannot hold; leave it out, "
            "or take mlflow with MLFLOW_TRACKING_URI"
        )
    dataset = _dataset(data)

    from helo.search.setup.search_setup import SearchSetup
    from helo.settings import Engine, TrainingSettings

    wish, gpus = _resources(request)
    if run is None:
        setup = SearchSetup(
            dataset=dataset,
            space=space,
            out=out,
            training=TrainingSettings(
                seed=int(request.value("seed")),
                normalise=request.value("normalise"),
                objective=space.objective,
                engine=Engine(precision=request.value("precision"), compiled=request.value("compile")),
                threads=wish.cpus_per_cell,
            ),
            resources=wish,
            protocol=request.value("protocol"),
            baselines=request.chosen_baselines,
            racing=request.value("racing") and not space.variants,  # a table needs all of its cells
        )
    else:
        from helo.search.setup.resume import restore_setup

        setup = restore_setup(run, dataset, wish, request.spell("data"))
    if not gpus and request.address is None:
        _check_engine(setup.training.engine, request.spell)
    budget = request.seconds
    return replace(
        setup,
        address=request.address,
        gpus=gpus,
        data=_where(data),
        command=command,
        deadline=None if budget is None else started + budget,
        loggers=request.loggers,
        export_predictions=request.value("export_predictions"),
    )


def _logs_to_files(request: Request) -> bool:
    return CellLogger.TENSORBOARD in request.loggers or (
        CellLogger.MLFLOW in request.loggers and not os.environ.get("MLFLOW_TRACKING_URI")
    )


def _data(request: Request, run: Run | None) -> Dataset | os.PathLike[str] | str:
    if request.data is not None:
        return request.data
    known = (run.manifest.data or "") if run else ""
    if run and known == IN_MEMORY:
        raise InputError(
            f"{run.folder}: was started with {IN_MEMORY}, so it does not know where the data are; "
            f"give them with {request.spell('data')}"
        )
    return known or str(DEFAULTS["data"])


def _where(data: Dataset | os.PathLike[str] | str) -> str:
    """Where data are, for the manifest."""
    if not isinstance(data, str | os.PathLike):
        return IN_MEMORY
    return SIMULATED if data == SIMULATED else str(place_of(data))


def _dataset(data: Dataset | os.PathLike[str] | str) -> Dataset:
    from helo.data import read_dataset, simulate

    if not isinstance(data, str | os.PathLike):
        return data
    return simulate() if data == SIMULATED else read_dataset(data)


def _space(request: Request) -> Space:
    from helo.search.planning.space import Space, load_space, parse_space

    given = request.value("space")
    if isinstance(given, Space):
        given = given.as_dict()  # whoever built it by hand has checked nothing
    if isinstance(given, Mapping):
        space = parse_space(given, request.spell("space"), "unnamed")
    else:
        space = load_space(os.fspath(given))
    if space.variants and (request.configurations is not None or request.sampler is not None):
        both = f"{request.spell('configurations')} and {request.spell('sampler')}"
        raise InputError(f"space {space.name} lists its configurations: {both} act on none")
    if request.configurations is not None:
        space = replace(space, configurations=int(request.configurations))
    return space if request.sampler is None else replace(space, sampler=request.sampler)


def _check_engine(engine: Engine, spell: Callable[[str], str]) -> None:
    """On a CPU both have been measured to cost time: nobody wants them there."""
    mixed, compiled = f"{spell('precision')} {Precision.MIXED}", spell("compile")
    for given, name in ((engine.precision == Precision.MIXED, mixed), (engine.compiled, compiled)):
        if given:
            raise InputError(f"{name} makes cells faster on GPUs only, and this machine has none; leave it out")


def _resources(request: Request) -> tuple[Resources, int]:
    """What a cell shall get, and how many GPUs this machine has."""
    import torch

    from helo.search.sizing.resources import Resources

    gpus, share = torch.cuda.device_count(), request.gpu_share
    if share is not None and share > gpus and request.address is None:
        option = request.spell("gpus_per_cell")
        raise InputError(f"{option} must be 0 or auto on this machine, which has {gpus} GPUs, got {share:g}")
    concurrency = None if request.concurrency is None else int(request.concurrency)
    return Resources(concurrency, int(request.value("cpus_per_cell")), share), gpus


def _new_run(name: str) -> Path:
    from datetime import datetime

    plain = re.sub(r"[^\w.-]+", "-", name).lstrip(".")  # data and spaces may be called anything, folders not
    base = Path("runs") / f"{plain}-{datetime.now().astimezone():%Y%m%d-%H%M%S}"
    candidate, number = base, 2
    while candidate.exists():
        candidate, number = base.with_name(f"{base.name}-{number}"), number + 1
    return candidate
