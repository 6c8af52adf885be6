"""The result of several seeds in sentences."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import pandas as pd

from helo.analysis.statistics.finding import Finding
from helo.analysis.wording.numbers import count, format_score
from helo.analysis.wording.verdict import best_baseline_note, verdict
from helo.metrics import METRICS
from helo.names import Column, Estimate

SEEDS_NOTE = (
    "Seeds change the inner splits, the draws of configurations and the training, not the subjects. Tests therefore"
    " take the mean over seeds of each subject's score; the spread over seeds shows how much the result depends on"
    " chance in the method."
)
"""What the numbers of several seeds mean."""


def name_seeds(seeds: Collection[int]) -> str:
    """Return seeds as words.

    >>> name_seeds([0]), name_seeds([0, 2])
    ('seed 0', 'seeds 0, 2')
    """
    return f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}"


def missing_seeds_notes(seeds: Sequence[int], unfinished: Collection[int], left_out: Mapping[int, int]) -> list[str]:
    """Say which seeds have no complete result: the first sentences of every result.

    Parameters
    ----------
    seeds : sequence of int
        All seeds of the search.
    unfinished : collection of int
        Seeds whose search has not started or not ended.
    left_out : mapping of int to int
        Seed that is not compared → number of the compared subjects that it has.

    Returns
    -------
    list of str

    Examples
    --------
    >>> missing_seeds_notes([0, 1, 2], [2], {2: 3})
    ['INCOMPLETE: the search of 1 of 3 seeds has not ended (seed 2).', 'Left out, with too few subjects: seed 2 (3).']
    """
    notes = []
    if unfinished:
        verb = "has" if len(unfinished) == 1 else "have"
        notes.append(
            f"INCOMPLETE: the search of {len(unfinished)} of {count(len(seeds), 'seed')} {verb} not ended"
            f" ({name_seeds(unfinished)})."
        )
    if left_out:
        named = ", ".join(f"seed {seed} ({subjects})" for seed, subjects in left_out.items())
        notes.append(f"Left out, with too few subjects: {named}.")
    return notes


def short_training_note(seeds: Collection[int]) -> list[str]:
    """Say with which seeds training was too short.

    >>> short_training_note([0, 2])
    ['Training was too short with seeds 0, 2, as their reports say: train for more steps before you draw conclusions.']
    """
    if not seeds:
        return []
    reports = "its report says" if len(seeds) == 1 else "their reports say"
    return [
        f"Training was too short with {name_seeds(seeds)}, as {reports}: train for more steps before you draw"
        " conclusions."
    ]


def describe_seeds(table: pd.DataFrame, spread: pd.DataFrame, mean_scores: pd.DataFrame, objective: str) -> list[str]:
    """Say with how many seeds skill is shown, what the mean over seeds shows, and how far the seeds differ.

    Parameters
    ----------
    table : pandas.DataFrame
        Result of `helo.analysis.statistics.seeds.seed_table`.
    spread : pandas.DataFrame
        Result of `helo.analysis.statistics.seeds.spread_table`.
    mean_scores : pandas.DataFrame
        Result of `helo.analysis.statistics.seeds.mean_over_seeds`.
    objective : str
        Name of the metric that decides.

    Returns
    -------
    list of str
    """
    own = table[table[Column.METRIC] == objective]
    if own.empty:
        return [verdict(mean_scores, objective)]
    sentences = []
    if len(own) > 1:
        shown = own[own["finding"] == Finding.BETTER]
        worse = own[own["finding"] == Finding.WORSE]
        named = f" ({name_seeds(shown[Column.SEED].tolist())})" if 0 < len(shown) < len(own) else ""
        often = f"Skill is shown with {len(shown)} of {len(own)} seeds{named}"
        if len(worse):
            often += f", and the search is worse than the train mean with {len(worse)}"
        sentences.append(f"{often}.")
        row = spread[
            (spread[Column.ESTIMATE] == Estimate.PER_FOLD_SELECTION) & (spread[Column.METRIC] == objective)
        ].iloc[0]
        sentences.append(
            f"Its mean {METRICS[objective].label} lies between {format_score(row['min'])} and"
            f" {format_score(row['max'])} (standard deviation over seeds {format_score(row['std'])})."
        )
        sentences.append(f"With the scores of each subject averaged over the {len(own)} seeds:")
    return [*sentences, verdict(mean_scores, objective), *best_baseline_note(mean_scores, objective)]
