"""Tests of the report and the dashboard of a search on WESAD in a browser: figures, clicks and updates."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from helo.analysis.exhibits import EXHIBITS, PARTS
from helo.analysis.report import write_report
from helo.analysis.source import read_source
from helo.analysis.web.page import read_asset
from helo.analysis.web.sortable import Head, Row, render_table, text_cell, value_cell
from helo.run.directory import Run

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.slow

WIDE = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def run(wesad_search: Path, tmp_path: Path) -> Run:
    """Copy the run, so that a test may change it."""
    shutil.copytree(wesad_search / "runs" / "wesad", tmp_path / "run")
    return Run.open(tmp_path / "run")


@contextmanager
def opened(browser: Browser, address: str, viewport: dict[str, int] = WIDE, dark: bool = False) -> Iterator[Page]:
    """Open a page that must log no error or warning, and send no request to other servers."""
    complaints: list[str] = []
    asked: list[str] = []
    context = browser.new_context(viewport=viewport, color_scheme="dark" if dark else "light")  # type: ignore[arg-type]
    page = context.new_page()
    page.on(
        "console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None
    )
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    yield page
    context.close()
    assert complaints == []
    own = address if address.startswith("file:") else re.match(r"http://[^/]+/", address).group()  # type: ignore[union-attr]
    assert [url for url in asked if not url.startswith((own, "data:", "blob:"))] == []


def draw_all(page: Page) -> list[str]:
    """Scroll through a report until all figures are drawn, and return their names."""
    names: list[str] = page.eval_on_selector_all(".figure", "all => all.map(one => one.id)")
    for name in names:
        page.evaluate("name => document.getElementById(name).scrollIntoView()", name)
        page.wait_for_selector(f"#{name}[data-drawn] .main-svg", state="attached")
    return names


def values(page: Page, name: str, attribute: str = "y", trace: int = 0) -> Any:
    """Return an attribute of a trace as it is drawn."""
    return page.evaluate(
        "([name, trace, attribute]) => Array.from(document.querySelector(name).data[trace][attribute]._inputArray ??"
        " document.querySelector(name).data[trace][attribute])",
        [name, trace, attribute],
    )


def wait_for_choice(page: Page, name: str, subject: str) -> None:
    """Wait until a figure of a report is drawn for a subject."""
    script = "([name, chosen]) => JSON.parse(document.getElementById(name).dataset.drawn).subject === chosen"
    page.wait_for_function(script, arg=[name, subject])


def click_point(page: Page, place: str, point: int) -> None:
    """Click on a marker of the last trace with markers."""
    page.locator(place).scroll_into_view_if_needed()
    marks = page.locator(f"{place} .scatterlayer .trace:last-child .points path")
    box = marks.nth(point).bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)


@pytest.mark.parametrize(("viewport", "dark"), [(WIDE, False), (WIDE, True), (PHONE, False)], ids=str)
def test_every_figure_of_a_report_is_drawn(browser: Browser, run: Run, viewport: dict[str, int], dark: bool) -> None:
    with opened(browser, write_report(read_source(run)).as_uri(), viewport, dark) as page:
        names = draw_all(page)
        assert set(names) == set(EXHIBITS) - {"importance"}  # importance needs more configurations
        assert page.evaluate("document.documentElement.scrollWidth") == viewport["width"]
        for name in names:
            box = page.locator(f"#{name} .main-svg").first.bounding_box()
            assert box is not None
            assert 0 < box["width"] <= viewport["width"]
        assert page.inner_text("main").count("Nothing to show") == 1


def test_a_click_on_a_subject_is_followed_by_all_figures(browser: Browser, run: Run) -> None:
    with opened(browser, write_report(read_source(run)).as_uri()) as page:
        draw_all(page)
        everyone = values(page, "#predictions")
        click_point(page, "#subjects", 2)
        chosen = page.input_value("#choose-subject")
        assert chosen
        wait_for_choice(page, "predictions", chosen)
        assert values(page, "#predictions") != everyone
        wait_for_choice(page, "learning", chosen)
        labels = values(page, "#learning", "customdata", 2)
        assert labels
        assert all(label.startswith(f"{chosen}, configuration ") for label in labels)
        page.click("#clear")
        wait_for_choice(page, "predictions", "")
        assert page.input_value("#choose-subject") == ""
        assert values(page, "#predictions") == everyone


def table_page(folder: Path) -> str:
    """Write a page with one wide and long table, and return its address."""
    names = ["S10", "S2", "=1+1", "-3", *(f"P{number}" for number in range(20))]
    rows = []
    for place, name in enumerate(names):
        value = float("nan") if name == "S2" else 0.01234567891 * place
        cells = [text_cell(name), value_cell(value, "{:.2f}".format, [-1.5]), *(text_cell("a" * 40) for _ in range(5))]
        rows.append(Row(cells))
    heads = [Head("Subject", ("subject",)), Head("KL", ("kl", "kl_low"), "↓"), *(Head("Long", ("long",)),) * 5]
    style = read_asset("page.css") + read_asset("sortable.css")
    script = read_asset("sortable.js") + "helo.addTools(document.querySelector('.table'))"
    path = folder / "table.html"
    content = render_table("Scores", "demo-scores", heads, rows)
    path.write_text(f"<!doctype html><meta charset=utf-8><style>{style}</style>{content}<script>{script}</script>")
    return path.as_uri()


def test_a_table_is_sorted_filtered_copied_and_downloaded(browser: Browser, tmp_path: Path) -> None:
    with opened(browser, table_page(tmp_path), PHONE) as page:

        def shown() -> list[str]:
            names: list[str] = page.eval_on_selector_all(
                "tbody tr:not([hidden]) th", "all => all.map(x => x.innerText)"
            )
            return names

        as_written = shown()
        head, button = page.locator("thead th").nth(1), page.locator("thead button").nth(1)
        button.focus()
        page.keyboard.press("Enter")
        assert head.get_attribute("aria-sort") == "ascending"
        assert shown() == [*(name for name in as_written if name != "S2"), "S2"]
        page.keyboard.press("Space")
        assert head.get_attribute("aria-sort") == "descending"
        assert shown() == [*reversed([name for name in as_written if name != "S2"]), "S2"]
        button.click()
        assert head.get_attribute("aria-sort") is None
        assert shown() == as_written
        page.locator("thead button").first.click()
        assert shown()[:3] == ["-3", "=1+1", "P0"]
        assert shown()[-2:] == ["S2", "S10"]  # numbers inside names are compared as numbers

        view, scroll = page.locator(".view"), page.locator(".scroll")
        assert view.get_attribute("class") == "view more-right more-below"
        left = page.locator("tbody th").first.bounding_box()
        scroll.evaluate("one => one.scrollTo(one.scrollWidth, one.scrollHeight)")
        page.wait_for_function("document.querySelector('.view').className === 'view more-left'")
        assert page.locator("tbody tr:not([hidden]) th").last.bounding_box()["x"] == left["x"]  # type: ignore[index]
        top = scroll.bounding_box()["y"]  # type: ignore[index]
        assert abs(page.locator("thead th").first.bounding_box()["y"] - top) < 1  # type: ignore[index]

        box = page.locator("input[type=search]")
        box.fill("kl>0.2, p")
        assert len(shown()) == 7
        assert page.inner_text("output") == "7 of 24 rows"
        box.fill("=1+")
        assert shown() == ["=1+1"]
        box.fill("nothing has this")
        assert shown() == []
        box.fill("1")
        box.fill("")
        with page.expect_download() as downloading:
            page.get_by_text("Download CSV").click()
        assert downloading.value.suggested_filename == "demo-scores.csv"
        lines = Path(downloading.value.path()).read_text(encoding="utf-8").splitlines()
        assert lines[0] == "subject,kl,kl_low,long,long,long,long,long"
        assert lines[1].startswith(f"-3,{3 * 0.01234567891},-1.5,")
        assert lines[2].startswith("'=1+1,")
        assert next(line for line in lines if line.startswith("S2,")).startswith("S2,,-1.5,")

        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        page.get_by_text("Copy").click()
        page.wait_for_function("document.querySelector('output').value === 'copied 24 of 24 rows'")
        copied = page.evaluate("navigator.clipboard.readText()").splitlines()
        assert copied[2].split("\t")[:2] == ["'=1+1", str(2 * 0.01234567891)]

        page.emulate_media(media="print")
        assert not page.locator(".tools").is_visible()
        assert scroll.evaluate("one => one.scrollHeight === one.clientHeight")


@contextmanager
def served(*runs: Path) -> Iterator[str]:
    """Serve a dashboard in a separate process at a free port, and yield its address."""
    command = [
        sys.executable,
        "-u",
        "-m",
        "helo.analysis",
        "dashboard",
        *map(str, runs),
        "--port",
        "0",
        "--refresh",
        "1",
    ]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stdout is not None
        found = re.search(r"http://127\.0\.0\.1:\d+/", process.stdout.readline())
        assert found is not None
        yield found.group()
    finally:
        process.terminate()
        _, errors = process.communicate(timeout=30)
    assert errors == ""


def test_a_dashboard_follows_a_search(browser: Browser, run: Run) -> None:
    """Show a finished run beside a search whose cells arrive one after another."""
    whole = Path(str(run.folder))
    other = whole.with_name("growing")
    shutil.copytree(whole, other)
    for table in ("cells", "epochs", "predictions"):
        (other / f"{table}.parquet").unlink()
    held = sorted((other / "ledger").glob("c*.parquet"))[-5:]
    for file in held:
        file.rename(other / file.name)
    cells = len(list((other / "ledger").glob("c*.parquet")))
    with served(whole, other) as address, opened(browser, address) as page:
        page.wait_for_selector(".js-plotly-plot .main-svg")
        growing = page.locator(".overview").nth(1)
        assert f"{cells} of at most 45 cells" in growing.inner_text()
        beside = page.locator("#compared tbody tr")
        assert beside.count() == 2
        assert "growing (2)" in beside.nth(1).inner_text()
        for file in held:
            cells += 1
            (other / file.name).rename(file)
            growing.get_by_text(f"{cells} of at most 45 cells").wait_for(timeout=30_000)
        for part, shown in PARTS.items():
            page.get_by_text(shown, exact=True).first.click()
            names = [name for name, one in EXHIBITS.items() if one.part == part]
            page.wait_for_function(
                # Every figure of both runs is drawn, or a note gives the reason for its absence.
                "names => names.every(name => document.getElementById(`exhibit-${name}`) &&"
                " [...document.querySelectorAll(`#exhibit-${name} figure`)].every(place =>"
                " place.querySelector('.main-svg') || place.querySelector('.note')?.textContent.includes('Nothing')))",
                arg=names,
            )
            assert page.locator(f"#exhibit-{names[0]} figure").count() == 2
        page.get_by_text(PARTS["people"], exact=True).first.click()
        place = '[id*=\'"name":"subjects"\'][id*=\'"run":0\'][id*=\'"kind":"figure"\']'
        page.wait_for_selector(f"{place} .points path")
        click_point(page, place, 2)
        page.wait_for_function("document.getElementById('choose-subject').textContent !== 'all'")
        chosen = page.inner_text("#choose-subject").strip()
        assert chosen in {fold["test"] for fold in run.folds}
