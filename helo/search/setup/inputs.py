"""Reading of the inputs of a search, from a request to a setup. Nothing is written.

The values of the request are checked before any slow import.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helo._deadline import Deadline
from helo.errors import InputError
from helo.names import IN_MEMORY, CellLogger, Precision
from helo.search.setup.request import DEFAULTS, SIMULATED, Request, problems_of
from helo.storage import open_folder, place_of, require_new_folder

if TYPE_CHECKING:
    from helo.data.dataset import Dataset
    from helo.run.directory import Run
    from helo.search.planning.space import Space
    from helo.search.setup.search_setup import SearchSetup
    from helo.search.sizing.resources import Resources
    from helo.settings import Engine


def read_inputs(
    request: Request, command: str, started: float, other_problems: Sequence[str] = ()
) -> tuple[SearchSetup, Run | None]:
    """Check a request and read every input.

    Parameters
    ----------
    request : Request
        Values that the user has given.
    command : str
        Command or call of the user, for the manifest.
    started : float
        Time in seconds, see `helo._deadline.seconds_since_boot`, at which the time budget starts.
    other_problems : sequence of str
        Messages about problems that the caller has found.

    Returns
    -------
    SearchSetup
        Setup of the search.
    Run or None
        Run to resume.

    Raises
    ------
    InputError
        If the request has problems, with all of them, or if an input is invalid, with the first one.
    """
    problems = [*problems_of(request), *other_problems]
    if sys.flags.optimize > 1:
        problems.insert(0, "Ray needs docstrings: run Python without -OO, and unset PYTHONOPTIMIZE (-O is possible)")
    if problems:
        raise InputError("; ".join(problems))
    run = None
    if request.resume is not None:
        from helo.run.directory import Run

        run = Run.open(request.resume)
    return _read_setup(request, run, command, started), run


def needs_dataset(setup: SearchSetup, run: Run | None) -> bool:
    """Return whether the dataset must be given to resume a search, because the manifest has no path of it.

    Parameters
    ----------
    setup : SearchSetup
        Setup of the search.
    run : Run or None
        Run of the search, if it has been created.

    Returns
    -------
    bool
        True if the dataset was in memory.
    """
    return (setup.data if run is None else run.manifest.data) == IN_MEMORY


def options_to_repeat(setup: SearchSetup, run: Run | None) -> dict[str, Any]:
    """Return the given values that a run does not record, and that therefore must be given again to resume it.

    Parameters
    ----------
    setup : SearchSetup
        Setup of the search.
    run : Run or None
        Run that is resumed, if any.

    Returns
    -------
    dict
        Field of a `Request` → value: path, text, number, True, or list of names.
    """
    moved = run is not None and setup.data not in (IN_MEMORY, run.manifest.data)
    return {
        name: value
        for name, value in (
            ("data", setup.data if moved else None),
            ("address", setup.address),
            ("concurrency", setup.resources.concurrency),
            ("gpus_per_cell", setup.resources.gpus_per_cell),
            ("export_predictions", setup.export_predictions or None),
            ("allow_version_change", (setup.address is not None and setup.allow_version_change) or None),
            ("log", list(setup.loggers) or None),
        )
        if value is not None
    }


def _read_setup(request: Request, run: Run | None, command: str, started: float) -> SearchSetup:
    """Read every input and return the setup of the search."""
    data = _find_data(request, run)
    if run is None:
        space = _read_space(request)
        data_name = open_folder(data).name if isinstance(data, str | os.PathLike) else data.schema.name
        out = open_folder(request.out if request.out is not None else _new_run_path(f"{data_name}-{space.name}"))
        require_new_folder(out, request.spell("out"))
    else:
        out = run.folder
        _check_versions(run, request)
    if out.here is None and _logs_to_files(request):
        raise InputError(
            f"{request.spell('log')} writes local files, which a run on object storage cannot have; leave it out, "
            "or use mlflow with MLFLOW_TRACKING_URI"
        )
    dataset = _read_data(data)

    from helo.evaluation.folds import loso_folds
    from helo.search.planning.models import space_of_models
    from helo.search.planning.space_for_data import space_for_roles
    from helo.search.setup.budget import count_training_windows
    from helo.search.setup.search_setup import SearchSetup
    from helo.settings import Engine, TrainingSettings

    resources, gpus = _requested_resources(request)
    if run is None:
        space = space_of_models(space_for_roles(space, dataset.schema.roles))
        others = len(dataset.subject_names) - 1
        if request.inner_folds is not None and request.inner_folds > others >= 2:
            raise InputError(
                f"{request.spell('inner_folds')} must be at most {others}, the number of subjects besides the test "
                f"subject, got {request.inner_folds}"
            )
        folds = loso_folds(dataset.subject_names, int(request.value("seed")), request.inner_folds)
        if space.automatic:
            space = space.resolve(count_training_windows(dataset, folds))
        setup = SearchSetup(
            dataset=dataset,
            space=space,
            out=out,
            training=TrainingSettings(
                seed=int(request.value("seed")),
                normalise=request.value("normalise"),
                objective=space.objective,
                engine=Engine(precision=request.value("precision"), compiled=request.value("compile")),
                threads=resources.cpus_per_cell,
            ),
            resources=resources,
            inner_folds=request.inner_folds,
            protocol=request.value("protocol"),
            baselines=request.chosen_baselines,
            deliver=request.value("deliver"),
            racing=request.value("racing") and not space.variants,  # the table of variants needs all cells
        )
    else:
        from helo.search.setup.resume import restore_setup

        setup = restore_setup(run, dataset, resources, request.spell("data"))
    if not gpus and request.address is None:
        _check_engine(setup.training.engine, request.spell)
    budget = request.seconds
    return replace(
        setup,
        address=request.address,
        gpus=gpus,
        data=_location(data),
        command=command,
        deadline=None if budget is None else Deadline.at(started + budget),
        loggers=request.loggers,
        export_predictions=request.value("export_predictions"),
        retry_failed=request.value("retry_failed"),
        allow_version_change=request.value("allow_version_change"),
        deliver=setup.deliver if request.deliver is None else request.deliver,
    )


def _check_versions(run: Run, request: Request) -> None:
    """Raise `InputError` if packages have other versions than before, unless the user accepts that."""
    from helo.run.versions import package_versions, spell_versions

    changed = run.manifest.differences_from(package_versions())
    if changed and not request.value("allow_version_change"):
        raise InputError(
            f"{run.folder}: packages have other versions than when it ran last ({spell_versions(changed)}), so new "
            "cells may not be comparable with the finished ones; install those versions again, or accept the change "
            f"with {request.spell('allow_version_change')}"
        )


def _logs_to_files(request: Request) -> bool:
    """Return whether a requested logger writes files on this machine."""
    return CellLogger.TENSORBOARD in request.loggers or (
        CellLogger.MLFLOW in request.loggers and not os.environ.get("MLFLOW_TRACKING_URI")
    )


def _find_data(request: Request, run: Run | None) -> Dataset | os.PathLike[str] | str:
    """Return the requested data, or those of the run to resume, or the default."""
    if request.data is not None:
        return request.data
    recorded = (run.manifest.data or "") if run else ""
    if run and recorded == IN_MEMORY:
        raise InputError(
            f"{run.folder}: was started with {IN_MEMORY}, whose location is not recorded; "
            f"give them with {request.spell('data')}"
        )
    return recorded or str(DEFAULTS["data"])


def _location(data: Dataset | os.PathLike[str] | str) -> str:
    """Return the location of data, for the manifest."""
    if not isinstance(data, str | os.PathLike):
        return IN_MEMORY
    return SIMULATED if data == SIMULATED else str(place_of(data))


def _read_data(data: Dataset | os.PathLike[str] | str) -> Dataset:
    """Return the dataset itself, simulated data, or the dataset of a directory."""
    from helo.data import read_dataset, simulate

    if not isinstance(data, str | os.PathLike):
        return data
    return simulate() if data == SIMULATED else read_dataset(data)


def _read_space(request: Request) -> Space:
    """Read the requested space, with the requested number of configurations and sampler."""
    from helo.search.planning.space import Space, load_space, parse_space

    given = request.value("space")
    if isinstance(given, Space):
        given = given.as_dict()  # a space that was built in Python has not been checked
    if isinstance(given, Mapping):
        space = parse_space(given, request.spell("space"), "unnamed")
    else:
        space = load_space(os.fspath(given))
    if space.variants and (request.configurations is not None or request.sampler is not None):
        arguments = f"{request.spell('configurations')} and {request.spell('sampler')}"
        raise InputError(f"space {space.name} lists its configurations as variants; leave out {arguments}")
    if request.configurations is not None:
        space = replace(space, configurations=int(request.configurations))
    return space if request.sampler is None else replace(space, sampler=request.sampler)


def _check_engine(engine: Engine, spell: Callable[[str], str]) -> None:
    """Raise `InputError` for mixed precision or compilation on a CPU, where both make cells slower."""
    mixed, compiled = f"{spell('precision')} {Precision.MIXED}", spell("compile")
    for is_set, name in ((engine.precision == Precision.MIXED, mixed), (engine.compiled, compiled)):
        if is_set:
            raise InputError(f"{name} makes cells faster on GPUs only, and this machine has no GPU; leave it out")


def _requested_resources(request: Request) -> tuple[Resources, int]:
    """Return the requested resources and the number of GPUs of this machine."""
    import torch

    from helo.search.sizing.resources import Resources

    gpus, share = torch.cuda.device_count(), request.gpu_share
    if share is not None and share > gpus and request.address is None:
        option = request.spell("gpus_per_cell")
        raise InputError(f"{option} must be 0 or auto on this machine, which has {gpus} GPUs, got {share:g}")
    concurrency = None if request.concurrency is None else int(request.concurrency)
    return Resources(concurrency, int(request.value("cpus_per_cell")), share), gpus


def _new_run_path(name: str) -> Path:
    """Return the path of a new run in ``runs/``, with the current time in its name."""
    from datetime import datetime

    safe = re.sub(r"[^\w.-]+", "-", name).lstrip(".")  # names of data and spaces may have characters of paths
    base = Path("runs") / f"{safe}-{datetime.now().astimezone():%Y%m%d-%H%M%S}"
    candidate, number = base, 2
    while candidate.exists():
        candidate, number = base.with_name(f"{base.name}-{number}"), number + 1
    return candidate
