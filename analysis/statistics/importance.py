"""What each hyperparameter did: its importance, and the mean score where it had which value.

The only file of `analysis` that imports Optuna.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
from helo.analysis.statistics.configurations import adjust_means, score_matrix
from helo.analysis.statistics.estimates import CONFIDENCE, bootstrap_interval
from helo.analysis.statistics.parameters import SearchedParameter, searched_parameters
from helo.analysis.statistics.quiet import quiet
from numpy.typing import NDArray
from scipy import stats

from helo.errors import InputError
from helo.metrics import METRICS
from helo.names import Column, Prefix

if TYPE_CHECKING:
    from optuna.study import Study

LEAST: Final = 10
"""Configurations below which nothing can be said of importance."""

TARGET: Final = 0.2
TARGET_LEAST: Final = 5
"""Importance is for being among the best fifth, or the best five where these are more (what Optuna advises). With 60
simulated configurations the best fifth found what mattered in 0.60 of the cases, the best tenth in 0.41."""

DRAWS: Final = 100
"""Draws of subjects for the intervals, and of shuffled scores for the noise level."""

MOST: Final = 400
"""Configurations that importance is computed from at most; of more (under ``nested``) as many are drawn."""

BINS: Final = 5
BIN_LEAST: Final = 4
"""A numeric hyperparameter is cut at its quantiles into so many bins at most, of so many configurations at least."""

UNCUT: Final = 8
"""Whole numbers, and others that are tried twice on average, are not cut if they have so many values at most."""

_RESAMPLED: Final = 500
"""Scores above which the interval of a mean is Student's: the bootstrap's is the same, for much memory."""


def compute_importance(
    cells: pd.DataFrame, objective: str, parameters: Mapping[str, Any], nested: bool = False, seed: int = 0
) -> pd.DataFrame:
    """How much each searched hyperparameter decided whether a configuration is among the best, largest first.

    PED-ANOVA (Watanabe, Bansal and Hutter, IJCAI 2023; conditional hyperparameters as in Optuna 5) on the adjusted mean
    inner validation scores of the configurations: the divergence between the values of a hyperparameter in the best
    fifth (in the best five, if these are more) and in all configurations. Columns:

    - ``parameter``; ``configurations``: in how many of them it acts
    - ``share``: of the sum of all importances; from 0 to 1
    - ``low``, ``high``: 95 % interval of the share over draws of the subjects: under the protocol ``shared`` a
      bootstrap, from which all means are computed again; under ``nested``, whose configurations belong to one subject
      each, random halves of the subjects, whose spread is that of a bootstrap. NaN with one subject
    - ``noise``: the 95 % quantile of the importance that scores dealt to the configurations at random
      give, on the scale of the shares. A share below it says nothing

    - `cells`: as in ``cells.parquet``
    - `parameters`: as in the manifest's space; hyperparameters that it fixes are not searched
    - `nested`: whether every fold has configurations of its own

    The interval holds the configurations as they are; that others might have been drawn is in the noise.
    Raise `InputError` if fewer than `LEAST` configurations have a finite score, or no hyperparameter was searched.
    """
    rng = np.random.default_rng(seed)
    scores = score_matrix(cells, objective)
    y = scores.to_numpy() * (-1 if METRICS[objective].higher_is_better else 1)
    losses = adjust_means(y)[0]
    finite = np.isfinite(losses)
    if finite.sum() < LEAST:
        raise InputError(
            f"importance needs at least {LEAST} configurations with scores, got {int(finite.sum())}: too few to tell"
        )
    kept = np.flatnonzero(finite)
    if len(kept) > MOST:
        kept = np.sort(rng.choice(kept, MOST, replace=False))
    tried = (
        cells.drop_duplicates(Column.CONFIGURATION)
        .set_index(Column.CONFIGURATION)
        .loc[scores.index[kept]]
        .filter(regex=f"^{Prefix.PARAM}")
    )
    axes = [axis for axis in searched_parameters(tried.reset_index(), parameters) if axis.defined]
    if not axes:
        raise InputError("no hyperparameter was searched, so none can be told from another")
    names = [axis.name for axis in axes]
    with _quiet():
        evaluate = _evaluator(axes, scores.index[kept])
        found = evaluate(losses[kept])
        total = found.sum()
        drawn = np.array([_shares(evaluate(one[kept])) for one in _draws(y, nested, rng)])
        dealt = np.array([evaluate(rng.permutation(losses[kept])) for _ in range(DRAWS)])
    tail = (1 - CONFIDENCE) / 2
    low, high = np.nanquantile(drawn, (tail, 1 - tail), axis=0) if len(drawn) else np.full((2, len(names)), np.nan)
    table = pd.DataFrame(
        {
            Column.PARAMETER: names,
            "share": _shares(found),
            "low": low,
            "high": high,
            "noise": np.quantile(dealt, CONFIDENCE, axis=0) / total if total > 0 else np.nan,
            "configurations": [len(axis.values) for axis in axes],
        }
    )
    return table.sort_values("share", ascending=False, kind="stable", ignore_index=True)


def _shares(found: NDArray[np.float64]) -> NDArray[np.float64]:
    return found / found.sum() if found.sum() > 0 else np.zeros_like(found)


def _draws(y: NDArray[np.float64], nested: bool, rng: np.random.Generator) -> Iterator[NDArray[np.float64]]:
    """Losses of all configurations on drawn folds, NaN for those that have none of them."""
    folds = y.shape[1]
    losses, there = adjust_means(y)[0], np.isfinite(y)
    for _ in range(DRAWS if folds > 1 else 0):
        if nested:  # a fold is a block of its own: other folds only move all losses, which changes no importance
            half = rng.choice(folds, folds // 2, replace=False)
            yield np.where(there[:, half].any(axis=1), losses, np.nan)
        else:
            yield adjust_means(y[:, rng.choice(folds, folds)])[0]


@contextmanager
def _quiet() -> Iterator[None]:
    """Optuna announces every study, and warns where few configurations have a value; the noise level shows that."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with quiet():
            yield
    finally:
        optuna.logging.set_verbosity(before)


