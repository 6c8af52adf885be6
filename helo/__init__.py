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

# Every command imports this module. Importing torch takes seconds, so each function imports what it needs.


def run_search(  # noqa: PLR0913 -- each setting of a search is an argument
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
    inner_folds: int | None = None,
    baselines: Iterable[str] | str = "all",
    concurrency: int | None = None,
    cpus_per_cell: int = 1,
    gpus_per_cell: float | str = "auto",
    precision: str = "full",
    compile: bool = False,
    time_budget: float | str | None = None,
    address: str | None = None,
    allow_version_change: bool = False,
    export_predictions: bool = False,
    retry_failed: bool = False,
    deliver: str = "recommended",
    log: Sequence[str] = (),
    progress: bool = True,
) -> RunResult:
    """Search HeLo's hyperparameters with leave-one-subject-out folds, as ``python -m helo.search`` does.

    ``run_search(dataset, space="small")`` trains and scores every cell, writes the run directory with its tables,
    report and fitted model, and returns the run. The results depend only on the data, the space and the settings, so
    the command and this function produce the same cells.

    Parameters
    ----------
    dataset : Dataset or path or str
        A `helo.data.Dataset` in memory, a dataset directory, or ``"simulated"``.
    space : Space or mapping or path or str
        The name of a bundled space, a YAML file, a mapping with the keys of such a file, or a
        `helo.search.Space`.
    out : path or str, optional
        Run directory to create, or ``s3://BUCKET/FOLDER``. The default is a new directory in ``runs/``.
    resume : path or str, optional
        Run directory of a search to resume. All arguments that determine the results are then read from its manifest
        and must be left out. A dataset that was in memory must be given again, and must have the same content.
    configurations : int, optional
        Number of configurations to draw. The default is that of the space.
    sampler : {"tpe", "random"}, optional
        Method that draws configurations. The default is that of the space.
    protocol : {"shared", "nested"}
        ``"shared"`` runs one study over all folds. ``"nested"`` runs an independent study for each fold.
    racing : bool
        Whether cells and configurations that cannot win are stopped early.
    seed : int
        Seed of folds, draws and training.
    normalise : {"train", "subject"}
        Source of the statistics that scale features: the training subjects, or each subject on its own. The latter
        uses the unlabelled windows of the test subject.
    inner_folds : int, optional
        Number K of inner splits of the other subjects, and of models of a cell, which are averaged. With 1 there is a
        single split. The default is 5, or the number of other subjects if that is smaller.
    baselines : iterable of str or str
        ``"all"``, ``"none"``, or names from `helo.names.FITTED_BASELINES`.
    concurrency : int, optional
        Maximum number of cells that run at the same time. The default is as many as fit.
    cpus_per_cell : int
        CPUs and threads of a cell.
    gpus_per_cell : float or "auto"
        Share of a GPU for each cell. ``"auto"`` measures the memory of the largest configuration.
    precision : {"full", "mixed"}
        ``"mixed"`` computes products in bfloat16, on GPUs only.
    compile : bool
        Whether training steps are compiled with `torch.compile`, on GPUs only.
    time_budget : float or str, optional
        Seconds, or a time such as ``"2h"``, after which the search ends with a run that can be resumed.
    address : str, optional
        Address of a Ray cluster: ``"auto"`` or ``"HOST:PORT"``. By default Ray is started on this machine and stopped
        at the end. If this process is already connected to a cluster, that cluster is used and keeps running.
    allow_version_change : bool
        With `resume`: continue although torch or other packages have other versions than before. With `address`: run
        cells also on nodes of the cluster that have other versions. The report says so.
    export_predictions : bool
        Whether the test predictions of all cells and baselines are written to ``all_predictions.parquet``.
    retry_failed : bool
        Whether a search that is resumed runs all failed cells again. Cells that failed because of the machine (memory,
        a killed process, a lost node, a disk, a network) always run again.
    deliver : {"recommended", "ensemble"}
        Model that is fitted with all subjects: the recommended configuration, or the mean of the configurations of
        the estimate ``ensemble``.
    log : sequence of str
        Loggers of every cell: ``"tensorboard"``, ``"mlflow"``.
    progress : bool
        Whether progress and results are printed.

    Returns
    -------
    RunResult
        The run with its verdict, tables, figures and fitted model.

    Raises
    ------
    helo.errors.InputError
        If an argument or the data are invalid. Nothing has been written then.
    helo.errors.SearchError
        If the search fails. Finished cells are kept, and the message shows how to resume.
    KeyboardInterrupt
        If the search is interrupted. Finished cells are kept, and the message shows how to resume.
    """
    from helo._deadline import seconds_since_boot
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
        inner_folds=inner_folds,
        baselines=baselines,
        concurrency=concurrency,
        cpus_per_cell=cpus_per_cell,
        gpus_per_cell=gpus_per_cell,
        precision=precision,
        compile=compile,
        time_budget=time_budget,
        address=address,
        export_predictions=export_predictions,
        retry_failed=retry_failed,
        allow_version_change=allow_version_change,
        deliver=deliver,
        log=log,
    )
    setup, run = read_inputs(request, request.as_call(), started=seconds_since_boot())

    from helo.search.session import search_from_python

    return search_from_python(setup, run, progress)


def load_run(path: PathLike[str] | str) -> RunResult:
    """Read the run directory of a search that is finished, interrupted or still running.

    ``load_run("runs/wesad").verdict`` is the main result.

    Parameters
    ----------
    path : path or str
        Run directory, or its URI on object storage.

    Returns
    -------
    RunResult
        The run. Its attributes raise `helo.errors.InputError` while the search has not yet written what they read.

    Raises
    ------
    helo.errors.InputError
        If `path` is not a run directory.
    """
    from helo.analysis.result import load_run as load

    return load(path)


def load_model(folder: PathLike[str] | str) -> FittedModel:
    """Read a fitted model, such as ``RUN/model``.

    ``load_model("runs/wesad/model").predict("datasets/new")`` returns an emotion distribution for every window.

    Parameters
    ----------
    folder : path or str
        Folder of the model, or its URI on object storage.

    Returns
    -------
    FittedModel
        The model.

    Raises
    ------
    helo.errors.InputError
        If the folder is not a fitted model, or a file in it is damaged.
    """
    from helo.training.fitted import load_model as load

    return load(folder)


def __getattr__(name: str) -> Any:
    """Import `HeLoRegressor` at its first use, because it needs torch and scikit-learn."""
    if name == "HeLoRegressor":
        from helo.regressor import HeLoRegressor

        return HeLoRegressor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
