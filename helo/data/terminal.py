"""The result of a check as tables in a terminal."""

from __future__ import annotations

from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from helo._cli import print_line
from helo.data.check import Check, Spread
from helo.metrics import METRICS

_WIDTH: Final = 120  # characters per line in a file or a pipe, where tables are not cut


def print_check(result: Check) -> None:
    """Print the result of `helo.data.check.check`."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    print_line(
        console,
        f"{result.name}: {result.subjects} subjects, {result.windows:,} windows, "
        + (f"{result.group_names} groups" if result.groups else "no groups"),
    )
    print_line(console, f"of a subject: {_range(result.subject_windows)} windows")
    if result.groups:
        print_line(console, f"              {_range(result.groups)} groups")
    print_line(console, f"              {_range(result.labels)} different labels")
    print_line(console, f"missing: {result.missing}")
    console.print(_modalities(result))
    console.print(_emotions(result))
    print_line(
        console,
        f"mean entropy of a label: {result.entropy:.3f} nats, {result.entropy_share:.0%} of that of even shares",
    )
    console.print(_scores(result))
    for finding in result.findings:
        print_line(console, f"{'warning' if finding.warning else 'note'}: {finding.kind}: {finding.text}")
    if not result.warnings:
        print_line(console, "no warnings (a leak may still be present)")


def _range(counts: Spread) -> str:
    if counts.minimum == counts.maximum:
        return f"{counts.minimum:,}"
    return f"{counts.minimum:,} to {counts.maximum:,} (median {counts.median:g})"


def _modalities(result: Check) -> Table:
    table = Table("modality", "role")
    for title in ("tokens", "features each", "missing", "windows without"):
        table.add_column(title, justify="right")
    for modality in result.modalities:
        table.add_row(
            escape(modality.name),
            modality.role + (", main" if modality.main else ""),
            str(modality.tokens),
            str(modality.token_features),
            _share(modality.missing),
            f"{modality.absent:,}",
        )
    return table


def _share(share: float) -> str:
    return "none" if share == 0 else "< 0.1 %" if share < 1e-3 else f"{100 * share:.1f} %"


def _emotions(result: Check) -> Table:
    table = Table("emotion")
    for title in ("mean share", "spread"):
        table.add_column(title, justify="right")
    for emotion in result.emotions:
        table.add_row(escape(emotion.name), f"{emotion.mean:.4f}", f"{emotion.spread:.4f}")
    return table


def _scores(result: Check) -> Table:
    table = Table("without any signal")
    for metric in METRICS:
        table.add_column(METRICS[metric].label, justify="right")
    for method, scores in result.scores.items():
        table.add_row(method, *(f"{scores[metric]:.4f}" for metric in METRICS))
    return table
