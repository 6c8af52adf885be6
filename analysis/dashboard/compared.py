"""Comparison of several runs: their scores, and their differences from the first run on the same subjects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
from dash import html

from helo._text import make_printable
from helo.analysis.dashboard.watched import WatchedRun
from helo.analysis.source import Source
from helo.analysis.statistics.comparisons import compare_across_runs
from helo.analysis.wording import format_difference, format_effect, format_p, format_percent, format_score
from helo.errors import InputError
from helo.metrics import METRICS
from helo.names import Column, Estimate

HEADS = ("Run", "Subjects", "Mean", "Skill", "Against the first", "p", "Effect", "Better for")
"""Column heads of the table."""


def compare_runs(runs: Sequence[WatchedRun]) -> Any:
    """Return a table that compares the runs with scores, or an empty list if fewer than two runs have scores.

    The first run with scores is the reference. Runs with other data or another objective are listed without a
    comparison.
    """
    found: dict[str, Source] = {}
    for place, run in enumerate(runs):
        source = run.source  # read once: another thread may replace it
        try:
            if (source.judged[Column.ESTIMATE] == Estimate.PER_FOLD_SELECTION).any():
                found[f"{source.run.folder.name} ({place + 1})"] = source
        except InputError:
            continue
    if len(found) < 2:
        return []
    first = next(iter(found.values()))
    comparable = {
        name: source.judged for name, source in found.items() if _comparison_key(source) == _comparison_key(first)
    }
    against = compare_across_runs(comparable, first.objective).set_index("run")
    rows = [
        html.Tr(
            [html.Th(make_printable(name), scope="row"), *map(html.Td, _row(name, source, against, name in comparable))]
        )
        for name, source in found.items()
    ]
    caption = "Scores of the runs, and differences from the first"
    table = html.Table(
        [html.Caption(caption), html.Thead(html.Tr([html.Th(head, scope="col") for head in HEADS])), html.Tbody(rows)]
    )
    label = METRICS[first.objective].label
    note = (
        f"The search on {label} {METRICS[first.objective].arrow}. Against the first run: mean gain over the common"
        " subjects (above 0: better), Wilcoxon's signed-rank test with Holm's correction over these runs, and the"
        " matched-pairs rank-biserial correlation."
    )
    title = html.H3("Comparison of the runs")
    label_of_region: Any = {"aria-label": caption}
    region = html.Div(table, className="scroll", role="region", tabIndex=0, **label_of_region)
    return html.Section([title, region, html.P(note, className="note")], className="part")


def _comparison_key(source: Source) -> tuple[Any, ...]:
    """Return the data set and the metric, which must be equal in runs that are compared."""
    return source.dataset.digest, source.objective


def _row(name: str, source: Source, against: pd.DataFrame, comparable: bool) -> list[str]:
    summary = source.summary
    own = summary[
        (summary[Column.ESTIMATE] == Estimate.PER_FOLD_SELECTION) & (summary[Column.METRIC] == source.objective)
    ].iloc[0]
    first = [str(int(own["subjects"])), format_score(own["mean"]), format_percent(own[Column.SKILL])]
    if not comparable:
        return [*first, "other data or objective", "–", "–", "–"]
    if name not in against.index:
        return [*first, "–", "–", "–", "–"]
    row = against.loc[name]
    gain, low, high = (format_difference(row[column]) for column in ("gain", "gain_low", "gain_high"))
    between = f"{gain} ({low} to {high})"
    return [
        *first,
        between,
        format_p(row["p_holm"]),
        format_effect(row["effect"]),
        f"{row['better']} of {row['subjects']}",
    ]
