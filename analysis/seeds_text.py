"""Result of a search with several seeds in the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from helo._cli import print_text
from helo.analysis.seeds import SeedsResult
from helo.analysis.wording import format_effect, format_p, format_percent, format_score
from helo.metrics import METRICS
from helo.names import Column, Estimate

WIDTH = 100
"""Maximum width of sentences in columns."""


def print_seeds(result: SeedsResult, console: Console | None = None) -> None:
    """Print the table of seeds and the verdict.

    Parameters
    ----------
    result : SeedsResult
        Result of the seeds.
    console : rich.console.Console, optional
        Where to print; standard output by default.
    """
    console = console or Console()
    if not console.is_terminal:
        console = Console(file=console.file, width=WIDTH)
    width = min(console.width, WIDTH)
    for sentence in result.cautions:
        print_text(console, sentence, width, "bold")
    metric = METRICS[result.objective]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for place, head in enumerate(
        ("seed", f"{metric.label} {metric.arrow}", Estimate.TRAIN_MEAN, "skill", "better for", "p", "effect")
    ):
        table.add_column(head, justify="right" if place else "left", no_wrap=True)
    for row in result.rows.to_dict("records"):
        table.add_row(
            str(row[Column.SEED]),
            format_score(row["score"]),
            format_score(row["reference_score"]),
            format_percent(row[Column.SKILL]),
            f"{row['better']} of {row['subjects']}",
            format_p(row["p"]),
            format_effect(row["effect"]),
        )
    console.print(table)
    console.print()
    print_text(console, " ".join(result.verdict), width, "bold")
