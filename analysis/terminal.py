"""The result of a run in the terminal: the table of estimates, what they mean, and the verdict."""

from __future__ import annotations

import pandas as pd
from rich.console import Console
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from helo._text import make_printable
from helo.analysis.source import Source
from helo.analysis.statistics.ablation import VARIANT
from helo.analysis.statistics.estimates import SEARCHED
from helo.analysis.wording import (
    BY_GROUP_NOTE,
    BY_GROUP_TITLE,
    MEANINGS,
    NOT_REPORTABLE,
    ablation_note,
    format_percent,
    format_score,
    loss_words,
)
from helo.metrics import METRICS
from helo.names import Column, Estimate

WIDTH = 100
"""Maximum width of the output in columns, also used where the output is not a terminal."""

WITH_INTERVAL = ("chebyshev", "kl")
"""Metrics whose interval is shown where there is room."""


def estimates_table(summary: pd.DataFrame, objective: str, intervals: bool = True, gap: int = 2) -> Table:
    """Return the estimates as rows, with the six metrics and the skill as columns.

    Parameters
    ----------
    summary : pandas.DataFrame
        Estimates with the columns of ``summary.parquet``.
    objective : str
        Name of the metric whose skill is shown.
    intervals : bool
        Whether the metrics of `WITH_INTERVAL` get ± half the width of their bootstrap interval.
    gap : int
        Spaces between columns.

    Returns
    -------
    rich.table.Table
    """
    table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="bold")
    table.add_column("estimate", vertical="bottom", no_wrap=True)
    for metric in METRICS:
        table.add_column(f"{METRICS[metric].label}\n{METRICS[metric].arrow}", justify="right", no_wrap=True)
    table.add_column("skill\n%", justify="right", no_wrap=True)
    for estimate, rows in summary.groupby(Column.ESTIMATE, sort=False):
        by_metric = rows.set_index(Column.METRIC)
        name = Text(make_printable(estimate), style="bold" if estimate == Estimate.PER_FOLD_SELECTION else "")
        if estimate == Estimate.ORACLE:
            name.append(f"\n  ({NOT_REPORTABLE})")
        cells = [_score(by_metric.loc[metric], intervals and metric in WITH_INTERVAL) for metric in METRICS]
        style = "dim" if estimate == Estimate.ORACLE else ""
        table.add_row(
            name, *cells, format_percent(by_metric.loc[objective, Column.SKILL]).removesuffix(" %"), style=style
        )
    return table


def ablation_table(table: pd.DataFrame, objective: str) -> Table:
    """Return the variants as rows, with the score on the objective and its loss against the first variant.

    Parameters
    ----------
    table : pandas.DataFrame
        Result of `helo.analysis.statistics.ablation.compare_variants`.
    objective : str
        Name of the metric on which variants are compared.

    Returns
    -------
    rich.table.Table
    """
    shown = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    shown.add_column("variant", no_wrap=True)
    label = METRICS[objective].label
    for head in (f"{label} {METRICS[objective].arrow}", f"{label} lost", "95 %", "worse for", "p", "effect"):
        shown.add_column(head, justify="right", no_wrap=True)
    for row in table.to_dict("records"):
        shown.add_row(Text(make_printable(row[VARIANT])), format_score(row[objective]), *loss_words(row))
    return shown


def _score(row: pd.Series, with_interval: bool) -> str:
    if not with_interval or pd.isna(row["ci_low"]):
        return format_score(row["mean"])
    return f"{format_score(row['mean'])} ±{format_score((row['ci_high'] - row['ci_low']) / 2).removeprefix('0')}"


def _widest_table(summary: pd.DataFrame, objective: str, console: Console, width: int) -> tuple[Table, bool]:
    """Return the most detailed table of estimates that fits into `width` columns, and whether it has intervals."""
    unbounded = console.options.update(max_width=1000)
    for intervals, gap in ((True, 2), (True, 1), (False, 2), (False, 1)):
        table = estimates_table(summary, objective, intervals, gap)
        if Measurement.get(console, unbounded, table).maximum <= width:
            break
    return table, intervals


def print_summary(source: Source, console: Console | None = None) -> None:
    """Print the estimates of a run, what they mean, the estimates by group if there are any, and the verdict.

    Parameters
    ----------
    source : Source
        The run.
    console : rich.console.Console, optional
        Where to print; standard output by default.

    Raises
    ------
    InputError
        If the run has no cells.
    """
    console = console or Console()
    if not console.is_terminal:
        console = Console(file=console.file, width=WIDTH)
    width = min(console.width, WIDTH)
    table, intervals = _widest_table(source.summary, source.objective, console, width)
    console.print(table)
    console.print()
    sentences = [f"Means over {source.folds} test subjects; ↓ lower is better, ↑ higher is better."]
    if intervals:
        sentences.append("±: half the width of the 95 % bootstrap interval.")
    sentences.append(f"Skill: on {METRICS[source.objective].label}, against {Estimate.TRAIN_MEAN}.")
    console.print(Text(" ".join(sentences)), width=width)
    for estimate in [name for name in SEARCHED if (source.summary[Column.ESTIMATE] == name).any()]:
        console.print(Padding(Text(f"{estimate}: {MEANINGS[estimate]}"), (0, 0, 0, 2), expand=False), width=width)
    for sentence in source.notes:
        console.print(Text(sentence), width=width)
    if len(source.summary_by_group):
        console.print()
        console.print(Text(BY_GROUP_TITLE, style="bold"))
        console.print(_widest_table(source.summary_by_group, source.objective, console, width)[0])
        console.print(Text(BY_GROUP_NOTE), width=width)
    if source.ablation is not None:
        console.print()
        console.print(ablation_table(source.ablation, source.objective))
        first = repr(make_printable(source.ablation[VARIANT].iloc[0]))
        console.print(Text(ablation_note(source.ablation, source.objective, first)), width=width)
    console.print()
    console.print(Text(source.verdict, style="bold"), width=width)
