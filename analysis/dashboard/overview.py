"""Top of the dashboard: how the search of each run stands, and its answer so far."""

from __future__ import annotations

from typing import Any

from dash import html

from helo._text import make_printable
from helo.analysis.dashboard.standing import Failure, Standing, State, failure_text
from helo.analysis.dashboard.watched import Overview
from helo.analysis.web.answer import badge_class
from helo.analysis.wording import count


def render_overview(name: str, overview: Overview) -> html.Section:
    """Return the box of a run.

    Parameters
    ----------
    name : str
        Name of the run in the page.
    overview : Overview
        What the box shows.
    """
    parts: list[Any] = [html.H2(make_printable(name))]
    standing = overview.standing
    if standing is not None:
        parts += [_render_state(standing), _render_bar(name, standing)]
    parts.append(html.P(make_printable(overview.progress), className="lead"))
    if standing is not None:
        parts += _render_facts(standing) + _render_command(name, standing)
    if overview.badge is not None:
        badge = html.Span(overview.badge.value, className=f"badge {badge_class(overview.badge)}")
        parts.append(html.P([badge, " ", html.Span(make_printable(overview.line))], className="headline"))
    parts += [html.P(make_printable(caution), className="caution") for caution in overview.cautions]
    if standing is not None:
        parts += _render_failures(standing) + _render_lines(standing)
    return html.Section(parts, className="part overview")


def _render_state(standing: Standing) -> html.P:
    mark = html.Span(standing.state.value, className=f"badge state {standing.state.value}")
    works = [html.Span(className="spinner")] if standing.state is State.RUNNING else []
    # A live region: readers of the page hear that the search has entered another phase, but not every new number.
    phase = html.Span(make_printable(standing.phase), role="status")
    return html.P([mark, *works, " ", phase], className="standing")


def _render_bar(name: str, standing: Standing) -> html.Div:
    share = standing.done / standing.total if standing.total else 0.0
    shown = f"{standing.done} of {standing.total} {standing.counted}"
    values: Any = {
        "aria-label": f"Progress of {make_printable(name)}",
        "aria-valuemin": "0",
        "aria-valuemax": str(max(1, standing.total)),
        "aria-valuenow": str(standing.done),
        "aria-valuetext": shown,
    }
    bar = html.Div(
        html.Div(className="done", style={"width": f"{100 * share:.2f}%"}),
        role="progressbar",
        className=f"bar-of-cells {standing.state.value}",
        **values,
    )
    hidden: Any = {"aria-hidden": "true"}  # the bar says the same
    return html.Div([bar, html.Span(f"{100 * share:.0f} % of {standing.counted}", **hidden)], className="bar-row")


def _render_facts(standing: Standing) -> list[Any]:
    if not standing.facts:
        return []
    pairs = [html.Div([html.Dt(term), html.Dd(value)]) for term, value in standing.facts]
    return [html.Dl(pairs, className="facts")]


def _render_command(name: str, standing: Standing) -> list[Any]:
    if standing.command is None:
        return []
    words, command = standing.command
    named: Any = {"aria-label": f"{make_printable(name)}: {words}"}
    scroll = html.Pre(html.Code(make_printable(command)), tabIndex=0, role="region", **named)
    return [html.P(f"{words[0].upper()}{words[1:]}:", className="next"), scroll]


def _render_failures(standing: Standing) -> list[Any]:
    if not standing.failures:
        return []
    number = sum(failure.cells for failure in standing.failures)
    rows = [html.Li(_render_failure(failure)) for failure in standing.failures]
    if standing.more_reasons:
        rows.append(html.Li(f"and {count(standing.more_reasons, 'further reason')}"))
    more = "at least " if standing.more_reasons else ""
    head = html.Summary(f"{more}{count(number, 'cell')} failed")
    return [html.Details([head, html.Ul(rows)], open=True, className="failures")]


def _render_failure(failure: Failure) -> str:
    return make_printable(failure_text(failure))


def _render_lines(standing: Standing) -> list[Any]:
    if not standing.lines:
        return []
    rows = [
        html.Li([html.Time(f"{at:%H:%M:%S}", dateTime=at.isoformat()), " ", make_printable(text)])
        for at, text in standing.lines
    ]
    head = html.Summary("Last lines of the search (times in UTC)")
    return [html.Details([head, html.Ol(rows)], open=standing.state is not State.FINISHED, className="lines")]
