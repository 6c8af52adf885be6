"""The report of a run: one HTML file that opens anywhere."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd

from analysis.ablation import VARIANT, difference, explanation
from analysis.exhibits import EXHIBITS, PARTS, Exhibit
from analysis.facts import facts
from analysis.source import Source
from analysis.web.page import choice, figure, heading, page, part, table, terms, text
from analysis.wording import MEANINGS, NOT_REPORTABLE, arrow, number, percent
from helo.errors import InputError
from helo.files import whole_file
from helo.names import (
    BASELINES,
    CONFIGURATION,
    ESTIMATE,
    FOLD,
    METRIC,
    METRIC_LABELS,
    METRICS,
    ORACLE,
    PER_FOLD_SELECTION,
    SKILL,
    SUBJECT,
    SUMMARY,
    TRAIN_MEAN,
)


def write_summary(source: Source) -> pd.DataFrame:
    """Compute the estimates of a run, write them as ``summary.parquet``, and return them.

    Raise `InputError` if the run has no cells, or its directory cannot be written.
    """
    summary = source.summary
    try:
        source.run.write_table(SUMMARY, summary)
    except OSError as error:
        raise InputError(f"{source.run.path}: cannot be written ({error.strerror or error})") from None
    return summary


def write_report(source: Source, told: Callable[[str], None] = lambda step: None) -> Path:
    """Write the report of a run, whole or not at all, and return its path.

    What needs a table that is not there is replaced by a sentence that says so. `told` is called with what is being
    made, so that somebody who waits can see it. Raise `InputError` if the directory cannot be written.
    """
    content, report = _document(source, told), source.run.report
    try:
        with whole_file(report) as hidden:
            hidden.write_text(content, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{report}: cannot be written ({error.strerror or error})") from None
    return report


def _document(source: Source, told: Callable[[str], None]) -> str:
    name = source.manifest.get("name", source.run.path.name)
    dataset = source.section("dataset").get("name", "unnamed data")
    title = f"{name} on {dataset}"
    lead = "Leave-one-subject-out search of HeLo, an emotion-distribution model."
    body = [f'<h1>{text(title)}</h1><p class="lead">{lead}</p>']
    told("estimates")
    opening = {"result": [_or_why_not(partial(_result, source))]}
    if source.variants:
        opening["result"].append(part("Ablation", _or_why_not(partial(_ablation, source))))
    links = []
    for key, shown in PARTS.items():
        exhibits = [one for one in EXHIBITS.values() if one.part == key and one.applies(source)]
        if not exhibits and key not in opening:
            continue
        links.append((key, shown))
        body.append(heading(key, shown))
        body += opening.get(key, [])
        for one in exhibits:
            told(one.title.lower())
            body.append(part(one.title, _or_why_not(partial(_exhibit, one, source))))
    body += [heading("run", "The run"), part("What was run, on what", terms(facts(source)))]
    return page(title, "\n".join(body), [*links, ("run", "The run")], _choices(source))


def _choices(source: Source) -> str:
    """Menus of the subjects and configurations that there are cells of."""
    try:
        cells = source.cells
    except InputError:
        return ""
    subjects = [(str(fold), str(fold)) for fold in cells[FOLD].unique()]
    configurations = [(str(number), f"{number}") for number in sorted(cells[CONFIGURATION].unique())]
    return choice(SUBJECT, subjects) + choice(CONFIGURATION, configurations)


def _or_why_not(build: Callable[[], str]) -> str:
    try:
        return build()
    except InputError as error:
        return f'<p class="note">Nothing to show: {text(error)}.</p>'


def _exhibit(exhibit: Exhibit, source: Source) -> str:
    return figure(exhibit.name, exhibit.plot(source), exhibit.caption)


def _result(source: Source) -> str:
    summary = source.summary
    notes = list(source.notes)
    if source.baselines.empty:
        notes.append(f"{BASELINES}.parquet is missing or empty: no estimate can be judged by {TRAIN_MEAN}.")
    meanings = [(name, MEANINGS[name]) for name in dict.fromkeys(summary[ESTIMATE]) if name in MEANINGS]
    return f'<p class="verdict">{text(source.verdict)}</p>' + part(
        "Scores on people never seen",
        _table(summary, source.objective),
        '<p class="note">Means over test subjects, below them the 95 % bootstrap interval; ↓ lower is better,'
        f" ↑ higher is better. Skill: how far {METRIC_LABELS[source.objective]} gets from {TRAIN_MEAN} (0 %)"
        " towards a perfect score (100 %).</p>",
        *(f"<p>{text(note)}</p>" for note in notes),
        f"<details><summary>What the estimates are</summary>{terms(meanings)}</details>",
    )


def _table(summary: pd.DataFrame, objective: str) -> str:
    heads = [f"{METRIC_LABELS[metric]}&nbsp;{arrow(metric)}" for metric in METRICS]
    rows = []
    for estimate, of_estimate in summary.groupby(ESTIMATE, sort=False):
        by_metric = of_estimate.set_index(METRIC)
        note = f"<small>{NOT_REPORTABLE}</small>" if estimate == ORACLE else ""
        values = [_score(by_metric.loc[metric]) for metric in METRICS]
        values += [percent(by_metric.loc[objective, SKILL]), str(int(by_metric["subjects"].max()))]
        kind = {PER_FOLD_SELECTION: 'class="main"', ORACLE: 'class="oracle"'}.get(str(estimate), "")
        rows.append(([f"{text(estimate)}{note}", *values], kind))
    return table(["Estimate", *heads, "Skill", "Subjects"], rows)


def _ablation(source: Source) -> str:
    found = source.ablation
    assert found is not None
    heads = [f"{METRIC_LABELS[metric]}&nbsp;{arrow(metric)}" for metric in METRICS]
    rows = []
    for row in found.to_dict("records"):
        lost, between, *others = difference(row)
        with_interval = f"{lost}<small>{between}</small>" if lost != between else lost
        values = [number(row[metric]) for metric in METRICS]
        rows.append(([text(row[VARIANT]), *values, with_interval, *map(text, others)], ""))
    lost_on = f"{METRIC_LABELS[source.objective]} lost"
    return (
        table(["Variant", *heads, lost_on, "Worse for", "p", "Effect"], rows)
        + f'<p class="note">{text(explanation(source.objective, "the first one"))}</p>'
    )


def _score(row: pd.Series) -> str:
    if pd.isna(row["ci_low"]):
        return number(row["mean"])
    return f"{number(row['mean'])}<small>{number(row['ci_low'])}–{number(row['ci_high'])}</small>"
