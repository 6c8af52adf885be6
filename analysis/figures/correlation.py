"""Correlation between emotions: in the reported labels, and in the label embeddings of the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from helo.analysis.figures._links import add_choices
from helo.analysis.figures._style import (
    DIVERGING,
    Grid,
    add_colour_bar,
    arrange_panels,
    axis_suffix,
    describe,
    escape_label,
    make_figure,
    update_narrow_layout,
    wrap_label,
)
from helo.analysis.statistics.explanations import learnt_matrices
from helo.data.label_correlation import label_correlation
from helo.errors import InputError
from helo.names import Column, Explanation, Prefix

Matrix = NDArray[np.float64]


class _CorrelationInfo(NamedTuple):
    """Reported and learned label correlation, each of shape (emotions, emotions)."""

    emotions: tuple[str, ...]  # in the order of rows and columns of all matrices
    reported: Matrix  # Pearson correlation over windows
    learned: Matrix | None  # mean over folds; None if it is unknown
    coverage: str  # folds of the mean, or why there is no mean
    by_subject: dict[str, Matrix]  # learned in the fold of each test subject

    @property
    def distance(self) -> float:
        """Mean absolute difference between learned and reported correlation over pairs of emotions."""
        assert self.learned is not None
        pairs = np.triu_indices(len(self.emotions), 1)
        return float(np.abs(self.learned - self.reported)[pairs].mean())


def _build_info(
    explanations: pd.DataFrame, predictions: pd.DataFrame, cells: pd.DataFrame, objective: str, emotions: Sequence[str]
) -> _CorrelationInfo:
    windows = predictions.drop_duplicates(Column.WINDOW)  # several configurations may predict a window
    columns = [Prefix.TRUE + emotion for emotion in emotions]
    if len(windows) < 2 or len(emotions) < 2 or not set(columns) <= set(windows):
        raise InputError("there are no reported distributions of two windows or more")
    reported = label_correlation(windows[columns].to_numpy(float))
    order = _order(reported)
    block = np.ix_(order, order)
    names = tuple(emotions[place] for place in order)
    try:
        found = learnt_matrices(explanations, cells, objective, Explanation.LABEL_CORRELATION)
    except InputError as error:
        return _CorrelationInfo(names, reported[block], None, str(error), {})
    of_subjects = {subject: matrix[block] for subject, matrix in found.matrices.items()}
    return _CorrelationInfo(names, reported[block], found.mean[block], found.coverage, of_subjects)


def _order(correlation: Matrix) -> list[int]:
    """Return an order of emotions with correlated emotions side by side: the leaves of an average-linkage tree."""
    if len(correlation) < 3:
        return list(range(len(correlation)))
    distance = squareform(1 - correlation, checks=False)
    return [int(leaf) for leaf in leaves_list(linkage(distance, "average", optimal_ordering=True))]


def plot_correlation(
    explanations: pd.DataFrame, predictions: pd.DataFrame, cells: pd.DataFrame, objective: str, emotions: Sequence[str]
) -> go.Figure:
    """Plot the label correlation of the data beside the learned label correlation.

    The correlation of the data is the Pearson correlation over windows, each counted once. The learned correlation is
    the cosine between label embeddings, averaged over folds. If a subject is chosen, the figure shows the correlation
    that was learned in the fold of this test subject.

    Parameters
    ----------
    explanations : pandas.DataFrame
        Table of explanations, as in ``explanations.parquet``.
    predictions : pandas.DataFrame
        Table of predictions, as in ``predictions.parquet``.
    cells : pandas.DataFrame
        Table of cells, as in ``cells.parquet``.
    objective : str
        Metric by whose inner validation score each fold selects its configuration.
    emotions : sequence of str
        Names of the emotions, in the order of the dataset.

    Returns
    -------
    plotly.graph_objects.Figure
        Two matrices of shape (emotions, emotions), or the matrix of the data alone, with the reason.

    Raises
    ------
    InputError
        If there are fewer than two windows with reported distributions, or fewer than two emotions.
    """
    info = _build_info(explanations, predictions, cells, objective, emotions)
    learnt = "" if info.learned is None else f" The learnt correlation differs by {info.distance:.2f} on average."
    return describe(_draw_figure(info), f"Correlation between {len(info.emotions)} emotions.{learnt}")


def _draw_figure(info: _CorrelationInfo) -> go.Figure:
    names = [escape_label(emotion) for emotion in info.emotions]
    figure = make_figure([_matrix(info.reported, names, 0, "reported")])
    titles = ["<b>of the data</b>, over windows"]
    if info.learned is not None:
        figure.add_trace(_matrix(info.learned, names, 1, "learned"))
        titles.append(f"<b>learned</b>, {info.coverage}<br>mean difference from the data {info.distance:.2f}")
    else:
        titles[0] += "<br>" + wrap_label(f"no learned correlation: {info.coverage}")
    panels = len(titles)
    letters = max(map(len, info.emotions))
    labels = min(110, 14 + 7 * letters)
    size = int(np.clip(20 * len(names), 200, 480))
    wide = Grid(panels, 2, panel=size, gap=labels + 40, top=94, bottom=labels, spacing=0.03)
    slim = Grid(panels, 1, panel=max(180, min(size, 290)), gap=labels + 50, top=110, bottom=labels)
    axis = {
        "type": "category",
        "categoryorder": "array",
        "categoryarray": names,
        "dtick": 1,
        "showgrid": False,
        "tickfont": {"size": 11 if len(names) <= 30 else 8},
    }
    narrow: dict[str, Any] = {}
    for index in range(panels):
        number = axis_suffix(index)
        figure.update_layout(
            {
                f"xaxis{number}": axis | {"tickangle": -90},
                f"yaxis{number}": axis | {"autorange": "reversed", "showticklabels": index == 0},
            }
        )
        narrow |= {f"{side}axis{number}.tickfont.size": 9 if len(names) <= 25 else 7 for side in "xy"}
    update_narrow_layout(arrange_panels(figure, wide, slim, titles), narrow).update_annotations(align="left")
    add_colour_bar(figure, DIVERGING, -1, 1, "correlation", tickvals=[-1, 0, 1])
    if info.by_subject:
        notes = {1: "<b>learned</b>, fold of subject {}"}
        add_choices(figure, notes, subject={name: [{}, {"z": _rounded(one)}] for name, one in info.by_subject.items()})
    return figure


def _matrix(values: Matrix, names: list[str], panel: int, kind: str) -> go.Heatmap:
    return go.Heatmap(
        x=names,
        y=names,
        z=_rounded(values),
        xaxis=f"x{axis_suffix(panel)}",
        yaxis=f"y{axis_suffix(panel)}",
        coloraxis="coloraxis",
        hovertemplate=f"%{{y}} with %{{x}}<br>{kind} correlation %{{z:.2f}}<extra></extra>",
    )


def _rounded(values: Matrix) -> list[list[float]]:
    return [[round(value, 3) for value in row] for row in values.tolist()]
