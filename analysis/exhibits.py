"""Every figure of a run by its name: what it is called, what it says, and how it is drawn from the run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import plotly.graph_objects as go
from helo.analysis.figures import (
    plot_comparisons,
    plot_correlation,
    plot_cost,
    plot_estimates,
    plot_heatmap,
    plot_importance,
    plot_learning,
    plot_parallel,
    plot_predictions,
    plot_progress,
    plot_ranks,
    plot_savings,
    plot_slices,
    plot_subjects,
    plot_timeline,
    plot_transport,
)
from helo.analysis.source import Source

from helo.errors import InputError, did_you_mean

PARTS: Final = {
    "result": "Result",
    "people": "Subjects",
    "parameters": "Hyperparameters",
    "search": "Search",
    "model": "Model",
    "cost": "Cost",
}
"""The parts of a report that have figures, in their order."""


class Exhibit(NamedTuple):
    """A figure of a run.

    - `part`: one of `PARTS`
    - `caption`: what is to be seen, in a sentence or two
    - `plot`: raises `InputError` with the reason where a run has nothing to show
    - `applies`: whether the figure means anything for this kind of run
    - `slow`: whether it takes seconds in a long run, so that a dashboard does not wait for it
    """

    name: str
    part: str
    title: str
    caption: str
    plot: Callable[[Source], go.Figure]
    applies: Callable[[Source], bool] = lambda source: True
    slow: bool = False


def _drawn(source: Source) -> bool:
    """Whether configurations were drawn: of listed variants there is nothing to search."""
    return not source.variants


_ALL = (
    Exhibit(
        "estimates",
        "result",
        "Estimates",
        "Mean over test subjects with its 95 % bootstrap interval; the dotted line is the train mean, which"
        " uses no input.",
        lambda source: plot_estimates(source.summary),
    ),
    Exhibit(
        "comparisons",
        "result",
        "The search against each reference",
        "Mean difference over subjects with its 95 % bootstrap interval; filled where Wilcoxon's signed-rank test says"
        " that the difference is not chance (p < 0.05, by Holm's correction for all but train_mean, on which the"
        " verdict rests).",
        lambda source: plot_comparisons(source.comparisons, source.objective),
        _drawn,
    ),
    Exhibit(
        "ranks",
        "result",
        "Mean ranks",
        "Critical-difference diagram: mean rank over subjects, bars join methods that Nemenyi's test does not tell"
        " apart. For illustration only: mean ranks depend on which methods are in the pool.",
        lambda source: plot_ranks(source.ranks),
        _drawn,
    ),
    Exhibit(
        "subjects",
        "people",
        "Each subject",
        "Each test subject's score under the train mean (square), the best regressor (diamond) and the search (circle),"
        " the hardest subject on top: where the line points the better way, the search scored better. A click on a"
        " mark shows its subject in all figures.",
        lambda source: plot_subjects(source.judged, source.objective),
    ),
    Exhibit(
        "heatmap",
        "people",
        "Each subject with each configuration",
        "Skill of each cell's test score against the train mean on that subject (0: no better); the hardest subject on"
        " top, configurations in most folds on the left, then by validation score; dots: the choice of each fold. These"
        " are test scores: to read, not to choose by. A click chooses subject and configuration.",
        lambda source: plot_heatmap(source.cells, source.baselines, source.objective),
    ),
    Exhibit(
        "predictions",
        "people",
        "Predicted and reported emotions",
        "Mean reported (bar) and predicted (dot) distribution in each clip or condition, over all test subjects or"
        " of the one that is chosen; by the configuration that was selected in each fold.",
        lambda source: plot_predictions(source.predictions, source.cells, source.objective),
    ),
    Exhibit(
        "importance",
        "parameters",
        "Which hyperparameters matter",
        "How much of being among the best configurations each searched parameter explains (PED-ANOVA), with an interval"
        " from drawing the subjects anew. A bar within its band says nothing: shuffled scores give as much.",
        lambda source: plot_importance(source.importance),
        _drawn,
        slow=True,
    ),
    Exhibit(
        "slices",
        "parameters",
        "Each hyperparameter",
        "Each searched parameter against the mean inner validation score of the configurations, adjusted for the folds"
        " that they ran in (an open circle: not in all); orange: the mean of a value or range with its 95 % bootstrap"
        " interval over configurations."
        " Values that do not act, such as the transport's where there is none, are left out.",
        lambda source: plot_slices(
            source.configurations,
            source.marginal_effects,
            source.objective,
            1 if source.nested else source.folds,
            source.parameters,
        ),
    ),
    Exhibit(
        "parallel",
        "parameters",
        "Configurations side by side",
        "Each line is a configuration, from its values to its adjusted mean validation score; the recommended one is"
        " thick. It need not end best: only one that ran in all folds can be recommended (under nested, the medoid of"
        " the folds' choices). A click on a corner of a line chooses its configuration.",
        lambda source: plot_parallel(
            source.configurations, source.marginal_effects, source.objective, source.parameters
        ),
        _drawn,
    ),
    Exhibit(
        "progress",
        "search",
        "Progress",
        "Each configuration's mean inner validation score, adjusted for the folds it ran in (open: not in all), and the"
        " best so far of those in all folds (under nested: the mean over folds of each fold's best). A line that is"
        " flat at its end says that more configurations would hardly help.",
        lambda source: plot_progress(source.cells, source.objective, source.nested, source.folds),
        _drawn,
    ),
    Exhibit(
        "savings",
        "search",
        "What racing and rungs saved",
        "Cells and epochs of all configurations in all folds: how many were run to their end, stopped early, or never"
        " started because their configuration was dropped.",
        lambda source: plot_savings(source.cells, source.folds, source.nested, source.space.get("configurations")),
        _drawn,
    ),
    Exhibit(
        "learning",
        "search",
        "Learning curves",
        "Inner validation score per epoch of the configuration selected in each fold; a dot marks the epoch"
        " whose weights were kept, and the mean covers the epochs that all folds have. With a subject chosen: all of"
        " its configurations; with a configuration: all of its folds.",
        lambda source: plot_learning(source.cells, source.curves, source.objective),
        slow=True,
    ),
    Exhibit(
        "correlation",
        "model",
        "Label correlation",
        "Which emotions go together: in the reports of all people (left), and as the selected models have learnt it"
        " (right, mean over folds or of the chosen subject's fold).",
        lambda source: plot_correlation(
            source.explanations, source.predictions, source.cells, source.objective, source.emotions
        ),
    ),
    Exhibit(
        "transport",
        "model",
        "Transport plan",
        "How much of each physiological token goes to each behavioural token, on the test subjects' windows, as times"
        " what independence would give: 1 (no colour) says that the pairing knows nothing.",
        lambda source: plot_transport(source.explanations, source.cells, source.objective, source.modalities),
    ),
    Exhibit(
        "cost",
        "cost",
        "Cell times and busy workers",
        "How long cells took, by status, and how many ran at once. Pauses of the search are cut out and not counted.",
        lambda source: plot_cost(source.cells),
    ),
    Exhibit(
        "timeline",
        "cost",
        "Timeline",
        "Cells on workers: the ledger knows the node of a cell, its worker is inferred from what ran at the same time.",
        lambda source: plot_timeline(source.cells),
    ),
)

EXHIBITS: Final = {exhibit.name: exhibit for exhibit in _ALL}
"""All figures, in the order of the report."""


def exhibit(name: str) -> Exhibit:
    """A figure by its name; raise `InputError` if there is none of that name."""
    if name not in EXHIBITS:
        raise InputError(f"unknown figure {name!r}{did_you_mean(name, EXHIBITS)}; known are {', '.join(EXHIBITS)}")
    return EXHIBITS[name]
