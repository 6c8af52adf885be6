"""What a run's manifest says of its search, so that the search can go on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from helo.data.dataset import Dataset
from helo.errors import InputError
from helo.evaluation.folds import folds_as_json, folds_digest, loso_folds
from helo.names import FITTED_BASELINES, IDENTITY, FileName, Normalisation, Precision, SearchProtocol, enum_values
from helo.run.directory import Run
from helo.search.planning.pace import Pace
from helo.search.planning.space import parse_space
from helo.search.setup.search_setup import SearchSetup
from helo.search.sizing.resources import Resources
from helo.settings import Engine, TrainingSettings


def setup_of_run(run: Run, dataset: Dataset, wish: Resources, option: str = "--data") -> SearchSetup:
    """The plan of a run's search, to go on with on `wish`. `option`: what the user gives the data with.

    Raises `InputError` if the manifest does not say enough, or the data or the folds are not those of the run.
    """
    where = run.folder.where(FileName.MANIFEST)
    manifest = run.manifest
    space = parse_space(_of_kind(run, "space", dict), f"{where}: space", "unnamed")
    pace = _of_kind(run, "pace", dict)
    seed = _of_kind(run, "seed", int)
    protocol, normalise = manifest.get("protocol"), manifest.get("normalise")
    sound = (
        protocol in enum_values(SearchProtocol),
        normalise in enum_values(Normalisation),
        manifest.get("precision") in enum_values(Precision),
    )
    if not all(sound) or not manifest.get(IDENTITY):
        raise InputError(f"{where}: is not the manifest of a search that this version can resume")
    known = _of_kind(run, "dataset", dict).get("digest")
    if known != dataset.digest:
        raise InputError(
            f"{dataset.schema.name}: is not the data of {run.folder} (digest {dataset.digest}, there {known}); "
            f"give the right ones with {option}"
        )
    folds = loso_folds(dataset.subject_names, seed)
    if run.folds != folds_as_json(folds) or _of_kind(run, "folds", dict).get("digest") != folds_digest(folds):
        raise InputError(f"{run.folder}: its folds are not those that seed {seed} gives")
    keys = tuple(Pace().as_dict())
    pace = {"ahead": Pace.lookahead} | pace  # runs of earlier versions do not say it
    if not all(isinstance(pace.get(key), int) and pace[key] > 0 for key in keys):
        raise InputError(f"{where}: pace must have {', '.join(keys)}, whole numbers above 0, got {pace}")
    cpus = _of_kind(run, "cpus_per_cell", int)
    baselines = _of_kind(run, "baselines", list)
    if not all(name in FITTED_BASELINES for name in baselines) or len(set(baselines)) < len(baselines):
        raise InputError(f"{where}: baselines must be different ones of {', '.join(FITTED_BASELINES)}, got {baselines}")
    return SearchSetup(
        dataset=dataset,
        space=space,
        out=run.folder,
        training=TrainingSettings(
            seed=seed,
            normalise=str(normalise),
            objective=space.objective,
            engine=Engine(precision=_of_kind(run, "precision", str), compiled=_of_kind(run, "compiled", bool)),
            threads=cpus,
        ),
        resources=replace(wish, cpus_per_cell=cpus),
        protocol=str(protocol),
        racing=_of_kind(run, "racing", bool),
        baselines=tuple(baselines),
        pace=Pace(pace["generation"], pace["lag"], pace["ahead"]),
    )


def _of_kind(run: Run, key: str, kind: type) -> Any:
    value = run.manifest.get(key)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise InputError(
            f"{run.folder.where(FileName.MANIFEST)}: {key} is missing or wrong; this search cannot be resumed"
        )
    return value
