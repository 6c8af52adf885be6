"""Figures of a run.

Each module summarises tables in a NamedTuple, and draws it as a plotly figure. Every `plot_*` function raises
`InputError` with the reason if the tables hold nothing to show.
"""

from helo.analysis.figures._links import CHOICES, KINDS, choose, expand_changes
from helo.analysis.figures._style import BLUE, DARK, DESCRIPTION, LIGHT, NARROW, PALETTE, SKY
from helo.analysis.figures.agreement import plot_agreement
from helo.analysis.figures.comparisons import plot_comparisons
from helo.analysis.figures.correlation import plot_correlation
from helo.analysis.figures.cost import plot_cost, plot_timeline
from helo.analysis.figures.differences import plot_differences
from helo.analysis.figures.emotions import plot_emotions
from helo.analysis.figures.estimates import plot_estimates
from helo.analysis.figures.heatmap import plot_heatmap
from helo.analysis.figures.importance import plot_importance
from helo.analysis.figures.learning import plot_learning
from helo.analysis.figures.parallel import plot_parallel
from helo.analysis.figures.predictions import plot_predictions
from helo.analysis.figures.progress import plot_progress
from helo.analysis.figures.ranks import plot_ranks
from helo.analysis.figures.savings import plot_savings
from helo.analysis.figures.slices import plot_slices
from helo.analysis.figures.subjects import plot_subjects
from helo.analysis.figures.transport import plot_transport

__all__ = [
    "BLUE",
    "CHOICES",
    "DARK",
    "DESCRIPTION",
    "KINDS",
    "LIGHT",
    "NARROW",
    "PALETTE",
    "SKY",
    "choose",
    "expand_changes",
    "plot_agreement",
    "plot_comparisons",
    "plot_correlation",
    "plot_cost",
    "plot_differences",
    "plot_emotions",
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
