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

from helo.search.planning.space import Choices, Range, Space

STARTUP = 10
"""Configurations that TPE draws at random first (Optuna's default), if the search has four times as many."""

optuna.logging.set_verbosity(optuna.logging.WARNING)


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """The searched hyperparameters in Optuna's words."""
    return {name: _distribution(entry) for name, entry in space.searched.items()}


class Draws:
    """The draws of one study, `label`.

    Each has a sampler of its own, so that it does not matter which were made before it; only the trials are
    kept, because handing them to Optuna takes longer than a draw.
    """

    def __init__(self, space: Space, seed: int, label: str) -> None:
        self._space, self._seed, self._label = space, seed, label
        self._distributions = distributions(space)
        self._study = optuna.create_study(direction="minimize")

    @property
    def learning(self) -> bool:
        """Whether what is drawn depends on trials at all."""
        return self._space.sampler == "tpe"

    def learn(self, trials: Sequence[FrozenTrial]) -> None:
        """Trials that the sampler may learn from, beside those of earlier calls."""
        self._study.add_trials(trials)

    def draw(self, number: int, known: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The searched hyperparameters of configuration `number`.

        `known` are the values if they were drawn before: those in the ledger stay what they are, though another
        version of Optuna might draw others.
        """
        if known is not None:
            given: Mapping[str, Any] = {name: known[name] for name in self._distributions}
        else:
            given = self._space.listed(number) or {}
        for name, value in given.items():
            self._distributions[name].to_internal_repr(value)  # raises ValueError for what is no value at all
        if len(given) == len(self._distributions):
            return dict(given)
        if not self.learning:  # trials that are of no use would only fill the memory
            self._study = optuna.create_study(direction="minimize")
        self._study.sampler = _sampler(self._space, derived_seed(self._seed, self._label, number))
        if given:
            self._study.enqueue_trial(dict(given))
        asked = self._study.ask(self._distributions)
        self._study.tell(asked, state=TrialState.FAIL)  # no sampler looks at it
        return dict(asked.params)

    def trial(
        self, params: Mapping[str, Any], losses: Sequence[float], complete: bool, failed: bool = False
    ) -> FrozenTrial:
        """A configuration as Optuna's trial: its steps are the folds in their order, its value is their mean.

        A dropped configuration is a pruned trial: TPE ranks it behind all complete ones.
        """
        means = [sum(losses[: count + 1]) / (count + 1) for count in range(len(losses))]
        state = TrialState.FAIL if failed else TrialState.COMPLETE if complete else TrialState.PRUNED
        return create_trial(
            state=state,
            params={name: params[name] for name in self._distributions},
            distributions=self._distributions,
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
