"""The report of a run: one HTML file that needs no network."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd

from helo.analysis.description import describe_run
from helo.analysis.exhibits import EXHIBITS, PARTS, Exhibit
from helo.analysis.source import Source
from helo.analysis.web import tables
from helo.analysis.web.answer import ANSWER, build_answer, render_answer, render_badge, render_cautions
from helo.analysis.web.details import render_details
from helo.analysis.web.page import (
    escape_html,
    render_figure,
    render_heading,
    render_menu,
    render_page,
    render_part,
    render_terms,
)
from helo.analysis.wording import MEANINGS
from helo.errors import InputError, as_input_error
from helo.names import Column, Estimate, FileName, TableName


def write_summary(source: Source) -> pd.DataFrame:
    """Compute the estimates of a run, write them as ``summary.parquet``, and return them.

    If the run has scores by group, ``summary_by_group.parquet`` is written too.

    Parameters
    ----------
    source : Source
        The run.

    Returns
    -------
    pandas.DataFrame
        A row per estimate and metric.

    Raises
    ------
    InputError
        If the run has no cells, or its directory cannot be written.
    """
    summary, by_group = source.summary, source.summary_by_group
    with as_input_error(source.run.folder, "cannot be written"):
        source.run.write_table(TableName.SUMMARY, summary)
        if len(by_group):
            source.run.write_table(TableName.SUMMARY_BY_GROUP, by_group)
    return summary


def write_report(source: Source, on_step: Callable[[str], None] = lambda step: None) -> Path | str:
    """Write the report of a run, whole or not at all.

    A part whose table is missing is replaced by a sentence that says so.

    Parameters
    ----------
    source : Source
        The run.
    on_step : callable
        Called with the name of each part before it is made.

    Returns
    -------
    pathlib.Path or str
        Path or URI of the report.

    Raises
    ------
    InputError
        If the directory cannot be written.
    """
    content, report = _render_document(source, on_step), source.run.report
    with as_input_error(report, "cannot be written"):
        source.run.folder.write(FileName.REPORT, content.encode("utf-8"))
    return report


def _render_document(source: Source, on_step: Callable[[str], None]) -> str:
    name = source.name
    dataset = source.dataset.name or "unnamed data"
    title = f"{name} on {dataset}"
    subtitle = "Leave-one-subject-out search of HeLo, an emotion-distribution model."
    body = [f'<h1>{escape_html(title)}</h1><p class="lead">{subtitle}</p>']
    on_step("estimates")
    body.append(_answer(source))
    body.append(_or_why_not(partial(render_details, source)))
    opening = {"result": [_or_why_not(partial(_estimates, source))]}
    closing: dict[str, list[str]] = {}
    for table in tables.TABLES.values():
        if table.name in (ANSWER, TableName.ESTIMATES) or not table.applies(source):
            continue
        on_step(table.title.lower())
        place = opening if table.first else closing
        place.setdefault(table.part, []).append(render_part(table.title, _or_why_not(partial(table.render, source))))
    links = []
    for key, shown in PARTS.items():
        exhibits = [one for one in EXHIBITS.values() if one.part == key and one.applies(source)]
        if not exhibits and key not in opening:
            continue
        links.append((key, shown))
        body.append(render_heading(key, shown))
        body += opening.get(key, [])
        for one in exhibits:
            if one.first:
                continue
            on_step(one.title.lower())
            body.append(render_part(one.title, _or_why_not(partial(_exhibit, one, source))))
        body += closing.get(key, [])
    body += [
        render_heading("run", "The run"),
        render_part("Data, search and machine", render_terms(describe_run(source))),
    ]
    return render_page(title, "\n".join(body), [*links, ("run", "The run")], _choices(source))


def _choices(source: Source) -> str:
    """Return menus of the subjects and configurations that have cells."""
    try:
        subjects, configurations = source.choices
    except InputError:
        return ""
    return render_menu(Column.SUBJECT, [(name, name) for name in subjects]) + render_menu(
        Column.CONFIGURATION, [(str(number), str(number)) for number in configurations]
    )


def _or_why_not(build: Callable[[], str]) -> str:
    try:
        return build()
    except InputError as error:
        return tables.render_note(f"Nothing to show: {error}.")
    except Exception as error:  # a fault in one part must not lose the rest of the report
        warnings.warn(f"a part of the report could not be made: {error!r}", stacklevel=2)
        return tables.render_note(f"This could not be made: {error!r}.")


def _exhibit(exhibit: Exhibit, source: Source) -> str:
    return render_figure(exhibit.name, exhibit.plot(source), exhibit.caption)


def _answer(source: Source) -> str:
    """Return what a reader sees first: badge, tiles, and the figures that belong to them."""
    figures = [
        _or_why_not(partial(_exhibit, one, source)) for one in EXHIBITS.values() if one.first and one.applies(source)
    ]
    headline = _or_why_not(partial(_headline, source))
    rest = _or_why_not(partial(render_answer, source, *figures))
    return f'<section class="part answer">{headline}{rest}</section>'


def _headline(source: Source) -> str:
    answer = build_answer(source)
    return f'<h2 class="headline" id="answer">{render_badge(answer)}</h2>{render_cautions(answer)}'


def _estimates(source: Source) -> str:
    estimates = tables.TABLES[TableName.ESTIMATES]
    meanings = [(name, MEANINGS[name]) for name in dict.fromkeys(source.summary[Column.ESTIMATE]) if name in MEANINGS]
    missing = f"{TableName.BASELINES}.parquet is missing or empty: no estimate can be judged by {Estimate.TRAIN_MEAN}."
    return render_part(
        estimates.title,
        estimates.render(source),
        tables.render_note(missing) if source.baselines.empty else "",
        f"<details><summary>What the estimates mean</summary>{render_terms(meanings)}</details>",
    )
