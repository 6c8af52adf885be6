"""How a check of a dataset looks in a terminal."""

from __future__ import annotations

from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from helo._cli import say
from helo.data.check import Check, Spread
from helo.metrics import METRICS

_WIDTH: Final = 120  # of a file or a pipe: tables are not cut there


def show(found: Check) -> None:
    """Print what `check` found."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    say(
        console,
        f"{found.name}: {found.subjects} subjects, {found.windows:,} windows, "
        + (f"{found.group_names} groups" if found.groups else "no groups"),
    )
    say(console, f"of a subject: {_range(found.subject_windows)} windows")
    if found.groups:
        say(console, f"              {_range(found.groups)} groups")
    say(console, f"              {_range(found.labels)} different labels")
    say(console, f"missing: {found.missing}")
    console.print(_modalities(found))
    console.print(_emotions(found))
    say(
        console,
        f"mean entropy of a label: {found.entropy:.3f} nats, {found.entropy_share:.0%} of that of even shares",
    )
    console.print(_scores(found))
    for finding in found.findings:
        say(console, f"{'warning' if finding.warning else 'note'}: {finding.kind}: {finding.text}")
    if not found.warnings:
        say(console, "no warnings (which is no proof that there is no leak)")


def _range(counts: Spread) -> str:
    if counts.least == counts.most:
        return f"{counts.least:,}"
    return f"{counts.least:,} to {counts.most:,} (median {counts.median:g})"


def _modalities(found: Check) -> Table:
    table = Table("modality", "role")
    for title in ("tokens", "features each", "missing", "windows without"):
        table.add_column(title, justify="right")
    for modality in found.modalities:
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


def _emotions(found: Check) -> Table:
    table = Table("emotion")
    for title in ("mean share", "spread"):
        table.add_column(title, justify="right")
    for emotion in found.emotions:
        table.add_row(escape(emotion.name), f"{emotion.mean:.4f}", f"{emotion.spread:.4f}")
    return table


def _scores(found: Check) -> Table:
    table = Table("without any signal")
    for metric in METRICS:
        table.add_column(METRICS[metric].label, justify="right")
    for method, scores in found.scores.items():
        table.add_row(method, *(f"{scores[metric]:.4f}" for metric in METRICS))
    return table
