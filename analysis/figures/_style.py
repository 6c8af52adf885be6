"""Shared style of all figures: palette, templates, escaping of labels, and grids of panels."""

from __future__ import annotations

import html
import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import plotly.graph_objects as go

from helo._text import make_printable
from helo.metrics import METRICS
from helo.names import Estimate, Status

# Palette of Okabe and Ito, distinguishable for colour-blind readers.
BLUE: Final = "#0072B2"
ORANGE: Final = "#E69F00"
GREEN: Final = "#009E73"
VERMILLION: Final = "#D55E00"
SKY: Final = "#56B4E9"
PURPLE: Final = "#CC79A7"
GREY: Final = "#8A8F98"

PALETTE: Final = (BLUE, ORANGE, GREEN, VERMILLION, SKY, PURPLE, GREY)
"""Colours of things without a colour of their own, in order."""

STATUS_COLOURS: Final[dict[str, str]] = {Status.COMPLETED: BLUE, Status.STOPPED: ORANGE, Status.FAILED: VERMILLION}
"""Colour of each status of a cell."""

DIVERGING: Final = [[0.0, "rgb(213,94,0)"], [0.5, "rgb(222,225,230)"], [1.0, "rgb(0,114,178)"]]
"""Diverging colour scale from vermillion over grey, visible on light and dark paper, to blue.

The colours are not hexadecimal, because dark pages replace the hexadecimal blue of the palette, and scales must stay.
"""

SEQUENTIAL: Final = "Cividis"
"""Sequential colour scale."""

ESTIMATE_COLOURS: Final[dict[str, str]] = {
    Estimate.PER_FOLD_SELECTION: BLUE,
    Estimate.SINGLE_CONFIGURATION: GREEN,
    Estimate.ENSEMBLE: SKY,
    Estimate.ORACLE: PURPLE,
    Estimate.BEST_POSSIBLE: ORANGE,
}
"""Colour of each estimate. Estimates without an entry are baselines and are grey."""

NARROW: Final = "narrow"
"""Key in `layout.meta` of the layout changes for narrow pages, in the dotted form of ``Plotly.relayout``."""


DESCRIPTION: Final = "description"
"""Key in `layout.meta` of the sentence that says what the figure shows."""


def _template(ink: str, grid: str, paper: str) -> go.layout.Template:
    axis = {
        "gridcolor": grid,
        "linecolor": grid,
        "zeroline": False,
        "automargin": True,
        "ticks": "",
        "title": {"standoff": 8},
    }
    return go.layout.Template(
        layout={
            "font": {
                "family": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif",
                "size": 13,
                "color": ink,
            },
            "paper_bgcolor": paper,
            "plot_bgcolor": paper,
            "colorway": list(PALETTE),
            "xaxis": axis,
            "yaxis": axis,
            "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": 1, "yanchor": "bottom"},
            "margin": {"l": 8, "r": 16, "t": 36, "b": 8},
            "annotationdefaults": {"bgcolor": paper},  # some annotations lie on lines
            "hoverlabel": {"bgcolor": paper, "bordercolor": grid, "font": {"color": ink}, "align": "left"},
        }
    )


LIGHT: Final = _template(ink="#1f2430", grid="#dfe3ea", paper="#ffffff")
"""Template of light pages."""
DARK: Final = _template(ink="#e4e7ee", grid="#3a4150", paper="#171a21")
"""Template of dark pages."""


def escape_label(text: object) -> str:
    """Escape a text for plotly, which reads markup in every label.

    >>> escape_label("<b>S2</b>")
    '&lt;b&gt;S2&lt;/b&gt;'
    """
    return html.escape(make_printable(text), quote=False)


def shorten_label(text: object, letters: int = 20) -> str:
    """Escape a name for an axis, and cut it if it has more than `letters` letters.

    >>> shorten_label("calm"), shorten_label("overwhelmed", 6)
    ('calm', 'overw…')
    """
    name = str(text)
    return escape_label(name if len(name) <= letters else name[: letters - 1] + "…")


_BAR = 170
"""Length of a colour bar in pixels."""


