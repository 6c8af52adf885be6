"""Fit the model of a search with all subjects: the recommended configuration, or an ensemble."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from enum import Enum, auto
from functools import partial
from typing import Any, Final, NamedTuple

import pandas as pd

from helo._text import format_duration
from helo.configuration import Configuration
from helo.data.dataset import Dataset
from helo.errors import DivergedError
from helo.names import FOLD_ENSEMBLES, Column, Delivery, FileName, SearchPhase, TableName
from helo.run.ensemble.delivered import mean_ensemble, numbers_in
from helo.run.selection import recommended
from helo.run.versions import package_versions
from helo.search.context import SearchContext
from helo.search.execution.connection import SharedDataset, ray_cluster, run_on_worker
from helo.search.setup.manifest import last_resources
from helo.training.fitted import FittedModel, fit_model


class Fit(Enum):
    """What became of the model at the end of a search."""

    DONE = auto()
    NONE = auto()
    OUT_OF_TIME = auto()


_RECOMMENDED: Final = "recommended"
"""Key of the recommended configuration in ``model.json``."""

Call = Callable[..., FittedModel]
"""Calls a function with arguments, in this process or on a worker."""


def deliver_model(context: SearchContext) -> Fit:
    """Fit the model of a complete search with all subjects and save it in ``RUN/model``.

    Tables and report are written before, so that a failure of this fit does not cost them.

    Parameters
    ----------
    context : SearchContext
        Context of the search.

    Returns
    -------
    Fit
        Whether a model was fitted. None is fitted if the run has one, if the space lists variants to compare, or if
        a printed reason prevents it, such as a lack of time.
    """
    setup = context.setup
    resources = last_resources(context.run)
    context.lock_run()
    if setup.address is None:  # this process has imported torch already: a worker would take seconds to start
        device = "cuda" if resources.gpus_per_cell and setup.gpus else "cpu"
        return fit_requested(context, setup.dataset, device, lambda fit, *arguments: fit(*arguments))
    with ray_cluster(setup.address):
        device = "cuda" if resources.gpus_per_cell else "cpu"
        gpus = 1 if resources.gpus_per_cell else 0
        call = partial(run_on_worker, cpus=resources.cpus_per_cell, gpus=gpus)
        return fit_requested(context, SharedDataset(setup.dataset), device, call)


def fit_requested(context: SearchContext, dataset: Dataset | SharedDataset, device: str, call: Call) -> Fit:
    """Fit and save the requested model; return what became of it.

    Parameters
    ----------
    context : SearchContext
        Context of the search.
    dataset : Dataset or SharedDataset
        The data, in the form that `call` passes on.
    device : str
        ``"cpu"`` or ``"cuda"``.
    call : callable
        Calls `fit_model`, in this process or on a worker.
    """
    setup, run = context.setup, context.run
    if setup.space.variants:
        return Fit.NONE
    if run.has_model:
        _print_if_another(context, run.table(TableName.CELLS))
        return Fit.NONE
    cells = run.table(TableName.CELLS)
    chosen = _ensemble(context) if setup.deliver == Delivery.ENSEMBLE else None
    if chosen is None:
        chosen = _recommended(context, cells)
    if chosen is None:
        context.print_text("no model is fitted: no configuration has scores in all folds")
        return Fit.NONE
    members = len(setup.folds[0].splits)
    epochs = [configuration.epochs for configuration in chosen.weights]
    # The epochs of a cell are summed over its members. A cell trains on fewer windows than the model, but scores more.
    rows = cells[cells[Column.CONFIGURATION].isin(chosen.numbers)]
    seconds_per_epoch = float((rows[Column.SECONDS] / rows[Column.EPOCHS].clip(lower=1)).median())
    seconds = members * sum(epochs) * seconds_per_epoch
    if setup.deadline is not None and setup.deadline.left <= seconds:
        context.print_text(f"no time is left to fit the model (about {format_duration(seconds)})")
        return Fit.OUT_OF_TIME
    context.note(phase=SearchPhase.MODEL, seconds=seconds)
    context.print_text(
        f"fitting {chosen.name} with all {len(setup.dataset.subject_names)} subjects: "
        + (f"{members} members of " if members > 1 else "")
        + f"{epochs[0] if len(set(epochs)) == 1 else f'up to {max(epochs)}'} epochs"
        + (f" (about {format_duration(seconds)})" if seconds >= 1 else "")
    )
    try:
        model = call(fit_model, dataset, chosen.weights, setup.training_on(device), members)
    except DivergedError as error:
        context.print_text(f"no model is fitted: {error}")
        return Fit.NONE
    facts = {
        chosen.key: {**chosen.facts, "protocol": setup.protocol, "run": run.manifest.identity},
        "versions": package_versions(),
    }
    replace(model, facts={**model.facts, **facts}).save(run.model)
    return Fit.DONE


def _print_if_another(context: SearchContext, cells: pd.DataFrame) -> None:
    """Print that the model of a run is kept if it is another than the one that would be fitted now."""
    setup, model = context.setup, context.run.model
    requests_ensemble = setup.deliver == Delivery.ENSEMBLE
    description = model.read_json(FileName.MODEL_DESCRIPTION)
    is_ensemble = FOLD_ENSEMBLES in description
    number = description.get(_RECOMMENDED, {}).get(Column.CONFIGURATION)
    best = recommended(cells, setup.space.objective, len(setup.folds), setup.nested)
    if not requests_ensemble and number is not None and number != best:  # failed cells have run again since
        context.print(f"{model}: the model of configuration {number} is kept; remove it to fit configuration {best}")
    if requests_ensemble and not is_ensemble:
        context.print(f"{model}: the model of the recommended configuration is kept; remove it to fit an ensemble")
    if is_ensemble and not requests_ensemble:
        context.print(f"{model}: the ensemble is kept; remove it to fit the recommended configuration")


class Chosen(NamedTuple):
    """Configurations to fit with all subjects.

    Attributes
    ----------
    key : str
        Key of `facts` in ``model.json``.
    weights : dict
        Configuration → weight in the mean prediction.
    numbers : collection of int
        Numbers of the configurations in the run.
    name : str
        Name of the configurations in messages.
    facts : dict
        Plain values that say where the configurations come from.
    """

    key: str
    weights: dict[Configuration, float]
    numbers: Collection[int]
    name: str
    facts: dict[str, Any]


def _recommended(context: SearchContext, cells: pd.DataFrame) -> Chosen | None:
    """Return the recommended configuration, or None if there is none."""
    setup, run = context.setup, context.run
    number = recommended(cells, setup.space.objective, len(run.folds), setup.nested)
    if number is None:
        return None
    fold = str(cells.loc[cells[Column.CONFIGURATION] == number, Column.FOLD].iloc[0])
    weights = {_configurations(context, {number: fold})[number]: 1.0}
    return Chosen(_RECOMMENDED, weights, {number}, f"configuration {number}", {"configuration": number})


def _ensemble(context: SearchContext) -> Chosen | None:
    """Return the mean of the ensembles of the folds; print why if there is none."""
    table = context.run.table(TableName.ENSEMBLE)
    if len(table) < len(context.run.folds):
        context.print_text(
            "the recommended configuration is fitted instead of an ensemble: not every fold has out-of-fold predictions"
        )
        return None
    numbers = numbers_in(table)
    weights = mean_ensemble(table, _configurations(context, numbers))
    count = len(weights)
    name = "an ensemble of " + (f"{count} configurations" if count > 1 else "one configuration")
    return Chosen(FOLD_ENSEMBLES, weights, numbers, name, {"configurations": count})


def _configurations(context: SearchContext, folds: Mapping[int, str]) -> dict[int, Configuration]:
    """Return the hyperparameters of configurations; `folds`: number → test subject of a finished cell."""
    records = context.run.find(list(folds.items()))
    return {record.configuration: Configuration.from_params(record.params) for record in records}
