"""Stand-alone figures of a run: HTML pages, and the JSON of plotly."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from helo._csv import write_csv
from helo.analysis.exhibits import EXHIBITS
from helo.analysis.figures import CHOICES
from helo.analysis.paper.images import write_images
from helo.analysis.source import Source
from helo.analysis.web.page import (
    PLOTLY_FILE,
    escape_html,
    figure_to_json,
    render_figure,
    render_menu,
    render_page,
    render_part,
)
from helo.errors import InputError, require_new
from helo.storage.atomic import whole_folder


def draw_figures(
    source: Source, on_step: Callable[[str], None] = lambda step: None
) -> tuple[dict[str, go.Figure], list[str]]:
    """Draw every figure of a run.

    Parameters
    ----------
    source : Source
        Tables of the run.
    on_step : callable, optional
        Called with the title of each figure before it is drawn.

    Returns
    -------
    dict of str to plotly.graph_objects.Figure
        Figures by name.
    list of str
        Names of the figures that have nothing to show.
    """
    figures, empty = {}, []
    for name, one in EXHIBITS.items():
        if not one.applies(source):
            continue
        on_step(one.title.lower())
        try:
            figures[name] = one.plot(source)
        except InputError:
            empty.append(name)
    return figures, empty


def write_tables_and_pages(
    heading: str,
    tables: Mapping[str, pd.DataFrame],
    figures: Mapping[str, go.Figure],
    texts: Mapping[str, tuple[str, str]],
    folder: Path,
    formats: Sequence[str] = (),
) -> None:
    """Write tables (CSV) and figures into a new folder, all of them or none.

    Parameters
    ----------
    heading : str
        Start of the title of each page.
    tables : mapping of str to pandas.DataFrame
        Tables by name. Those without rows are left out.
    figures : mapping of str to plotly.graph_objects.Figure
        Figures by name.
    texts : mapping of str to (str, str)
        Title and caption of each figure.
    folder : pathlib.Path
        Path of the new folder.
    formats : sequence of str
        Formats of static images of the figures, see `helo.analysis.paper.images.FORMATS`.

    Raises
    ------
    InputError
        If `folder` exists or cannot be written, or if images need a Chromium that is missing.
    """
    require_new(folder, "--export")
    try:
        with whole_folder(folder) as hidden:
            for name, table in tables.items():
                if len(table):
                    write_csv(table, hidden / f"{name}.csv")
            if figures:
                (hidden / "figures").mkdir()
                write_pages(heading, figures, hidden / "figures", texts)
                if formats:
                    write_images(figures, hidden / "figures", formats)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror or error})") from None


def write_pages(
    heading: str, figures: Mapping[str, go.Figure], folder: Path, texts: Mapping[str, tuple[str, str]]
) -> None:
    """Write figures as ``NAME.html`` and ``NAME.json``, and plotly.js, which the pages share.

    Parameters
    ----------
    heading : str
        Start of each title, such as the name of the run.
    figures : mapping of str to plotly.graph_objects.Figure
        Figures by name.
    folder : pathlib.Path
        Existing folder to write to.
    texts : mapping of str to (str, str)
        Title and caption of each figure.
    """
    (folder / PLOTLY_FILE).write_text(get_plotlyjs(), encoding="utf-8")
    for name, content in figures.items():
        part, caption = texts[name]
        meta = content.layout.meta or {}
        menus = "".join(
            render_menu(kind, [(name, name) for name in names]) for kind, names in meta.get(CHOICES, {}).items()
        )
        title = f"{heading}: {part.lower()}"
        body = f"<h1>{escape_html(title)}</h1>{render_part(part, render_figure(name, content, caption))}"
        page = render_page(title, body, choices=menus, shares_plotly=True)
        (folder / f"{name}.html").write_text(page, encoding="utf-8")
        (folder / f"{name}.json").write_text(figure_to_json(content), encoding="utf-8")
