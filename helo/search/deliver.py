"""Fit the recommended configuration of a search with all subjects."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from helo._text import format_duration
from helo.configuration import Configuration
from helo.data.dataset import Dataset
from helo.errors import DivergedError
from helo.names import Column, TableName
from helo.run.selection import recommended
from helo.search.context import SearchContext
from helo.search.execution.connection import SharedDataset, ray_cluster, run_on_worker
from helo.search.setup.manifest import last_resources, package_versions
from helo.training.fitted import FittedModel, fit_model

Call = Callable[..., FittedModel]
"""Calls a function with arguments, in this process or on a worker."""


def deliver_model(context: SearchContext) -> bool:
    """Fit the recommended configuration of a complete search with all subjects and save it in ``RUN/model``.

    Tables and report are written before, so that a failure of this fit does not cost them.

    Parameters
    ----------
    context : SearchContext
        Context of the search.

    Returns
    -------
    bool
        Whether a model was fitted. None is fitted if the run has one, if the space lists variants to compare, or if
        a printed reason prevents it.
    """
    setup = context.setup
    resources = last_resources(context.run)
    with context.run.lock():
        if setup.address is None:  # this process has imported torch already: a worker would take seconds to start
            device = "cuda" if resources.gpus_per_cell and setup.gpus else "cpu"
            return fit_recommended(context, setup.dataset, device, lambda fit, *arguments: fit(*arguments))
        with ray_cluster(setup.address):
            device = "cuda" if resources.gpus_per_cell else "cpu"
            gpus = 1 if resources.gpus_per_cell else 0
            call = partial(run_on_worker, cpus=resources.cpus_per_cell, gpus=gpus)
            return fit_recommended(context, SharedDataset(setup.dataset), device, call)


def fit_recommended(context: SearchContext, dataset: Dataset | SharedDataset, device: str, call: Call) -> bool:
    """Fit and save the recommended configuration; return whether a model was fitted.

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
    if run.has_model or setup.space.variants:
        return False
    cells = run.table(TableName.CELLS)
    number = recommended(cells, setup.space.objective, len(run.folds), setup.nested)
    if number is None:
        context.print("no model is fitted: no configuration has scores in all folds")
        return False
    rows = cells[cells[Column.CONFIGURATION] == number]
    params = run.find([(number, str(rows[Column.FOLD].iloc[0]))])[0].params
    configuration = Configuration.from_params(params)
    members = len(setup.folds[0].splits)
    # The epochs of a cell are summed over its members. A cell trains on fewer windows than the model, but scores more.
    seconds_per_epoch = float((rows[Column.SECONDS] / rows[Column.EPOCHS].clip(lower=1)).median())
    seconds = members * configuration.epochs * seconds_per_epoch
    if setup.deadline is not None and time.time() + seconds >= setup.deadline:
        context.print(
            f"no time is left to fit the model (about {format_duration(seconds)}); "
            f"resume with: {context.resume_command}"
        )
        return False
    context.print(
        f"fitting configuration {number} with all {len(setup.dataset.subject_names)} subjects: "
        + (f"{members} members of " if members > 1 else "")
        + f"{configuration.epochs} epochs"
        + (f" (about {format_duration(seconds)})" if seconds >= 1 else "")
    )
    try:
        model = call(fit_model, dataset, configuration, setup.training_on(device), members)
    except DivergedError as error:
        context.print(f"no model is fitted: {error}")
        return False
    facts = {
        "recommended": {
            "configuration": number,
            "protocol": setup.protocol,
            "run": run.manifest.identity,
        },
        "versions": package_versions(),
    }
    replace(model, facts={**model.facts, **facts}).save(run.model)
    context.print(f"model: {run.model}")
    return True
