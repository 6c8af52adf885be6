"""A self-contained HTML page: styles, plotly.js and figures inlined, nothing fetched, names inert."""

from __future__ import annotations

import html
import json
from typing import Any

import plotly.graph_objects as go
import plotly.io
from plotly.offline import get_plotlyjs

from analysis.figures import BLUE, DARK, LIGHT, NARROW, SKY
from helo.text import printable

_STYLE = """
:root { color-scheme: light dark; --ink: #1f2430; --soft: #596273; --line: #dfe3ea; --paper: #ffffff;
  --page: #f5f6f8; --accent: #0072B2; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e7ee; --soft: #a2abbb; --line: #3a4150;
  --paper: #171a21; --page: #0f1116; --accent: #56B4E9; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 24px 16px 64px; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 0 0 8px; }
p, ul { margin: 0 0 12px; max-width: 75ch; overflow-wrap: anywhere; }
.lead { color: var(--soft); }
.verdict { font-size: 1.1rem; border-left: 4px solid var(--accent); padding-left: 12px; margin: 20px 0; }
section { background: var(--paper); border: 1px solid var(--line); border-radius: 8px; padding: 16px;
  margin: 0 0 16px; }
.wide { overflow-x: auto; margin: 0 0 12px; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 6px 12px 6px 0; text-align: right; vertical-align: top; white-space: nowrap;
  border-bottom: 1px solid var(--line); }
thead th { vertical-align: bottom; font-weight: 600; }
tbody th, thead th:first-child { text-align: left; }
tbody th { font-weight: 400; }
tbody th, thead th:first-child { position: sticky; left: 0; background: var(--paper); }
tr.main th, tr.main td { font-weight: 600; }
tr.oracle { color: var(--soft); font-style: italic; }
small { display: block; color: var(--soft); font-weight: 400; font-size: .75rem; }
dl { display: grid; grid-template-columns: minmax(8em, max-content) 1fr; gap: 6px 16px; margin: 0; }
dt { color: var(--soft); }
dd { margin: 0; min-width: 0; overflow-wrap: anywhere; }
figure { margin: 0; }
figcaption, .note { color: var(--soft); font-size: .9rem; max-width: 75ch; }
figcaption { margin-top: 6px; }
.figure { width: 100%; overflow: hidden; }
@media (max-width: 640px) { main { padding: 16px 8px 48px; } section { padding: 12px; }
  dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: 8px; } }
"""

_SCRIPT = """
const dark = matchMedia("(prefers-color-scheme: dark)"), narrow = matchMedia("(max-width: 640px)");
const themes = JSON.parse(document.getElementById("themes").textContent);
function read(id) {
  const content = document.getElementById(id).textContent;
  return JSON.parse(dark.matches ? content.replaceAll("BLUE", "SKY") : content);
}
// plotly.js offers to send a figure to its makers' server unless told otherwise.
const config = {responsive: true, displaylogo: false, showSendToCloud: false, plotlyServerURL: "",
  modeBarButtons: [["toImage", "resetScale2d"]]};
function draw() {
  for (const place of document.querySelectorAll(".figure")) {
    const {data, layout} = read(place.id + "-json");
    layout.template = themes[dark.matches ? "dark" : "light"];
    if (narrow.matches) layout.dragmode = false;
    Plotly.react(place, data, layout, {...config, displayModeBar: !narrow.matches && "hover"}).then(() => {
      if (narrow.matches && layout.meta?.NARROW) Plotly.relayout(place, layout.meta.NARROW);
    });
  }
}
draw();
for (const query of [dark, narrow]) query.addEventListener("change", draw);
"""
# The blue of the palette is too dark on a dark page.
_SCRIPT = _SCRIPT.replace("NARROW", NARROW).replace("BLUE", BLUE).replace("SKY", SKY)

# The browser itself then refuses to fetch anything, whatever a name in the data managed to inject.
_POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"


def text(value: object) -> str:
    """Any text as HTML that shows it letter by letter.

    >>> text("<b>S2</b>")
    '&lt;b&gt;S2&lt;/b&gt;'
    """
    return html.escape(printable(value))


def script_json(content: str) -> str:
    """JSON that no name in it can end the script element of.

    >>> script_json('["</script>"]')
    '["\\\\u003c/script\\\\u003e"]'
    """
    for letter in "<>&\u2028\u2029":
        content = content.replace(letter, f"\\u{ord(letter):04x}")
    return content


def figure(name: str, content: go.Figure, caption: str) -> str:
    """A figure with its caption; `name` is its id in the page."""
    parts: dict[str, Any] = json.loads(plotly.io.to_json(content, validate=False))
    parts["layout"].pop("template", None)  # the page has the templates, once
    return (
        f'<figure><div class="figure" id="{name}" role="img" aria-label="{text(caption)}"'
        f' style="min-height:{content.layout.height}px"></div>'
        f"<figcaption>{text(caption)}</figcaption></figure>"
        f'<script type="application/json" id="{name}-json">{script_json(json.dumps(parts))}</script>'
    )


def section(title: str, *content: str) -> str:
    """A titled part of the page; `content` is HTML."""
    return f"<section><h2>{text(title)}</h2>{''.join(content)}</section>"


def page(title: str, body: str) -> str:
    """The whole document; `body` is HTML."""
    themes = {"light": LIGHT.to_plotly_json(), "dark": DARK.to_plotly_json()}
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n{body}\n"
        "<noscript><p>The figures need JavaScript; the tables do not.</p></noscript>\n</main>\n"
        f'<script type="application/json" id="themes">{script_json(json.dumps(themes))}</script>\n'
        f"<script>{get_plotlyjs()}</script>\n<script>{_SCRIPT}</script>\n</body>\n</html>\n"
    )
