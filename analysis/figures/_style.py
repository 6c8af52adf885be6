"""What all figures share: palette, templates, escaping of names, and grids of panels."""

from __future__ import annotations

import html
import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import plotly.graph_objects as go

from helo._text import make_printable
from helo.metrics import METRICS
from helo.names import Estimate, Status

# Okabe and Ito's palette, which colour-blind readers can tell apart.
BLUE: Final = "#0072B2"
ORANGE: Final = "#E69F00"
GREEN: Final = "#009E73"
VERMILLION: Final = "#D55E00"
SKY: Final = "#56B4E9"
PURPLE: Final = "#CC79A7"
GREY: Final = "#8A8F98"

STATUS_COLOURS: Final[dict[str, str]] = {Status.COMPLETED: BLUE, Status.STOPPED: ORANGE, Status.FAILED: VERMILLION}

DIVERGING: Final = [[0.0, "rgb(213,94,0)"], [0.5, "rgb(222,225,230)"], [1.0, "rgb(0,114,178)"]]
"""From vermillion over a neutral grey, which is seen on light and dark paper, to blue. Not in hexadecimal: pages
change the blue of the palette on dark paper, and a scale must not change."""

SEQUENTIAL: Final = "Cividis"

ESTIMATE_COLOURS: Final[dict[str, str]] = {
    Estimate.PER_FOLD_SELECTION: BLUE,
    Estimate.SINGLE_CONFIGURATION: GREEN,
    Estimate.ORACLE: PURPLE,
    Estimate.BEST_POSSIBLE: ORANGE,
}
"""Other estimates, which are baselines, are grey."""

NARROW: Final = "narrow"
"""Key of a figure's `layout.meta`: what to relayout where the page is too narrow for columns."""


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
            "colorway": [BLUE, ORANGE, GREEN, VERMILLION, SKY, PURPLE, GREY],
            "xaxis": axis,
            "yaxis": axis,
            "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": 1, "yanchor": "bottom"},
            "margin": {"l": 8, "r": 16, "t": 36, "b": 8},
            "annotationdefaults": {"bgcolor": paper},  # some lie on lines
            "hoverlabel": {"bgcolor": paper, "bordercolor": grid, "font": {"color": ink}, "align": "left"},
        }
    )


LIGHT: Final = _template(ink="#1f2430", grid="#dfe3ea", paper="#ffffff")
DARK: Final = _template(ink="#e4e7ee", grid="#3a4150", paper="#171a21")


def escape_label(text: object) -> str:
    """A name as plotly shows it letter by letter: plotly reads markup in every label.

    >>> escape_label("<b>S2</b>")
    '&lt;b&gt;S2&lt;/b&gt;'
    """
    return html.escape(make_printable(text), quote=False)


_BAR = 170
"""Length of a colour bar in pixels."""


def add_colour_bar(figure: go.Figure, scale: Any, low: float, high: float, title: str, **bar: Any) -> go.Figure:
    """Give the heat maps of a figure, which name ``coloraxis``, their colours from `low` to `high`.

    The bar lies at the top on the right, where a narrow page has room for it, too, with its title on the left. That is
    an annotation, as plotly puts the title of such a bar on it where the figure is low. The margin above must be given.
    """
    colorbar: dict[str, Any] = {
        "orientation": "h",
        "x": 1,
        "xanchor": "right",
        "y": 1,
        "yref": "container",  # or the margin grows with it
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
    """A sentence in lines that a narrow page has room for: plotly breaks none.

    >>> wrap_label("no selected configuration has transport", 26)
    'no selected configuration<br>has transport'
    """
    return "<br>".join(escape_label(line) for line in textwrap.wrap(str(text), letters))


def format_metric_title(metric: str) -> str:
    """The title of an axis that shows a metric.

    >>> format_metric_title("kl")
    'KL ↓ lower is better'
    """
    direction = "higher" if METRICS[metric].higher_is_better else "lower"
    return f"{METRICS[metric].label} {METRICS[metric].arrow} {direction} is better"


def format_validation_title(metric: str) -> str:
    """The title of an axis that shows inner validation scores.

    >>> format_validation_title("kl")
    'validation KL ↓'
    """
    return f"validation {METRICS[metric].label} {METRICS[metric].arrow}"


def make_figure(traces: list[Any], **layout: Any) -> go.Figure:
    """A figure in the common template, as wide as its place; `layout` should give its height in pixels."""
    return go.Figure(traces, layout={"template": LIGHT, "autosize": True, **layout})


class Grid(NamedTuple):
    """Where panels lie: `columns` of them beside each other, sizes in pixels.

    - `panel`: height of a panel; `gap`: height between two, for titles and labels
    - `top`, `bottom`: margins above the first and below the last panel, the same in the wide and narrow form
    - `spacing`: width between two panels as a share of the width
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
        """How many rows of panels there are."""
        return math.ceil(self.panels / self.columns)

    @property
    def height(self) -> int:
        """Height of the figure."""
        return self.top + self.rows * self.panel + (self.rows - 1) * self.gap + self.bottom

    def lowest(self, index: int) -> bool:
        """Whether no panel lies below this one."""
        return index + self.columns >= self.panels

    def domain(self, index: int) -> tuple[list[float], list[float]]:
        """The panel's share of the plotting area: x from and to, y from and to."""
        row, column = divmod(index, self.columns)
        inner = self.height - self.top - self.bottom
        width = (1 - self.spacing * (self.columns - 1)) / self.columns
        left = column * (width + self.spacing)
        upper = 1 - row * (self.panel + self.gap) / inner
        return [left, left + width], [max(0.0, upper - self.panel / inner), upper]


def build_note(text: str, x: float = 0, y: float = 1) -> dict[str, Any]:
    """An annotation above a place of the figure (shares of the plotting area), from its left end on."""
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
    """What plotly appends to ``x`` and ``xaxis`` for panel `index`.

    >>> axis_suffix(0), axis_suffix(1)
    ('', '2')
    """
    return "" if index == 0 else str(index + 1)


def arrange_panels(figure: go.Figure, wide: Grid, slim: Grid, titles: Sequence[str] = ()) -> go.Figure:
    """Lay a figure's axes out as `wide`, and note in its meta how to lay it out on a narrow page, as `slim`.

    `titles` are shown above the panels. Panels of `slim` lie in one column, so each has its own y labels.
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
    """Add changes of the layout for narrow pages, in the dotted form of ``Plotly.relayout``."""
    return figure.update_layout(meta={NARROW: figure.layout.meta[NARROW] | changes})
