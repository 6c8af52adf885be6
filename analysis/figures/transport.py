"""Transport plans between physiological and behavioural tokens."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from helo.analysis.figures._links import add_choices
from helo.analysis.figures._style import (
    DIVERGING,
    NARROW,
    add_colour_bar,
    build_note,
    describe,
    escape_label,
    make_figure,
)
from helo.analysis.statistics.explanations import learnt_matrices, token_names
from helo.configuration import single_role_note
from helo.errors import InputError
from helo.names import Explanation

Matrix = NDArray[np.float64]

LEAST_RANGE = math.log2(1.25)
"""Minimum half-width of the colour range, in powers of 2. A plan close to independence then looks uniform."""

SHARE_IN_RANGE = 0.95
"""Share of the entries of all subjects within the colour range, which the mean and all subjects have in common."""


class _TransportInfo(NamedTuple):
    """Mean transport plan over folds and the plan of each subject, relative to independence."""

    rows: tuple[str, ...]  # tokens of the main modality
    columns: tuple[str, ...]  # behavioural tokens
    ratio: Matrix  # mean plan ÷ product of its marginals; NaN for tokens without mass
    coverage: str  # folds of the mean
    by_subject: dict[str, Matrix]  # ratio of each test subject


def _build_info(
    explanations: pd.DataFrame, cells: pd.DataFrame, objective: str, modalities: Mapping[str, Any]
) -> _TransportInfo:
    note = single_role_note(entry.get("role") for entry in modalities.values())
    if note is not None:
        raise InputError(note)
    found = learnt_matrices(explanations, cells, objective, Explanation.TRANSPORT_PLAN)
    rows, columns = token_names(modalities)
    height, width = found.mean.shape
    return _TransportInfo(
        tuple(rows) if len(rows) == height else _numbered("physiological", height),
        tuple(columns) if len(columns) == width else _numbered("behavioural", width),
        _ratio(found.mean),
        found.coverage,
        {subject: _ratio(plan) for subject, plan in found.matrices.items()},
    )


def _numbered(role: str, count: int) -> tuple[str, ...]:
    return tuple(f"{role} {number}" for number in range(1, count + 1))


def _ratio(plan: Matrix) -> Matrix:
    """Return an (n, m) plan divided by the product of its marginals, (n, m)."""
    independent = np.outer(plan.sum(axis=1), plan.sum(axis=0))
    ratio: Matrix = np.divide(plan * plan.sum(), independent, out=np.full_like(plan, np.nan), where=independent > 0)
    return ratio


def plot_transport(
    explanations: pd.DataFrame, cells: pd.DataFrame, objective: str, modalities: Mapping[str, Any]
) -> go.Figure:
    """Plot the mean transport plan relative to independence.

    A tile shows the mass of the plan divided by the product of its marginals. An uninformative plan has 1 everywhere.
    The plans of all test subjects are averaged before the division. If a subject is chosen, the figure shows its own
    plan.

    Parameters
    ----------
    explanations : pandas.DataFrame
        Table of explanations, as in ``explanations.parquet``.
    cells : pandas.DataFrame
        Table of cells, as in ``cells.parquet``.
    objective : str
        Metric by whose inner validation score each fold selects its configuration.
    modalities : mapping
        Modalities of the dataset, as in the manifest of the run. They name the tokens.

    Returns
    -------
    plotly.graph_objects.Figure
        Heat map, tokens of the main modality × behavioural tokens.

    Raises
    ------
    InputError
        If no selected cell has a transport plan, or all modalities have one role.
    """
    info = _build_info(explanations, cells, objective, modalities)
    row, column = np.unravel_index(np.argmax(np.nan_to_num(info.ratio)), info.ratio.shape)
    return describe(
        _draw_figure(info),
        f"Most mass above independence: from {info.rows[row]} to {info.columns[column]}"
        f" ({info.ratio[row, column]:.2f} times).",
    )


def _draw_figure(info: _TransportInfo) -> go.Figure:
    rows, columns = ([escape_label(name) for name in names] for names in (info.rows, info.columns))
    limit = _limit(np.stack([info.ratio, *info.by_subject.values()]))
    tile = 30 if len(rows) <= 20 else 16
    labels = min(170, 14 + 7 * max(map(len, info.columns)))
    height = tile * len(rows) + labels + 130
    figure = make_figure(
        [
            go.Heatmap(
                x=columns,
                y=rows,
                **_values(info.ratio, limit),
                hovertemplate="%{y} with %{x}<br>%{customdata:.2f} times independence<extra></extra>",
                hoverongaps=False,
                xgap=1,
                ygap=1,
                coloraxis="coloraxis",
            )
        ],
        height=height,
        margin={"t": 76},
        xaxis=_axis(columns, "behavioural token") | {"tickangle": -90},
        yaxis=_axis(rows, "physiological token") | {"autorange": "reversed"},
        annotations=[build_note(escape_label(info.coverage))],
    )
    ticks = [-limit, 0.0, limit]
    words = [f"{2**tick:.2g}×" for tick in ticks]
    add_colour_bar(figure, DIVERGING, -limit, limit, "times independence", tickvals=ticks, ticktext=words)
    figure.layout.meta = {
        NARROW: {
            "xaxis.tickfont.size": 9,
            "xaxis.dtick": math.ceil(len(columns) / 24),
            "yaxis.tickfont.size": 9,
            "yaxis.title.text": "physiological",
        }
    }
    notes = {0: "subject {}"}
    return add_choices(
        figure, notes, subject={subject: [_values(ratio, limit)] for subject, ratio in info.by_subject.items()}
    )


def _axis(names: list[str], title: str) -> dict[str, Any]:
    shown = {"dtick": 1} if len(names) <= 60 else {}
    order = {"type": "category", "categoryorder": "array", "categoryarray": names}
    return {**order, **shown, "showgrid": False, "title": {"text": title}, "tickfont": {"size": 11}}


def _limit(ratio: Matrix) -> float:
    """Return the half-width of the colour range in powers of 2."""
    return max(LEAST_RANGE, float(np.quantile(np.abs(np.log2(ratio[ratio > 0])), SHARE_IN_RANGE)))


def _values(ratio: Matrix, limit: float) -> dict[str, list[list[float | None]]]:
    """Return log₂ of the ratio, so that half and twice are equally far from 1, and the ratio for the hover text."""
    with np.errstate(divide="ignore"):  # an entry without mass gets the last colour
        shown = np.clip(np.log2(ratio), -2 * limit, 2 * limit)
    return {
        name: [[round(value, 2) if math.isfinite(value) else None for value in row] for row in side.tolist()]
        for name, side in (("z", shown), ("customdata", ratio))
    }