def _evaluator(
    axes: list[SearchedParameter], numbers: pd.Index
) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """From the losses of the configurations, NaN for those to leave out, to the importance of each axis."""
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    study = _study(axes, numbers)

    def evaluate(losses: NDArray[np.float64]) -> NDArray[np.float64]:
        finite = int(np.isfinite(losses).sum())
        if finite < 2:
            return np.full(len(axes), np.nan)
        target = min(0.5, max(TARGET, TARGET_LEAST / finite))
        found = get_param_importances(
            study,
            evaluator=PedAnovaImportanceEvaluator(target_quantile=target),
            target=lambda trial: float(losses[trial.number]),
            normalize=False,
        )
        return np.array([found[axis.name] for axis in axes])

    return evaluate


def _study(axes: list[SearchedParameter], numbers: pd.Index) -> Study:
    """A study in memory with a trial per configuration, which has only the hyperparameters that act in it."""
    import optuna
    from optuna.distributions import (
        BaseDistribution,
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    known: dict[str, BaseDistribution] = {}
    values: dict[int, dict[str, Any]] = {int(number): {} for number in numbers}
    for axis in axes:
        if axis.choices:
            known[axis.name] = CategoricalDistribution(axis.choices)
        elif axis.whole:
            known[axis.name] = IntDistribution(int(axis.low), int(axis.high), log=axis.log)
        else:
            known[axis.name] = FloatDistribution(axis.low, axis.high, log=axis.log)
        for number, value in axis.values.items():
            values[int(number)][axis.name] = int(value) if axis.whole else value
    study = optuna.create_study()
    study.add_trials(
        [
            optuna.trial.create_trial(params=params, distributions={name: known[name] for name in params}, value=0.0)
            for params in values.values()
        ]
    )
    return study


def compute_marginal_effects(
    configurations: pd.DataFrame, objective: str, parameters: Mapping[str, Any]
) -> pd.DataFrame:
    """Mean of the adjusted validation score where a hyperparameter had which value, a row per value or bin.

    - `configurations`: as from `helo.analysis.statistics.configurations.configurations_table`
    - `parameters`: as in the manifest's space

    Columns ``parameter``; ``level``: the choice or number, or the bin in words; ``from``, ``to``: the bin's
    edges, NaN for choices, equal where the bin is one number; ``mean``, ``ci_low``, ``ci_high``: over configurations,
    with a 95 % bootstrap interval; ``configurations``: how many. Numbers with few values (`UNCUT`) are not cut; others
    are cut at their quantiles, to bins of `BIN_LEAST` configurations or more. Configurations without a finite score
    are left out, and a hyperparameter counts only where it acts. What else the configurations differ in is not held
    fixed: a search that went after good values tried others beside good ones.
    """
    means = configurations.set_index(Column.CONFIGURATION)[Prefix.ADJUSTED + Prefix.VAL + objective]
    means = means[np.isfinite(means)]
    known = configurations[configurations[Column.CONFIGURATION].isin(means.index)]
    rows = []
    for axis in searched_parameters(known, parameters):
        scores = means[axis.values.index].to_numpy(float)
        for level, low, high, inside in _levels(axis):
            mean, (below, above) = float(scores[inside].mean()), _interval(scores[inside])
            rows.append((axis.name, level, low, high, mean, below, above, int(inside.sum())))
    columns = [Column.PARAMETER, "level", "from", "to", "mean", "ci_low", "ci_high", "configurations"]
    return pd.DataFrame(rows, columns=columns)


def _interval(scores: NDArray[np.float64]) -> tuple[float, float]:
    if len(scores) <= _RESAMPLED:
        return bootstrap_interval(scores)
    low, high = stats.t.interval(CONFIDENCE, len(scores) - 1, loc=scores.mean(), scale=stats.sem(scores))
    return float(low), float(high)


def _levels(axis: SearchedParameter) -> Iterator[tuple[str, float, float, NDArray[np.bool_]]]:
    """The values or bins of a hyperparameter: in words, from, to, and which configurations are inside."""
    if axis.choices:
        for choice in axis.choices:
            yield choice, math.nan, math.nan, (axis.values == choice).to_numpy()
        return
    values = axis.values.to_numpy(float)
    single = np.unique(values)
    if len(single) <= UNCUT and (axis.whole or 2 * len(single) <= len(values)):
        for value in single:
            yield f"{value:g}", float(value), float(value), values == value
        return
    bins = max(1, min(BINS, len(values) // BIN_LEAST))
    inner = np.unique(np.quantile(values, np.arange(1, bins) / bins))
    place = np.searchsorted(inner, values, side="left")
    held = [values[place == number] for number in np.unique(place)]
    middle = (lambda a, b: math.sqrt(a * b)) if axis.log else (lambda a, b: (a + b) / 2)
    cuts = [float(middle(one.max(), other.min())) for one, other in pairwise(held)]
    edges = [float(values.min()), *cuts, float(values.max())]
    for number, low, high in zip(np.unique(place), edges[:-1], edges[1:], strict=True):
        inside = place == number
        first, last = (values[inside].min(), values[inside].max()) if axis.whole else (low, high)
        words = f"{first:.3g}" if first == last else f"{first:.3g} to {last:.3g}"
        yield words, low, high, inside