def add_colour_bar(figure: go.Figure, scale: Any, low: float, high: float, title: str, **bar: Any) -> go.Figure:
    """Set the colour range of the heat maps that refer to ``coloraxis``, and add a colour bar.

    The bar is at the top right, where a narrow page has room, with its title to the left. The title is an annotation,
    because plotly draws the title of the bar over the bar in low figures. The top margin of the figure must be set
    before.
    """
    colorbar: dict[str, Any] = {
        "orientation": "h",
        "x": 1,
        "xanchor": "right",
        "y": 1,
        "yref": "container",  # otherwise the bar enlarges the margin
        "yanchor": "top",
        "lenmode": "pixels",
        "len": _BAR,
        "thickness": 10,
        "xpad": 16,
        "ypad": 4,
        "tickangle": 0,
        "ticks": "",
        "outlinewidth": 0,
        "tickfont": {"size": 11},
    }
    figure.update_layout(coloraxis={"colorscale": scale, "cmin": low, "cmax": high, "colorbar": colorbar | bar})
    return figure.add_annotation(
        text=title,
        font={"size": 12},
        x=1,
        y=1,
        xref="paper",
        yref="paper",
        xanchor="right",
        yanchor="top",
        xshift=-_BAR - 18,
        yshift=figure.layout.margin.t,
        showarrow=False,
    )


def wrap_label(text: object, letters: int = 46) -> str:
    """Break a sentence into lines that fit a narrow page. Plotly does not break lines.

    >>> wrap_label("no selected configuration has transport", 26)
    'no selected configuration<br>has transport'
    """
    return "<br>".join(escape_label(line) for line in textwrap.wrap(str(text), letters))


def format_metric_title(metric: str) -> str:
    """Return the title of an axis that shows a metric.

    >>> format_metric_title("kl")
    'KL ↓ lower is better'
    """
    direction = "higher" if METRICS[metric].higher_is_better else "lower"
    return f"{METRICS[metric].label} {METRICS[metric].arrow} {direction} is better"


def format_validation_title(metric: str) -> str:
    """Return the title of an axis that shows inner validation scores.

    >>> format_validation_title("kl")
    'validation KL ↓'
    """
    return f"validation {METRICS[metric].label} {METRICS[metric].arrow}"


def find_range(values: Sequence[float], far: Sequence[float]) -> tuple[float, float] | None:
    """Return the range of an axis that leaves out far values, or None if they are near enough to be shown in place.

    Parameters
    ----------
    values : sequence of float
        Values that must be in the range. NaN is skipped.
    far : sequence of float
        Values that may be left out, where they would take more than a third of the width. NaN is skipped.

    Returns
    -------
    tuple of float or None
        Lower and upper end of the axis.

    Examples
    --------
    >>> find_range([0.2, 0.3], [0.32]) is None
    True
    >>> find_range([0.0, 1.0], [9.0])
    (-0.08, 1.25)
    """
    low, high = (pick((value for value in values if math.isfinite(value)), default=0.0) for pick in (min, max))
    span = (high - low) or abs(high) or 1.0
    found = [value for value in far if math.isfinite(value)]
    if all(low - span / 2 <= value <= high + span / 2 for value in found):
        return None
    # The side with values out of range has room for their labels.
    below = 0.25 if any(value < low for value in found) else 0.08
    above = 0.25 if any(value > high for value in found) else 0.08
    return low - below * span, high + above * span


def mark_outside(trace: go.Scatter, ends: tuple[float, float] | None, to_text: Callable[[float], str]) -> go.Scatter:
    """Draw the points of a trace that are outside of an axis as labelled arrows at its end.

    Parameters
    ----------
    trace : plotly.graph_objects.Scatter
        Markers with lists of colours and symbols.
    ends : tuple of float or None
        Range of the x axis, see `find_range`.
    to_text : callable
        Formats a value for its label.

    Returns
    -------
    plotly.graph_objects.Scatter
        The same trace. Its `hovertext` has the value of every point.
    """
    trace.hovertext = [to_text(value) for value in trace.x]
    if ends is None:
        return trace
    low, high = ends
    outside = [value < low or value > high for value in trace.x]
    symbols = [
        f"triangle-{'left' if value < low else 'right'}{'-open' if symbol.endswith('-open') else ''}"
        if is_outside
        else symbol
        for value, symbol, is_outside in zip(trace.x, trace.marker.symbol, outside, strict=True)
    ]
    text = [to_text(value) if is_outside else "" for value, is_outside in zip(trace.x, outside, strict=True)]
    inner = 0.02 * (high - low)
    lengths = {
        key: [0 if is_outside else length for length, is_outside in zip(trace.error_x[key], outside, strict=True)]
        for key in ("array", "arrayminus")
    }
    return trace.update(
        mode="markers+text",
        text=text,
        textposition=["middle right" if value < low else "middle left" for value in trace.x],
        textfont={"size": 12},
        x=[min(max(value, low + inner), high - inner) for value in trace.x],
        marker={"symbol": symbols},
        error_x=lengths,
    )


def describe(figure: go.Figure, sentence: str) -> go.Figure:
    """Store what a figure shows in a sentence for readers who do not see it."""
    figure.layout.meta = dict(figure.layout.meta or {}) | {DESCRIPTION: sentence}
    return figure


