"""Self-contained HTML pages: styles, scripts, plotly.js and figures are inlined, and all names are escaped."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import plotly.graph_objects as go
import plotly.io
from plotly.offline import get_plotlyjs

from helo._text import make_printable
from helo.analysis.figures import BLUE, DARK, DESCRIPTION, LIGHT, SKY

# With this policy the browser fetches nothing, even if a name in the data injects markup.
_POLICY: Final = "default-src 'none'; script-src 'unsafe-inline'{}; style-src 'unsafe-inline'; img-src data: blob:"
# What a page may load that has plotly.js in a file beside it: files of its own server, or of the machine it lies on.
_BESIDE: Final = " 'self' file:"

_CHOSEN_LINE: Final = '<p id="chosen-line" role="status" hidden></p>'

PLOTLY_FILE: Final = "plotly.min.js"
"""Name of the file with plotly.js that several pages of a folder share."""

THEMES: Final = {"light": LIGHT.to_plotly_json(), "dark": DARK.to_plotly_json(), "blue": BLUE, "sky": SKY}
"""Templates and colours with which ``figures.js`` draws figures."""

PLOTLY_OPTIONS: Final[Any] = {
    "displaylogo": False,
    "responsive": True,
    # By default, plotly.js offers to upload a figure to the server of its maker.
    "showSendToCloud": False,
    "plotlyServerURL": "",
    "modeBarButtons": [["toImage", "zoom2d", "resetScale2d"]],
}
"""Options of every figure in the report and in the dashboard."""


@cache
def read_asset(name: str) -> str:
    """Read a style sheet or script of this folder."""
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


def escape_html(value: object) -> str:
    """Escape a text for HTML.

    >>> escape_html("<b>S2</b>")
    '&lt;b&gt;S2&lt;/b&gt;'
    """
    return html.escape(make_printable(value))


def escape_script_json(content: str) -> str:
    r"""Escape JSON so that no name in it can end the script element.

    >>> escape_script_json('["</script>"]')
    '["\\u003c/script\\u003e"]'
    """
    for letter in "<>&\u2028\u2029":
        content = content.replace(letter, f"\\u{ord(letter):04x}")
    return content


def figure_to_json(content: go.Figure) -> str:
    """Convert a figure to JSON without its template. A page holds the templates once."""
    parts: dict[str, Any] = content.to_dict()
    parts["layout"].pop("template", None)
    found: str = plotly.io.to_json(parts, validate=False)
    return found


def render_figure(name: str, content: go.Figure, caption: str) -> str:
    """Return the HTML of a figure with its caption; `name` is its id in the page."""
    shows = (content.layout.meta or {}).get(DESCRIPTION, caption)
    # Not an image: it contains buttons and marks to click.
    return (
        f'<figure><div class="figure" id="{name}" role="group" aria-label="{escape_html(shows)}"'
        f' style="min-height:{content.layout.height}px"></div>'
        f"<figcaption>{escape_html(caption)}</figcaption></figure>"
        f'<script type="application/json" id="{name}-json">{escape_script_json(figure_to_json(content))}</script>'
    )


def render_part(title: str, *content: str) -> str:
    """Return a titled box of the page; `content` is HTML."""
    return f'<section class="part"><h3>{escape_html(title)}</h3>{"".join(content)}</section>'


def render_heading(name: str, title: str) -> str:
    """Return the title of a group of parts, which is also the target of a link."""
    return f'<h2 id="{name}">{escape_html(title)}</h2>'


def render_terms(pairs: Iterable[tuple[object, object]]) -> str:
    """Return a list of terms and their descriptions."""
    entries = (f"<dt>{escape_html(term)}</dt><dd>{escape_html(description)}</dd>" for term, description in pairs)
    return f"<dl>{''.join(entries)}</dl>"


def render_menu(kind: str, names: Sequence[tuple[str, str]]) -> str:
    """Return a menu that chooses a subject or a configuration, from pairs of name and label."""
    # The value stays as it is, because figures compare it. Only the label is made printable.
    options = "".join(f'<option value="{html.escape(name)}">{escape_html(shown)}</option>' for name, shown in names)
    return f'<label>{kind} <select id="choose-{kind}"><option value="">all</option>{options}</select></label>'


def render_page(
    title: str, body: str, links: Sequence[tuple[str, str]] = (), choices: str = "", shares_plotly: bool = False
) -> str:
    """Return a whole HTML document.

    Parameters
    ----------
    title : str
        Title of the document.
    body : str
        HTML of the content.
    links : sequence of (str, str)
        Ids and titles of the headings to link to.
    choices : str
        HTML of the menus; see `render_menu`.
    shares_plotly : bool
        Whether the document loads plotly.js from `PLOTLY_FILE` in its folder, instead of containing it (5 MB).

    Returns
    -------
    str
        The document.
    """
    policy = _POLICY.format(_BESIDE if shares_plotly else "")
    plotly = _render_plotly_link() if shares_plotly else f"<script>{get_plotlyjs()}</script>"
    anchors = "".join(f'<a href="#{name}">{escape_html(shown)}</a> ' for name, shown in links)
    menus = (
        f'<div class="choose">{choices}<button id="clear" type="button">clear</button></div>{_CHOSEN_LINE}'
        if choices
        else ""
    )
    bar = (
        f'<header class="bar"><div><nav aria-label="Parts">{anchors}</nav>{menus}</div></header>'
        if links or choices
        else ""
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape_html(title)}</title>\n<style>{read_asset('page.css')}{read_asset('sortable.css')}</style>\n"
        '</head>\n<body>\n<a class="skip" href="#content">Skip to the content</a>\n'
        f'{bar}<main id="content" tabindex="-1">\n{body}\n'
        "<noscript><p>The figures need JavaScript; the tables do not.</p></noscript>\n</main>\n"
        f'<script type="application/json" id="themes">{escape_script_json(json.dumps(THEMES))}</script>\n'
        f'<script type="application/json" id="plotly-options">{json.dumps(PLOTLY_OPTIONS)}</script>\n'
        f"{plotly}\n<script>{read_asset('figures.js')}</script>\n"
        f"<script>{read_asset('link.js')}</script>\n<script>{read_asset('details.js')}</script>\n<script>{read_asset('sortable.js')}</script>\n<script>{read_asset('report.js')}</script>\n</body>\n</html>\n"
    )


def _render_plotly_link() -> str:
    """Return the script that loads plotly.js, and a sentence for readers who have moved the page without it."""
    return (
        f'<p id="no-plotly" hidden>The figure cannot be drawn: {PLOTLY_FILE} is not in the folder of this page.</p>\n'
        f'<script src="{PLOTLY_FILE}" charset="utf-8" onerror="document.getElementById(\'no-plotly\').hidden = false">'
        "</script>"
    )
