"""How the best found so far improves while the search runs: with every finished cell, and with time."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from helo.analysis.figures._links import build_owners
from helo.analysis.figures._style import (
    BLUE,
    GREY,
    Grid,
    arrange_panels,
    axis_suffix,
    format_validation_title,
    make_figure,
    update_narrow_layout,
)
from helo.analysis.statistics.configurations import adjusted_means
from helo.analysis.statistics.estimates import completed, scored
from numpy.typing import NDArray

from helo.errors import InputError
from helo.metrics import METRICS
from helo.names import Column, Prefix

_UNITS = (("seconds", 1.0, 120.0), ("minutes", 60.0, 7200.0), ("hours", 3600.0, np.inf))
"""Unit, its seconds, and up to how many seconds it is used."""

_NARROW_TOP = 84
"""Pixels above the first panel on a narrow page, where the legend has a line per entry."""


class _Steps(NamedTuple):
    """The best so far: after how many finished cells and seconds of running it became which score."""

    cells: tuple[int, ...]
    seconds: tuple[float, ...]
    scores: tuple[float, ...]


class _ProgressInfo(NamedTuple):
    metric: str
    nested: bool
    folds: int
    cells: int  # finished cells of the run, whatever their status
    seconds: float  # in which any cell ran
    configurations: tuple[int, ...]  # none under `nested`
    finished: tuple[int, ...]  # how many cells had finished when a configuration had its last score
    times: tuple[float, ...]  # and after how many seconds
    means: tuple[float, ...]  # its mean validation score, adjusted for the folds
    tried: tuple[int, ...]  # in how many folds it has one
    best: _Steps


def _build_info(cells: pd.DataFrame, objective: str, nested: bool, folds: int | None) -> _ProgressInfo:
    ordered = cells.sort_values(Column.FINISHED, kind="stable").reset_index(drop=True)
    done = scored(ordered).dropna(subset=[Prefix.VAL + objective])
    if done.empty:
        raise InputError("no cell has a score yet")
    running = _running(ordered)
    every = cells[Column.FOLD].nunique() if folds is None else folds
    common = (objective, nested, every, len(cells), float(running[-1]))
    if nested:
        return _ProgressInfo(*common, (), (), (), (), (), _best_by_fold(ordered, running, objective))
    each = adjusted_means(done, objective)
    each["place"] = (done.assign(place=done.index).groupby(Column.CONFIGURATION)["place"].max()).reindex(each.index)
    each = each[np.isfinite(each["mean"])].sort_values("place", kind="stable")
    whole = each[each[Column.FOLDS] == every]
    return _ProgressInfo(
        *common,
        tuple(int(number) for number in each.index),
        tuple(int(place) + 1 for place in each["place"]),
        tuple(running[each["place"]].tolist()),
        tuple(each["mean"].tolist()),
        tuple(int(count) for count in each[Column.FOLDS]),
        _steps(whole["place"].to_numpy(int), running, _best(whole["mean"], objective).to_numpy(float)),
    )


def _best(scores: pd.Series | pd.DataFrame, objective: str) -> pd.Series | pd.DataFrame:
    return scores.cummax() if METRICS[objective].higher_is_better else scores.cummin()


def _best_by_fold(ordered: pd.DataFrame, running: NDArray[np.float64], objective: str) -> _Steps:
    """The mean over folds of the best score so far in each, from when all folds that ever have one have it."""
    done = completed(ordered).dropna(subset=[Prefix.VAL + objective])
    if done.empty:
        raise InputError("no cell ran to its end, and only such cells are chosen in a fold")
    wide = done.set_index(Column.FOLD, append=True)[Prefix.VAL + objective].unstack(Column.FOLD)
    mean = _best(wide, objective).ffill().mean(axis=1, skipna=False).dropna()
    return _steps(mean.index.to_numpy(int), running, mean.to_numpy(float))


def _steps(places: NDArray[np.int_], running: NDArray[np.float64], scores: NDArray[np.float64]) -> _Steps:
    """Only where the score changes, and the end of the run."""
    if not len(scores):
        return _Steps((), (), ())
    new = np.flatnonzero(np.r_[True, np.diff(scores) != 0])
    return _Steps(
        (*(int(place) + 1 for place in places[new]), len(running)),
        (*running[places[new]].tolist(), float(running[-1])),
        (*scores[new].tolist(), float(scores[-1])),
    )


def _running(ordered: pd.DataFrame) -> NDArray[np.float64]:
    """Seconds in which at least one cell ran, until each cell's end; `ordered` by these. Pauses do not count."""
    ends = ordered[Column.FINISHED].to_numpy("datetime64[ns]").astype(np.int64)
    starts = ordered[Column.STARTED].to_numpy("datetime64[ns]").astype(np.int64)
    # Nothing runs between the end of the last cell so far and the first start of all later ones.
    first = np.minimum.accumulate(starts[::-1])[::-1]
    before = np.r_[first[0], ends[:-1]]
    return np.asarray(np.cumsum(ends - np.maximum(before, first)) / 1e9, dtype=np.float64)


