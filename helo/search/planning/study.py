"""Draws of configurations with Optuna, and configurations as Optuna trials.

A draw depends on the seed, the number of the configuration, the trials added so far and the models drawn before, and on
nothing else. A resumed search therefore draws what it would have drawn without the interruption.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from helo.search.planning.models import Model, list_models, model_of
from helo.search.planning.space import Choices, Range, Space

MAX_STARTUP_TRIALS = 10
"""Maximum number of configurations that TPE draws at random first (Optuna's default). Short searches have fewer."""

_ATTEMPTS, _RANDOM_ATTEMPTS = 8, 64
"""Maximum numbers of draws of a configuration until it is a new model: by the sampler of the space, then at random."""

optuna.logging.set_verbosity(optuna.logging.WARNING)


def optuna_distributions(space: Space) -> dict[str, BaseDistribution]:
    """Return the searched hyperparameters of a space as Optuna distributions, by name."""
    return {name: _distribution(entry) for name, entry in space.searched.items()}


class ConfigurationSampler:
    """Sampler of the configurations of one study.

    Every draw has an Optuna sampler of its own, so that it does not depend on the draws before it. The trials are kept
    between draws, because adding them to Optuna takes longer than a draw.

    Parameters
    ----------
    space : Space
        Search space.
    seed : int
        Seed of the search.
    label : str
        Name of the study. Studies of different names have different streams of random numbers.
    """

    def __init__(self, space: Space, seed: int, label: str) -> None:
        self._space, self._seed, self._label = space, seed, label
        self._distributions = optuna_distributions(space)
        self._models = None if space.variants else list_models(space)
        self._study = optuna.create_study(direction="minimize")

    @property
    def uses_trials(self) -> bool:
        """Whether draws depend on trials."""
        return self._space.sampler == "tpe"

    def add_trials(self, trials: Sequence[FrozenTrial]) -> None:
        """Add trials for later draws to learn from."""
        self._study.add_trials(trials)

    def draw(
        self, number: int, recorded: Mapping[str, Any] | None = None, earlier: Collection[Model] = ()
    ) -> dict[str, Any]:
        """Return the searched hyperparameters of a configuration.

        Parameters
        ----------
        number : int
            Number of the configuration.
        recorded : mapping, optional
            Values that an earlier part of the search has drawn. They are returned unchanged, because another version of
            Optuna might draw others.
        earlier : collection of Model, optional
            Models that are not drawn again, see `helo.search.planning.models`. Only if nothing else is left, or cannot
            be found in a large space, the configuration is one of them.

        Returns
        -------
        dict of str to value

        Raises
        ------
        ValueError
            If a recorded or preset value does not fit its distribution.
        """
        if recorded is not None:
            given: Mapping[str, Any] = {name: recorded[name] for name in self._distributions}
        else:
            given = self._space.preset_values(number) or {}
        for name, value in given.items():
            self._distributions[name].to_internal_repr(value)  # raises ValueError for an unsuitable value
        if len(given) == len(self._distributions):
            return dict(given)
        drawn = dict(given)
        for attempt in range(_ATTEMPTS + _RANDOM_ATTEMPTS):
            seed_of_draw = derived_seed(self._seed, self._label, number, attempt)
            if attempt == _ATTEMPTS and self._models:
                # TPE returns to the same few values of a small space, so one of the other models is taken at random.
                left = [values for model, values in self._models.items() if model not in earlier]
                return dict(left[seed_of_draw % len(left)]) if left else drawn
            drawn = self._ask(given, seed_of_draw, "random" if attempt >= _ATTEMPTS else self._space.sampler)
            if not earlier or model_of(self._space.full_params(drawn)) not in earlier:
                break
        return drawn

    def _ask(self, given: Mapping[str, Any], seed: int, sampler: str) -> dict[str, Any]:
        """Return a draw of Optuna in which some values are given."""
        if not self.uses_trials:  # a new study, or useless trials would accumulate in memory
            self._study = optuna.create_study(direction="minimize")
        self._study.sampler = _sampler(self._space, seed, sampler)
        if given:
            self._study.enqueue_trial(dict(given))
        trial = self._study.ask(self._distributions)
        self._study.tell(trial, state=TrialState.FAIL)  # samplers ignore failed trials
        return dict(trial.params)

    def make_trial(
        self, params: Mapping[str, Any], losses: Sequence[float], complete: bool, failed: bool = False
    ) -> FrozenTrial:
        """Return a configuration as an Optuna trial.

        Steps are folds in their order. The value of a step is the mean loss up to it. A dropped configuration is a
        pruned trial, which TPE ranks behind all complete ones.

        Parameters
        ----------
        params : mapping
            Hyperparameters of the configuration.
        losses : sequence of float
            Its losses in the folds that it has run, in their order.
        complete : bool
            Whether it has losses in all folds.
        failed : bool
            Whether one of its cells failed.

        Returns
        -------
        FrozenTrial
        """
        means = [sum(losses[: count + 1]) / (count + 1) for count in range(len(losses))]
        if failed:
            state = TrialState.FAIL
        elif complete:
            state = TrialState.COMPLETE
        else:
            state = TrialState.PRUNED
        return create_trial(
            state=state,
            params={name: params[name] for name in self._distributions},
            distributions=self._distributions,
            intermediate_values=dict(enumerate(means, start=1)),
            value=means[-1] if state == TrialState.COMPLETE else None,
        )


def derived_seed(seed: int, label: str, number: int, attempt: int = 0) -> int:
    """Return the seed of the draw of one configuration. A draw of an earlier model is followed by another attempt."""
    text = f"{seed}/{label}/configuration/{number}" + (f"/{attempt}" if attempt else "")
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def _sampler(space: Space, seed: int, name: str) -> optuna.samplers.BaseSampler:
    if name == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    startup = min(MAX_STARTUP_TRIALS, max(2, space.configurations // 4))
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=startup)


def _distribution(entry: Range | Choices) -> BaseDistribution:
    if isinstance(entry, Choices):
        return CategoricalDistribution(entry.values)
    if entry.whole:
        return IntDistribution(int(entry.low), int(entry.high), log=entry.log)
    return FloatDistribution(entry.low, entry.high, log=entry.log)
