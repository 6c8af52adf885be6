"""What a result means, in sentences: the same words for the terminal and the report."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import pandas as pd

from analysis.estimates import gain, paired
from helo.names import (
    BEST_POSSIBLE,
    CONFIGURATION,
    ESTIMATE,
    FAILED,
    FITTED_BASELINES,
    FOLD,
    HIGHER_IS_BETTER,
    KNN,
    MAX_ENTROPY,
    METHOD,
    METRIC_LABELS,
    MLP,
    NORMALISE_SUBJECT,
    ORACLE,
    PER_FOLD_SELECTION,
    PROTOCOL_NESTED,
    PROTOCOL_SHARED,
    RANDOM_FOREST,
    REASON,
    RIDGE,
    SINGLE_CONFIGURATION,
    STATUS,
    TRAIN_MEAN,
    UNCONVERGED,
    UNIFORM,
)

MEANINGS: Final = {
    PER_FOLD_SELECTION: "in each fold, the configuration with the best inner validation score, scored on the"
    " test subject. This is the result to report.",
    SINGLE_CONFIGURATION: "the configuration with the best mean validation score over all folds: the one to"
    " deploy. One choice for all folds, so each test subject had a part in it, through other folds.",
    ORACLE: "the best test score in each fold, by each metric itself. Not reportable: it shows how optimistic"
    " selection on the test subject would have been.",
    TRAIN_MEAN: "the mean distribution of all other subjects, whatever the input. A model that is no"
    " better has learnt nothing from the signals.",
    UNIFORM: "the same probability for every emotion.",
    KNN: "the mean label of the nearest windows (AA-kNN).",
    MAX_ENTROPY: "a linear maximum-entropy model (as SA-BFGS, with a penalty).",
    RIDGE: "linear least squares with a penalty, cut off at 0 and made to sum to 1.",
    RANDOM_FOREST: "the mean label of the leaves of 100 regression trees.",
    MLP: "a network of one hidden layer.",
    BEST_POSSIBLE: "the best prediction under KL of a person never seen, had the signals no noise.",
}

_FITTED = (
    "Plain regressors choose their settings on the inner validation subjects and are then fitted to all but the test"
    " subject. HeLo is not fitted again: the validation subjects say when to stop, so it trains without them. The best"
    " regressor is named by its test score, which favours it."
)

NOT_REPORTABLE: Final = "not reportable"

_LISTED = (
    "The configurations are the variants that the space lists; nothing was proposed. per_fold_selection,"
    " single_configuration and oracle choose among all of them, ablated ones too: what there is to report is the"
    " table of variants."
)
_SHARED = (
    "Protocol shared: one study proposes the configurations for all folds, so what was tried has"
    " seen the other folds, in which this fold's test subject was trained or validated on."
)
_SHARED_CHOICE = " Only the proposals have: the choice in each fold uses its own inner validation subjects alone."
_SHARED_RACING = (
    " So has what was dropped early: a configuration that did badly on the first folds was not tried on the others."
    " Of those left, each fold's choice uses its own inner validation subjects alone. Protocol nested is free of both."
)
_NESTED = (
    "Protocol nested: each fold has a study of its own and nothing passes between folds, so the estimate of"
    " per_fold_selection is unbiased. No configuration sees all folds, so there is no single_configuration: what is"
    " estimated is the search itself. To deploy, run it on all subjects; among the folds' choices, the one nearest"
    " to all others (the medoid) is a fair start."
)
_RUNGS = (
    "A cell that was clearly behind the others of its fold was stopped early. It is never the choice of its fold; in"
    " a mean over folds it counts with the score that it had reached."
)
_SUBJECT_SCALED = (
    "Features were scaled within each subject: the test subject's unlabelled windows were used for that"
    " (never the labels). Compare only with results that do the same."
)


def arrow(metric: str) -> str:
    """The direction in which a metric gets better.

    >>> arrow("kl"), arrow("cosine")
    ('↓', '↑')
    """
    return "↑" if metric in HIGHER_IS_BETTER else "↓"


def number(value: float) -> str:
    """A score with four decimals, three from 1 on, or a dash for none.

    >>> number(0.03871), number(3.4841), number(float("nan"))
    ('0.0387', '3.484', '–')
    """
    if math.isnan(value):
        return "–"
    return f"{value:.4f}" if abs(value) < 1 else f"{value:.3f}"


def signed(value: float) -> str:
    """A difference of scores with its sign, or a dash for none.

    >>> signed(0.00123), signed(-0.02), signed(-1e-9), signed(float("nan"))
    ('+0.0012', '-0.0200', '0.0000', '–')
    """
    if math.isnan(value):
        return "–"
    return f"{value:+.4f}" if round(value, 4) else "0.0000"


def percent(value: float) -> str:
    """A skill in percent with its sign, or a dash for none.

    >>> percent(0.0839), percent(-0.02), percent(0.0), percent(float("nan"))
    ('+8.4 %', '-2.0 %', '0.0 %', '–')
    """
    if math.isnan(value):
        return "–"
    rounded = round(100 * value, 1)
    return f"{rounded:+.1f} %" if rounded else "0.0 %"


def verdict(scores: pd.DataFrame, objective: str, what: str = "the search") -> str:
    """One sentence: for how many subjects ``per_fold_selection`` is better than ``train_mean``.

    `scores` comes from `analysis.estimates.subject_scores`; the metrics are the objective and Chebyshev; `what` is
    judged.
    """
    clauses = [_clause(scores, metric) for metric in dict.fromkeys((objective, "chebyshev"))]
    if not all(clauses):
        return (
            "There is nothing to judge yet: no subject has both a completed cell and the train-mean baseline,"
            " which uses no input at all."
        )
    judged = " and ".join(clauses)
    return f"Against the train mean, which uses no input at all, {what} is better {judged}."


def _clause(scores: pd.DataFrame, metric: str) -> str:
    both = paired(scores, metric, PER_FOLD_SELECTION, TRAIN_MEAN)
    if both.empty:
        return ""
    better = (gain(both[PER_FOLD_SELECTION], both[TRAIN_MEAN], metric) > 0).sum()
    searched, trivial = both[PER_FOLD_SELECTION].mean(), both[TRAIN_MEAN].mean()
    difference = gain(searched, trivial, metric)
    compared = "better than" if difference > 0 else "worse than" if difference < 0 else "no better than"
    return (
        f"for {better} of {len(both)} subjects on {METRIC_LABELS[metric]}"
        f" (mean {number(searched)}, {compared} {number(trivial)})"
    )


def rivals(scores: pd.DataFrame, objective: str) -> list[str]:
    """A sentence on the best of the fitted baselines, which chose nothing by test scores but is named for its own."""
    wide = scores.pivot(index=FOLD, columns=ESTIMATE, values=objective)
    if PER_FOLD_SELECTION not in wide:
        return []
    # Of those that have every subject: one that failed on the hardest would look best.
    judged = wide[wide[PER_FOLD_SELECTION].notna()]
    means = judged[[name for name in FITTED_BASELINES if name in wide]].mean(skipna=False).dropna()
    if means.empty:
        return []
    best = str(means.idxmax() if objective in HIGHER_IS_BETTER else means.idxmin())
    both = paired(scores, objective, PER_FOLD_SELECTION, best)
    better = int((gain(both[PER_FOLD_SELECTION], both[best], objective) > 0).sum())
    ours, theirs = both[PER_FOLD_SELECTION].mean(), both[best].mean()
    difference = gain(ours, theirs, objective)
    compared = "better" if difference > 0 else "worse" if difference < 0 else "no better"
    return [
        f"{'The plain regressor' if len(means) == 1 else f'The best of {len(means)} plain regressors'} on the same"
        f" folds, {best}, has a mean {METRIC_LABELS[objective]} of {number(theirs)}: the search is {compared}"
        f" ({number(ours)}), and better for {better} of {len(both)} subjects."
    ]


def failures(baselines: pd.DataFrame) -> list[str]:
    """A sentence on each baseline that could not be fitted in some folds."""
    if STATUS not in baselines:
        return []
    failed = baselines[baselines[STATUS] == FAILED]
    return [
        f"{method} failed in {len(rows)} folds, first in that of {rows[FOLD].iloc[0]}:"
        f" {str(rows[REASON].iloc[0]).strip().splitlines()[-1]}"
        for method, rows in failed.groupby(METHOD, sort=False)
    ]


def cautions(manifest: Mapping[str, Any]) -> list[str]:
    """What a reader of the estimates must know about how the run was made."""
    found = [_FITTED] if manifest.get("baselines") else []
    racing = bool(manifest.get("racing"))
    space = manifest.get("space")
    if isinstance(space, Mapping) and space.get("variants"):
        found.append(_LISTED)
    elif manifest.get("protocol") == PROTOCOL_SHARED:
        found.append(_SHARED + (_SHARED_RACING if racing else _SHARED_CHOICE))
    if manifest.get("protocol") == PROTOCOL_NESTED:
        found.append(_NESTED)
    if racing:
        found.append(_RUNGS)
    if manifest.get("normalise") == NORMALISE_SUBJECT:
        found.append(_SUBJECT_SCALED)
    return found


def unconverged(epochs: pd.DataFrame) -> list[str]:
    """A sentence if transport plans were not solutions: the hyperparameters of transport then mean less."""
    if UNCONVERGED not in epochs:
        return []
    per_cell = epochs.groupby([CONFIGURATION, FOLD])[UNCONVERGED].max()
    touched = int((per_cell > 0).sum())
    if not touched:
        return []
    return [
        f"In {touched} of {len(per_cell)} cells some transport plans did not converge (at most"
        f" {per_cell.max():.0f} in an epoch): there the entropic weight means less than it says."
    ]


def coverage(summary: pd.DataFrame, folds: int) -> list[str]:
    """A sentence if an estimate of the search lacks subjects, so nobody takes it for the whole run."""
    searched = summary[summary[ESTIMATE] == PER_FOLD_SELECTION]["subjects"]
    subjects = int(searched.max()) if len(searched) else 0
    found = []
    if subjects < folds:
        found.append(f"Only {subjects} of the {folds} folds have a completed cell; the others are left out.")
    single = summary[summary[ESTIMATE] == SINGLE_CONFIGURATION]["subjects"]
    if subjects and not single.max():
        found.append(f"No configuration has scores in all {folds} folds: there is no {SINGLE_CONFIGURATION}.")
    return found
