"""Report of a search with several seeds, and its export."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go

from helo.analysis.figures.seeds import plot_gains, plot_seeds
from helo.analysis.seeds import SeedsResult
from helo.analysis.statistics.comparisons import compare_with_references
from helo.analysis.statistics.finding import Finding
from helo.analysis.statistics.seeds import MEAN
from helo.analysis.web.answer import (
    BADGES,
    Answer,
    Badge,
    Tile,
    build_answer,
    build_tiles,
    render_badge,
    render_cautions,
    render_tiles,
)
from helo.analysis.web.page import escape_html, render_figure, render_page, render_part
from helo.analysis.web.sortable import Cell, Head, Row, metric_head, render_table, text_cell, value_cell
from helo.analysis.web.standalone import write_tables_and_pages
from helo.analysis.web.tables import render_note
from helo.analysis.wording import count, format_difference, format_effect, format_p, format_percent, format_score
from helo.analysis.wording.seeds import SEEDS_NOTE, name_seeds
from helo.errors import as_input_error
from helo.metrics import METRICS
from helo.names import Column, Estimate, FileName, TableName

_TEXTS = {
    "seeds": (
        "Gain with each seed",
        "Mean gain over the train mean with its 95 % bootstrap interval over subjects. A filled mark means that skill"
        " is shown. Mean over seeds: the scores of each subject are averaged first.",
    ),
    "gains": (
        "Gain of each subject",
        "Gain over the train mean: a bar for the mean over seeds, and a line for each seed.",
    ),
}


def draw_seeds(result: SeedsResult) -> dict[str, go.Figure]:
    """Return the figures of several seeds by name; those without data are left out."""
    if result.rows.empty:
        return {}
    return {"seeds": plot_seeds(result.rows, result.objective), "gains": plot_gains(result.gains, result.objective)}


def write_seeds_report(result: SeedsResult) -> Path | str:
    """Write ``report.html``, and the tables ``summary.parquet`` and ``seeds.parquet``, into the directory of the seeds.

    Parameters
    ----------
    result : SeedsResult
        Result of the seeds.

    Returns
    -------
    pathlib.Path or str
        Path of the report, or its URI on object storage.

    Raises
    ------
    InputError
        If the directory cannot be written.
    """
    folder = result.runs.folder
    with as_input_error(folder, "cannot be written"):
        for name, table in ((TableName.SUMMARY, result.summary), (TableName.SEEDS, result.table)):
            with folder.new_file(f"{name}.parquet") as path:
                table.to_parquet(path, index=False)
        folder.write(FileName.REPORT, _render_document(result).encode("utf-8"))
    return folder.where(FileName.REPORT) if folder.here is None else folder.here / FileName.REPORT


def write_seeds_export(result: SeedsResult, folder: Path, formats: Sequence[str] = ()) -> None:
    """Write the tables (CSV) and figures of several seeds into a new folder, all of them or none.

    Parameters
    ----------
    result : SeedsResult
        Result of the seeds.
    folder : pathlib.Path
        Path of the new folder.
    formats : sequence of str
        Formats of static images of the figures, see `helo.analysis.paper.images.FORMATS`.

    Raises
    ------
    InputError
        If `folder` exists or cannot be written, or if images need a Chromium that is missing.
    """
    write_tables_and_pages(result.name, result.tables(), draw_seeds(result), _TEXTS, folder, formats)


def build_seeds_answer(result: SeedsResult) -> Answer:
    """Build the answer of several seeds: with how many of them skill is shown, and what their mean shows.

    Parameters
    ----------
    result : SeedsResult
        Result of the seeds.

    Returns
    -------
    Answer
    """
    if result.rows.empty:
        return Answer(Badge.INCOMPLETE, " ".join(result.verdict), tuple(result.cautions), ())
    mean = result.rows[result.rows[Column.SEED] == MEAN].iloc[0]
    seeds = result.rows[result.rows[Column.SEED] != MEAN]
    shown = int((seeds["finding"] == Finding.BETTER).sum())
    label = METRICS[result.objective].label
    line = (
        f"On {label}, skill is shown with {shown} of {count(len(seeds), 'seed')}. On the mean over seeds, the search is"
        f" better than the train mean for {mean['better']} of {count(int(mean['subjects']), 'subject')}."
    )
    spread = result.spread.set_index([Column.ESTIMATE, Column.METRIC]).loc[
        (Estimate.PER_FOLD_SELECTION, result.objective)
    ]
    tile = Tile(
        "Skill is shown with",
        f"{shown} of {count(len(seeds), 'seed')}",
        (f"mean {label} from {format_score(spread['min'])} to {format_score(spread['max'])}",),
    )
    badge = BADGES[Finding(mean["finding"])] if result.is_complete else Badge.INCOMPLETE
    comparisons = compare_with_references(result.mean_scores, (result.objective,))
    tiles = build_tiles(result.mean_scores, comparisons, result.objective)
    return Answer(badge, line, tuple(result.cautions), (tile, *tiles))


def _render_document(result: SeedsResult) -> str:
    title = f"{result.name} on {result.dataset.name or 'unnamed data'}"
    figures = {name: render_figure(name, figure, _TEXTS[name][1]) for name, figure in draw_seeds(result).items()}
    answer = build_seeds_answer(result)
    parts = [
        f'<h1>{escape_html(title)}</h1><p class="lead">Leave-one-subject-out search of HeLo with'
        f" {escape_html(name_seeds(result.runs.seeds))}.</p>",
        f'<section class="part answer"><h2 class="headline" id="answer">{render_badge(answer)}</h2>'
        f"{render_cautions(answer)}{render_tiles(answer.tiles)}{figures.pop('seeds', '')}"
        f'<details><summary>The verdict in full</summary><p class="full">{escape_html(" ".join(result.verdict))}</p>'
        f"{render_note(SEEDS_NOTE)}</details></section>",
        *(render_part(_TEXTS[name][0], figure) for name, figure in figures.items()),
        render_part("Result of each seed", _render_rows(result)),
        render_part("Scores and their spread over seeds", _render_spread(result)),
        render_part("Reports of the seeds", _render_links(result)),
    ]
    return render_page(title, "\n".join(parts))


def _render_rows(result: SeedsResult) -> str:
    heads = [
        Head("Seed", (Column.SEED,)),
        metric_head(result.objective),
        Head(Estimate.TRAIN_MEAN, (Estimate.TRAIN_MEAN,)),
        Head("Skill", (Column.SKILL,)),
        Head("Gain", ("gain", "gain_low", "gain_high")),
        Head("Better for", ("better", "subjects")),
        Head("p", ("p",)),
        Head("Effect", ("effect",)),
    ]
    rows = [
        Row(
            [
                text_cell(row[Column.SEED]),
                value_cell(row["score"], format_score),
                value_cell(row["reference_score"], format_score),
                value_cell(row[Column.SKILL], format_percent),
                value_cell(
                    row["gain"],
                    format_difference,
                    [row["gain_low"], row["gain_high"]],
                    f"{format_difference(row['gain_low'])} to {format_difference(row['gain_high'])}",
                ),
                Cell(f"{row['better']} of {row['subjects']}", (int(row["better"]), int(row["subjects"]))),
                value_cell(row["p"], format_p),
                value_cell(row["effect"], format_effect),
            ]
        )
        for row in result.rows.to_dict("records")
    ]
    return render_table(
        "Search against the train mean, with each seed", f"{result.name}-seeds", heads, rows
    ) + render_note(
        f"Means over {result.subjects} test subjects; gain with its 95 % bootstrap interval; p: two-sided Wilcoxon"
        " signed-rank test over subjects."
    )


def _render_spread(result: SeedsResult) -> str:
    rows = []
    for estimate, of_estimate in result.spread.groupby(Column.ESTIMATE, sort=False):
        by_metric = of_estimate.set_index(Column.METRIC)
        cells = [text_cell(estimate), value_cell(by_metric.loc[result.objective, Column.SKILL], format_percent)]
        for metric in METRICS:
            row = by_metric.loc[metric]
            small = [] if pd.isna(row["std"]) else [f"SD {format_score(row['std'])}"]
            cells.append(value_cell(row["mean"], format_score, [row["std"], row["min"], row["max"]], *small))
        rows.append(Row(cells))
    heads = [
        Head("Estimate", (Column.ESTIMATE,)),
        Head("Skill", (Column.SKILL,)),
        *(metric_head(metric, "std", "min", "max") for metric in METRICS),
    ]
    return render_table("Mean scores over seeds", f"{result.name}-spread", heads, rows) + render_note(
        f"Means over {name_seeds(list(result.scores))} of the mean over subjects. SD: standard deviation over seeds."
    )


def _render_links(result: SeedsResult) -> str:
    links = []
    for seed, source in result.sources.items():
        name = result.runs.place(seed).name
        answer = build_answer(source)
        link = f'<a href="{name}/{FileName.REPORT}">seed {seed}</a>'
        links.append(f"<li>{link}: {escape_html(answer.badge)}. {escape_html(answer.line)}</li>")
    return f"<ul>{''.join(links)}</ul>"
