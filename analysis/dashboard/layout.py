"""Layout of the dashboard: menus, boxes of the runs, and the figures and tables of each part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from dash import dcc, html

from helo._text import make_printable
from helo.analysis.dashboard.compared import FIGURES
from helo.analysis.dashboard.shown_runs import ALL_RUNS, Place, Placed, ShownRuns
from helo.analysis.dashboard.watched import WatchedRun
from helo.analysis.exhibits import EXHIBITS, PARTS
from helo.analysis.figures import KINDS
from helo.analysis.web.answer import ANSWER
from helo.analysis.web.page import PLOTLY_OPTIONS, THEMES
from helo.analysis.web.tables import TABLES, Table
from helo.analysis.wording import count
from helo.names import Column

SHARED_NOTE: Final = " All runs share axes, colours and the order of subjects, which is that of the first run."
"""End of the caption of a figure that several runs have."""

DELAY_MS: Final = 250
"""Milliseconds after which a part that is not there yet is replaced by a spinner."""


def build_layout(shown: ShownRuns, refresh: float) -> html.Div:
    """Return the page.

    Parameters
    ----------
    shown : ShownRuns
        Its runs.
    refresh : float
        Seconds between two updates.
    """
    named: Any = {"aria-label": "Parts"}
    links = html.Nav([html.A(title, href=f"#part={part}") for part, title in PARTS.items()], **named)
    # Configuration numbers of different runs are unrelated, so the menu needs a single run.
    hidden = {"display": "none"} if len(shown.runs) > 1 else {}
    # The scripts of the page add the menus, because those of Dash are not accessible.
    menus = [
        html.Label([kind, " ", html.Span(id=f"menu-{kind}")], style=hidden if kind == Column.CONFIGURATION else {})
        for kind in KINDS
    ]
    line = html.P(id="chosen-line", role="status", hidden=True)
    waits_for: Any = {"content": "children"}
    spinner = html.P(
        [html.Span(className="spinner"), " The figures are being drawn."], role="status", className="drawing"
    )
    return html.Div(
        [
            html.A("Skip to the content", href="#main", className="skip"),
            html.Header(html.Div([links, html.Div(menus, className="choose"), line]), className="bar"),
            html.Main(
                [
                    html.H1("HeLo Search" if len(shown.runs) == 1 else f"HeLo Search: {count(len(shown.runs), 'run')}"),
                    html.Div(id="overviews", className="columns"),
                    html.Div(id="compared"),
                    *_build_compared(shown),
                    html.Div(
                        [_details_place(number) for number in range(len(shown.runs))],
                        id="chosen",
                        className="columns",
                    ),
                    dcc.Loading(
                        html.Div(id="content"),
                        target_components=waits_for,
                        delay_show=DELAY_MS,
                        custom_spinner=spinner,
                        overlay_style={"visibility": "visible"},
                    ),
                ],
                id="main",
                className="many" if len(shown.runs) > 1 else "",
                tabIndex=-1,
            ),
            dcc.Interval(id="tick", interval=1000 * refresh),
            dcc.Store(id="versions", data=[0] * len(shown.runs)),
            dcc.Store(id="themes", data=THEMES),
            dcc.Store(id="runs", data=len(shown.runs)),
            dcc.Store(id="part", data=next(iter(PARTS))),
            *(dcc.Store(id=f"options-{kind}", data=[]) for kind in KINDS),
            *(dcc.Store(id=f"chosen-{kind}") for kind in KINDS),
            dcc.Store(id="look"),
            dcc.Store(id="link"),
        ]
    )


def build_part(shown: ShownRuns, part: str) -> list[Any]:
    """Return the figures and tables of a part.

    Parameters
    ----------
    shown : ShownRuns
        The runs.
    part : str
        Key of `helo.analysis.exhibits.PARTS`.
    """
    tables = [one for one in TABLES.values() if one.part == part and one.name != ANSWER]
    above, below = ([_table_row(shown, one) for one in tables if one.first is first] for first in (True, False))
    figures = [one for one in EXHIBITS.values() if one.part == part]
    first_ones, others = ([_row(shown, one.name) for one in figures if one.first is first] for first in (True, False))
    answer = [_table_row(shown, TABLES[ANSWER])] if TABLES[ANSWER].part == part else []
    return [*answer, *first_ones, *above, *others, *below]


def build_options(runs: Sequence[WatchedRun]) -> tuple[list[dict[str, str]], ...]:
    """Return the subjects and the configurations of all runs as options of the menus, which all runs share."""
    named = [run.choices() for run in runs]
    subjects = dict.fromkeys(name for subjects, _ in named for name in subjects)
    configurations = sorted({number for _, numbers in named for number in numbers})
    return tuple(
        [{"label": make_printable(name), "value": str(name)} for name in names] for names in (subjects, configurations)
    )


def _details_place(number: int) -> html.Div:
    """Return the place of the chosen subject and configuration of a run."""
    place = html.Div(id={"kind": "chosen", "run": number}, hidden=True)
    return html.Div([dcc.Store({"kind": "details", "run": number}), place])


def _table_row(shown: ShownRuns, table: Table) -> html.Section:
    places = []
    for number, (name, run) in enumerate(shown.by_name.items()):
        place = {"run": number, "name": table.name}
        store = dcc.Store({"kind": "table", **place}, data=run.table(table.name))
        places.append(html.Div([*_heading(shown, name), store, html.Div(id={"kind": "place", **place})]))
    parts = [html.H2(table.title), html.Div(places, className="columns")]
    return html.Section(parts, className="part", id=f"table-{table.name}")


def _row(shown: ShownRuns, name: str) -> html.Section:
    one = EXHIBITS[name]
    places: list[Place] = [(number, name) for number in range(len(shown.runs))]
    figures = [
        _figure(place, placed, run, _heading(shown, run))
        for place, placed, run in zip(places, shown.placed(places), shown.by_name, strict=True)
    ]
    caption = one.caption + (SHARED_NOTE if len(shown.runs) > 1 else "")
    parts = [html.H2(one.title), html.Div(figures, className="columns"), html.P(caption, className="note")]
    return html.Section(parts, className="part", id=f"exhibit-{name}")


def _build_compared(shown: ShownRuns) -> list[Any]:
    """Return the figures that show all runs. They exist from the start, so that an update keeps their zoom."""
    if len(shown.runs) < 2:
        return []
    places: list[Place] = [(ALL_RUNS, name) for name in FIGURES]
    sections = []
    for (place, placed), one in zip(zip(places, shown.placed(places), strict=True), FIGURES.values(), strict=True):
        parts = [html.H2(one.title), _figure(place, placed, "runs", []), html.P(one.caption, className="note")]
        sections.append(html.Section(parts, className="part", id=f"compared-{place[1]}"))
    return [html.Div(sections, className="columns")]


def _heading(shown: ShownRuns, name: str) -> list[Any]:
    return [html.H3(make_printable(name))] if len(shown.runs) > 1 else []


def _figure(place: Place, placed: Placed, run: str, heading: list[Any]) -> html.Figure:
    where = {"run": place[0], "name": place[1]}
    file = "".join(letter if letter.isalnum() else "-" for letter in f"{run}-{place[1]}")
    options = PLOTLY_OPTIONS | {"toImageButtonOptions": {"filename": file}}
    return html.Figure(
        [
            *heading,
            dcc.Store({"kind": "raw", **where}, data=placed.shown),
            dcc.Store({"kind": "aligned", **where}, data=placed.changes),
            dcc.Store({"kind": "made", **where}, data=placed.made),
            dcc.Graph(id={"kind": "figure", **where}, config=options, style={"display": "none"}),
            html.Span(id={"kind": "busy", **where}, className="spinner", hidden=True),
            html.P(id={"kind": "note", **where}, className="note"),
        ]
    )
