"""All figures of a run by name, each with its title, its caption and the function that draws it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import plotly.graph_objects as go

from helo.analysis.figures import (
    plot_agreement,
    plot_comparisons,
    plot_correlation,
    plot_cost,
    plot_differences,
    plot_emotions,
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
from helo.analysis.statistics.emotions import train_means
from helo.errors import InputError, did_you_mean

PARTS: Final = {
    "result": "Result",
    "people": "Subjects",
    "emotion": "Emotions",
    "parameters": "Hyperparameters",
    "search": "Search",
    "model": "Model",
    "cost": "Cost",
}
"""Titles of the parts of a report that have figures, in order."""


class Exhibit(NamedTuple):
    """A figure of a run.

    Attributes
    ----------
    name : str
        Name in commands, files and pages.
    part : str
        Key of `PARTS`.
    title : str
        Title in the report.
    caption : str
        Explanation of the figure in a few sentences.
    plot : callable
        Function that draws the figure of a `Source`. It raises `InputError` with the reason if the run has no data
        for the figure.
    applies : callable
        Predicate of a `Source`: whether the figure is meaningful for this kind of run.
    slow : bool
        Whether the figure takes seconds in a long run, so that a dashboard draws it in the background.
    first : bool
        Whether the figure belongs to the answer, above all tables.
    """

    name: str
    part: str
    title: str
    caption: str
    plot: Callable[[Source], go.Figure]
    applies: Callable[[Source], bool] = lambda source: True
    slow: bool = False
    first: bool = False


def has_search(source: Source) -> bool:
    """Return whether a sampler proposed the configurations. A space that lists variants has no search."""
    return not source.variants


_ALL = (
    Exhibit(
        "differences",
        "result",
        "Difference for each subject",
        "How much better the search is than the train mean, which uses no input, for each test subject (below 0:"
        " worse). Dashed line and band: mean gain with its 95 % bootstrap interval. Click a bar to show its subject in"
        " all figures.",
        lambda source: plot_differences(source.judged, source.objective),
        first=True,
    ),
    Exhibit(
        "estimates",
        "result",
        "Estimates",
        "Mean over test subjects with its 95 % bootstrap interval. The dotted line is the train mean, which uses no"
        " input. An arrow with a number stands for uniform where it is beyond the axis.",
        lambda source: plot_estimates(source.summary),
    ),
    Exhibit(
        "comparisons",
        "result",
        "The search against each reference",
        "Mean difference over test subjects with its 95 % bootstrap interval. A filled mark is a significant difference"
        " (Wilcoxon's signed-rank test, p < 0.05). Holm's correction covers all references except train_mean, whose"
        " comparison decides the verdict. An arrow with a number stands for uniform where it is beyond the axis.",
        lambda source: plot_comparisons(source.comparisons, source.objective),
        has_search,
    ),
    Exhibit(
        "ranks",
        "result",
        "Mean ranks",
        "Critical-difference diagram of mean ranks over test subjects. Bars join methods whose ranks do not differ"
        " significantly in Nemenyi's test. For illustration only: mean ranks depend on which methods are compared.",
        lambda source: plot_ranks(source.ranks),
        has_search,
    ),
    Exhibit(
        "subjects",
        "people",
        "Each subject",
        "Scores of each test subject: the train mean (square), the best fitted baseline (diamond) and the search"
        " (circle). The hardest subject is on top. The search is better where the line points in the better direction."
        " Click a mark to show its subject in all figures.",
        lambda source: plot_subjects(source.judged, source.objective),
    ),
    Exhibit(
        "heatmap",
        "people",
        "Each subject with each configuration",
        "Skill of each cell's test score against the train mean of the same subject (0: no better). The hardest subject"
        " is on top. Configurations are ordered by their number of folds, then by validation score. Dots mark"
        " the choice"
        " of each fold. Test scores must not be used to choose a configuration. Click a cell to select its subject and"
        " configuration.",
        lambda source: plot_heatmap(source.cells, source.baselines, source.objective),
    ),
    Exhibit(
        "emotions",
        "emotion",
        "Error and skill of each emotion",
        "Mean absolute error of the predicted share of each emotion, over the windows of a subject and then over"
        " subjects, of the search and of the train mean on the same subjects. Skill: 1 - error / error of the train"
        " mean. Lines: 95 % bootstrap intervals over subjects, not corrected for the number of emotions. A filled mark"
        " is a skill whose interval excludes 0. The largest skill is on top. Select a subject to see its own errors.",
        lambda source: plot_emotions(source.emotion_table, source.common_shares),
    ),
    Exhibit(
        "agreement",
        "emotion",
        "Predicted against reported share",
        "Mean share of each emotion for each test subject: predicted by the search (dot) and by the train mean (dash)."
        " On the dotted line, prediction and report agree. In brackets: 95 % bootstrap interval of the skill. A skill"
        " where dots lie on dashes comes from differences between the windows of a subject, such as between clips. Axes"
        " differ between emotions. Click a dot to show its subject in all figures.",
        lambda source: plot_agreement(source.common_shares, source.emotion_table),
    ),
    Exhibit(
        "predictions",
        "emotion",
        "Predicted and reported emotions",
        "Mean reported (bar) and predicted (dot) distribution for each clip or condition, and what the train mean"
        " predicts (dash), over all test subjects or for the selected one. Lines: 95 % bootstrap intervals over"
        " subjects. Predictions are those of the configuration chosen in each fold.",
        lambda source: plot_predictions(
            source.of_common(source.predictions),
            source.cells,
            source.objective,
            train_means(source.predictions),
        ),
    ),
    Exhibit(
        "importance",
        "parameters",
        "Which hyperparameters matter",
        "How strongly each searched hyperparameter decides whether a configuration is among the best"
        " (PED-ANOVA), with a"
        " 95 % interval from resampled subjects. A bar that does not exceed its noise band is not informative,"
        " because shuffled scores reach the same value.",
        lambda source: plot_importance(source.importance),
        has_search,
        slow=True,
    ),
    Exhibit(
        "slices",
        "parameters",
        "Each hyperparameter",
        "Each searched hyperparameter against the mean inner validation score of the configurations, adjusted for the"
        " folds they ran in (open circle: not in all folds). Orange: mean for each value or range with its 95 %"
        " bootstrap interval over configurations. A hyperparameter is left out where it has no effect, such as those of"
        " the transport in a model without transport.",
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
        "Each line is a configuration, from its hyperparameters to its adjusted mean validation score. The recommended"
        " configuration is thick. It need not have the best score: only a configuration that ran in all folds can be"
        " recommended (under protocol nested, the medoid of the choices of the folds). Click a corner of a line to"
        " select its configuration.",
        lambda source: plot_parallel(
            source.configurations, source.marginal_effects, source.objective, source.parameters
        ),
        has_search,
    ),
    Exhibit(
        "progress",
        "search",
        "Progress",
        "Mean inner validation score of each configuration, adjusted for the folds it ran in (open circle: not in all"
        " folds). Line: the best so far among configurations in all folds (under protocol nested, the mean over"
        " folds of"
        " the best in each). If the line is flat at its end, more configurations would hardly help.",
        lambda source: plot_progress(source.cells, source.objective, source.nested, source.folds),
        has_search,
    ),
    Exhibit(
        "savings",
        "search",
        "What racing and rungs saved",
        "Cells and epochs of all configurations in all folds: how many ran to their end, were stopped early, or were"
        " not run because their configuration was dropped. Cells that have not finished are no savings: while the"
        " search runs, some of them may be dropped as well. Epochs are summed over the members of a cell.",
        lambda source: plot_savings(source.cells, source.counts),
        has_search,
    ),
    Exhibit(
        "learning",
        "search",
        "Learning curves",
        "Inner validation score per epoch of the configuration chosen in each fold, joint for all members. A dot marks"
        " the epoch whose weights were used. The mean covers the epochs that all folds have. Select a subject to see"
        " all configurations in its fold, or a configuration to see all its folds.",
        lambda source: plot_learning(source.cells, source.curves, source.objective),
        slow=True,
    ),
    Exhibit(
        "correlation",
        "model",
        "Label correlation",
        "Correlation between emotions: in the labels of all subjects (left), and as the chosen models have learnt it"
        " (right; mean over folds, or the fold of the selected subject).",
        lambda source: plot_correlation(
            source.explanations, source.predictions, source.cells, source.objective, source.emotions
        ),
    ),
    Exhibit(
        "transport",
        "model",
        "Transport plan",
        "Mass that the plan moves from each physiological token to each behavioural token, on the windows of the test"
        " subjects, divided by the mass under independence. A value of 1 (no colour) means that the pairing carries no"
        " information.",
        lambda source: plot_transport(source.explanations, source.cells, source.objective, source.modalities),
    ),
    Exhibit(
        "cost",
        "cost",
        "Cell times and busy workers",
        "Duration of cells by status, and the number of cells that ran at the same time. Pauses of the search are"
        " excluded.",
        lambda source: plot_cost(source.cells),
    ),
    Exhibit(
        "timeline",
        "cost",
        "Timeline",
        "Cells on workers. The ledger records the node of each cell; its worker is inferred from the cells that ran at"
        " the same time.",
        lambda source: plot_timeline(source.cells),
    ),
)

EXHIBITS: Final = {exhibit.name: exhibit for exhibit in _ALL}
"""All figures by name, in the order of the report."""


def find_exhibit(name: str) -> Exhibit:
    """Return the figure of a name, or raise `InputError` for an unknown one."""
    if name not in EXHIBITS:
        raise InputError(f"unknown figure {name!r}{did_you_mean(name, EXHIBITS)}; known are {', '.join(EXHIBITS)}")
    return EXHIBITS[name]
