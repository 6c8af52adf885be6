"""Tables of the report as HTML."""

from __future__ import annotations

import html
from typing import Final

import pandas as pd

from helo.analysis.source import Source
from helo.analysis.statistics.ablation import VARIANT
from helo.analysis.statistics.comparisons import count_corrected
from helo.analysis.statistics.configurations import NOT_FOR_CHOOSING
from helo.analysis.web.page import escape_html, render_table
from helo.analysis.wording import (
    NOT_REPORTABLE,
    ablation_note,
    format_difference,
    format_effect,
    format_p,
    format_percent,
    format_score,
    loss_words,
    power_note,
)
from helo.data.dataset import natural_key
from helo.errors import InputError
from helo.metrics import METRICS
from helo.names import Column, Estimate, Prefix

SHOWN_CONFIGURATIONS: Final = 10
"""Configurations in the table of the report. The exported table has all configurations."""

_ROW_CLASSES: Final[dict[str, str]] = {
    Estimate.PER_FOLD_SELECTION: 'class="main"',
    Estimate.ORACLE: 'class="oracle"',
}
_COUNTS: Final = {Column.FOLDS: "Folds", Column.CHOSEN: "Chosen", Column.BEST_ON_TEST: "Best on test"}

_HEADS: Final = tuple(f"{METRICS[metric].label}&nbsp;{METRICS[metric].arrow}" for metric in METRICS)


def render_note(content: str) -> str:
    """Return a small paragraph below a table."""
    return f'<p class="note">{escape_html(content)}</p>'


def render_estimates(summary: pd.DataFrame, objective: str) -> str:
    """Return the table of estimates: skill, and the mean of each metric with its interval.

    Parameters
    ----------
    summary : pandas.DataFrame
        Table of estimates, as in ``summary.parquet``. Estimates without subjects are left out.
    objective : str
        Metric of the skill.

    Returns
    -------
    str
        HTML of the table and its note.
    """
    rows = []
    for estimate, of_estimate in summary.groupby(Column.ESTIMATE, sort=False):
        by_metric = of_estimate.set_index(Column.METRIC)
        if not by_metric["subjects"].max():
            continue
        remark = f"<small>{NOT_REPORTABLE}</small>" if estimate == Estimate.ORACLE else ""
        values = [format_percent(by_metric.loc[objective, Column.SKILL])]
        values += [_with_interval(by_metric.loc[metric]) for metric in METRICS]
        values.append(str(int(by_metric["subjects"].max())))
        kind = _ROW_CLASSES.get(str(estimate), "")
        rows.append(([f"{escape_html(estimate)}{remark}", *values], kind))
    return render_table(["Estimate", "Skill", *_HEADS, "Subjects"], rows) + render_note(
        "Means over test subjects, and below them 95 % percentile bootstrap intervals, which tend to be too narrow"
        " with few subjects. ↓ lower is better, ↑ higher is better. Skill: position of"
        f" {METRICS[objective].label} between {Estimate.TRAIN_MEAN} (0 %) and a perfect score (100 %)."
    )


def _with_interval(row: pd.Series) -> str:
    if pd.isna(row["ci_low"]):
        return format_score(row["mean"])
    return f"{format_score(row['mean'])}<small>{format_score(row['ci_low'])}–{format_score(row['ci_high'])}</small>"


def render_comparisons(source: Source) -> str:
    """Return the table of gains of the search over each reference, on all metrics."""
    if source.comparisons.empty:
        raise InputError("there is no reference to compare the search with")
    rows = []
    for reference, of_reference in source.comparisons.groupby(Column.REFERENCE, sort=False):
        by_metric = of_reference.set_index(Column.METRIC)
        values = []
        for metric in METRICS:
            row = by_metric.loc[metric]
            test = f"p {format_p(row['p_holm'])}, effect {format_effect(row['effect'])}"
            if not pd.isna(row["better"]):
                test += f"<br>better for {row['better']:.0f} of {row['subjects']:.0f}"
            values.append(f"{format_difference(row['gain'])}<small>{test}</small>")
        rows.append(([escape_html(reference), *values], ""))
    return render_table(["Search against", *_HEADS], rows) + render_note(
        "Mean gain of the search (per_fold_selection) over the subjects with both scores; above 0, the search is"
        " better, whatever the direction of the metric. p: two-sided Wilcoxon signed-rank test, by permutation below"
        " 20 subjects, with Holm's correction over the rows of a metric except train_mean, whose comparison is fixed"
        " in advance and decides the verdict. effect: matched-pairs rank-biserial correlation, −1 to 1"
        f"{power_note(int(source.comparisons['subjects'].max()), count_corrected(source.comparisons))}."
    )


