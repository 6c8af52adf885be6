"""Dash application of the dashboard: the figures of the report, one column per run, updated every few seconds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from dash import ALL, MATCH, ClientsideFunction, Dash, Input, Output, State, ctx, dcc, html, no_update

import helo.analysis.web
from helo._text import make_printable
from helo.analysis.dashboard.compared import compare_runs
from helo.analysis.dashboard.watched import Overview, WatchedRun
from helo.analysis.exhibits import EXHIBITS, PARTS
from helo.analysis.figures import KINDS
from helo.analysis.web.page import PLOTLY_OPTIONS, THEMES
from helo.analysis.web.tables import TABLES, Table
from helo.names import Column

ASSETS: Final = Path(helo.analysis.web.__file__).parent
"""Folder of the scripts and style sheets that Dash serves."""


def build_app(runs: Sequence[WatchedRun], refresh: float) -> Dash:
    """Build the Dash application.

    Parameters
    ----------
    runs : sequence of WatchedRun
        Runs to show, one column each.
    refresh : float
        Seconds between two updates of a page.

    Returns
    -------
    dash.Dash
        The application.
    """
    app = Dash(
        __name__,
        title="HeLo Search",
        update_title="",  # the title would flicker with every update
        assets_folder=str(ASSETS),
        assets_ignore=r"report\.js",
        compress=False,
    )
    app.layout = _layout(runs, refresh)
    _serve(app, runs)
    _draw(app)
    return app


def _layout(runs: Sequence[WatchedRun], refresh: float) -> html.Div:
    tabs = dcc.RadioItems(
        [{"label": shown, "value": part} for part, shown in PARTS.items()],
        next(iter(PARTS)),
        id="part",
        className="tabs",
        inline=True,
    )
    # Configuration numbers of different runs are unrelated, so the menu needs a single run.
    hidden = {"display": "none"} if len(runs) > 1 else {}
    menus = [
        html.Label(
            [kind, dcc.Dropdown(id=f"choose-{kind}", placeholder="all", className="menu")],
            style=hidden if kind == Column.CONFIGURATION else {},
        )
        for kind in KINDS
    ]
    return html.Div(
        [
            html.Div(html.Div([tabs, html.Div(menus, className="choose")]), className="bar"),
            html.Main(
                [
                    html.Div(id="overviews", className="columns"),
                    html.Div(id="compared"),
                    html.Div(id="content"),
                ],
                className="many" if len(runs) > 1 else "",
            ),
            dcc.Interval(id="tick", interval=1000 * refresh),
            dcc.Store(id="versions", data=[0] * len(runs)),
            dcc.Store(id="themes", data=THEMES),
            dcc.Store(id="runs", data=len(runs)),
            dcc.Store(id="look"),
            dcc.Store(id="link"),
        ]
    )


def _serve(app: Dash, runs: Sequence[WatchedRun]) -> None:
    """Add the callbacks of the server: open a part, and update its figures when a run changes."""

    @app.callback(
        Output("versions", "data"),
        Output("overviews", "children"),
        Output("compared", "children"),
        *(Output(f"choose-{kind}", "options") for kind in KINDS),
        Input("tick", "n_intervals"),
        State("versions", "data"),
    )
    def update_runs(_: int | None, shown: list[int]) -> tuple[Any, ...]:
        versions = [run.refresh() for run in runs]
        # The overview is always rendered again, because the time since the last cell changes.
        overviews = [_render_overview(run.overview()) for run in runs]
        if versions == shown:
            return (no_update, overviews, no_update, *(no_update for _ in KINDS))
        return (versions, overviews, compare_runs(runs), *_options(runs))

    @app.callback(Output("content", "children"), Input("part", "value"))
    def open_part(part: str) -> list[Any]:
        tables = [one for one in TABLES.values() if one.part == part]
        above, below = ([_table_row(runs, one) for one in tables if one.first is first] for first in (True, False))
        return [*above, *(_row(runs, name) for name, one in EXHIBITS.items() if one.part == part), *below]

    @app.callback(
        Output({"kind": "table", "run": ALL, "name": ALL}, "data"),
        Input("versions", "data"),
        prevent_initial_call=True,
    )
    def update_tables(_: list[int]) -> list[str]:
        return [runs[output["id"]["run"]].table(output["id"]["name"]) for output in ctx.outputs_list]

    @app.callback(
        Output({"kind": "raw", "run": ALL, "name": ALL}, "data"),
        Output({"kind": "made", "run": ALL, "name": ALL}, "data"),
        Input("versions", "data"),
        State(
            {"kind": "made", "run": ALL, "name": ALL}, "data"
        ),  # the figures themselves would be sent back to the server
        prevent_initial_call=True,
    )
    def update_figures(_: list[int], known: list[str]) -> tuple[list[Any], list[Any]]:
        places = [entry["id"] for entry in ctx.states_list[0]]
        found = [runs[place["run"]].figure(place["name"]) for place in places]
        new = [shown["made"] != old for shown, old in zip(found, known, strict=True)]
        return (
            [shown if fresh else no_update for shown, fresh in zip(found, new, strict=True)],
            [shown["made"] if fresh else no_update for shown, fresh in zip(found, new, strict=True)],
        )


def _draw(app: Dash) -> None:
    """Add the callbacks of the browser; see ``analysis/web/dashboard.js``."""
    add: Any = app.clientside_callback
    add(
        ClientsideFunction("helo_callbacks", "watchLook"),
        Output("look", "data"),
        Input("themes", "data"),
        State("runs", "data"),
    )
    add(
        ClientsideFunction("helo_callbacks", "drawFigure"),
        Output({"kind": "figure", "run": MATCH, "name": MATCH}, "figure"),
        Output({"kind": "figure", "run": MATCH, "name": MATCH}, "style"),
        Output({"kind": "note", "run": MATCH, "name": MATCH}, "children"),
        Input({"kind": "raw", "run": MATCH, "name": MATCH}, "data"),
        *(Input(f"choose-{kind}", "value") for kind in KINDS),
        Input("look", "data"),
    )
    add(
        ClientsideFunction("helo_callbacks", "showTable"),
        Output({"kind": "place", "run": MATCH, "name": MATCH}, "title"),
        Input({"kind": "table", "run": MATCH, "name": MATCH}, "data"),
        State({"kind": "place", "run": MATCH, "name": MATCH}, "id"),
    )
    add(
        ClientsideFunction("helo_callbacks", "followLink"),
        *(Output(f"choose-{kind}", "value") for kind in KINDS),
        *(Input(f"choose-{kind}", "options") for kind in KINDS),
    )
    add(
        ClientsideFunction("helo_callbacks", "writeLink"),
        Output("link", "data"),
        Input("part", "value"),
        *(Input(f"choose-{kind}", "value") for kind in KINDS),
    )


def _table_row(runs: Sequence[WatchedRun], table: Table) -> html.Section:
    places = []
    for number, run in enumerate(runs):
        place = {"run": number, "name": table.name}
        store = dcc.Store({"kind": "table", **place}, data=run.table(table.name))
        places.append(html.Div([store, html.Div(id={"kind": "place", **place})]))
    parts = [html.H3(table.title), html.Div(places, className="columns")]
    return html.Section(parts, className="part", id=f"table-{table.name}")


def _row(runs: Sequence[WatchedRun], name: str) -> html.Section:
    one = EXHIBITS[name]
    places = []
    for number, run in enumerate(runs):
        place, shown = {"run": number, "name": name}, run.figure(name)
        places.append(
            html.Figure(
                [
                    dcc.Store({"kind": "raw", **place}, data=shown),
                    dcc.Store({"kind": "made", **place}, data=shown["made"]),
                    dcc.Graph(id={"kind": "figure", **place}, config=PLOTLY_OPTIONS, style={"display": "none"}),
                    html.P(id={"kind": "note", **place}, className="note"),
                ]
            )
        )
    caption = one.caption + (" Axes and colours differ between runs." if len(runs) > 1 else "")
    shown_parts = [html.H3(one.title), html.Div(places, className="columns"), html.Figcaption(caption)]
    return html.Section(shown_parts, className="part", id=f"exhibit-{name}")


def _render_overview(overview: Overview) -> html.Section:
    parts = [html.H3(make_printable(overview.name)), html.P(make_printable(overview.progress), className="lead")]
    if overview.verdict:
        parts.append(html.P(make_printable(overview.verdict), className="verdict"))
    if overview.notes:
        notes = [html.P(make_printable(note)) for note in overview.notes]
        parts.append(html.Details([html.Summary("Notes on the results"), *notes]))
    return html.Section(parts, className="part overview")


def _options(runs: Sequence[WatchedRun]) -> tuple[list[dict[str, str]], ...]:
    """Return the subjects and the configurations of all runs as options of the menus, which all runs share."""
    named = [run.choices() for run in runs]
    subjects = dict.fromkeys(name for subjects, _ in named for name in subjects)
    configurations = sorted({number for _, numbers in named for number in numbers})
    return tuple(
        [{"label": make_printable(name), "value": str(name)} for name in names] for names in (subjects, configurations)
    )
