"""What a result means, in sentences: the same words for the terminal and the report."""

from __future__ import annotations

import math
from typing import Final

import pandas as pd
from helo.analysis.statistics.comparisons import comparisons, corrected
from helo.analysis.statistics.estimates import best_regressor, chosen_cells, completed
from helo.analysis.statistics.signed_rank import ALPHA, least_p

from helo.metrics import METRICS
from helo.names import FITTED_BASELINES, Column, Estimate, Method, Normalisation, SearchProtocol, Status
from helo.run.manifest import Manifest
from helo.run.selection import best_per_fold

MEANINGS: Final = {
    Estimate.PER_FOLD_SELECTION: "in each fold, the configuration with the best inner validation score, scored on the"
    " test subject. This is the result to report.",
    Estimate.SINGLE_CONFIGURATION: "the configuration with the best mean validation score over all folds: the one to"
    " deploy. One choice for all folds, so each test subject had a part in it, through other folds.",
    Estimate.ORACLE: "the best test score in each fold, by each metric itself. Not reportable: it shows how optimistic"
    " selection on the test subject would have been.",
    Estimate.TRAIN_MEAN: "the mean distribution of all other subjects, whatever the input. A model that is no"
    " better has learnt nothing from the signals.",
    Estimate.UNIFORM: "the same probability for every emotion.",
    Method.KNN: "the mean label of the nearest windows (AA-kNN).",
    Method.MAX_ENTROPY: "a linear maximum-entropy model (as SA-BFGS, with a penalty).",
    Method.RIDGE: "linear least squares with a penalty, cut off at 0 and made to sum to 1.",
    Method.RANDOM_FOREST: "the mean label of the leaves of 100 regression trees.",
    Method.MLP: "a network of one hidden layer.",
    Estimate.BEST_POSSIBLE: "the best prediction under KL of a person never seen, had the signals no noise.",
}

_FITTED = (
    "Plain regressors choose their settings on the inner validation subjects and are then fitted to all but the test"
    " subject. HeLo is not fitted again: the validation subjects say when to stop, so it trains without them. The best"
    " regressor is named by its test score, which favours it."
)

NOT_REPORTABLE: Final = "not reportable"

