"""Stand-alone figures of a run: HTML pages, and the JSON of plotly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from helo.analysis.exhibits import EXHIBITS
from helo.analysis.figures import CHOICES
from helo.analysis.source import Source
from helo.analysis.web.page import escape_html, figure_to_json, render_figure, render_menu, render_page, render_part
from helo.errors import InputError


def write_figures(source: Source, folder: Path, on_step: Callable[[str], None] = lambda step: None) -> list[str]:
    """Write every figure of a run as ``NAME.html`` and ``NAME.json``.

    Parameters
    ----------
    source : Source
        Tables of the run.
    folder : pathlib.Path
        Existing folder to write to.
    on_step : callable, optional
        Called with the title of each figure before it is drawn.

    Returns
    -------
    list of str
        Names of the figures that have nothing to show.
    """
    empty = []
    for name, one in EXHIBITS.items():
        if not one.applies(source):
            continue
        on_step(one.title.lower())
        try:
            content = one.plot(source)
        except InputError:
            empty.append(name)
            continue
        meta = content.layout.meta or {}
        menus = "".join(
            render_menu(kind, [(name, name) for name in names]) for kind, names in meta.get(CHOICES, {}).items()
        )
        title = f"{source.name}: {one.title.lower()}"
        body = f"<h1>{escape_html(title)}</h1>{render_part(one.title, render_figure(name, content, one.caption))}"
        (folder / f"{name}.html").write_text(render_page(title, body, choices=menus), encoding="utf-8")
        (folder / f"{name}.json").write_text(figure_to_json(content), encoding="utf-8")
    return empty
