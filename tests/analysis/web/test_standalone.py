"""Pages of single figures in a real browser: they share plotly.js, and say so where it is missing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from helo.analysis.source import Source
from helo.analysis.web.page import PLOTLY_FILE
from helo.analysis.web.standalone import draw_figures, write_pages
from helo.run.directory import Run

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.slow


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with browser.new_page() as opened:
        opened.set_default_timeout(180_000)  # ms, for a busy machine
        yield opened


@pytest.fixture
def folder(run: Run, tmp_path: Path) -> Path:
    figures, _ = draw_figures(Source(run))
    found = tmp_path / "figures"
    found.mkdir()
    shown = {name: figures[name] for name in ("estimates", "subjects")}
    write_pages("demo", shown, found, {name: (f"{name} & more", "A caption.") for name in shown})
    return found


def test_pages_draw_their_figure_with_the_file_beside_them(page: Page, folder: Path) -> None:
    for name in ("estimates", "subjects"):
        page.goto((folder / f"{name}.html").as_uri())
        page.wait_for_selector(f"#{name}[data-drawn] .main-svg", state="attached")
        assert page.is_hidden("#no-plotly")


def test_a_page_without_the_file_says_what_is_missing(page: Page, folder: Path) -> None:
    (folder / PLOTLY_FILE).unlink()
    page.goto((folder / "estimates.html").as_uri())
    assert f"{PLOTLY_FILE} is not in the folder of this page" in page.inner_text("#no-plotly")
