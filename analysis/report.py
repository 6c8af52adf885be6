"""The report of a run: one HTML file that opens anywhere."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import plotly.graph_objects as go

from analysis.ablation import VARIANT, difference, explanation
from analysis.facts import facts
from analysis.figures import (
    plot_estimates,
    plot_learning,
    plot_predictions,
    plot_progress,
    plot_slices,
    plot_subjects,
)
from analysis.page import figure, page, section, text
from analysis.source import Source
from analysis.wording import MEANINGS, NOT_REPORTABLE, arrow, number, percent
from helo.errors import InputError
from helo.files import whole_file
from helo.names import (
    BASELINES,
    ESTIMATE,
    METRIC,
    METRIC_LABELS,
    METRICS,
    ORACLE,
    PER_FOLD_SELECTION,
    SKILL,
    SUMMARY,
    TRAIN_MEAN,
)
from helo.run import Run


class _Exhibit(NamedTuple):
    name: str
    title: str
    caption: str
    plot: Callable[[Source], go.Figure]


_EXHIBITS = (
    _Exhibit(
        "estimates",
        "Estimates",
        "Mean over test subjects with its 95 % bootstrap interval; the dotted line is the train mean, which"
        " uses no input.",
        lambda source: plot_estimates(source.summary),
    ),
    _Exhibit(
        "subjects",
        "Subjects",
        "Each test subject's score under the train mean (square) and under the search (circle), the hardest"
        " subject on top: where the line points the better way, the search scored better.",
        lambda source: plot_subjects(source.scores, source.objective),
    ),
    _Exhibit(
        "progress",
        "Search progress",
        "Mean inner validation score of every configuration with scores in all folds, and the best so far: a"
        " line that is flat at its end says that more configurations would hardly help.",
        lambda source: plot_progress(source.cells, source.objective),
    ),
    _Exhibit(
        "slices",
        "Hyperparameters",
        "Each searched parameter against the mean inner validation score of the configurations that tried it;"
        " an open circle has not been in every fold, so its mean is over fewer people.",
        lambda source: plot_slices(source.cells, source.objective, source.section("space", "parameters")),
    ),
    _Exhibit(
        "learning",
        "Learning curves",
        "Inner validation score per epoch of the configuration selected in each fold; a dot marks the epoch"
        " whose weights were kept, and the mean covers the epochs that all folds have.",
        lambda source: plot_learning(source.cells, source.epochs, source.objective),
    ),
    _Exhibit(
        "predictions",
        "Predicted and reported emotions",
        "Mean reported (bar) and predicted (dot) distribution of one test subject in each clip or condition;"
        " the menu chooses the subject.",
        lambda source: plot_predictions(source.predictions, source.cells, source.objective),
    ),
)


def write_summary(run: Run) -> pd.DataFrame:
    """Compute the estimates of a run, write them as ``summary.parquet``, and return them.

    Raise `InputError` if the run has no table of cells, or its directory cannot be written.
    """
    summary = Source(run).summary
    try:
        run.write_table(SUMMARY, summary)
    except OSError as error:
        raise InputError(f"{run.path}: cannot be written ({error.strerror or error})") from None
    return summary


def write_report(run: Run) -> Path:
    """Write the report of a run, whole or not at all, and return its path.

    What needs a table that is not there is replaced by a sentence that says so. Raise `InputError` if the
    directory cannot be written.
    """
    content = _document(Source(run))
    try:
        with whole_file(run.report) as hidden:
            hidden.write_text(content, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{run.report}: cannot be written ({error.strerror or error})") from None
    return run.report


def _document(source: Source) -> str:
    name = source.manifest.get("name", source.run.path.name)
    dataset = source.section("dataset").get("name", "unnamed data")
    title = f"{name} on {dataset}"
    lead = "Leave-one-subject-out search of HeLo, an emotion-distribution model."
    parts = [f'<h1>{text(title)}</h1><p class="lead">{lead}</p>', _or_why_not(partial(_result, source))]
    if source.variants:
        parts.append(section("Ablation", _or_why_not(partial(_ablation, source))))
    exhibits = [one for one in _EXHIBITS if not (source.variants and one.name == "progress")]  # nothing was searched
    parts += [section(one.title, _or_why_not(partial(_exhibit, one, source))) for one in exhibits]
    rows = "".join(f"<dt>{text(label)}</dt><dd>{text(value)}</dd>" for label, value in facts(source))
    return page(title, "\n".join([*parts, section("The run", f"<dl>{rows}</dl>")]))


def _or_why_not(build: Callable[[], str]) -> str:
    try:
        return build()
    except InputError as error:
        return f'<p class="note">Nothing to show: {text(error)}.</p>'


def _exhibit(exhibit: _Exhibit, source: Source) -> str:
    return figure(exhibit.name, exhibit.plot(source), exhibit.caption)


def _result(source: Source) -> str:
    summary = source.summary
    notes = list(source.notes)
    if source.baselines.empty:
        notes.append(f"{BASELINES}.parquet is missing or empty: no estimate can be judged by {TRAIN_MEAN}.")
    meanings = "".join(
        f"<dt>{text(name)}</dt><dd>{text(MEANINGS[name])}</dd>"
        for name in dict.fromkeys(summary[ESTIMATE])
        if name in MEANINGS
    )
    return f'<p class="verdict">{text(source.verdict)}</p>' + section(
        "Result",
        _table(summary, source.objective),
        '<p class="note">Means over test subjects, below them the 95 % bootstrap interval; ↓ lower is better,'
        f" ↑ higher is better. Skill: how far {METRIC_LABELS[source.objective]} gets from {TRAIN_MEAN} (0 %)"
        " towards a perfect score (100 %).</p>",
        *(f"<p>{text(note)}</p>" for note in notes),
        f"<dl>{meanings}</dl>",
    )


def _table(summary: pd.DataFrame, objective: str) -> str:
    heads = [f"{METRIC_LABELS[metric]}&nbsp;{arrow(metric)}" for metric in METRICS]
    head = "".join(f'<th scope="col">{one}</th>' for one in ("Estimate", *heads, "Skill", "Subjects"))
    body = []
    for estimate, of_estimate in summary.groupby(ESTIMATE, sort=False):
        by_metric = of_estimate.set_index(METRIC)
        kind = {PER_FOLD_SELECTION: ' class="main"', ORACLE: ' class="oracle"'}.get(str(estimate), "")
        note = f"<small>{NOT_REPORTABLE}</small>" if estimate == ORACLE else ""
        values = "".join(f"<td>{_score(by_metric.loc[metric])}</td>" for metric in METRICS)
        values += f"<td>{percent(by_metric.loc[objective, SKILL])}</td>"
        values += f"<td>{int(by_metric['subjects'].max())}</td>"
        body.append(f'<tr{kind}><th scope="row">{text(estimate)}{note}</th>{values}</tr>')
    rows = "".join(body)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _ablation(source: Source) -> str:
    table = source.ablation
    assert table is not None
    heads = [f"{METRIC_LABELS[metric]}&nbsp;{arrow(metric)}" for metric in METRICS]
    label = METRIC_LABELS[source.objective]
    titles = ("Variant", *heads, f"{label} lost", "Worse for", "p", "Effect")
    head = "".join(f'<th scope="col">{one}</th>' for one in titles)
    body = []
    for row in table.to_dict("records"):
        lost, between, *others = difference(row)
        values = "".join(f"<td>{number(row[metric])}</td>" for metric in METRICS)
        values += f"<td>{lost}<small>{between}</small></td>" if lost != between else f"<td>{lost}</td>"
        values += "".join(f"<td>{text(one)}</td>" for one in others)
        body.append(f'<tr><th scope="row">{text(row[VARIANT])}</th>{values}</tr>')
    return (
        f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(body)}</tbody></table></div>'
        f'<p class="note">{text(explanation(source.objective, "the first one"))}</p>'
    )


def _score(row: pd.Series) -> str:
    if pd.isna(row["ci_low"]):
        return number(row["mean"])
    return f"{number(row['mean'])}<small>{number(row['ci_low'])}–{number(row['ci_high'])}</small>"
