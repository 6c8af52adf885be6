"""HeLo Search: leave-one-subject-out hyperparameter search of HeLo, an emotion-distribution model."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from os import PathLike
    from typing import Any

    from helo.analysis.result import RunResult
    from helo.data.dataset import Dataset
    from helo.regressor import HeLoRegressor
    from helo.search.planning.space import Space
    from helo.training.fitted import FittedModel

__version__ = "0.2.0"
__all__ = ["HeLoRegressor", "load_model", "load_run", "run_search"]

# Every command imports this module, and torch takes seconds: each function imports what it needs.


def run_search(  # noqa: PLR0913 -- every setting of a search is an argument of its own
    dataset: Dataset | PathLike[str] | str = "simulated",
    space: Space | Mapping[str, Any] | PathLike[str] | str = "demo",
    *,
    out: PathLike[str] | str | None = None,
    resume: PathLike[str] | str | None = None,
    configurations: int | None = None,
    sampler: str | None = None,
    protocol: str = "shared",
    racing: bool = True,
    seed: int = 0,
    normalise: str = "train",
    baselines: Iterable[str] | str = "all",
    concurrency: int | None = None,
    cpus_per_cell: int = 1,
    gpus_per_cell: float | str = "auto",
    precision: str = "full",
    compile: bool = False,
    time_budget: float | str | None = None,
    address: str | None = None,
    export_predictions: bool = False,
    log: Sequence[str] = (),
    progress: bool = True,
) -> RunResult:
    """Search HeLo's hyperparameters with leave-one-subject-out folds: what ``python -m helo.search`` does, from Python.

    ``run_search(dataset, space="small")`` trains and scores every cell, writes the run directory with its tables,
    report and fitted model, and returns the run. What is computed depends on data, space and seed alone, so command
    and function give the same cells.

    - `dataset`: a `helo.data.Dataset` in memory, a dataset directory, or ``"simulated"``
    - `space`: the name of a bundled space, a YAML file, a mapping as in such a file, or a `helo.search.Space`
    - `out`: the run directory; a new one in ``runs/`` otherwise
    - `resume`: a run directory to go on with. What decides what is computed is then in its manifest and must be left
      out here. A dataset that was in memory has to be given again, and is checked to be the same
    - `configurations`, `sampler` (``"tpe"``, ``"random"``): in place of the space's
    - `protocol`: ``"shared"``, or ``"nested"`` with a study per fold and nothing between them
    - `racing`: whether cells and configurations that cannot win are ended early
    - `normalise`: ``"train"`` or ``"subject"``, see the README
    - `baselines`: ``"all"``, ``"none"``, or a list of names from `helo.names.FITTED_BASELINES`
    - `concurrency`: cells at a time; as many as fit otherwise. `cpus_per_cell`; `gpus_per_cell`: a share, or ``"auto"``
    - `time_budget`: seconds, or words such as ``"2h"``; the search then ends in time with a run that can be resumed
    - `address`: of a Ray cluster. Without one Ray is started on this machine and stopped at the end, unless this
      process uses Ray already: then its cluster is used, and left running
    - `precision`, `compile`, `export_predictions`, `log`: as the command's options
    - `progress`: False prints nothing

    Raises `helo.errors.InputError` for what is wrong with the arguments or the data, in one line and with nothing
    written; `helo.errors.SearchError` where the search fails; `KeyboardInterrupt` when it is interrupted. In the last
    two cases no finished cell is lost, and the message says how to go on.
    """
    import time

    from helo.search.setup.inputs import read_inputs
    from helo.search.setup.request import Request

    request = Request.of_arguments(
        data=dataset,
        space=space,
        out=out,
        resume=resume,
        configurations=configurations,
        sampler=sampler,
        protocol=protocol,
        racing=racing,
        seed=seed,
        normalise=normalise,
        baselines=baselines,
        concurrency=concurrency,
        cpus_per_cell=cpus_per_cell,
        gpus_per_cell=gpus_per_cell,
        precision=precision,
        compile=compile,
        time_budget=time_budget,
        address=address,
        export_predictions=export_predictions,
        log=log,
    )
    setup, run = read_inputs(request, request.as_call(), started=time.time())

    from helo.search.session import search_from_python

    return search_from_python(setup, run, progress)


def load_run(path: PathLike[str] | str) -> RunResult:
    """Read a run directory, of a search that is over, broken off, or still going on.

    ``load_run("runs/wesad").verdict`` says what came out. Raises `helo.errors.InputError` for what is no run; so do
    those attributes of the result for which the search has not got far enough.
    """
    from helo.analysis.result import load_run as load

    return load(path)


def load_model(folder: PathLike[str] | str) -> FittedModel:
    """Read a fitted model, such as ``RUN/model``; raise `helo.errors.InputError` for what is wrong in it.

    ``load_model("runs/wesad/model").predict("datasets/new")`` gives an emotion distribution for every window.
    """
    from helo.training.fitted import load_model as load

    return load(folder)


def __getattr__(name: str) -> Any:
    """Import `HeLoRegressor` when it is first used: it needs torch and scikit-learn."""
    if name == "HeLoRegressor":
        from helo.regressor import HeLoRegressor

        return HeLoRegressor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
