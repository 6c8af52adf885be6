"""Optuna's part: which hyperparameters the next configuration has.

A draw depends on the seed, on the configuration's number and on the trials handed in, on nothing else. So
it needs no memory of the draws before it, and a search that is resumed draws what it would have drawn.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from helo.search.space import Choices, Range, Space

STARTUP = 10
"""Configurations that TPE draws at random first (Optuna's default), if the search has four times as many."""

optuna.logging.set_verbosity(optuna.logging.WARNING)


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """The searched hyperparameters in Optuna's words."""
    return {name: _distribution(entry) for name, entry in space.searched.items()}


def draw(
    space: Space, seed: int, label: str, number: int, trials: Sequence[FrozenTrial], known: Mapping[str, Any] | None
) -> dict[str, Any]:  # fmt: skip
    """The searched hyperparameters of configuration `number` of the study `label`.

    `trials` is what the sampler may learn from. `known` are the values if they were drawn before: those in
    the ledger stay what they are, though another version of Optuna might draw others.
    """
    sampler = _sampler(space, derived_seed(seed, label, number))
    study = optuna.create_study(direction="minimize", sampler=sampler)
    study.add_trials(trials)
    if known is not None:
        study.enqueue_trial({name: known[name] for name in space.searched})
    elif (listed := space.listed(number)) is not None:
        study.enqueue_trial(dict(listed))
    return dict(study.ask(distributions(space)).params)


def trial(
    space: Space, params: Mapping[str, Any], losses: Sequence[float], complete: bool, failed: bool = False
) -> FrozenTrial:  # fmt: skip
    """A configuration as Optuna's trial: its steps are the folds in their order, its value is their mean.

    A dropped configuration is a pruned trial: TPE ranks it behind all complete ones.
    """
    means = [sum(losses[: count + 1]) / (count + 1) for count in range(len(losses))]
    state = TrialState.FAIL if failed else TrialState.COMPLETE if complete else TrialState.PRUNED
    return create_trial(
        state=state,
        params={name: params[name] for name in space.searched},
        distributions=distributions(space),
        intermediate_values=dict(enumerate(means, start=1)),
        value=means[-1] if state == TrialState.COMPLETE else None,
    )


def derived_seed(seed: int, label: str, number: int) -> int:
    """The seed of one configuration's draw."""
    text = f"{seed}/{label}/configuration/{number}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def _sampler(space: Space, seed: int) -> optuna.samplers.BaseSampler:
    if space.sampler == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    startup = min(STARTUP, max(2, space.configurations // 4))
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=startup)


def _distribution(entry: Range | Choices) -> BaseDistribution:
    if isinstance(entry, Choices):
        return CategoricalDistribution(entry.values)
    if entry.whole:
        return IntDistribution(int(entry.low), int(entry.high), log=entry.log)
    return FloatDistribution(entry.low, entry.high, log=entry.log)
