"""The answer of a run at a glance: a badge, one line and three tiles, for the report and the dashboard."""

from __future__ import annotations

import math
from collections.abc import Iterable
from enum import StrEnum
from typing import Final, NamedTuple

import pandas as pd

from helo.analysis.source import Source
from helo.analysis.statistics.estimates import best_fitted_baseline, paired, skill
from helo.analysis.statistics.finding import Finding, fewest_subjects, judge_difference, skill_interval
from helo.analysis.web.page import escape_html
from helo.analysis.wording import (
    count,
    format_difference,
    format_percent,
    format_score,
    is_incomplete,
    p_equals,
    training_end_note,
)
from helo.metrics import METRICS
from helo.names import Column, Estimate

ANSWER: Final = "answer"
"""Name of the answer in pages."""


class Badge(StrEnum):
    """Word that sums up a run."""

    SKILL = "skill"
    NO_SKILL = "no skill"
    WORSE = "worse"
    TOO_FEW = "too few subjects"
    INCOMPLETE = "incomplete"


BADGES: Final = {
    Finding.BETTER: Badge.SKILL,
    Finding.WORSE: Badge.WORSE,
    Finding.UNCLEAR: Badge.NO_SKILL,
    Finding.TOO_FEW: Badge.TOO_FEW,
    Finding.UNTESTED: Badge.INCOMPLETE,
}
"""Badge of what the comparison with the train mean shows."""

_AGAINST: Final = {
    Finding.BETTER: "significantly better",
    Finding.WORSE: "significantly worse",
    Finding.UNCLEAR: "no significant difference",
    Finding.TOO_FEW: f"not testable with fewer than {fewest_subjects()} subjects",
}
_MISSING: Final = "–"


class Tile(NamedTuple):
    """One number of the answer: its title, the number, and small print."""

    title: str
    number: str
    remarks: tuple[str, ...]


class Answer(NamedTuple):
    """The answer of a run.

    Attributes
    ----------
    badge : Badge
        Word that sums it up.
    line : str
        The result in one sentence.
    cautions : tuple of str
        Sentences without which the result would mislead.
    tiles : tuple of Tile
        Skill, subjects and best fitted baseline; empty if there is nothing to judge yet.
    """

    badge: Badge
    line: str
    cautions: tuple[str, ...]
    tiles: tuple[Tile, ...]


def build_answer(source: Source) -> Answer:
    """Build the answer of a run.

    Parameters
    ----------
    source : Source
        The run.

    Returns
    -------
    Answer

    Raises
    ------
    InputError
        If the run has no cells.
    """
    incomplete, faults = source.incomplete, source.faults
    row = _compared_with(source.comparisons, Estimate.TRAIN_MEAN, source.objective)
    if row is None:
        line = "There is nothing to judge yet: no subject has both a completed cell and a score of the train mean."
        return Answer(Badge.INCOMPLETE, line, (*incomplete, *faults), ())
    finding = _judge(row)
    badge = Badge.INCOMPLETE if _is_incomplete(source) else BADGES[finding]
    cautions = (*incomplete, *faults, *training_end_note(source.training_end, source.objective))
    tiles = build_tiles(source.judged, source.comparisons, source.objective)
    return Answer(badge, _line(source, row, finding), cautions, tiles)


def build_tiles(scores: pd.DataFrame, comparisons: pd.DataFrame, objective: str) -> tuple[Tile, ...]:
    """Build the tiles on skill, subjects and best fitted baseline.

    Parameters
    ----------
    scores : pandas.DataFrame
        Scores from `helo.analysis.statistics.estimates.subject_scores`.
    comparisons : pandas.DataFrame
        Result of `helo.analysis.statistics.comparisons.compare_with_references` on these scores.
    objective : str
        Name of the metric that decides.

    Returns
    -------
    tuple of Tile
        Empty without subjects that have scores of both the search and the train mean.
    """
    row = _compared_with(comparisons, Estimate.TRAIN_MEAN, objective)
    if row is None:
        return ()
    return _skill_tile(scores, objective), _subjects_tile(row), _baseline_tile(scores, comparisons, objective)


def _is_incomplete(source: Source) -> bool:
    return is_incomplete(len(source.common.subjects), source.folds, source.counts)


def _compared_with(comparisons: pd.DataFrame, reference: str, objective: str) -> pd.Series | None:
    """Return the comparison with a reference on the objective, or None if no subject has both scores."""
    rows = comparisons[(comparisons[Column.REFERENCE] == reference) & (comparisons[Column.METRIC] == objective)]
    return None if rows.empty or not rows["subjects"].iloc[0] else rows.iloc[0]


def _judge(row: pd.Series) -> Finding:
    return judge_difference(int(row["subjects"]), float(row["gain"]), float(row["p_holm"]), float(row["effect"]))


