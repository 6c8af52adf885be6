"""The result of a run in the terminal: the tables of estimates, warnings, what the estimates mean, and the verdict."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final, NamedTuple

import pandas as pd
from rich.console import Console
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from helo._cli import print_text
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
    count,
    format_percent,
    format_score,
    loss_words,
)
from helo.metrics import METRICS
from helo.names import Column, Estimate, FileName, TableName

WIDTH = 100
"""Maximum width of the output in columns, also used where the output is not a terminal."""

WITH_INTERVAL = ("chebyshev", "kl")
"""Metrics whose interval is shown where there is room."""

DROPPED: Final = ("intersection", "clark", "canberra", "cosine", "chebyshev", "kl")
"""Metrics that a narrow table leaves out, the first one first. The metric of the objective always stays."""

DROPPED_OF_VARIANTS: Final = ("effect", "95 %")
"""Columns that a narrow table of variants leaves out, the first one first."""


class Fitted(NamedTuple):
    """A table that fits into a number of columns.

    Attributes
    ----------
    table : rich.table.Table
        The table.
    intervals : bool
        Whether the metrics of `WITH_INTERVAL` have intervals.
    dropped : tuple of str
        Metrics, or heads of columns, that are left out.
    """

    table: Table
    intervals: bool
    dropped: tuple[str, ...]


def estimates_table(
    summary: pd.DataFrame, objective: str, intervals: bool = True, gap: int = 2, dropped: Collection[str] = ()
) -> Table:
    """Return the estimates as rows, with the metrics and the skill as columns.

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
    dropped : collection of str
        Metrics without a column.

    Returns
    -------
    rich.table.Table
    """
    table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="bold")
    table.add_column("estimate", vertical="bottom", no_wrap=True)
    metrics = [metric for metric in METRICS if metric not in dropped]
    for metric in metrics:
        table.add_column(f"{METRICS[metric].label}\n{METRICS[metric].arrow}", justify="right", no_wrap=True)
    table.add_column("skill\n%", justify="right", no_wrap=True)
    for estimate, rows in summary.groupby(Column.ESTIMATE, sort=False):
        by_metric = rows.set_index(Column.METRIC)
        if not by_metric["subjects"].max():
            continue
        name = Text(make_printable(estimate), style="bold" if estimate == Estimate.PER_FOLD_SELECTION else "")
        if estimate == Estimate.ORACLE:
            name.append(f"\n  ({NOT_REPORTABLE})")
        cells = [_score(by_metric.loc[metric], intervals and metric in WITH_INTERVAL) for metric in metrics]
        style = "dim" if estimate == Estimate.ORACLE else ""
        table.add_row(
            name, *cells, format_percent(by_metric.loc[objective, Column.SKILL]).removesuffix(" %"), style=style
        )
    return table


def ablation_table(table: pd.DataFrame, objective: str, gap: int = 2, dropped: Collection[str] = ()) -> Table:
    """Return the variants as rows, with the score on the objective and its loss against the first variant.

    Parameters
    ----------
    table : pandas.DataFrame
        Result of `helo.analysis.statistics.ablation.compare_variants`.
    objective : str
        Name of the metric on which variants are compared.
    gap : int
        Spaces between columns.
    dropped : collection of str
        Heads of columns that are left out.

    Returns
    -------
    rich.table.Table
    """
    shown = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="bold")
    shown.add_column("variant", no_wrap=True)
    label = METRICS[objective].label
    heads = (f"{label} {METRICS[objective].arrow}", f"{label} lost", "95 %", "worse for", "p", "effect")
    kept = [number for number, head in enumerate(heads) if head not in dropped]
    for number in kept:
        shown.add_column(heads[number], justify="right", no_wrap=True)
    for row in table.to_dict("records"):
        cells = (format_score(row[objective]), *loss_words(row))
        shown.add_row(Text(make_printable(row[VARIANT])), *(cells[number] for number in kept))
    return shown


def _score(row: pd.Series, with_interval: bool) -> str:
    if not with_interval or pd.isna(row["ci_low"]):
        return format_score(row["mean"])
    return f"{format_score(row['mean'])} ±{format_score((row['ci_high'] - row['ci_low']) / 2).removeprefix('0')}"


def _first_that_fits(tables: Iterable[Fitted], console: Console, width: int) -> Fitted:
    """Return the first table that fits into `width` columns, or else the last one."""
    unbounded = console.options.update(max_width=1000)
    for fitted in tables:
        if Measurement.get(console, unbounded, fitted.table).maximum <= width:
            break
    return fitted


def fit_estimates(summary: pd.DataFrame, objective: str, console: Console, width: int) -> Fitted:
    """Return the most detailed table of estimates that fits: with intervals, without, with fewer and fewer metrics.

    Parameters
    ----------
    summary : pandas.DataFrame
        Estimates with the columns of ``summary.parquet``.
    objective : str
        Name of the metric whose skill is shown. Its column always stays.
    console : rich.console.Console
        Console that measures the table.
    width : int
        Number of columns of the terminal.

    Returns
    -------
    Fitted
    """
    order = [metric for metric in DROPPED if metric != objective]
    shapes = [(True, 2, 0), (True, 1, 0), *((False, gap, count) for count in range(len(order) + 1) for gap in (2, 1))]
    return _first_that_fits(
        (
            Fitted(estimates_table(summary, objective, intervals, gap, order[:count]), intervals, tuple(order[:count]))
            for intervals, gap, count in shapes
        ),
        console,
        width,
    )


def fit_ablation(table: pd.DataFrame, objective: str, console: Console, width: int) -> Fitted:
    """Return the most detailed table of variants that fits; see `fit_estimates`."""
    shapes = [(gap, DROPPED_OF_VARIANTS[:count]) for count in range(len(DROPPED_OF_VARIANTS) + 1) for gap in (2, 1)]
    return _first_that_fits(
        (Fitted(ablation_table(table, objective, gap, dropped), False, dropped) for gap, dropped in shapes),
        console,
        width,
    )


def _dropped_note(labels: Iterable[str], table: str) -> list[str]:
    """Return a sentence that names the columns that a table lacks, and where they are; none if it has all."""
    names = ", ".join(labels)
    return [f"Left out for lack of width: {names}; see {FileName.REPORT} or {table}."] if names else []


class _Printer:
    """Prints the parts of a result in the width of a console, and at most `WIDTH` columns wide."""

    def __init__(self, console: Console | None) -> None:
        console = console or Console()
        self.console = console if console.is_terminal else Console(file=console.file, width=WIDTH)
        self.width = min(self.console.width, WIDTH)

    def text(self, *sentences: str, style: str = "") -> None:
        if sentences:
            print_text(self.console, " ".join(sentences), self.width, style)

    def estimates(self, summary: pd.DataFrame, objective: str, table: str) -> bool:
        """Print a table of estimates, and which columns it lacks; return whether it has intervals."""
        fitted = fit_estimates(summary, objective, self.console, self.width)
        self.console.print(fitted.table)
        self.text(*_dropped_note((METRICS[metric].label for metric in fitted.dropped), f"{table}.parquet"))
        return fitted.intervals

    def ablation(self, source: Source, table: pd.DataFrame) -> None:
        """Print the table of variants, and which columns it lacks."""
        fitted = fit_ablation(table, source.objective, self.console, self.width)
        self.console.print()
        self.console.print(fitted.table)
        self.text(*_dropped_note(fitted.dropped, f"{TableName.ABLATION}.csv of an export"))


def print_estimates(source: Source, console: Console | None = None, verbose: bool = False) -> None:
    """Print the tables of a run, and warnings that may change what a reader concludes.

    Parameters
    ----------
    source : Source
        The run.
    console : rich.console.Console, optional
        Where to print; standard output by default.
    verbose : bool
        Whether what the estimates mean, and how the run was made, is explained too.

    Raises
    ------
    InputError
        If the run has no cells.
    """
    printer = _Printer(console)
    for sentence in source.incomplete:
        printer.text(sentence, style="bold")
    if printer.estimates(source.summary, source.objective, TableName.SUMMARY):
        intervals = ["±: half the width of the 95 % bootstrap interval."]
    else:
        intervals = []
    printer.console.print()
    printer.text(
        f"Means over {count(len(source.common.subjects), 'test subject')}; ↓ lower is better, ↑ higher is better.",
        *intervals,
        f"Skill: on {METRICS[source.objective].label}, against {Estimate.TRAIN_MEAN}.",
    )
    if verbose:
        for estimate in [name for name in SEARCHED if (source.summary[Column.ESTIMATE] == name).any()]:
            shown = Text(f"{estimate}: {MEANINGS[estimate]}")
            printer.console.print(Padding(shown, (0, 0, 0, 2), expand=False), width=printer.width)
        for sentence in source.background:
            printer.text(sentence)
    if len(source.summary_by_group):
        printer.console.print()
        printer.text(BY_GROUP_TITLE, style="bold")
        printer.estimates(source.summary_by_group, source.objective, TableName.SUMMARY_BY_GROUP)
        if verbose:
            printer.text(BY_GROUP_NOTE)
    if source.ablation is not None:
        printer.ablation(source, source.ablation)
        if verbose:
            first = repr(make_printable(source.ablation[VARIANT].iloc[0]))
            printer.text(ablation_note(source.ablation, source.objective, first))
    if source.warnings:
        printer.console.print()
    for sentence in source.warnings:
        printer.text(sentence)


def print_verdict(source: Source, console: Console | None = None) -> None:
    """Print the verdict of a run; see `print_estimates`."""
    printer = _Printer(console)
    printer.console.print()
    printer.text(source.verdict, style="bold")
