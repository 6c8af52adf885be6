"""Restore the setup of a search from its run directory."""

from __future__ import annotations

from dataclasses import replace

from helo.data.dataset import Dataset
from helo.errors import InputError
from helo.evaluation.folds import folds_as_json, folds_digest, loso_folds
from helo.names import FileName
from helo.run.directory import Run
from helo.search.planning.pace import Pace
from helo.search.planning.space import parse_space
from helo.search.setup.search_setup import SearchSetup
from helo.search.sizing.resources import Resources
from helo.settings import Engine, TrainingSettings


def restore_setup(run: Run, dataset: Dataset, requested: Resources, data_option: str = "--data") -> SearchSetup:
    """Return the setup of a run that is resumed.

    Parameters
    ----------
    run : Run
        The run.
    dataset : Dataset
        Its data.
    requested : Resources
        Resources that the user requests. The CPUs of a cell are taken from the manifest.
    data_option : str
        Option or argument by which the user gives the data, for messages.

    Raises
    ------
    InputError
        If the manifest lacks a setting, or if the data or the folds are not those of the run.
    """
    where = run.folder.where(FileName.MANIFEST)
    recorded = run.manifest.recorded_search(where)
    space = parse_space(recorded.space, f"{where}: space", "unnamed")
    if recorded.dataset_digest != dataset.digest:
        raise InputError(
            f"{dataset.schema.name}: is not the data of {run.folder} (digest must be {recorded.dataset_digest}, "
            f"got {dataset.digest}); give the right ones with {data_option}"
        )
    folds = loso_folds(dataset.subject_names, recorded.seed, recorded.inner_folds)
    if run.folds != folds_as_json(folds) or recorded.folds_digest != folds_digest(folds):
        raise InputError(f"{run.folder}: its folds are not those that seed {recorded.seed} gives")
    return SearchSetup(
        dataset=dataset,
        space=space,
        out=run.folder,
        training=TrainingSettings(
            seed=recorded.seed,
            normalise=recorded.normalise,
            objective=space.objective,
            engine=Engine(precision=recorded.precision, compiled=recorded.compiled),
            threads=recorded.cpus_per_cell,
        ),
        resources=replace(requested, cpus_per_cell=recorded.cpus_per_cell),
        inner_folds=recorded.inner_folds,
        protocol=recorded.protocol,
        racing=recorded.racing,
        baselines=recorded.baselines,
        deliver=recorded.deliver,
        pace=Pace(
            generation=recorded.pace.generation or Pace.generation,
            lag=recorded.pace.lag or Pace.lag,
            lookahead=recorded.pace.ahead or Pace.lookahead,  # earlier versions did not record it
        ),
    )
