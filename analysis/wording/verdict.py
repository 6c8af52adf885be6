"""The result of a run in sentences: whether it shows skill, and how it compares with the best fitted baseline."""

from __future__ import annotations

import math

import pandas as pd

from helo.analysis.statistics.comparisons import compare_with_references, count_corrected
from helo.analysis.statistics.estimates import best_fitted_baseline
from helo.analysis.statistics.finding import Finding, fewest_subjects, judge_difference
from helo.analysis.statistics.signed_rank import ALPHA
from helo.analysis.wording.numbers import count, format_difference, format_effect, format_score, p_equals, power_note
from helo.analysis.wording.practical import equivalence_note
from helo.metrics import METRICS
from helo.names import FITTED_BASELINES, Column, Estimate


def verdict(scores: pd.DataFrame, objective: str, judged: str = "the search") -> str:
    """Say whether a run shows skill.

    Skill is shown where ``per_fold_selection`` is better than ``train_mean`` on the objective: Wilcoxon's signed-rank
    test over subjects gives p below `ALPHA`, and both the mean gain and the effect size are positive. Otherwise the
    sentences contain the words "no skill", or, with so few subjects that no p can be below `ALPHA`, "cannot be shown".
    The comparison on Chebyshev is reported too, but decides nothing.

    Parameters
    ----------
    scores : pandas.DataFrame
        Result of `helo.analysis.statistics.estimates.subject_scores`.
    objective : str
        Name of the metric that decides.
    judged : str
        Words that name what ``per_fold_selection`` stands for.

    Returns
    -------
    str
        One or more sentences.
    """
    table = compare_with_references(scores, tuple(metric for metric in METRICS if metric in scores))
    is_tested = (table[Column.REFERENCE] == Estimate.TRAIN_MEAN) & (table["subjects"] > 0)
    rows = table[is_tested].set_index(Column.METRIC)
    if objective not in rows.index:
        return (
            "There is nothing to judge yet: no subject has both a completed cell and a score of the train mean,"
            " which uses no input."
        )
    row = rows.loc[objective]
    sentences = [
        _skill_sentence(row, f"on {METRICS[objective].label}, {judged} beats the train mean, which uses no input,")
    ]
    if objective != "chebyshev":
        sentences.append(f"On Chebyshev, it does so for {_counts(rows.loc['chebyshev'])}.")
    is_better = (rows["p"] < ALPHA) & (rows["gain"] > 0) & (rows["effect"] > 0)
    better = [metric for metric in rows.index[is_better] if metric != objective]
    if better and not is_better[objective]:
        labels = ", ".join(METRICS[metric].label for metric in better)
        sentences.append(
            f"On {labels}, it is significantly better (p < {ALPHA}, not corrected for testing six metrics)."
        )
    return " ".join(sentences)


def _skill_sentence(row: pd.Series, claim: str) -> str:
    """Return the sentence that says whether skill is shown, with its numbers and its reason."""
    subjects, p = int(row["subjects"]), float(row["p"])
    counted = f"{claim} for {_counts(row)}"
    finding = judge_difference(subjects, float(row["gain"]), p, float(row["effect"]))
    if finding == Finding.BETTER:
        return f"Skill is shown: {counted}."
    if finding == Finding.WORSE:
        return f"Worse than the train mean, so no skill: {counted}."
    if finding == Finding.TOO_FEW:
        return (
            f"Skill cannot be shown with {count(subjects, 'subject')}: at least {fewest_subjects()} are needed for"
            f" p < {ALPHA} in a two-sided Wilcoxon signed-rank test. {counted[0].upper()}{counted[1:]}."
        )
    no_skill = f"No skill is shown: {counted}."
    if p < ALPHA:
        return f"{no_skill} The mean and most subjects point in opposite directions."
    low, high = format_difference(row["gain_low"]), format_difference(row["gain_high"])
    if row["gain_low"] > 0 or row["gain_high"] < 0:
        return (
            f"{no_skill} The test, which decides, counts subjects by the rank of their gain. The interval of the mean"
            f" gain, {low} to {high} (95 %), counts them by its size and excludes 0, so a few large gains may account"
            " for it."
        )
    return (
        f"{no_skill} A model that ignores the signals may do as well: the mean gain lies between {low} and {high}"
        " (95 % interval)."
    )


def _counts(row: pd.Series) -> str:
    means = f"mean {format_score(row['score'])} against {format_score(row['reference_score'])}"
    test = "" if math.isnan(row["p"]) else f"; {p_equals(row['p'])}, effect size {format_effect(row['effect'])}"
    return f"{row['better']} of {row['subjects']} subjects ({means}{test})"


def best_baseline_note(scores: pd.DataFrame, objective: str) -> list[str]:
    """Compare the search with the best fitted baseline.

    The words "significantly better" and "significantly worse" appear only where Wilcoxon's test, with Holm's
    correction over all references, is significant.

    Parameters
    ----------
    scores : pandas.DataFrame
        Result of `helo.analysis.statistics.estimates.subject_scores`.
    objective : str
        Name of the metric to compare on.

    Returns
    -------
    list of str
        The comparison, and whether both are practically the same if that is known. Empty without a fitted baseline
        that has a score for every subject of the search.
    """
    best = best_fitted_baseline(scores, objective)
    if not best:
        return []
    table = compare_with_references(scores, (objective,))
    row = table.set_index(Column.REFERENCE).loc[best]
    tests = count_corrected(table)
    shown = judge_difference(int(row["subjects"]), row["gain"], row["p_holm"], row["effect"])
    is_clear = shown in (Finding.BETTER, Finding.WORSE)
    finding = f"is significantly {shown}" if is_clear else "shows no significant difference"
    fitted = (table[Column.REFERENCE].isin(FITTED_BASELINES) & (table["subjects"] == row["subjects"])).sum()
    subject = "The fitted baseline" if fitted == 1 else f"The best of {fitted} fitted baselines"
    return [
        f"{subject} on the same folds is {best}, with a mean {METRICS[objective].label} of"
        f" {format_score(row['reference_score'])}. The search, with {format_score(row['score'])}, {finding}: it is"
        f" better for {row['better']} of {row['subjects']} subjects"
        f"{_corrected_test(row['p_holm'], row['effect'], tests)}"
        f"{power_note(int(row['subjects']), tests)}.",
        *equivalence_note(scores, objective, best),
    ]


def _corrected_test(p: float, effect: float, tests: int) -> str:
    if math.isnan(p):
        return ""
    correction = f" by Holm's correction for {tests} comparisons" if tests > 1 else ""
    return f" ({p_equals(p)}{correction}, effect size {format_effect(effect)})"