def _line(source: Source, row: pd.Series, finding: Finding) -> str:
    judged = f"variant {next(iter(source.variants))}" if source.variants else "the search"
    label, subjects = METRICS[source.objective].label, int(row["subjects"])
    counted = f"{row['better']:.0f} of {count(subjects, 'subject')}"
    test = "" if math.isnan(row["p"]) else f" ({p_equals(row['p'])})"
    lines = {
        Finding.BETTER: f"{judged} beats the train mean on {label} for {counted}{test}.",
        Finding.WORSE: f"{judged} is worse than the train mean on {label}: better for only {counted}{test}.",
        Finding.UNCLEAR: f"{judged} shows no skill on {label}: better than the train mean for {counted}{test}.",
        Finding.TOO_FEW: f"{count(subjects, 'subject')} cannot show skill: a test needs at least {fewest_subjects()}.",
    }
    line = f"so far, {lines[finding]}" if _is_incomplete(source) else lines[finding]
    return line[0].upper() + line[1:]


def _skill_tile(scores: pd.DataFrame, objective: str) -> Tile:
    both = paired(scores, objective, Estimate.PER_FOLD_SELECTION, Estimate.TRAIN_MEAN)
    label = METRICS[objective].label
    score, reference = both.mean()
    shown = skill(float(score), float(reference), objective)
    low, high = skill_interval(both, objective)
    between = [] if math.isnan(low) else [f"95 % interval {format_percent(low)} to {format_percent(high)}"]
    return Tile(f"Skill on {label}", format_percent(shown), (*between, "0 %: train mean, 100 %: perfect score"))


def _subjects_tile(row: pd.Series) -> Tile:
    means = f"mean {format_score(row['score'])} against {format_score(row['reference_score'])} of the train mean"
    return Tile(
        "Better than the train mean for", f"{row['better']:.0f} of {count(int(row['subjects']), 'subject')}", (means,)
    )


def _baseline_tile(scores: pd.DataFrame, comparisons: pd.DataFrame, objective: str) -> Tile:
    best = best_fitted_baseline(scores, objective)
    row = _compared_with(comparisons, best, objective) if best else None
    if row is None:
        return Tile("Against the best regressor", _MISSING, ("no fitted baseline has scores of all these subjects",))
    label = METRICS[objective].label
    test = "" if math.isnan(row["p_holm"]) else f" ({p_equals(row['p_holm'])} by Holm)"
    return Tile(
        f"Gain over the best regressor, {best}",
        f"{format_difference(row['gain'])} {label}",
        (
            f"95 % interval {format_difference(row['gain_low'])} to {format_difference(row['gain_high'])}",
            f"better for {row['better']:.0f} of {count(int(row['subjects']), 'subject')}",
            f"{_AGAINST[_judge(row)]}{test}",
        ),
    )


def badge_class(badge: Badge) -> str:
    """Return the class of a badge in style sheets.

    >>> badge_class(Badge.NO_SKILL)
    'no-skill'
    """
    return badge.replace(" ", "-")


def render_badge(answer: Answer) -> str:
    """Return the badge and the line of an answer as HTML."""
    badge = f'<span class="badge {badge_class(answer.badge)}">{escape_html(answer.badge)}</span>'
    return f"{badge} <span>{escape_html(answer.line)}</span>"


def render_cautions(answer: Answer) -> str:
    """Return the cautions of an answer as HTML."""
    return "".join(f'<p class="caution">{escape_html(one)}</p>' for one in answer.cautions)


def render_tiles(tiles: Iterable[Tile]) -> str:
    """Return the tiles of an answer as HTML."""
    shown = "".join(
        f"<div><dt>{escape_html(tile.title)}</dt><dd><b>{escape_html(tile.number)}</b>"
        f"{''.join(f'<small>{escape_html(remark)}</small>' for remark in tile.remarks)}</dd></div>"
        for tile in tiles
    )
    return f'<dl class="tiles">{shown}</dl>'


def render_answer(source: Source, *figures: str) -> str:
    """Return the tiles of the answer, figures, and the verdict and the notes in full sentences, folded.

    Parameters
    ----------
    source : Source
        The run.
    *figures : str
        HTML of figures.

    Returns
    -------
    str
        HTML.
    """
    answer = build_answer(source)
    notes = "".join(f"<li>{escape_html(note)}</li>" for note in source.notes if note not in answer.cautions)
    folded = f"<ul>{notes}</ul>" if notes else ""
    return (
        f"{render_tiles(answer.tiles)}{''.join(figures)}"
        f'<details><summary>The verdict in full, and how the run was made</summary><p class="full">'
        f"{escape_html(source.verdict)}</p>{folded}</details>"
    )