def plot_progress(cells: pd.DataFrame, objective: str, nested: bool = False, folds: int | None = None) -> go.Figure:
    """The best so far against finished cells, and against the time in which cells ran.

    - `cells`: as in ``cells.parquet``
    - `nested`: whether every fold has configurations of its own
    - `folds`: how many folds the run has (default: those in `cells`)

    Under ``shared`` the line is the best mean validation score of a configuration with scores in all folds, the only
    ones that can be recommended; points are all configurations when they had their last cell, open ones without all
    folds, at the mean that is adjusted for it. Under ``nested`` the line is the mean over folds of the best
    validation score so far in each fold, which is what is chosen there.
    """
    return _draw_figure(_build_info(cells, objective, nested, folds))


def _draw_figure(info: _ProgressInfo) -> go.Figure:
    unit, size = next((name, size) for name, size, limit in _UNITS if info.seconds <= limit)
    figure = make_figure([])
    panels = (
        ("finished cells", info.finished, info.best.cells, "after %{x} cells"),
        (
            f"{unit} in which cells ran",
            [seconds / size for seconds in info.times],
            [seconds / size for seconds in info.best.seconds],
            f"after %{{x:.3g}} {unit}",
        ),
    )
    for index, (title, x, best_x, after) in enumerate(panels):
        place = {"xaxis": f"x{axis_suffix(index)}", "yaxis": f"y{axis_suffix(index)}", "showlegend": index == 0}
        for whole, name in ((True, "a configuration"), (False, f"not in all {info.folds} folds")):
            figure.add_traces(_points(info, x, whole, name, after, place))
        if info.best.scores:
            figure.add_trace(
                go.Scatter(
                    x=best_x,
                    y=info.best.scores,
                    name="mean over folds of the best so far" if info.nested else "best so far, in all folds",
                    mode="lines",
                    line={"color": BLUE, "width": 2.5, "shape": "hv"},
                    hovertemplate=f"best so far %{{y:.4f}}<br>{after}<extra></extra>",
                    **place,
                )
            )
        y = {"title": {"text": f"mean {format_validation_title(info.metric)}"}, "nticks": 6}
        y |= {"matches": "y", "showticklabels": False, "title": None} if index else {}
        x_axis = {"title": {"text": title}, "rangemode": "tozero", "nticks": 6}
        figure.update_layout({f"xaxis{axis_suffix(index)}": x_axis, f"yaxis{axis_suffix(index)}": y})
    arrange_panels(figure, Grid(2, 2, panel=270, gap=66), Grid(2, 1, panel=220, gap=66, top=_NARROW_TOP))
    return update_narrow_layout(figure, {"margin.t": _NARROW_TOP})


def _points(
    info: _ProgressInfo, x: object, whole: bool, name: str, after: str, place: dict[str, object]
) -> list[go.Scatter]:
    places = list(x)  # type: ignore[call-overload]
    mine = [number for number, count in enumerate(info.tried) if (count == info.folds) is whole]
    if not mine:
        return []
    configurations = [info.configurations[number] for number in mine]
    return [
        go.Scatter(
            x=[places[number] for number in mine],
            y=[info.means[number] for number in mine],
            name=name,
            mode="markers",
            marker={"color": GREY, "size": 7, "symbol": "circle" if whole else "circle-open"},
            customdata=list(zip(configurations, [info.tried[number] for number in mine], strict=True)),
            hovertemplate="configuration %{customdata[0]}<br>mean, adjusted for folds, %{y:.4f}<br>in %{customdata[1]}"
            f" of {info.folds} folds, {after}<extra></extra>",
            meta=build_owners(configuration=configurations),
            **place,
        )
    ]
