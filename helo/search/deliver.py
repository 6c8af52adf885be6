"""What a search leaves to use: the recommended configuration, fitted to all subjects."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from rich.console import Console

from helo.cli import say
from helo.configuration import Configuration
from helo.fitted import FittedModel, fit_model
from helo.names import CELLS, CONFIGURATION, EPOCHS_RUN, IDENTITY, PROTOCOL_NESTED, SECONDS
from helo.run import Run
from helo.search.manifest import versions
from helo.search.plan import SearchPlan
from helo.selection import recommended
from helo.text import duration

Call = Callable[..., FittedModel]
"""Runs a function on a worker: function, arguments."""


def deliver(plan: SearchPlan, run: Run, dataset: Any, threads: int, device: str, call: Call, console: Console) -> None:
    """Fit the recommended configuration of a finished search to all subjects and save it in ``RUN/model``.

    `dataset` is handed to `call` as it is. Nothing is done if the model is there, if there is no time left, or if the
    space lists variants to compare: then none is recommended.
    """
    late = plan.deadline is not None and time.time() >= plan.deadline
    if run.model.exists() or plan.space.variants or late:
        return
    cells = run.table(CELLS)
    found = recommended(cells, plan.space.objective, len(run.folds), plan.protocol == PROTOCOL_NESTED)
    if found is None:
        say(console, "no model is fitted: no configuration has scores in all folds")
        return
    rows = cells[cells[CONFIGURATION] == found.configuration]
    # A cell trains on fewer windows, and scores as many again.
    guess = found.epochs * float((rows[SECONDS] / rows[EPOCHS_RUN].clip(lower=1)).median())
    people = len(plan.dataset.subject_names)
    say(
        console,
        f"fitting configuration {found.configuration} to all {people} subjects, {found.epochs} epochs"
        + (f" (about {duration(guess)})" if guess >= 1 else ""),
    )
    params = run.ledger.params(found.configuration)
    model = call(
        fit_model, dataset, Configuration.from_params(params), found.epochs, plan.seed, plan.normalise,
        replace(plan.engine, device=device), threads,
    )  # fmt: skip
    facts = {
        "recommended": {"configuration": found.configuration, "protocol": plan.protocol, "run": run.manifest[IDENTITY]},
        "versions": versions(),
    }
    replace(model, facts={**model.facts, **facts}).save(run.model)
    say(console, f"model: {run.model}")
    if not found.epochs:
        say(console, "its folds found nothing better than no training: it predicts the mean label for every window")
