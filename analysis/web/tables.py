"""Tables of a run as HTML, for the report and the dashboard."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import pandas as pd

from helo.analysis.exhibits import has_search
from helo.analysis.source import Source
from helo.analysis.statistics.ablation import VARIANT
from helo.analysis.statistics.comparisons import count_corrected
from helo.analysis.statistics.configurations import NOT_FOR_CHOOSING
from helo.analysis.web.answer import ANSWER, render_answer
from helo.analysis.web.page import escape_html
from helo.analysis.web.sortable import Cell, Head, Row, as_value, metric_head, render_table, text_cell, value_cell
from helo.analysis.wording import (
    BY_GROUP_NOTE,
    BY_GROUP_TITLE,
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
from helo.names import Column, Estimate, Prefix, TableName

SHOWN_CONFIGURATIONS: Final = 200
"""Configurations in the table, to limit the size of pages. The exported table has all configurations."""

_ROW_CLASSES: Final[dict[str, str]] = {Estimate.PER_FOLD_SELECTION: "main", Estimate.ORACLE: "oracle"}
_COUNTS: Final = {Column.FOLDS: "Folds", Column.CHOSEN: "Chosen", Column.BEST_ON_TEST: "Best on test"}
_SKILL: Final = Head("Skill", ("skill_percent",), "%")
_INTERVAL: Final = ("ci_low", "ci_high")


class Table(NamedTuple):
    """A table of a run.

    Attributes
    ----------
    name : str
        Name in pages.
    part : str
        Key of `helo.analysis.exhibits.PARTS`.
    title : str
        Title in the report.
    render : callable
        Function that returns the HTML of a `Source`. It raises `InputError` with the reason if the run has no data
        for the table.
    applies : callable
        Predicate of a `Source`: whether the table is meaningful for this kind of run.
    first : bool
        Whether the table is above the figures of its part.
    """

    name: str
    part: str
    title: str
    render: Callable[[Source], str]
    applies: Callable[[Source], bool] = lambda source: True
    first: bool = False


def render_note(content: str) -> str:
    """Return a small paragraph below a table."""
    return f'<p class="note">{escape_html(content)}</p>'


def render_estimates(source: Source) -> str:
    """Return the table of estimates: skill, and the mean of each metric with its interval."""
    return _render_summary(source, source.summary, "Mean scores over test subjects", TableName.ESTIMATES)


def render_estimates_by_group(source: Source) -> str:
    """Return the table of estimates with the scores by group."""
    caption = "Mean scores by group over test subjects"
    table = _render_summary(source, source.summary_by_group, caption, TableName.ESTIMATES_BY_GROUP)
    return f"<p>{escape_html(BY_GROUP_NOTE)}</p>{table}"


def _render_summary(source: Source, summary: pd.DataFrame, caption: str, name: str) -> str:
    objective = source.objective
    rows = []
    for estimate, of_estimate in summary.groupby(Column.ESTIMATE, sort=False):
        by_metric = of_estimate.set_index(Column.METRIC)
        if not by_metric["subjects"].max():
            continue
        cells = [
            text_cell(estimate, *([NOT_REPORTABLE] if estimate == Estimate.ORACLE else [])),
            _skill_cell(by_metric.loc[objective, Column.SKILL]),
            *(_interval_cell(by_metric.loc[metric]) for metric in METRICS),
            value_cell(int(by_metric["subjects"].max())),
        ]
        kind = _ROW_CLASSES.get(str(estimate))
        rows.append(Row(cells, {"class": kind} if kind else {}))
    heads = [
        Head("Estimate", ("estimate",)),
        _SKILL,
        *(metric_head(metric, *_INTERVAL) for metric in METRICS),
        Head("Subjects", ("subjects",)),
    ]
    return render_table(caption, f"{source.name}-{name}", heads, rows) + render_note(
        "Means over test subjects, and below them 95 % percentile bootstrap intervals, which tend to be too narrow"
        " with few subjects. ↓ lower is better, ↑ higher is better. Skill: position of"
        f" {METRICS[objective].label} between {Estimate.TRAIN_MEAN} (0 %) and a perfect score (100 %)."
    )


def _skill_cell(skill: float) -> Cell:
    """Return a cell with a skill in per cent, whose unit is in the head of the column."""
    shown = value_cell(skill, lambda value: format_percent(value).removesuffix(" %"))
    return shown._replace(values=(None if pd.isna(skill) else 100 * float(skill),))


def _interval_cell(row: pd.Series) -> Cell:
    low, high = row["ci_low"], row["ci_high"]
    between = [] if pd.isna(low) else [f"{format_score(low)}–{format_score(high)}"]
    return value_cell(row["mean"], format_score, [low, high], *between)


def render_tests(source: Source) -> str:
    """Return the tests of the search against each reference and over all methods."""
    return render_comparisons(source) + render_differences(source)


def render_comparisons(source: Source) -> str:
    """Return the table of gains of the search over each reference, on all metrics."""
    if source.comparisons.empty:
        raise InputError("there is no reference to compare the search with")
    rows = []
    for reference, of_reference in source.comparisons.groupby(Column.REFERENCE, sort=False):
        by_metric = of_reference.set_index(Column.METRIC)
        cells = [text_cell(reference)]
        for metric in METRICS:
            row = by_metric.loc[metric]
            small = [f"p {format_p(row['p_holm'])}, effect {format_effect(row['effect'])}"]
            if not pd.isna(row["better"]):
                small.append(f"better for {row['better']:.0f} of {row['subjects']:.0f}")
            others = [row[name] for name in ("p_holm", "effect", "better", "subjects")]
            cells.append(value_cell(row["gain"], format_difference, others, *small))
        rows.append(Row(cells))
    heads = [
        Head("Search against", ("reference",)),
        *(_gain_head(metric, "gain", "p_holm", "effect", "better", "subjects") for metric in METRICS),
    ]
    caption = "Gain of the search over each reference"
    return render_table(caption, f"{source.name}-{TableName.COMPARISONS}", heads, rows) + render_note(
        "Mean gain of the search (per_fold_selection) over the subjects with both scores; above 0, the search is"
        " better, whatever the direction of the metric. p: two-sided Wilcoxon signed-rank test, by permutation below"
        " 20 subjects, with Holm's correction over the rows of a metric except train_mean, whose comparison is fixed"
        " in advance and decides the verdict. effect: matched-pairs rank-biserial correlation, −1 to 1"
        f"{power_note(int(source.comparisons['subjects'].max()), count_corrected(source.comparisons))}."
    )


def _gain_head(metric: str, *endings: str) -> Head:
    """Return the head of a column of differences on a metric, in which higher is better on every metric."""
    return Head(METRICS[metric].label, tuple(f"{metric}_{ending}" for ending in endings))


def render_differences(source: Source) -> str:
    """Return the tables with Friedman's test over all methods and the optimism gap, on all metrics."""
    friedman, optimism = source.friedman.set_index(Column.METRIC), source.optimism.set_index(Column.METRIC)
    tests = [
        value_cell(
            friedman.loc[metric, "p"],
            lambda p: f"p {format_p(p)}",
            [friedman.loc[metric, "kendall_w"]],
            f"W {format_score(friedman.loc[metric, 'kendall_w'])}",
        )
        for metric in METRICS
    ]
    gaps = [
        value_cell(
            row["gap"],
            format_difference,
            [row["gap_low"], row["gap_high"]],
            f"{format_difference(row['gap_low'])} to {format_difference(row['gap_high'])}",
        )
        for row in (optimism.loc[metric] for metric in METRICS)
    ]
    tables = (
        (
            "Any difference between the methods",
            TableName.FRIEDMAN,
            [Head("Test", ("test",)), *(_gain_head(metric, "p", "kendall_w") for metric in METRICS)],
            Row([text_cell("Any difference (Friedman)"), *tests]),
        ),
        (
            "Optimism of selection by test score",
            TableName.OPTIMISM,
            [
                Head("Quantity", ("quantity",)),
                *(_gain_head(metric, "gap", "gap_low", "gap_high") for metric in METRICS),
            ],
            Row([text_cell(f"Optimism gap ({Estimate.ORACLE})"), *gaps]),
        ),
    )
    shown = [render_table(caption, f"{source.name}-{name}", heads, [row]) for caption, name, heads, row in tables]
    return "".join(shown) + render_note(
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
        cells = [
            text_cell(subject),
            *(value_cell(row[metric], format_score) for metric in METRICS),
            value_cell(trivial[source.objective].get(subject, float("nan")), format_score),
            _skill_cell(row[Column.SKILL]),
        ]
        rows.append(Row(cells, {"data-subject": str(subject)}))
    metric = METRICS[source.objective]
    heads = [
        Head("Test subject", ("subject",)),
        *map(metric_head, METRICS),
        Head(f"{metric.label} of {Estimate.TRAIN_MEAN}", (f"{source.objective}_{Estimate.TRAIN_MEAN}",), metric.arrow),
        _SKILL,
    ]
    return render_table("Scores of the search on each test subject", f"{source.name}-{TableName.SUBJECTS}", heads, rows)


def render_emotions(source: Source) -> str:
    """Return the table of errors of each emotion, of the search and of the train mean."""
    rows = []
    for _, row in source.emotion_table.iterrows():
        errors = (row[[name, f"{name}_low", f"{name}_high"]] for name in ("error", "train_mean_error"))
        skill, low, high = (row[name] for name in (Column.SKILL, "skill_low", "skill_high"))
        between = [] if pd.isna(low) else [f"{format_percent(low)} to {format_percent(high)}"]
        shown = _skill_cell(skill)
        cells = [
            text_cell(row[Column.EMOTION]),
            *(_interval_cell(one.set_axis(["mean", *_INTERVAL])) for one in errors),
            shown._replace(values=(*shown.values, *(as_value(100 * one) for one in (low, high))), small=tuple(between)),
            value_cell(row["reported"], format_score),
            value_cell(int(row["subjects"])),
        ]
        rows.append(Row(cells))
    heads = [
        Head("Emotion", (Column.EMOTION,)),
        Head("Error", ("error", "error_low", "error_high"), "↓"),
        Head(f"Error of {Estimate.TRAIN_MEAN}", tuple(f"train_mean_error{end}" for end in ("", "_low", "_high")), "↓"),
        Head("Skill", tuple(f"skill_percent{end}" for end in ("", "_low", "_high")), "%"),
        Head("Reported share", ("reported",)),
        Head("Subjects", ("subjects",)),
    ]
    table = render_table("Error and skill of each emotion", f"{source.name}-{TableName.EMOTIONS}", heads, rows)
    return table + render_note(
        "Mean absolute errors of predicted shares, over the windows of a subject and then over subjects; below them"
        " 95 % percentile bootstrap intervals over subjects. Skill: 1 - error / error of the train mean."
        + _missing_labels(source)
    )


def _missing_labels(source: Source) -> str:
    """Return a sentence if the train mean of the emotions lacks labels, because folds have no predictions."""
    known = len(source.predictions.drop_duplicates([Column.FOLD, Column.WINDOW]))
    windows = source.dataset.windows
    if windows is None or known >= windows:
        return ""
    return f" The train mean is that of the {known} windows with predictions, of {windows}."


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
        number = row[Column.CONFIGURATION]
        cells = [
            value_cell(number, str, [], *(["recommended"] if row[Column.RECOMMENDED] else [])),
            *(value_cell(row[name], format_score) for name in (score, test)),
            *(value_cell(row[count]) for count in _COUNTS),
            *(value_cell(row[name], _parameter_text) for name in params),
        ]
        rows.append(Row(cells, {"data-configuration": str(number)}))
    heads = [
        Head("Configuration", (Column.CONFIGURATION,)),
        metric_head(objective, before="Validation"),
        metric_head(objective, before="Test", remark=NOT_FOR_CHOOSING),
        *(Head(label, (count,)) for count, label in _COUNTS.items()),
        *(Head(name.removeprefix(Prefix.PARAM), (name,)) for name in params),
    ]
    file = f"{source.name}-{TableName.CONFIGURATIONS}"
    return render_table("Configurations and their adjusted mean scores", file, heads, rows) + render_note(
        f"The recommended configuration, then those with the best mean validation score ({len(shown)} of {len(found)});"
        " scores are adjusted for folds. Chosen: number of folds in which it has the best validation score of the cells"
        " that ran to their end. Best on test: number of folds in which the oracle selects it."
    )


def _parameter_text(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def render_ablation(source: Source) -> str:
    """Return the table of variants, with the deterioration of each variant against the first one."""
    found = source.ablation
    assert found is not None
    rows = []
    for row in found.to_dict("records"):
        words = loss_words(row)
        between = [words.interval] if words.interval != words.lost else []
        cells = [
            text_cell(row[VARIANT]),
            *(value_cell(row[metric], format_score) for metric in METRICS),
            _worded_cell(words.lost, [row["loss"], row["loss_low"], row["loss_high"]], *between),
            _worded_cell(words.worse, [row["worse"], row["subjects"]]),
            _worded_cell(words.p, [row["p_holm"]]),
            _worded_cell(words.effect, [row["effect"]]),
        ]
        rows.append(Row(cells))
    heads = [
        Head("Variant", (VARIANT,)),
        *map(metric_head, METRICS),
        Head(f"{METRICS[source.objective].label} lost", ("loss", "loss_low", "loss_high")),
        Head("Worse for", ("worse", "subjects")),
        Head("p", ("p_holm",)),
        Head("Effect", ("effect",)),
    ]
    caption = "Variants and their loss against the first one"
    return render_table(caption, f"{source.name}-{TableName.ABLATION}", heads, rows) + render_note(
        ablation_note(found, source.objective, "the first one")
    )


def _worded_cell(shown: str, values: Sequence[object], *small: str) -> Cell:
    return Cell(shown, tuple(map(as_value, values)), small)


def _has_scores_by_group(source: Source) -> bool:
    try:
        return len(source.summary_by_group) > 0
    except InputError:
        return False


_ALL = (
    Table(ANSWER, "result", "The answer", render_answer, first=True),
    Table(TableName.ESTIMATES, "result", "Scores on unseen subjects", render_estimates, first=True),
    Table(
        TableName.ESTIMATES_BY_GROUP,
        "result",
        BY_GROUP_TITLE,
        render_estimates_by_group,
        _has_scores_by_group,
        first=True,
    ),
    Table(TableName.ABLATION, "result", "Ablation", render_ablation, lambda source: bool(source.variants), first=True),
    Table(TableName.COMPARISONS, "result", "Statistical tests", render_tests),
    Table(TableName.SUBJECTS, "people", "Scores of each subject", render_subjects),
    Table(TableName.EMOTIONS, "emotion", "Scores of each emotion", render_emotions),
    Table(
        TableName.CONFIGURATIONS,
        "parameters",
        "Configurations",
        render_configurations,
        has_search,
    ),
)

TABLES: Final = {one.name: one for one in _ALL}
"""All tables, in the order of the report. The answer comes first: pages place it like a table."""
