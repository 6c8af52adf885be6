"""Which emotions go together: in what people reported, and in what the model learnt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from helo.analysis.figures._links import add_choices
from helo.analysis.figures._style import (
    DIVERGING,
    Grid,
    add_colour_bar,
    arrange_panels,
    axis_suffix,
    escape_label,
    make_figure,
    update_narrow_layout,
    wrap_label,
)
from helo.analysis.statistics.explanations import learnt_matrices
from numpy.typing import NDArray
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from helo.data.label_correlation import label_correlation
from helo.errors import InputError
from helo.names import Column, Explanation, Prefix

Matrix = NDArray[np.float64]


class _CorrelationInfo(NamedTuple):
    emotions: tuple[str, ...]  # in the order of rows and columns of all matrices
    reported: Matrix  # over windows
    learned: Matrix | None  # the mean over folds
    coverage: str  # over which folds the mean is, or why there is none
    by_subject: dict[str, Matrix]

    @property
    def distance(self) -> float:
        """How far the learned correlation is from the reported one: mean difference over pairs of emotions."""
        assert self.learned is not None
        pairs = np.triu_indices(len(self.emotions), 1)
        return float(np.abs(self.learned - self.reported)[pairs].mean())


def _build_info(
    explanations: pd.DataFrame, predictions: pd.DataFrame, cells: pd.DataFrame, objective: str, emotions: Sequence[str]
) -> _CorrelationInfo:
    windows = predictions.drop_duplicates(Column.WINDOW)  # the folds' choice and the overall one may predict the same
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
    """Emotions that go together beside each other: the leaves of a tree of average linkage."""
    if len(correlation) < 3:
        return list(range(len(correlation)))
    distance = squareform(1 - correlation, checks=False)
    return [int(leaf) for leaf in leaves_list(linkage(distance, "average", optimal_ordering=True))]


def plot_correlation(
    explanations: pd.DataFrame, predictions: pd.DataFrame, cells: pd.DataFrame, objective: str, emotions: Sequence[str]
) -> go.Figure:
    """Two matrices, emotions × emotions: the label correlation of the data, and the one that was learnt.

    - `explanations`, `predictions`, `cells`: as in the tables of the same names
    - `objective`: by whose validation score each fold selects its configuration
    - `emotions`: their names, in the order of the dataset

    Of the data: Pearson correlation over windows, each counted once. Learned: cosine of the label embeddings, the mean
    over folds; with a subject chosen, that of its fold, which was trained on the others. Where nothing was learnt the
    data's stands alone, with the reason.
    """
    return _draw_figure(_build_info(explanations, predictions, cells, objective, emotions))


def _draw_figure(info: _CorrelationInfo) -> go.Figure:
    names = [escape_label(emotion) for emotion in info.emotions]
    figure = make_figure([_matrix(info.reported, names, 0, "reported")])
    titles = ["<b>of the data</b>, over windows"]
    if info.learned is not None:
        figure.add_trace(_matrix(info.learned, names, 1, "learned"))
        titles.append(f"<b>learned</b>, {info.coverage}<br>mean distance from the data's {info.distance:.2f}")
    else:
        titles[0] += "<br>" + wrap_label(f"none is learned: {info.coverage}")
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
        said = {1: "<b>learned</b>, fold of subject {}"}
        add_choices(figure, said, subject={name: [{}, {"z": _rounded(one)}] for name, one in info.by_subject.items()})
    return figure


def _matrix(values: Matrix, names: list[str], panel: int, what: str) -> go.Heatmap:
    return go.Heatmap(
        x=names,
        y=names,
        z=_rounded(values),
        xaxis=f"x{axis_suffix(panel)}",
        yaxis=f"y{axis_suffix(panel)}",
        coloraxis="coloraxis",
        hovertemplate=f"%{{y}} with %{{x}}<br>{what} correlation %{{z:.2f}}<extra></extra>",
    )


def _rounded(values: Matrix) -> list[list[float]]:
    return [[round(value, 3) for value in row] for row in values.tolist()]