def make_figure(traces: list[Any], **layout: Any) -> go.Figure:
    """Return a figure in the light template and at full width. `layout` should set its height in pixels."""
    return go.Figure(traces, layout={"template": LIGHT, "autosize": True, **layout})


class Grid(NamedTuple):
    """Positions of panels in a grid. Sizes are in pixels.

    Attributes
    ----------
    panels, columns : int
        Number of panels, and of panels per row.
    panel : int
        Height of a panel.
    gap : int
        Height between two panels, for titles and labels.
    top, bottom : int
        Margin above the first and below the last panel, the same in the wide and the narrow layout.
    spacing : float
        Space between two panels as a share of the width.
    """

    panels: int
    columns: int
    panel: int
    gap: int
    top: int = 36
    bottom: int = 48
    spacing: float = 0.06

    @property
    def rows(self) -> int:
        """Number of rows of panels."""
        return math.ceil(self.panels / self.columns)

    @property
    def height(self) -> int:
        """Height of the figure."""
        return self.top + self.rows * self.panel + (self.rows - 1) * self.gap + self.bottom

    def is_lowest(self, index: int) -> bool:
        """Return whether there is no panel below this panel."""
        return index + self.columns >= self.panels

    def domain(self, index: int) -> tuple[list[float], list[float]]:
        """Return the x and the y range of a panel as shares of the plotting area."""
        row, column = divmod(index, self.columns)
        inner = self.height - self.top - self.bottom
        width = (1 - self.spacing * (self.columns - 1)) / self.columns
        left = column * (width + self.spacing)
        upper = 1 - row * (self.panel + self.gap) / inner
        return [left, left + width], [max(0.0, upper - self.panel / inner), upper]


def count_columns(panels: int, columns: int) -> int:
    """Return the number of columns of a grid near `columns` with which its last row has no panel alone.

    >>> count_columns(3, 4), count_columns(8, 4), count_columns(9, 4), count_columns(13, 4)
    (3, 4, 3, 5)
    """
    if panels <= columns:
        return max(1, panels)
    near = (columns, columns - 1, columns + 1, columns + 2)
    return next((one for one in near if one > 0 and (one == 1 or panels % one != 1)), columns)


def build_note(text: str, x: float = 0, y: float = 1) -> dict[str, Any]:
    """Return a left-aligned annotation above the point (x, y), given as shares of the plotting area."""
    return {
        "text": text,
        "align": "left",
        "x": x,
        "y": y,
        "xref": "paper",
        "yref": "paper",
        "xanchor": "left",
        "yanchor": "bottom",
        "showarrow": False,
    }


def axis_suffix(index: int) -> str:
    """Return the suffix that plotly appends to ``x`` and ``xaxis`` for a panel.

    >>> axis_suffix(0), axis_suffix(1)
    ('', '2')
    """
    return "" if index == 0 else str(index + 1)


def arrange_panels(figure: go.Figure, wide: Grid, slim: Grid, titles: Sequence[str] = ()) -> go.Figure:
    """Lay out the axes of a figure as `wide`, and note the layout `slim` for narrow pages in its meta.

    `titles` are shown above the panels. Panels of `slim` form a single column, so each has its own y labels.
    """
    axes: dict[str, Any] = {}
    narrow: dict[str, Any] = {"height": slim.height}  # in the dotted form of Plotly.relayout
    for index in range(wide.panels):
        x, y = wide.domain(index)
        number = axis_suffix(index)
        axes[f"xaxis{number}"] = {"domain": x, "anchor": f"y{number}"}
        axes[f"yaxis{number}"] = {"domain": y, "anchor": f"x{number}"}
        slim_x, slim_y = slim.domain(index)
        narrow |= {f"xaxis{number}.domain": slim_x, f"yaxis{number}.domain": slim_y}
        narrow[f"yaxis{number}.showticklabels"] = True
        if index:
            narrow[f"yaxis{number}.title.text"] = ""
        if index < len(titles):
            figure.add_annotation(build_note(titles[index], x[0], y[1]))
            narrow |= {f"annotations[{index}].x": slim_x[0], f"annotations[{index}].y": slim_y[1]}
    margin = {"t": wide.top, "b": wide.bottom}
    return figure.update_layout(axes, height=wide.height, margin=margin, meta={NARROW: narrow})


def update_narrow_layout(figure: go.Figure, changes: Mapping[str, Any]) -> go.Figure:
    """Add layout changes for narrow pages, in the dotted form of ``Plotly.relayout``."""
    return figure.update_layout(meta={NARROW: figure.layout.meta[NARROW] | changes})
