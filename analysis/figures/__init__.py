"""Figures of a run. Each module goes from tables over a NamedTuple to a plotly Figure.

Every plot function raises `InputError` with the reason where the tables hold nothing to show.
"""

from analysis.figures._links import CHOICES, KINDS, choose
from analysis.figures._style import BLUE, DARK, LIGHT, NARROW, SKY
from analysis.figures.comparisons import plot_comparisons
from analysis.figures.correlation import plot_correlation
from analysis.figures.cost import plot_cost, plot_timeline
from analysis.figures.estimates import plot_estimates
from analysis.figures.heatmap import plot_heatmap
from analysis.figures.importance import plot_importance
from analysis.figures.learning import plot_learning
from analysis.figures.parallel import plot_parallel
from analysis.figures.predictions import plot_predictions
from analysis.figures.progress import plot_progress
from analysis.figures.ranks import plot_ranks
from analysis.figures.savings import plot_savings
from analysis.figures.slices import plot_slices
from analysis.figures.subjects import plot_subjects
from analysis.figures.transport import plot_transport

__all__ = [
    "BLUE",
    "CHOICES",
    "DARK",
    "KINDS",
    "LIGHT",
    "NARROW",
    "SKY",
    "choose",
    "plot_comparisons",
    "plot_correlation",
    "plot_cost",
    "plot_estimates",
    "plot_heatmap",
    "plot_importance",
    "plot_learning",
    "plot_parallel",
    "plot_predictions",
    "plot_progress",
    "plot_ranks",
    "plot_savings",
    "plot_slices",
    "plot_subjects",
    "plot_timeline",
    "plot_transport",
]
