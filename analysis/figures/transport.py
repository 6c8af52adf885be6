"""Which physiological and behavioural tokens the model brings together."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from helo.analysis.figures._links import add_choices
from helo.analysis.figures._style import DIVERGING, NARROW, add_colour_bar, build_note, escape_label, make_figure
from helo.analysis.statistics.explanations import learnt_matrices, token_names
from numpy.typing import NDArray

from helo.names import Explanation

Matrix = NDArray[np.float64]

LEAST_RANGE = math.log2(1.25)
"""The range of colours is at least from 1/1.25 to 1.25 times: a plan that is hardly more than independence looks so."""

SHARE_IN_RANGE = 0.95
"""This share of all subjects' entries lies within the range of colours, which is the same for them and their mean."""


class _TransportInfo(NamedTuple):
    rows: tuple[str, ...]  # the main modality's tokens
    columns: tuple[str, ...]  # behavioural tokens
    ratio: Matrix  # mean plan over folds ÷ product of its marginals; NaN where a token has no mass
    coverage: str
    by_subject: dict[str, Matrix]


def _build_info(
    explanations: pd.DataFrame, cells: pd.DataFrame, objective: str, modalities: Mapping[str, Any]
) -> _TransportInfo:
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
    """A plan as times what independence of its marginals would give: (n, m) → (n, m)."""
    independent = np.outer(plan.sum(axis=1), plan.sum(axis=0))
    ratio: Matrix = np.divide(plan * plan.sum(), independent, out=np.full_like(plan, np.nan), where=independent > 0)
    return ratio


def plot_transport(
    explanations: pd.DataFrame, cells: pd.DataFrame, objective: str, modalities: Mapping[str, Any]
) -> go.Figure:
    """The mean transport plan, main modality's tokens × behavioural tokens, against independence.

    - `explanations`, `cells`: as in the tables of the same names
    - `objective`: by whose validation score each fold selects its configuration
    - `modalities`: the manifest's, which name the tokens

    A tile says how many times the mass lies there that the product of the marginals would put: 1 is what a plan without
    any knowledge has. Mean over test subjects (of the plans, then divided); with a subject chosen, its own.
    """
    return _draw_figure(_build_info(explanations, cells, objective, modalities))


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
    said = {0: "subject {}"}
    return add_choices(
        figure, said, subject={subject: [_values(ratio, limit)] for subject, ratio in info.by_subject.items()}
    )


def _axis(names: list[str], title: str) -> dict[str, Any]:
    shown = {"dtick": 1} if len(names) <= 60 else {}
    order = {"type": "category", "categoryorder": "array", "categoryarray": names}
    return {**order, **shown, "showgrid": False, "title": {"text": title}, "tickfont": {"size": 11}}


def _limit(ratio: Matrix) -> float:
    """How far colours go to either side of 1, in powers of 2."""
    return max(LEAST_RANGE, float(np.quantile(np.abs(np.log2(ratio[ratio > 0])), SHARE_IN_RANGE)))


def _values(ratio: Matrix, limit: float) -> dict[str, list[list[float | None]]]:
    """What a heat map shows, log₂ so that half and twice are equally far from 1, and what its labels say."""
    with np.errstate(divide="ignore"):  # no mass at all is as far as it goes
        shown = np.clip(np.log2(ratio), -2 * limit, 2 * limit)
    return {
        name: [[round(value, 2) if math.isfinite(value) else None for value in row] for row in side.tolist()]
        for name, side in (("z", shown), ("customdata", ratio))
    }
