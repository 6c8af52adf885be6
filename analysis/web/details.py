"""Details of subjects and configurations as JSON, from which ``details.js`` shows the chosen ones in every page."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from typing import Any

import numpy as np
import pandas as pd

from helo._text import make_printable
from helo.analysis.source import Source
from helo.analysis.statistics.comparisons import subject_table
from helo.analysis.statistics.profiles import (
    ConfigurationProfile,
    SubjectProfile,
    describe_configurations,
    describe_subjects,
)
from helo.analysis.web.page import escape_script_json
from helo.analysis.wording import count, format_percent, format_score
from helo.errors import InputError
from helo.metrics import METRICS
from helo.names import Column, Estimate, Status


def build_details(source: Source, subjects: Iterable[str], configurations: Iterable[int]) -> dict[str, Any]:
    """Return what pages show of subjects and configurations.

    Numbers are formatted here, so that pages only place texts. Names are keys as they are, because they are compared.

    Parameters
    ----------
    source : Source
        The run.
    subjects : iterable of str
        Subjects to include.
    configurations : iterable of int
        Configurations to include.

    Returns
    -------
    dict
        By kind (``subject``, ``configuration``): heads that all entries share, and under ``of`` name → entry.

    Raises
    ------
    InputError
        If the run has no cells.
    """
    return {
        "run": make_printable(source.name),
        Column.SUBJECT: _subjects(source, subjects),
        Column.CONFIGURATION: _configurations(source, configurations),
    }


def details_to_json(source: Source, subjects: Iterable[str], configurations: Iterable[int]) -> str:
    """Return the details as JSON, see `build_details`. Without cells there is nothing to describe: an empty object."""
    try:
        details = build_details(source, subjects, configurations)
    except InputError:
        details = {}
    return json.dumps(details, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def render_details(source: Source) -> str:
    """Return the HTML of the place of the chosen subject and configuration, with the details of all of them."""
    try:
        content = details_to_json(source, *source.choices)
    except InputError:  # the run has no cells
        return ""
    return (
        '<div id="chosen" tabindex="-1" hidden></div>'
        f'<script type="application/json" id="details">{escape_script_json(content)}</script>'
    )


def _subjects(source: Source, names: Iterable[str]) -> dict[str, Any]:
    try:
        predictions, shares = source.predictions, source.emotion_shares
    except InputError:  # the search writes predictions at its end
        predictions = pd.DataFrame(columns=[Column.FOLD, Column.WINDOW])
        shares = pd.DataFrame(columns=[Column.SUBJECT, Column.EMOTION])
    scores = subject_table(source.all_scores, source.objective)
    profiles = describe_subjects(names, scores, source.choice, predictions, shares)
    estimates = list(dict.fromkeys(scores[Column.ESTIMATE]))
    groups = list(dict.fromkeys(group for one in profiles for group in one.groups))
    compared = source.common.subjects
    return {
        "estimates": [make_printable(estimate) for estimate in estimates],
        "main": [Estimate.PER_FOLD_SELECTION, Estimate.TRAIN_MEAN],
        "metrics": [f"{metric.label} {metric.arrow}" for metric in METRICS.values()],
        "emotions": [make_printable(emotion) for emotion in dict.fromkeys(shares[Column.EMOTION])],
        "groups": [make_printable(group) for group in groups],
        "compared": len(compared),
        "of": {one.name: _subject(one, estimates, groups, compared, source.objective) for one in profiles},
    }


def _subject(
    profile: SubjectProfile, estimates: list[str], groups: list[str], compared: Collection[str], objective: str
) -> dict[str, Any]:
    rows = [
        [estimates.index(row[Column.ESTIMATE]), format_percent(row[Column.SKILL])]
        + [format_score(row[metric]) for metric in METRICS]
        for row in profile.scores.to_dict("records")
    ]
    shares = profile.shares.reindex(columns=["reported", "predicted", "train_mean"]).to_numpy(float)
    return {
        "line": _subject_line(profile, objective),
        "size": _size(profile),
        "groups": [[groups.index(group), number] for group, number in profile.groups.items()],
        "configuration": None if profile.configuration is None else str(profile.configuration),
        "scores": rows,
        "shares": [["–" if np.isnan(share) else f"{share:.4f}" for share in row] for row in shares.tolist()],
    } | _optional(label=_label(profile.name), apart=profile.name not in compared)


def _size(profile: SubjectProfile) -> str:
    if profile.windows is None:
        return "The number of windows is known once the search has written its predictions."
    groups = f" in {count(len(profile.groups), 'group')}" if profile.groups else ""
    return f"{count(profile.windows, 'window')}{groups}."


def _subject_line(profile: SubjectProfile, objective: str) -> str:
    """Return the score of the search on a subject in words."""
    by_estimate = profile.scores.set_index(Column.ESTIMATE)
    if Estimate.PER_FOLD_SELECTION not in by_estimate.index:
        return "the search has no score"
    search = by_estimate.loc[Estimate.PER_FOLD_SELECTION]
    line = f"{METRICS[objective].label} {format_score(search[objective])}"
    if Estimate.TRAIN_MEAN not in by_estimate.index:
        return line
    trivial = by_estimate.loc[Estimate.TRAIN_MEAN, objective]
    return f"{line}, train mean {format_score(trivial)}, skill {format_percent(search[Column.SKILL])}"


def _configurations(source: Source, numbers: Iterable[int]) -> dict[str, Any]:
    table, metric = source.configurations, METRICS[source.objective]
    profiles = describe_configurations(numbers, table, source.cells, source.objective, source.choice)
    score = f"Validation {metric.label} {metric.arrow}"
    return {
        "parameters": list(profiles[0].parameters) if profiles else [],
        "facts": [
            f"{score}, mean over its folds",
            f"{score}, adjusted for folds",
            "Rank by the adjusted score",
            "Ran to its end in",
            "Was stopped early in",
            "Failed in",
            "Was chosen in",
        ],
        "of": {
            str(one.number): _configuration(one, len(table), 1 if source.nested else source.folds, metric.label)
            for one in profiles
        },
    }


def _configuration(profile: ConfigurationProfile, ranked: int, folds: int, label: str) -> dict[str, Any]:
    of_folds = f"of {count(folds, 'fold')}"
    cells = [profile.counts[status] for status in (Status.COMPLETED, Status.STOPPED, Status.FAILED)]
    chosen = len(profile.chosen_by)
    return {
        "line": f"validation {label} {format_score(profile.validation)}, chosen in {chosen} {of_folds}",
        "values": [_value_text(value) for value in profile.parameters.values()],
        "facts": [
            format_score(profile.validation),
            format_score(profile.adjusted),
            "–" if profile.rank is None else f"{profile.rank} of {ranked}",
            *(f"{number} {of_folds}" for number in (*cells, chosen)),
        ],
    } | _optional(
        inactive=[place for place, name in enumerate(profile.parameters) if name in profile.inactive],
        folds=list(profile.folds) if len(profile.folds) == 1 else [],
        chosen=list(profile.chosen_by),
        recommended=profile.recommended,
    )


def _optional(**entries: Any) -> dict[str, Any]:
    """Return the entries that are not empty, which keeps pages small."""
    return {name: value for name, value in entries.items() if value}


def _label(name: str) -> str:
    """Return how a name is shown, empty if it is shown as it is."""
    printable = make_printable(name)
    return "" if printable == name else printable


def _value_text(value: Any) -> str:
    if value is None or (isinstance(value, float | np.floating) and np.isnan(value)):
        return "none"
    return f"{value:.4g}" if isinstance(value, float | np.floating) else make_printable(value)