def render_differences(source: Source) -> str:
    """Return the table with Friedman's test over all methods and the optimism gap, on all metrics."""
    friedman, optimism = source.friedman.set_index(Column.METRIC), source.optimism.set_index(Column.METRIC)
    tests = [
        f"p {format_p(friedman.loc[m, 'p'])}<small>W {format_score(friedman.loc[m, 'kendall_w'])}</small>"
        for m in METRICS
    ]
    gaps = [
        f"{format_difference(row['gap'])}"
        f"<small>{format_difference(row['gap_low'])} to {format_difference(row['gap_high'])}</small>"
        for row in (optimism.loc[metric] for metric in METRICS)
    ]
    rows = [(["Any difference (Friedman)", *tests], ""), ([f"Optimism gap ({Estimate.ORACLE})", *gaps], "")]
    return render_table(["", *_HEADS], rows) + render_note(
        "Friedman: test for any difference between the search and its references, including uniform, without"
        " correction for six metrics. W is Kendall's coefficient of concordance. Optimism gap: apparent improvement if"
        " test scores had selected the configurations, with its 95 % bootstrap interval."
    )


def render_subjects(source: Source) -> str:
    """Return the table of scores of the search on each test subject, beside the score of the train mean."""
    both = source.subjects.set_index(Column.SUBJECT)
    searched, trivial = (
        both[both[Column.ESTIMATE] == name] for name in (Estimate.PER_FOLD_SELECTION, Estimate.TRAIN_MEAN)
    )
    rows = []
    for subject, row in searched.loc[sorted(searched.index, key=natural_key)].iterrows():
        reference = trivial[source.objective].get(subject, float("nan"))
        values = [format_score(row[metric]) for metric in METRICS] + [
            format_score(reference),
            format_percent(row[Column.SKILL]),
        ]
        rows.append(([escape_html(subject), *values], f'data-subject="{html.escape(str(subject))}"'))
    label = METRICS[source.objective].label
    return render_table(["Test subject", *_HEADS, f"{label} of {Estimate.TRAIN_MEAN}", "Skill"], rows)


def render_configurations(source: Source) -> str:
    """Return the table of the best configurations by their adjusted validation score."""
    found, objective = source.configurations, source.objective
    score, test = f"{Prefix.ADJUSTED}{Prefix.VAL}{objective}", f"{Prefix.ADJUSTED}{Prefix.TEST}{objective}"
    best_first = found.sort_values(score, ascending=not METRICS[objective].higher_is_better, kind="stable")
    first = best_first[Column.RECOMMENDED].astype(bool)
    shown = pd.concat([best_first[first], best_first[~first]]).head(SHOWN_CONFIGURATIONS)
    params = [name for name in found.columns if name.startswith(Prefix.PARAM) and found[name].astype(str).nunique() > 1]
    rows = []
    for row in shown.to_dict("records"):
        values = [format_score(row[score]), format_score(row[test]), *(str(row[count]) for count in _COUNTS)]
        values += [_value(row[name]) for name in params]
        name = f"{row[Column.CONFIGURATION]}" + ("<small>recommended</small>" if row[Column.RECOMMENDED] else "")
        rows.append(([name, *values], f'data-configuration="{row[Column.CONFIGURATION]}"'))
    label = f"{METRICS[objective].label}&nbsp;{METRICS[objective].arrow}"
    heads = ["Configuration", f"Validation {label}", f"Test {label}<small>{NOT_FOR_CHOOSING}</small>"]
    heads += [*_COUNTS.values(), *(escape_html(name.removeprefix(Prefix.PARAM)) for name in params)]
    return render_table(heads, rows) + render_note(
        f"The recommended configuration, then those with the best mean validation score ({len(shown)} of {len(found)});"
        " scores are adjusted for folds. Chosen: number of folds in which it has the best validation score of the cells"
        " that ran to their end. Best on test: number of folds in which the oracle selects it."
    )


def _value(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else escape_html(value)


def render_ablation(source: Source) -> str:
    """Return the table of variants, with the deterioration of each variant against the first one."""
    found = source.ablation
    assert found is not None
    rows = []
    for row in found.to_dict("records"):
        lost, between, *others = loss_words(row)
        with_interval = f"{lost}<small>{between}</small>" if lost != between else lost
        values = [format_score(row[metric]) for metric in METRICS]
        rows.append(([escape_html(row[VARIANT]), *values, with_interval, *map(escape_html, others)], ""))
    lost_on = f"{METRICS[source.objective].label} lost"
    heads = ["Variant", *_HEADS, lost_on, "Worse for", "p", "Effect"]
    return render_table(heads, rows) + render_note(ablation_note(found, source.objective, "the first one"))
