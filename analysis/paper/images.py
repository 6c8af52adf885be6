"""Static images of figures: SVG, PDF and PNG.

Chromium (or Chrome) draws the figures, driven by kaleido, with the plotly.js of the installed plotly. Nothing is
fetched from a network: kaleido would load MathJax from a server, which no figure needs, so this is switched off.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import plotly.graph_objects as go

from helo.errors import InputError, did_you_mean

FORMATS: Final = ("svg", "pdf", "png")
"""Formats of static images."""

WIDTH: Final = 672
"""Width in CSS pixels, of which an inch has 96: 7 inches, the text width of most pages."""

PNG_SCALE: Final = 300 / 96
"""Pixels of a PNG image per CSS pixel: 300 per inch."""

FONT: Final = "Helvetica, Arial, 'Liberation Sans', sans-serif"
"""Font of static images. The font of the report is that of the reader's system."""

SECONDS: Final = 300
"""Time limit of one image. A busy machine needs seconds."""


def parse_formats(text: str) -> tuple[str, ...]:
    """Read a list of formats that are separated by commas.

    Raises
    ------
    InputError
        If the list is empty, or has an unknown format or one twice.

    Examples
    --------
    >>> parse_formats("svg,pdf")
    ('svg', 'pdf')
    """
    names = tuple(name.strip().lower() for name in text.split(","))
    for name in names:
        if name not in FORMATS:
            hint = did_you_mean(name, FORMATS)
            raise InputError(f"--figures must list formats out of {', '.join(FORMATS)}; got {name!r}{hint}")
        if names.count(name) > 1:
            raise InputError(f"--figures names {name!r} twice, got {text!r}")
    return names


def find_browser() -> str:
    """Return the path of Chromium or Chrome. The environment variable ``BROWSER_PATH`` may set it.

    Raises
    ------
    InputError
        If there is none.
    """
    from choreographer.browsers.chromium import Chromium

    chosen = os.environ.get("BROWSER_PATH")
    found = chosen or Chromium.find_browser(skip_local=False)
    if found and os.path.isfile(found) and os.access(found, os.X_OK):
        return found
    where = f"BROWSER_PATH names {chosen!r}, which is no program" if chosen else "none was found"
    raise InputError(f"--figures needs Chromium or Chrome: {where}; install chromium, or set BROWSER_PATH to its path")


def write_images(figures: Mapping[str, go.Figure], folder: Path, formats: Sequence[str]) -> None:
    """Write each figure as ``NAME.FORMAT``, in the light template and on white.

    Parameters
    ----------
    figures : mapping of str to plotly.graph_objects.Figure
        Figures by name.
    folder : pathlib.Path
        Existing folder to write to.
    formats : sequence of str
        Formats out of `FORMATS`.

    Raises
    ------
    InputError
        If there is no Chromium, or if it fails.
    """
    import kaleido
    from kaleido.errors import KaleidoError

    browser = find_browser()
    jobs: list[dict[str, Any]] = []
    for name, figure in figures.items():
        printed = _for_print(figure)
        for kind in formats:
            options = {"format": kind, "width": WIDTH, "height": int(printed.layout.height)}
            jobs.append(
                {
                    "fig": printed,
                    "path": folder / f"{name}.{kind}",
                    "opts": options | ({"scale": PNG_SCALE} if kind == "png" else {}),
                }
            )
    try:
        kaleido.write_fig_from_object_sync(
            jobs, cancel_on_error=True, kopts={"path": browser, "mathjax": False, "timeout": SECONDS}
        )
    except (RuntimeError, KaleidoError, TimeoutError) as error:  # errors of the browser are errors at run time
        reason = str(error.args[0]) if error.args else type(error).__name__
        raise InputError(f"{browser}: cannot draw the figures ({reason})") from None


def _for_print(figure: go.Figure) -> go.Figure:
    """Return a copy of a figure for paper. `meta` holds the views of the report, which an image does not have."""
    return go.Figure(figure).update_layout(font={"family": FONT}, meta=None)
