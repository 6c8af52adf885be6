"""Dash application of the dashboard: the figures of the report, one column per run, updated every few seconds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from dash import ALL, MATCH, ClientsideFunction, Dash, Input, Output, State, ctx, no_update

import helo.analysis.web
from helo._text import make_printable
from helo.analysis.dashboard.layout import build_layout, build_options, build_part
from helo.analysis.dashboard.overview import render_overview
from helo.analysis.dashboard.run_names import short_names
from helo.analysis.dashboard.shown_runs import ShownRuns
from helo.analysis.dashboard.watched import WatchedRun
from helo.analysis.figures import KINDS

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
    app.index_string = app.index_string.replace("<html>", '<html lang="en">')
    shown = ShownRuns(dict(zip(short_names([run.address for run in runs]), runs, strict=True)))
    app.layout = lambda: build_layout(shown, refresh)
    _serve(app, shown)
    _draw(app)
    return app


def _serve(app: Dash, shown: ShownRuns) -> None:
    """Add the callbacks of the server: open a part, and update its figures when a run changes."""

    @app.callback(
        Output("versions", "data"),
        Output("overviews", "children"),
        Output("compared", "children"),
        *(Output(f"options-{kind}", "data") for kind in KINDS),
        Input("tick", "n_intervals"),
        State("versions", "data"),
    )
    def update_runs(_: int | None, known: list[int]) -> tuple[Any, ...]:
        versions = [run.refresh() for run in shown.runs]
        # The overview is always rendered again, because the time since the last cell changes.
        overviews = [render_overview(name, run.overview()) for name, run in shown.by_name.items()]
        if versions == known:
            return (no_update, overviews, no_update, *(no_update for _ in KINDS))
        return (versions, overviews, shown.comparer.table(), *build_options(shown.runs))

    @app.callback(
        Output({"kind": "details", "run": ALL}, "data"),
        Input("versions", "data"),
        *(Input(f"chosen-{kind}", "data") for kind in KINDS),
    )
    def update_details(_: list[int], *chosen: str | None) -> list[dict[str, Any]]:
        names = [name or "" for name in chosen]
        choice = dict(zip(KINDS, names, strict=True))
        return [
            {"run": make_printable(name), "chosen": choice, "details": run.details(*names)}
            for name, run in shown.by_name.items()
        ]

    @app.callback(Output("content", "children"), Input("part", "data"))
    def open_part(part: str) -> list[Any]:
        return build_part(shown, part)

    @app.callback(
        Output({"kind": "table", "run": ALL, "name": ALL}, "data"),
        Input("versions", "data"),
        prevent_initial_call=True,
    )
    def update_tables(_: list[int]) -> list[str]:
        return [shown.runs[output["id"]["run"]].table(output["id"]["name"]) for output in ctx.outputs_list]

    @app.callback(
        Output({"kind": "raw", "run": ALL, "name": ALL}, "data"),
        Output({"kind": "aligned", "run": ALL, "name": ALL}, "data"),
        Output({"kind": "made", "run": ALL, "name": ALL}, "data"),
        Input("versions", "data"),
        State(
            {"kind": "made", "run": ALL, "name": ALL}, "data"
        ),  # the figures themselves would be sent back to the server
        prevent_initial_call=True,
    )
    def update_figures(_: list[int], known: list[list[str]]) -> tuple[list[Any], list[Any], list[Any]]:
        places = [(entry["id"]["run"], entry["id"]["name"]) for entry in ctx.states_list[0]]
        found = shown.placed(places)
        return (
            [one.shown if one.made[0] != old[0] else no_update for one, old in zip(found, known, strict=True)],
            [one.changes if one.made[1] != old[1] else no_update for one, old in zip(found, known, strict=True)],
            [one.made if one.made != old else no_update for one, old in zip(found, known, strict=True)],
        )


def _draw(app: Dash) -> None:
    """Add the callbacks of the browser; see ``analysis/web/dashboard.js``."""
    add: Any = app.clientside_callback
    add(
        ClientsideFunction("helo_callbacks", "watchLook"),
        Output("look", "data"),
        Input("themes", "data"),
        State("runs", "data"),
        State("part", "data"),
    )
    add(
        ClientsideFunction("helo_callbacks", "drawFigure"),
        Output({"kind": "figure", "run": MATCH, "name": MATCH}, "figure"),
        Output({"kind": "figure", "run": MATCH, "name": MATCH}, "style"),
        Output({"kind": "note", "run": MATCH, "name": MATCH}, "children"),
        Output({"kind": "busy", "run": MATCH, "name": MATCH}, "hidden"),
        Input({"kind": "raw", "run": MATCH, "name": MATCH}, "data"),
        Input({"kind": "aligned", "run": MATCH, "name": MATCH}, "data"),
        *(Input(f"chosen-{kind}", "data") for kind in KINDS),
        Input("look", "data"),
    )
    add(
        ClientsideFunction("helo_callbacks", "showTable"),
        Output({"kind": "place", "run": MATCH, "name": MATCH}, "title"),
        Input({"kind": "table", "run": MATCH, "name": MATCH}, "data"),
        State({"kind": "place", "run": MATCH, "name": MATCH}, "id"),
    )
    add(
        ClientsideFunction("helo_callbacks", "showDetails"),
        Output({"kind": "chosen", "run": MATCH}, "title"),
        Input({"kind": "details", "run": MATCH}, "data"),
        State({"kind": "chosen", "run": MATCH}, "id"),
    )
    add(
        ClientsideFunction("helo_callbacks", "followLink"),
        *(Output(f"chosen-{kind}", "data") for kind in KINDS),
        *(Input(f"options-{kind}", "data") for kind in KINDS),
    )
    add(
        ClientsideFunction("helo_callbacks", "writeLink"),
        Output("link", "data"),
        Input("part", "data"),
        *(Input(f"chosen-{kind}", "data") for kind in KINDS),
    )
    for kind in KINDS:
        add(
            ClientsideFunction("helo_callbacks", "fillMenu"),
            Output(f"menu-{kind}", "title"),
            Input(f"options-{kind}", "data"),
            Input(f"chosen-{kind}", "data"),
            State(f"menu-{kind}", "id"),
        )