_LISTED = (
    "The configurations are the variants that the space lists; nothing was proposed. In the table of estimates"
    " per_fold_selection, single_configuration and oracle choose among all of them, ablated ones too: what there is to"
    " report is the table of variants. In tests and in figures of subjects the first variant stands in the place of"
    " per_fold_selection."
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
    return "↑" if METRICS[metric].higher_is_better else "↓"


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

    >>> signed(0.00123), signed(-0.02), signed(-1e-9), signed(0.0), signed(float("nan"))
    ('+0.0012', '-0.0200', '-1e-09', '0.0000', '–')
    """
    if math.isnan(value):
        return "–"
    if value and not round(value, 4):
        return f"{value:+.0e}"  # little, but not nothing: a test may still tell it from chance
    return f"{value:+.4f}" if value else "0.0000"


def percent(value: float) -> str:
    """A skill in percent with its sign, or a dash for none.

    >>> percent(0.0839), percent(-0.02), percent(0.0), percent(float("nan"))
    ('+8.4 %', '-2.0 %', '0.0 %', '–')
    """
    if math.isnan(value):
        return "–"
    rounded = round(100 * value, 1)
    return f"{rounded:+.1f} %" if rounded else "0.0 %"


def p_value(p: float) -> str:
    """A p value with three decimals, or a dash for none. It never rounds over the line that it is judged by.

    >>> p_value(0.0312), p_value(0.0498), p_value(0.00002), p_value(float("nan"))
    ('0.031', '< 0.05', '< 0.001', '–')
    """
    if math.isnan(p):
        return "–"
    if p < 0.001:
        return "< 0.001"
    return f"< {ALPHA}" if round(p, 3) == ALPHA > p else f"{p:.3f}"


def equal_p(p: float) -> str:
    """A p value as part of a sentence.

    >>> equal_p(0.0312), equal_p(0.00002)
    ('p = 0.031', 'p < 0.001')
    """
    shown = p_value(p)
    return f"p {shown}" if shown.startswith("<") else f"p = {shown}"


def effect_size(effect: float) -> str:
    """An effect size with its sign, or a dash for none.

    >>> effect_size(0.783), effect_size(-1), effect_size(0.0), effect_size(float("nan"))
    ('+0.78', '-1.00', '0.00', '–')
    """
    if math.isnan(effect):
        return "–"
    return f"{effect:+.2f}" if round(effect, 2) else "0.00"


def verdict(scores: pd.DataFrame, objective: str, what: str = "the search") -> str:
    """Whether the run shows skill: ``per_fold_selection`` is better than ``train_mean`` beyond chance, on `objective`.

    Skill is shown where Wilcoxon's signed-rank test over subjects gives p < 0.05, and both the mean gain and the effect
    size are above 0. Otherwise the sentences hold the words "no skill". `scores` comes from
    `helo.analysis.statistics.estimates.subject_scores`; `what` is judged. Chebyshev is told, too, and judges nothing.
    """
    table = comparisons(scores, tuple(metric for metric in METRICS if metric in scores))
    rows = table[(table[Column.REFERENCE] == Estimate.TRAIN_MEAN) & (table["subjects"] > 0)].set_index(Column.METRIC)
    if objective not in rows.index:
        return (
            "There is nothing to judge yet: no subject has both a completed cell and the train-mean baseline,"
            " which uses no input at all."
        )
    row = rows.loc[objective]
    subjects, p, effect = int(row["subjects"]), float(row["p"]), float(row["effect"])
    counted = (
        f"on {METRICS[objective].label}, {what} beats the train mean, which uses no input at all, for {_counts(row)}"
    )
    if p < ALPHA and row["gain"] > 0 and effect > 0:
        found = f"Skill is shown: {counted}."
    elif p < ALPHA and row["gain"] < 0 and effect < 0:
        found = f"Worse than the train mean, so no skill: {counted}."
    elif p < ALPHA:
        found = f"No skill is shown: {counted}. Most subjects and the mean say the opposite of each other."
    elif least_p(subjects) >= ALPHA:
        people = f"{subjects} subject{'s' * (subjects != 1)}"
        found = (
            f"No skill is shown: {counted}. {people} cannot show it either way: with fewer than"
            f" {_enough()}, no result reaches p < {ALPHA}."
        )
    else:
        found = (
            f"No skill is shown: {counted}. A model that never looks at the signals may do as well: the mean gain lies"
            f" between {signed(row['gain_low'])} and {signed(row['gain_high'])} (95 % interval)."
        )
    beyond = rows[(rows["p"] < ALPHA) & (rows["gain"] > 0) & (rows["effect"] > 0)].index.drop(
        objective, errors="ignore"
    )
    others = [f"On Chebyshev it does for {_counts(rows.loc['chebyshev'])}."] if objective != "chebyshev" else []
    if len(beyond) and not found.startswith("Skill"):
        named = ", ".join(METRICS[metric].label for metric in beyond)
        others.append(f"On {named} it is better beyond chance (p < {ALPHA}, not corrected for six measures).")
    return " ".join([found, *others])


def _enough() -> int:
    """How many subjects it takes at least for a p below `ALPHA`."""
    return next(subjects for subjects in range(1, 100) if least_p(subjects) < ALPHA)


def _counts(row: pd.Series) -> str:
    means = f"mean {number(row['score'])} against {number(row['reference_score'])}"
    return f"{row['better']} of {row['subjects']} subjects ({means}{_test(row['p'], row['effect'])})"


def _test(p: float, effect: float) -> str:
    return "" if math.isnan(p) else f"; {equal_p(p)}, effect size {effect_size(effect)}"


def rivals(scores: pd.DataFrame, objective: str) -> list[str]:
    """A sentence on the best of the fitted baselines, which chose nothing by test scores but is named for its own.

    "Better" and "worse" are said only where Wilcoxon's test, corrected by Holm over all references, says so.
    """
    best = best_regressor(scores, objective)
    if not best:
        return []
    table = comparisons(scores, (objective,))
    row = table.set_index(Column.REFERENCE).loc[best]
    tests = corrected(table)
    compared = f"no difference could be seen from the search ({number(row['score'])}), which is better"
    if row["p_holm"] < ALPHA and row["gain"] * row["effect"] > 0:
        compared = f"the search is {'better' if row['gain'] > 0 else 'worse'} ({number(row['score'])}), and better"
    fitted = (table[Column.REFERENCE].isin(FITTED_BASELINES) & (table["subjects"] == row["subjects"])).sum()
    first = "The plain regressor" if fitted == 1 else f"The best of {fitted} plain regressors"
    return [
        f"{first} on the same folds, {best}, has a mean {METRICS[objective].label} of"
        f" {number(row['reference_score'])}: {compared} for {row['better']} of {row['subjects']}"
        f" subjects{_tested(row['p_holm'], row['effect'], tests)}"
        f"{powerless(int(row['subjects']), tests)}."
    ]


def powerless(subjects: int, tests: int) -> str:
    """That no corrected p can reach 0.05, where it cannot, as the end of a sentence.

    >>> powerless(15, 6)
    ''
    >>> powerless(7, 6)
    ': with 7 subjects and 6 comparisons no corrected p can be below 0.05'
    """
    if tests * least_p(subjects) < ALPHA:
        return ""
    return f": with {subjects} subjects and {tests} comparisons no corrected p can be below {ALPHA}"


def _tested(p: float, effect: float, tests: int) -> str:
    if math.isnan(p):
        return ""
    corrected = f" by Holm's correction for {tests} comparisons" if tests > 1 else ""
    return f" ({equal_p(p)}{corrected}, effect size {effect_size(effect)})"


def optimism_gap(table: pd.DataFrame, objective: str, alone: int = 0) -> list[str]:
    """A sentence on how much better choosing by test scores would have looked.

    `table` comes from `helo.analysis.statistics.comparisons.optimism`; in `alone` folds one cell only ran to its end.
    """
    row = table.set_index(Column.METRIC).loc[objective]
    if not row["subjects"] or math.isnan(row["gap"]):
        return []
    if row["gap"] == 0:
        return [f"Optimism gap: none on {METRICS[objective].label}: test scores would have chosen the same cells."]
    alone_there = ""
    if alone:
        alone_there = (
            f" That is the least: in {alone} of {row['subjects']:.0f} folds one cell alone ran to its end, so there was"
            " nothing to choose."
        )
    between = ""
    if not math.isnan(row["gap_low"]):
        between = f", 95 % interval {number(row['gap_low'])} to {number(row['gap_high'])}"
    return [
        f"Optimism gap: had test scores chosen the configuration (oracle), {METRICS[objective].label} would look better"
        f" by {number(row['gap'])} ({row['per_cent']:.1f} % of {number(row['score'])}{between})." + alone_there
    ]


def untrained(cells: pd.DataFrame, objective: str) -> list[str]:
    """A sentence if selected cells kept the weights from before training."""
    chosen = chosen_cells(completed(cells), best_per_fold(cells, objective))
    none = int((chosen[Column.BEST_EPOCH] == 0).sum())
    if not none:
        return []
    return [
        f"In {none} of {len(chosen)} folds no epoch was better than no training on the inner validation subjects: there"
        " the selected model predicts the mean label of its training subjects, whatever the signals."
    ]


def failures(baselines: pd.DataFrame) -> list[str]:
    """A sentence on each baseline that could not be fitted in some folds."""
    if Column.STATUS not in baselines:
        return []
    failed = baselines[baselines[Column.STATUS] == Status.FAILED]
    return [
        f"{method} failed in {len(rows)} folds, first in that of {rows[Column.FOLD].iloc[0]}:"
        f" {str(rows[Column.REASON].iloc[0]).strip().splitlines()[-1]}"
        for method, rows in failed.groupby(Column.METHOD, sort=False)
    ]


def cautions(manifest: Manifest) -> list[str]:
    """What a reader of the estimates must know about how the run was made."""
    found = [_FITTED] if manifest.baselines else []
    racing = bool(manifest.racing)
    if manifest.space is not None and manifest.space.get("variants"):
        found.append(_LISTED)
    elif manifest.protocol == SearchProtocol.SHARED:
        found.append(_SHARED + (_SHARED_RACING if racing else _SHARED_CHOICE))
    if manifest.protocol == SearchProtocol.NESTED:
        found.append(_NESTED)
    if racing:
        found.append(_RUNGS)
    if manifest.normalise == Normalisation.SUBJECT:
        found.append(_SUBJECT_SCALED)
    return found


def unconverged(per_cell: pd.Series) -> list[str]:
    """A sentence if transport plans were not solutions: the hyperparameters of transport then mean less.

    `per_cell`: see `helo.analysis.statistics.estimates.unconverged_cells`.
    """
    touched = int((per_cell > 0).sum())
    if not touched:
        return []
    return [
        f"In {touched} of {len(per_cell)} cells some transport plans did not converge (at most"
        f" {per_cell.max():.0f} in an epoch): there the entropic weight means less than it says."
    ]


def coverage(summary: pd.DataFrame, folds: int, nested: bool = False) -> list[str]:
    """A sentence if an estimate of the search lacks subjects, so nobody takes it for the whole run.

    Under `nested` no configuration is in all folds, which the note on the protocol says.
    """
    searched = summary[summary[Column.ESTIMATE] == Estimate.PER_FOLD_SELECTION]["subjects"]
    subjects = int(searched.max()) if len(searched) else 0
    found = []
    if subjects < folds:
        found.append(f"Only {subjects} of the {folds} folds have a completed cell; the others are left out.")
    single = summary[summary[Column.ESTIMATE] == Estimate.SINGLE_CONFIGURATION]["subjects"]
    if subjects and not nested and not single.max():
        found.append(f"No configuration has scores in all {folds} folds: there is no {Estimate.SINGLE_CONFIGURATION}.")
    return found
