"""A comparison of runs in the terminal: tables, and a sentence on each combined result."""

from __future__ import annotations

from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from helo._text import make_printable
from helo.analysis.comparison import Comparison
from helo.analysis.statistics.meta_analysis import COMBINED
from helo.analysis.statistics.signed_rank import ALPHA
from helo.analysis.wording import (
    count,
    format_difference,
    format_effect,
    format_p,
    format_percent,
    format_score,
    p_equals,
)
from helo.metrics import METRICS
from helo.names import Column, Estimate

WIDTH = 100
"""Maximum width of the sentences in columns."""


def describe_comparison(comparison: Comparison) -> list[str]:
    """Return the results over data sets as sentences: what is incomplete, then each combined difference.

    Parameters
    ----------
    comparison : Comparison
        What `helo.analysis.comparison.compare_runs` returned.

    Returns
    -------
    list of str
    """
    found = [
        f"INCOMPLETE: {row['run']} has a result for {row['subjects']} of {row['folds']} subjects."
        for row in comparison.overview.to_dict("records")
        if row["subjects"] < row["folds"]
    ]
    combined = comparison.meta[comparison.meta["dataset"] == COMBINED]
    for row in combined.to_dict("records"):
        datasets = len(comparison.pairs[row["judged"], row[Column.REFERENCE]])
        found.append(_combined_sentence({str(key): value for key, value in row.items()}, datasets))
    return found


def _combined_sentence(row: dict[str, Any], datasets: int) -> str:
    finding = "does not differ significantly from"
    if row["p_holm"] < ALPHA:
        finding = f"is {'better' if row['difference'] > 0 else 'worse'} than"
    correction = "" if row[Column.REFERENCE] == Estimate.TRAIN_MEAN else " by Holm's correction"
    interval = f"{format_effect(row['smd_low'])} to {format_effect(row['smd_high'])}"
    return (
        f"Over {count(datasets, 'data set')} with {count(row['subjects'], 'subject')}, {row['judged']} {finding}"
        f" {row[Column.REFERENCE]}: {format_percent(row['difference'])} of skill, better for {row['better']},"
        f" {p_equals(row['p_holm'])}{correction} (Stouffer), standardised mean difference {format_effect(row['smd'])}"
        f" ({interval})."
    )


def print_comparison(comparison: Comparison, console: Console | None = None) -> None:
    """Print a comparison of runs.

    Parameters
    ----------
    comparison : Comparison
        What `helo.analysis.comparison.compare_runs` returned.
    console : rich.console.Console, optional
        Where to print; standard output by default.
    """
    console = console or Console()
    if not console.is_terminal:
        console = Console(file=console.file, width=WIDTH)
    label, arrow = METRICS[comparison.metric].label, METRICS[comparison.metric].arrow
    console.print(_table(["run", "data set", "subjects", f"{label} {arrow}", "skill"], _overview(comparison.overview)))
    width = min(console.width, WIDTH)
    if len(comparison.differences):
        console.print()
        console.print(Text("Runs on the same data, against the first of them", style="bold"))
        heads = ["run", "against", "subjects", f"gain in {label}", "95 %", "p", "effect", "better for"]
        console.print(_table(heads, _differences(comparison.differences)))
        console.print(
            Text(
                "Gain: above 0 is better, for every metric. p: Wilcoxon's signed-rank test over the common subjects,"
                " with Holm's correction for the runs on the same data."
            ),
            width=width,
        )
    for (judged, reference), rows in comparison.meta.groupby(["judged", Column.REFERENCE], sort=False):
        console.print()
        console.print(Text(f"{make_printable(judged)} against {make_printable(reference)}", style="bold"))
        heads = ["data set", "subjects", "skill", "reference", "difference", "better for", "p", "SMD", "95 %"]
        console.print(_table(heads, _meta(rows)))
    if len(comparison.meta):
        console.print()
        console.print(
            Text(
                f"Skill on {label}: each data set has its own scale, from its train mean (0) to a perfect score (1). p:"
                " Wilcoxon's signed-rank test over subjects, with Holm's correction for the references except"
                f" {Estimate.TRAIN_MEAN}. SMD: standardised mean difference. Combined: Stouffer's method and weighted"
                " mean, with the root of the number of subjects as weight."
            ),
            width=width,
        )
    sentences = describe_comparison(comparison)
    if sentences:
        console.print()
    for sentence in sentences:
        console.print(Text(make_printable(sentence), style="bold"), width=width)


def _table(heads: list[str], rows: list[list[str]]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for place, head in enumerate(heads):
        table.add_column(head, justify="right" if place else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(make_printable(cell)) for cell in row))
    return table


def _overview(table: pd.DataFrame) -> list[list[str]]:
    return [
        [
            row["run"],
            row["dataset"],
            str(row["subjects"]),
            format_score(row["mean"]),
            format_percent(row[Column.SKILL]),
        ]
        for row in table.to_dict("records")
    ]


def _differences(table: pd.DataFrame) -> list[list[str]]:
    return [
        [
            row["run"],
            row[Column.REFERENCE],
            str(row["subjects"]),
            format_difference(row["gain"]),
            f"{format_difference(row['gain_low'])} to {format_difference(row['gain_high'])}",
            format_p(row["p_holm"]),
            format_effect(row["effect"]),
            f"{row['better']} of {row['subjects']}",
        ]
        for row in table.to_dict("records")
    ]


def _meta(table: pd.DataFrame) -> list[list[str]]:
    return [
        [
            row["dataset"],
            str(row["subjects"]),
            format_percent(row[Column.SKILL]),
            format_percent(row["reference_skill"]),
            format_percent(row["difference"]),
            f"{row['better']} of {row['subjects']}",
            format_p(row["p_holm"]),
            format_effect(row["smd"]),
            f"{format_effect(row['smd_low'])} to {format_effect(row['smd_high'])}",
        ]
        for row in table.to_dict("records")
    ]
