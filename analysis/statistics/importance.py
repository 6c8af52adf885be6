"""Importance and marginal effects of hyperparameters.

This is the only module of `helo.analysis` that imports Optuna.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from helo.analysis.statistics.configurations import adjust_means, score_matrix
from helo.analysis.statistics.estimates import CONFIDENCE, bootstrap_interval
from helo.analysis.statistics.parameters import SearchedParameter, searched_parameters
from helo.analysis.statistics.quiet import quiet
from helo.errors import InputError
from helo.metrics import METRICS
from helo.names import Column, Prefix

if TYPE_CHECKING:
    from optuna.study import Study

LEAST: Final = 10
"""Minimum number of configurations for importance."""

TARGET: Final = 0.2
"""Quantile of the configurations that count as the best. In simulations with 60 configurations, the best fifth
identified the relevant hyperparameters in 60 % of the cases, the best tenth in 41 %."""

TARGET_LEAST: Final = 5
"""Minimum number of configurations that count as the best, as Optuna advises."""

DRAWS: Final = 100
"""Number of draws of subjects for the intervals, and of permutations of scores for the noise level."""

MOST: Final = 400
"""Maximum number of configurations for importance. A larger number, as under ``nested``, is subsampled."""

BINS: Final = 5
"""Maximum number of bins of a numeric hyperparameter. Bins are bounded by quantiles."""

BIN_LEAST: Final = 4
"""Minimum number of configurations per bin."""

UNCUT: Final = 8
"""Maximum number of distinct values that are shown without bins. Applies to integers, and to other numbers if each
value was tried twice on average."""

_RESAMPLED: Final = 500
"""Maximum number of scores for a bootstrap interval. Above it, Student's interval is nearly the same and needs little
memory."""


def compute_importance(
    cells: pd.DataFrame, objective: str, parameters: Mapping[str, Any], nested: bool = False, seed: int = 0
) -> pd.DataFrame:
    """Return the importance of each searched hyperparameter for being among the best configurations.

    The method is PED-ANOVA (S. Watanabe, A. Bansal and F. Hutter, "PED-ANOVA: efficiently quantifying hyperparameter
    importance in arbitrary subspaces", IJCAI 2023; conditional hyperparameters as in Optuna 5). It measures the
    divergence between the values of a hyperparameter in the best fifth of the configurations, or in the best five if
    these are more, and in all configurations. Configurations are ordered by adjusted mean inner validation score.

    Parameters
    ----------
    cells : DataFrame
        Columns of ``cells.parquet``.
    objective : str
        Metric of the search.
    parameters : mapping
        Hyperparameters of the manifest's space. Fixed hyperparameters are left out.
    nested : bool, default False
        Whether the protocol is ``nested``.
    seed : int, default 0
        Seed of all draws.

    Returns
    -------
    DataFrame
        A row per hyperparameter, largest share first, with columns:

        - ``parameter``
        - ``share``: share of the sum of all importances, from 0 to 1
        - ``low``, ``high``: 95 % interval of the share over draws of the subjects, NaN with one subject. Under the
          protocol ``shared`` it is a bootstrap over subjects that computes all means again. Under ``nested``, where
          each configuration belongs to one subject, it uses random halves of the subjects, which have the same
          spread as a bootstrap. The configurations are fixed; ``noise`` covers their random choice.
        - ``noise``: 95 % quantile of the importance when scores are randomly permuted among the configurations, on
          the scale of the shares. A share below it is not evidence of importance.
        - ``configurations``: number of configurations in which the hyperparameter acts

    Raises
    ------
    InputError
        If fewer than `LEAST` configurations have a finite score, or no hyperparameter was searched.
    """
    rng = np.random.default_rng(seed)
    scores = score_matrix(cells, objective)
    y = METRICS[objective].loss(scores.to_numpy())
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
        raise InputError("importance needs at least one searched hyperparameter, got none")
    names = [axis.name for axis in axes]
    with _quiet():
        evaluate = _evaluator(axes, scores.index[kept])
        importance = evaluate(losses[kept])
        total = importance.sum()
        drawn = np.array([_shares(evaluate(draw[kept])) for draw in _draws(y, nested, rng)])
        permuted = np.array([evaluate(rng.permutation(losses[kept])) for _ in range(DRAWS)])
    tail = (1 - CONFIDENCE) / 2
    low, high = np.nanquantile(drawn, (tail, 1 - tail), axis=0) if len(drawn) else np.full((2, len(names)), np.nan)
    table = pd.DataFrame(
        {
            Column.PARAMETER: names,
            "share": _shares(importance),
            "low": low,
            "high": high,
            "noise": np.quantile(permuted, CONFIDENCE, axis=0) / total if total > 0 else np.nan,
            "configurations": [len(axis.values) for axis in axes],
        }
    )
    return table.sort_values("share", ascending=False, kind="stable", ignore_index=True)


def _shares(importance: NDArray[np.float64]) -> NDArray[np.float64]:
    total = importance.sum()
    return importance / total if total > 0 else np.zeros_like(importance)


def _draws(y: NDArray[np.float64], nested: bool, rng: np.random.Generator) -> Iterator[NDArray[np.float64]]:
    """Yield the losses of all configurations on each draw of folds, NaN for configurations without a drawn fold."""
    folds = y.shape[1]
    if folds == 1:
        return
    losses, observed = adjust_means(y)[0], np.isfinite(y)
    for _ in range(DRAWS):
        if nested:
            # Each fold is a block. The choice of folds shifts all adjusted losses equally, which keeps their order.
            half = rng.choice(folds, folds // 2, replace=False)
            yield np.where(observed[:, half].any(axis=1), losses, np.nan)
        else:
            yield adjust_means(y[:, rng.choice(folds, folds)])[0]


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress Optuna's messages about each study, and its warnings about few values, which ``noise`` accounts for."""
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
    """Return a function from losses, NaN for configurations to leave out, to the importance of each hyperparameter."""
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    study = _study(axes, numbers)

    def evaluate(losses: NDArray[np.float64]) -> NDArray[np.float64]:
        finite = int(np.isfinite(losses).sum())
        if finite < 2:
            return np.full(len(axes), np.nan)
        target = min(0.5, max(TARGET, TARGET_LEAST / finite))
        importances = get_param_importances(
            study,
            evaluator=PedAnovaImportanceEvaluator(target_quantile=target),
            target=lambda trial: float(losses[trial.number]),
            normalize=False,
        )
        return np.array([importances[axis.name] for axis in axes])

    return evaluate


def _study(axes: list[SearchedParameter], numbers: pd.Index) -> Study:
    """Return an Optuna study with a trial per configuration; a trial has the hyperparameters that act in it."""
    import optuna
    from optuna.distributions import (
        BaseDistribution,
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    distributions: dict[str, BaseDistribution] = {}
    values: dict[int, dict[str, Any]] = {int(number): {} for number in numbers}
    for axis in axes:
        if axis.choices:
            distributions[axis.name] = CategoricalDistribution(axis.choices)
        elif axis.whole:
            distributions[axis.name] = IntDistribution(int(axis.low), int(axis.high), log=axis.log)
        else:
            distributions[axis.name] = FloatDistribution(axis.low, axis.high, log=axis.log)
        for number, value in axis.values.items():
            values[int(number)][axis.name] = int(value) if axis.whole else value
    study = optuna.create_study()
    study.add_trials(
        [
            optuna.trial.create_trial(
                params=params, distributions={name: distributions[name] for name in params}, value=0.0
            )
            for params in values.values()
        ]
    )
    return study


def compute_marginal_effects(
    configurations: pd.DataFrame, objective: str, parameters: Mapping[str, Any]
) -> pd.DataFrame:
    """Return the mean adjusted inner validation score for each value, or bin of values, of each hyperparameter.

    Numbers with at most `UNCUT` values have a row per value. Other numbers are divided at their quantiles into bins
    of at least `BIN_LEAST` configurations. Configurations without a finite score, or in which the hyperparameter does
    not act, are left out. The other hyperparameters are not held fixed: an adaptive search tries good values together
    with other good values, so the means are associations, not effects of one hyperparameter alone.

    Parameters
    ----------
    configurations : DataFrame
        As from `helo.analysis.statistics.configurations.configurations_table`.
    objective : str
        Metric of the search.
    parameters : mapping
        Hyperparameters of the manifest's space.

    Returns
    -------
    DataFrame
        A row per value or bin, with columns:

        - ``parameter``
        - ``level``: the choice, the number, or the bin in words
        - ``from``, ``to``: bounds of the bin; equal for a number, NaN for a choice
        - ``mean``, ``ci_low``, ``ci_high``: mean over configurations with its 95 % interval
        - ``configurations``: number of configurations
    """
    means = configurations.set_index(Column.CONFIGURATION)[Prefix.ADJUSTED + Prefix.VAL + objective]
    means = means[np.isfinite(means)]
    finite = configurations[configurations[Column.CONFIGURATION].isin(means.index)]
    rows = []
    for axis in searched_parameters(finite, parameters):
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
    """Yield each value or bin of a hyperparameter: in words, lower bound, upper bound, mask of configurations."""
    if axis.choices:
        for choice in axis.choices:
            yield choice, math.nan, math.nan, (axis.values == choice).to_numpy()
        return
    values = axis.values.to_numpy(float)
    distinct = np.unique(values)
    if len(distinct) <= UNCUT and (axis.whole or 2 * len(distinct) <= len(values)):
        for value in distinct:
            yield f"{value:g}", float(value), float(value), values == value
        return
    bins = max(1, min(BINS, len(values) // BIN_LEAST))
    inner = np.unique(np.quantile(values, np.arange(1, bins) / bins))
    bin_of = np.searchsorted(inner, values, side="left")
    numbers = np.unique(bin_of)
    middle = (lambda a, b: math.sqrt(a * b)) if axis.log else (lambda a, b: (a + b) / 2)
    cuts = [
        float(middle(values[bin_of == left].max(), values[bin_of == right].min())) for left, right in pairwise(numbers)
    ]
    edges = [float(values.min()), *cuts, float(values.max())]
    for number, low, high in zip(numbers, edges[:-1], edges[1:], strict=True):
        inside = bin_of == number
        first, last = (values[inside].min(), values[inside].max()) if axis.whole else (low, high)
        words = f"{first:.3g}" if first == last else f"{first:.3g} to {last:.3g}"
        yield words, low, high, inside
