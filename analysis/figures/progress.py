"""Progress of a search: the best score so far, against finished cells and against time."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from helo.analysis.figures._links import build_owners
from helo.analysis.figures._style import (
    BLUE,
    GREY,
    Grid,
    arrange_panels,
    axis_suffix,
    describe,
    format_validation_title,
    make_figure,
    update_narrow_layout,
)
from helo.analysis.statistics.configurations import adjusted_means
from helo.analysis.statistics.estimates import completed, scored
from helo.analysis.wording import count, format_score
from helo.errors import InputError
from helo.metrics import METRICS
from helo.names import Column, Prefix

_UNITS = (("seconds", 1.0, 120.0), ("minutes", 60.0, 7200.0), ("hours", 3600.0, np.inf))
"""Unit of time, its length in seconds, and the longest run in seconds that it is used for."""

_NARROW_TOP = 84
"""Pixels above the first panel on a narrow page, where the legend has one line per entry."""


class _Steps(NamedTuple):
    """Best score so far, after numbers of finished cells and seconds of running time."""

    cells: tuple[int, ...]
    seconds: tuple[float, ...]
    scores: tuple[float, ...]


class _ProgressInfo(NamedTuple):
    """Scores of configurations over the course of the search."""

    metric: str
    nested: bool
    folds: int
    cells: int  # finished cells of any status
    seconds: float  # during which at least one cell ran
    configurations: tuple[int, ...]  # empty if `nested`
    finished: tuple[int, ...]  # finished cells when the configuration got its last score
    times: tuple[float, ...]  # seconds of running time at that moment
    means: tuple[float, ...]  # mean validation score, adjusted for folds
    tried: tuple[int, ...]  # number of folds with a score
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
    """Return the mean over folds of the best score so far, from when all folds with a score have one."""
    done = completed(ordered).dropna(subset=[Prefix.VAL + objective])
    if done.empty:
        raise InputError("no cell ran to its end, and only such cells are chosen in a fold")
    wide = done.set_index(Column.FOLD, append=True)[Prefix.VAL + objective].unstack(Column.FOLD)
    mean = _best(wide, objective).ffill().mean(axis=1, skipna=False).dropna()
    return _steps(mean.index.to_numpy(int), running, mean.to_numpy(float))


def _steps(places: NDArray[np.int_], running: NDArray[np.float64], scores: NDArray[np.float64]) -> _Steps:
    """Return the steps at which the score changes, and the end of the run."""
    if not len(scores):
        return _Steps((), (), ())
    new = np.flatnonzero(np.r_[True, np.diff(scores) != 0])
    return _Steps(
        (*(int(place) + 1 for place in places[new]), len(running)),
        (*running[places[new]].tolist(), float(running[-1])),
        (*scores[new].tolist(), float(scores[-1])),
    )


def _running(ordered: pd.DataFrame) -> NDArray[np.float64]:
    """Return the seconds during which at least one cell ran, until the end of each cell of `ordered`."""
    ends = ordered[Column.FINISHED].to_numpy("datetime64[ns]").astype(np.int64)
    starts = ordered[Column.STARTED].to_numpy("datetime64[ns]").astype(np.int64)
    # Between the end of a cell and the first start of all later cells, no cell runs.
    first = np.minimum.accumulate(starts[::-1])[::-1]
    before = np.r_[first[0], ends[:-1]]
    return np.asarray(np.cumsum(ends - np.maximum(before, first)) / 1e9, dtype=np.float64)


def plot_progress(cells: pd.DataFrame, objective: str, nested: bool = False, folds: int | None = None) -> go.Figure:
    """Plot the best score so far against finished cells, and against the time during which cells ran.

    Under protocol ``shared``, the line is the best mean validation score of a configuration with scores in all folds.
    Only such configurations can be recommended. A point is the mean score of a configuration, adjusted for folds, at
    the end of its last cell. Open points are configurations without scores in all folds. Under protocol ``nested``, the
    line is the mean over folds of the best validation score so far, which decides the selection in each fold.

    Parameters
    ----------
    cells : pandas.DataFrame
        Table of cells, as in ``cells.parquet``.
    objective : str
        Metric of the validation scores.
    nested : bool
        Whether each fold has its own configurations (protocol ``nested``).
    folds : int, optional
        Number of folds of the run. By default, the number of folds in `cells`.

    Returns
    -------
    plotly.graph_objects.Figure
        Two panels.

    Raises
    ------
    InputError
        If no cell has a score, or if `nested` is True and no cell ran to its end.
    """
    info = _build_info(cells, objective, nested, folds)
    best = f" The best mean validation score is {format_score(info.best.scores[-1])}." if info.best.scores else ""
    return describe(_draw_figure(info), f"{count(info.cells, 'finished cell')}.{best}")


def _draw_figure(info: _ProgressInfo) -> go.Figure:
    unit, size = next((name, size) for name, size, limit in _UNITS if info.seconds <= limit)
    figure = make_figure([])
    panels = (
        ("finished cells", info.finished, info.best.cells, "after %{x} cells"),
        (
            f"{unit} during which cells ran",
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
    shown = [number for number, count in enumerate(info.tried) if (count == info.folds) is whole]
    if not shown:
        return []
    configurations = [info.configurations[number] for number in shown]
    return [
        go.Scatter(
            x=[places[number] for number in shown],
            y=[info.means[number] for number in shown],
            name=name,
            mode="markers",
            marker={"color": GREY, "size": 7, "symbol": "circle" if whole else "circle-open"},
            customdata=list(zip(configurations, [info.tried[number] for number in shown], strict=True)),
            hovertemplate="configuration %{customdata[0]}<br>mean, adjusted for folds, %{y:.4f}<br>in %{customdata[1]}"
            f" of {info.folds} folds, {after}<extra></extra>",
            meta=build_owners(configuration=configurations),
            **place,
        )
    ]
