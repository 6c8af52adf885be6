"""Several runs in one table: what each scores, and whether it differs from the first on the same people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
from dash import html

from analysis.dashboard.watched import Watched
from analysis.statistics.comparisons import between_runs
from analysis.wording import arrow, effect_size, number, p_value, percent, signed
from helo.errors import InputError
from helo.names import ESTIMATE, METRIC, METRIC_LABELS, PER_FOLD_SELECTION, SKILL
from helo.text import printable

HEADS = ("Run", "Subjects", "Mean", "Skill", "Against the first", "p", "Effect", "Better for")


def side_by_side(runs: Sequence[Watched]) -> Any:
    """A table of the runs that have scores, if there are several of the same objective; else nothing."""
    found: dict[str, Watched] = {}
    for number_, run in enumerate(runs):
        try:
            if not run.source.scores.empty:
                found[f"{run.path.resolve().name} ({number_ + 1})"] = run
        except InputError:
            continue
    objectives = {run.source.objective for run in found.values()}
    if len(found) < 2:
        return []
    if len(objectives) > 1:
        return html.P("The runs have different objectives: their scores are not compared.", className="note")
    (objective,) = objectives
    against = between_runs({name: run.source.scores for name, run in found.items()}, objective).set_index("run")
    rows = [html.Tr([html.Th(printable(name), scope="row"), *map(html.Td, _row(name, run, against))])
            for name, run in found.items()]  # fmt: skip
    table = html.Table([html.Thead(html.Tr([html.Th(head, scope="col") for head in HEADS])), html.Tbody(rows)])
    label = METRIC_LABELS[objective]
    note = (
        f"{PER_FOLD_SELECTION} on {label} {arrow(objective)}. Against the first run: mean gain over the subjects that"
        " both have (above 0: better), Wilcoxon's signed-rank test with Holm's correction over these runs, and the"
        " matched-pairs rank-biserial correlation. It says something only of runs on the same data."
    )
    title = html.H3("The runs beside each other")
    return html.Section([title, html.Div(table, className="wide"), html.P(note, className="note")], className="part")


def _row(name: str, run: Watched, against: pd.DataFrame) -> list[str]:
    summary = run.source.summary
    mine = summary[(summary[ESTIMATE] == PER_FOLD_SELECTION) & (summary[METRIC] == run.source.objective)].iloc[0]
    first = [str(int(mine["subjects"])), number(mine["mean"]), percent(mine[SKILL])]
    if name not in against.index:
        return [*first, "–", "–", "–", "–"]
    row = against.loc[name]
    between = f"{signed(row['gain'])} ({signed(row['gain_low'])} to {signed(row['gain_high'])})"
    return [*first, between, p_value(row["p_holm"]), effect_size(row["effect"]),
            f"{row['better']} of {row['subjects']}"]  # fmt: skip
