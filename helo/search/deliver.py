"""What a search leaves to use: the recommended configuration, fitted to all subjects."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from rich.console import Console

from helo._cli import print_line
from helo._text import format_duration
from helo.configuration import Configuration
from helo.errors import DivergedError
from helo.names import Column, SearchProtocol, TableName
from helo.run.directory import Run
from helo.run.selection import recommended
from helo.search.setup.manifest import package_versions
from helo.search.setup.search_setup import SearchSetup
from helo.training.fitted import FittedModel, fit_model

Call = Callable[..., FittedModel]
"""Runs a function on a worker, or here: function, arguments."""


def deliver(setup: SearchSetup, run: Run, dataset: Any, device: str, call: Call, console: Console, again: str) -> bool:
    """Fit the recommended configuration of a finished search to all subjects and save it in ``RUN/model``.

    `dataset` is handed to `call` as it is; `again` is the command that goes on. Nothing is done if the model is there,
    or if the space lists variants to compare: then none is recommended. Why there is none otherwise is said. Returns
    whether one was made.
    """
    if run.has_model or setup.space.variants:
        return False
    cells = run.table(TableName.CELLS)
    found = recommended(cells, setup.space.objective, len(run.folds), setup.protocol == SearchProtocol.NESTED)
    if found is None:
        print_line(console, "no model is fitted: no configuration has scores in all folds")
        return False
    rows = cells[cells[Column.CONFIGURATION] == found.configuration]
    # A cell trains on fewer windows, and scores as many again.
    guess = found.epochs * float((rows[Column.SECONDS] / rows[Column.EPOCHS].clip(lower=1)).median())
    if setup.deadline is not None and time.time() + guess >= setup.deadline:
        print_line(console, f"no time is left to fit the model (about {format_duration(guess)}); go on with: {again}")
        return False
    print_line(
        console,
        f"fitting configuration {found.configuration} to all {len(setup.dataset.subject_names)} subjects, "
        f"{found.epochs} epochs" + (f" (about {format_duration(guess)})" if guess >= 1 else ""),
    )
    params = run.find([(found.configuration, str(rows[Column.FOLD].iloc[0]))])[0].params
    try:
        model = call(
            fit_model,
            dataset,
            Configuration.from_params(params),
            found.epochs,
            setup.training_on(device),
        )
    except DivergedError as error:
        print_line(console, f"no model is fitted: {error}")
        return False
    facts = {
        "recommended": {
            "configuration": found.configuration,
            "protocol": setup.protocol,
            "run": run.manifest.identity,
        },
        "versions": package_versions(),
    }
    replace(model, facts={**model.facts, **facts}).save(run.model)
    print_line(console, f"model: {run.model}")
    if not found.epochs:
        print_line(
            console, "its folds found nothing better than no training: it predicts the mean label for every window"
        )
    return True
