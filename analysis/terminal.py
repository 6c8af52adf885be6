"""The estimates as a table for the terminal."""

from __future__ import annotations

import pandas as pd
from helo.analysis.source import Source
from helo.analysis.statistics.ablation import VARIANT
from helo.analysis.wording import (
    MEANINGS,
    NOT_REPORTABLE,
    ablation_note,
    format_percent,
    format_score,
    loss_words,
)
from rich.console import Console
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from helo._text import printable
from helo.metrics import METRICS
from helo.names import Column, Estimate

WIDTH = 100
"""Columns that the table keeps to; also assumed where the output is no terminal."""

WITH_INTERVAL = ("chebyshev", "kl")


def estimates_table(summary: pd.DataFrame, objective: str, intervals: bool = True, gap: int = 2) -> Table:
    """Estimates as rows, the six metrics and the skill on `objective` as columns.

    `summary` has the columns of ``summary.parquet``. With `intervals`, Chebyshev and KL get ± half the width
    of their bootstrap interval; `gap` is the space between columns.
    """
    table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="bold")
    table.add_column("estimate", vertical="bottom", no_wrap=True)
    for metric in METRICS:
        table.add_column(f"{METRICS[metric].label}\n{METRICS[metric].arrow}", justify="right", no_wrap=True)
    table.add_column("skill\n%", justify="right", no_wrap=True)
    for estimate, rows in summary.groupby(Column.ESTIMATE, sort=False):
        by_metric = rows.set_index(Column.METRIC)
        name = Text(printable(estimate), style="bold" if estimate == Estimate.PER_FOLD_SELECTION else "")
        if estimate == Estimate.ORACLE:
            name.append(f"\n  ({NOT_REPORTABLE})")
        cells = [_score(by_metric.loc[metric], intervals and metric in WITH_INTERVAL) for metric in METRICS]
        style = "dim" if estimate == Estimate.ORACLE else ""
        table.add_row(
            name, *cells, format_percent(by_metric.loc[objective, Column.SKILL]).removesuffix(" %"), style=style
        )
    return table


def ablation_table(table: pd.DataFrame, objective: str) -> Table:
    """Variants as rows: the objective, and what it lost against the first one; the report has all six measures."""
    shown = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    shown.add_column("variant", no_wrap=True)
    label = METRICS[objective].label
    for head in (f"{label} {METRICS[objective].arrow}", f"{label} lost", "95 %", "worse for", "p", "effect"):
        shown.add_column(head, justify="right", no_wrap=True)
    for row in table.to_dict("records"):
        shown.add_row(Text(printable(row[VARIANT])), format_score(row[objective]), *loss_words(row))
    return shown


def _score(row: pd.Series, with_interval: bool) -> str:
    if not with_interval or pd.isna(row["ci_low"]):
        return format_score(row["mean"])
    return f"{format_score(row['mean'])} ±{format_score((row['ci_high'] - row['ci_low']) / 2).removeprefix('0')}"


def print_summary(source: Source, console: Console | None = None) -> None:
    """Print the estimates of a run, what they mean, and the verdict.

    Raise `InputError` if the run has no table of cells.
    """
    console = console or Console()
    if not console.is_terminal:
        console = Console(file=console.file, width=WIDTH)
    width = min(console.width, WIDTH)
    unbounded = console.options.update(max_width=1000)
    for intervals, gap in ((True, 2), (True, 1), (False, 2), (False, 1)):
        table = estimates_table(source.summary, source.objective, intervals, gap)
        if Measurement.get(console, unbounded, table).maximum <= width:
            break
    console.print(table)
    console.print()
    parts = [f"Means over {source.folds} test subjects (↓ lower is better, ↑ higher)"]
    parts += ["± half the 95 % bootstrap interval"] * intervals
    parts += [f"skill on {METRICS[source.objective].label} against {Estimate.TRAIN_MEAN}."]
    console.print(Text("; ".join(parts)), width=width)
    for estimate in (Estimate.PER_FOLD_SELECTION, Estimate.SINGLE_CONFIGURATION, Estimate.ORACLE):
        console.print(Padding(Text(f"{estimate}: {MEANINGS[estimate]}"), (0, 0, 0, 2), expand=False), width=width)
    for sentence in source.notes:
        console.print(Text(sentence), width=width)
    if source.ablation is not None:
        console.print()
        console.print(ablation_table(source.ablation, source.objective))
        first = repr(printable(source.ablation[VARIANT].iloc[0]))
        console.print(Text(ablation_note(source.ablation, source.objective, first)), width=width)
    console.print()
    console.print(Text(source.verdict, style="bold"), width=width)
