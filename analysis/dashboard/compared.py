"""Comparison of several runs: their scores, and their differences from the first run on the same subjects."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import pandas as pd
import plotly.graph_objects as go
from dash import html

from helo._text import make_printable
from helo.analysis.dashboard.watched import Drawing, WatchedRun, draw
from helo.analysis.figures.paired import plot_paired
from helo.analysis.figures.runs import plot_runs
from helo.analysis.source import Source
from helo.analysis.statistics.common_subjects import CommonSubjects, common_across_runs
from helo.analysis.statistics.comparisons import compare_across_runs
from helo.analysis.statistics.estimates import summarise
from helo.analysis.statistics.meta_analysis import pair_skills
from helo.analysis.wording import format_difference, format_effect, format_p, format_percent, format_score
from helo.errors import InputError
from helo.metrics import METRICS
from helo.names import Column, Estimate

HEADS: Final = ("Run", "Subjects", "Mean", "Skill", "Against the first", "p", "Effect", "Better for")
"""Column heads of the table."""

LATER: Final = "later run"
"""Name of a run that is compared with the first one, in the place of an estimate."""


class Compared(NamedTuple):
    """Runs with scores.

    Attributes
    ----------
    sources : dict of str to Source
        All of them by name.
    scores : dict of str to DataFrame
        Scores of those that can be compared with the first one: on the same data, with the same objective.
    common : CommonSubjects
        The subjects that these have.
    """

    sources: dict[str, Source]
    scores: dict[str, pd.DataFrame]
    common: CommonSubjects

    @property
    def metric(self) -> str:
        """Objective of the runs that are compared."""
        return next(iter(self.sources.values())).objective

    @property
    def same(self) -> dict[str, pd.DataFrame]:
        """Scores of the runs that are compared, on the subjects that all of them have."""
        return {
            name: self.scores[name][self.scores[name][Column.FOLD].isin(self.common.subjects)]
            for name in self.common.rows
        }


class ComparedFigure(NamedTuple):
    """Figure of several runs: its title, its caption, and the function that draws it."""

    title: str
    caption: str
    plot: Callable[[Compared], go.Figure]


def _plot_pairs(compared: Compared) -> go.Figure:
    """Plot the skill of each later run against that of the first run, a mark per subject."""
    first, *later = compared.common.rows
    if not later:
        raise InputError("no other run has scores of the same subjects")
    reference = compared.same[first]
    pairs = {}
    for name in later:
        scores = compared.same[name]
        searched = scores[scores[Column.ESTIMATE] == Estimate.PER_FOLD_SELECTION].assign(**{Column.ESTIMATE: LATER})
        together = pd.concat([reference, searched], ignore_index=True)
        pairs[name] = pair_skills(together, compared.metric, LATER, Estimate.PER_FOLD_SELECTION)
    return plot_paired(pairs, later[0] if len(later) == 1 else "the other run", first)


FIGURES: Final[dict[str, ComparedFigure]] = {
    "runs": ComparedFigure(
        "Each subject in all runs",
        "Score of the search of each run for each test subject, on the subjects that all runs have. The hardest subject"
        " is on top. Click a mark to show its subject in all figures.",
        lambda compared: plot_runs(compared.same, compared.metric),
    ),
    "pairs": ComparedFigure(
        "Against the first run",
        "Skill of the search of the other runs against that of the first run, on the same subjects. A mark is a"
        " subject. Above the line, the other run is better.",
        _plot_pairs,
    ),
}
"""Figures of several runs by name."""


class Comparer:
    """Comparison of watched runs, which is made again only when a run has changed.

    Parameters
    ----------
    runs : mapping of str to WatchedRun
        Runs by name.
    """

    def __init__(self, runs: Mapping[str, WatchedRun]) -> None:
        self._runs = runs
        self._sources: list[Source] = []
        self._compared: Compared | None = None
        self._drawings: dict[str, Drawing] = {}
        self._lock = threading.RLock()

    def _read(self) -> Compared | None:
        sources = [run.source for run in self._runs.values()]  # read once: another thread may replace them
        if [*map(id, sources)] != [*map(id, self._sources)]:
            self._compared, self._drawings = find_compared(dict(zip(self._runs, sources, strict=True))), {}
            self._sources = sources
        return self._compared

    def table(self) -> Any:
        """Return the table of the comparison, or an empty list if fewer than two runs have scores."""
        with self._lock:
            compared = self._read()
            return [] if compared is None else render_comparison(compared)

    def drawing(self, name: str) -> Drawing:
        """Return a figure of `FIGURES`, or the reason for its absence."""
        with self._lock:
            compared = self._read()
            if name not in self._drawings:
                self._drawings[name] = draw(lambda: _plot(name, compared))
            return self._drawings[name]


def _plot(name: str, compared: Compared | None) -> go.Figure:
    if compared is None:
        raise InputError("fewer than two runs have scores")
    return FIGURES[name].plot(compared)


def find_compared(sources: Mapping[str, Source]) -> Compared | None:
    """Return the runs with scores, or None if fewer than two runs have scores.

    The first run with scores is the reference. Runs with other data or another objective are not compared with it.

    Parameters
    ----------
    sources : mapping of str to Source
        Runs by name.
    """
    found: dict[str, Source] = {}
    for name, source in sources.items():
        try:
            if (source.judged[Column.ESTIMATE] == Estimate.PER_FOLD_SELECTION).any():
                found[name] = source
        except InputError:
            continue
    if len(found) < 2:
        return None
    first = next(iter(found.values()))
    scores = {
        name: source.judged for name, source in found.items() if _comparison_key(source) == _comparison_key(first)
    }
    return Compared(found, scores, common_across_runs(scores))


def render_comparison(compared: Compared) -> html.Section:
    """Return a table of the scores of runs, and of their differences from the first run."""
    against = compare_across_runs(compared.scores, compared.metric).set_index("run")
    rows = []
    for name, source in compared.sources.items():
        if name not in compared.scores:
            cells = [*_own(source, source.judged), "other data or objective", "–", "–", "–"]
        elif name not in compared.common.rows:
            cells = [*_own(source, source.judged), "too few of the same subjects", "–", "–", "–"]
        else:
            difference = _difference(against.loc[name]) if name in against.index else "––––"
            cells = [*_own(source, compared.same[name]), *difference]
        rows.append(html.Tr([html.Th(make_printable(name), scope="row"), *map(html.Td, cells)]))
    caption = "Scores of the runs, and differences from the first"
    table = html.Table(
        [html.Caption(caption), html.Thead(html.Tr([html.Th(head, scope="col") for head in HEADS])), html.Tbody(rows)]
    )
    label = METRICS[compared.metric].label
    note = (
        f"The search on {label} {METRICS[compared.metric].arrow}. Runs that are compared have the same subjects:"
        " those that all of them have. Against the first run: mean gain over subjects (above 0: better),"
        " two-sided Wilcoxon's signed-rank test with Holm's correction over these runs, and the"
        " matched-pairs rank-biserial correlation."
    )
    label_of_region: Any = {"aria-label": caption}
    region = html.Div(table, className="scroll", role="region", tabIndex=0, **label_of_region)
    title = html.H2("Comparison of the runs")
    return html.Section([title, region, html.P(note, className="note")], className="part")


def _comparison_key(source: Source) -> tuple[Any, ...]:
    """Return the data set and the metric, which must be equal in runs that are compared."""
    return source.dataset.digest, source.objective


def _own(source: Source, scores: pd.DataFrame) -> list[str]:
    """Return the number of subjects, the mean and the skill of the search."""
    summary = summarise(scores, [Estimate.PER_FOLD_SELECTION])
    own = summary[summary[Column.METRIC] == source.objective].iloc[0]
    return [str(int(own["subjects"])), format_score(own["mean"]), format_percent(own[Column.SKILL])]


def _difference(row: pd.Series) -> list[str]:
    """Return the difference from the first run with its test."""
    gain, low, high = (format_difference(row[column]) for column in ("gain", "gain_low", "gain_high"))
    return [
        f"{gain} ({low} to {high})",
        format_p(row["p_holm"]),
        format_effect(row["effect"]),
        f"{row['better']} of {row['subjects']}",
    ]
