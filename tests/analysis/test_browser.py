"""Tests of the report and the dashboard in a browser: figures, clicks, paper, accessibility and updates."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from helo.analysis.exhibits import EXHIBITS, PARTS
from helo.analysis.report import write_report
from helo.analysis.source import read_source
from helo.analysis.web.page import read_asset
from helo.analysis.web.sortable import Head, Row, render_table, text_cell, value_cell
from helo.names import ENDINGS, SearchPhase
from helo.run.directory import Run
from helo.run.journal import Journal, read_journal

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.slow

HOSTILE = ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "__proto__", "constructor", "a&b=c#d")
"""Names of subjects that must do no harm."""

WIDE = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}


@pytest.fixture
def searched(wesad_search: Path, tmp_path: Path) -> Run:
    """Copy the run of a search, so that a test may change it."""
    shutil.copytree(wesad_search / "runs" / "wesad", tmp_path / "run")
    return Run.open(tmp_path / "run")


@contextmanager
def opened(
    browser: Browser, address: str, viewport: dict[str, int] = WIDE, dark: bool = False, script: str = ""
) -> Iterator[Page]:
    """Open a page that must log no error or warning, and send no request to other servers. `script` runs before it."""
    complaints: list[str] = []
    asked: list[str] = []
    context = browser.new_context(viewport=viewport, color_scheme="dark" if dark else "light")  # type: ignore[arg-type]
    context.set_default_timeout(180_000)
    context.add_init_script(script)
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
    own = address.partition("#")[0] if address.startswith("file:") else re.match(r"http://[^/]+/", address).group()  # type: ignore[union-attr]
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
        page.wait_for_function("() => document.querySelector('.view').className === 'view more-left'")
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
        page.wait_for_function("() => document.querySelector('output').value === 'copied 24 of 24 rows'")
        copied = page.evaluate("navigator.clipboard.readText()").splitlines()
        assert copied[2].split("\t")[:2] == ["'=1+1", str(2 * 0.01234567891)]

        page.emulate_media(media="print")
        assert not page.locator(".tools").is_visible()
        assert scroll.evaluate("one => one.scrollHeight === one.clientHeight")


SHEET = 703
"""Width of the text on A4 paper with margins of 12 mm, in CSS pixels."""

SMALLEST = 7 * 96 / 72
"""Seven points in CSS pixels."""


def test_a_printed_report_is_light_whole_and_legible(browser: Browser, run: Run) -> None:
    with opened(browser, write_report(read_source(run)).as_uri(), {"width": SHEET, "height": 900}, dark=True) as page:
        page.emulate_media(media="print", color_scheme="dark")
        page.wait_for_function("() => [...document.querySelectorAll('.figure')].every(one => one.dataset.drawn)")
        for place in page.locator(".figure .main-svg").all():
            assert place.bounding_box()["width"] <= SHEET + 1
        for table in page.locator("table").all():
            box = table.bounding_box()
            assert box["x"] + box["width"] <= SHEET + 1
        assert (
            page.locator(".bar, .tools, .modebar-container, .skip").evaluate_all(
                "all => all.filter(one => getComputedStyle(one).display !== 'none').length"
            )
            == 0
        )
        assert page.evaluate("getComputedStyle(document.querySelector('.part')).color") == "rgb(31, 36, 48)"
        papers = page.evaluate("[...document.querySelectorAll('.figure')].map(one => one._fullLayout.paper_bgcolor)")
        assert set(papers) == {"#ffffff"}
        assert page.locator("details:not([open])").count() == 0
        sizes = page.evaluate(
            """() => {
              const found = {};
              const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
              while (texts.nextNode()) {
                const box = texts.currentNode.parentElement, content = texts.currentNode.data.trim();
                if (!content || !box.checkVisibility() || ["SCRIPT", "STYLE"].includes(box.tagName)) continue;
                const scale = box.closest(".figure") ? Number(getComputedStyle(box.closest(".figure")).zoom) : 1;
                found[content.slice(0, 40)] = parseFloat(getComputedStyle(box).fontSize) * scale;
              }
              return found;
            }"""
        )
        assert len(sizes) > 100
        assert {content: size for content, size in sizes.items() if size < SMALLEST} == {}
        page.emulate_media(media="screen", color_scheme="dark")
        page.wait_for_function("() => document.getElementById('differences')._fullLayout.paper_bgcolor !== '#ffffff'")
        assert page.locator("details[open]").count() == 0


def test_figures_are_drawn_for_print_without_being_seen(browser: Browser, run: Run) -> None:
    never_idle = "window.requestIdleCallback = () => {}"
    with opened(browser, write_report(read_source(run)).as_uri(), script=never_idle) as page:
        assert page.locator(".figure:not([data-drawn])").count() > 0
        page.pdf(format="A4")
        assert page.locator(".figure:not([data-drawn])").count() == 0


def test_figures_are_drawn_when_the_browser_is_idle(browser: Browser, run: Run) -> None:
    with opened(browser, write_report(read_source(run)).as_uri()) as page:
        page.wait_for_function("() => [...document.querySelectorAll('.figure')].every(one => one.dataset.drawn)")


def find_violations(page: Page) -> list[str]:
    """Return the rules of WCAG 2.2 AA that a page violates, each with the elements."""
    from axe_playwright_python.sync_playwright import Axe

    rules = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
    found = Axe().run(page, options={"runOnly": rules}).response["violations"]
    return [f"{one['id']}: {[node['target'] for node in one['nodes']][:5]}" for one in found]


@pytest.mark.parametrize(("viewport", "dark"), [(WIDE, False), (WIDE, True), (PHONE, False)], ids=str)
def test_a_report_is_accessible(browser: Browser, run: Run, viewport: dict[str, int], dark: bool) -> None:
    with opened(browser, write_report(read_source(run)).as_uri(), viewport, dark) as page:
        draw_all(page)
        page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
        assert find_violations(page) == []
        assert page.evaluate("document.querySelectorAll('table').length") == page.locator("table > caption").count()


def test_the_keyboard_reaches_the_content_and_the_menus(browser: Browser, run: Run) -> None:
    with opened(browser, write_report(read_source(run)).as_uri()) as page:
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        page.keyboard.press("Enter")
        page.wait_for_function("() => document.activeElement.id === 'content'")
        page.focus("#choose-subject")
        page.keyboard.press("ArrowDown")
        page.wait_for_function("() => location.hash.includes('subject=')")
        chosen = page.input_value("#choose-subject")
        assert page.inner_text("#chosen-line").startswith(f"{chosen}: KL ")
        page.focus("#chosen-line a")
        page.keyboard.press("Enter")
        page.wait_for_function("() => document.activeElement.id === 'chosen'")
        assert page.inner_text("#chosen h3") == f"Subject {chosen}"
        assert find_violations(page) == []
        button = page.locator("#chosen button.link").first  # the configuration chosen in its fold
        button.focus()
        page.keyboard.press("Enter")
        number = page.input_value("#choose-configuration")
        assert page.locator("#chosen h3").all_inner_texts()[1].startswith(f"Configuration {number}")
        assert page.locator("#chosen dt").all_inner_texts()[:2] == ["learning_rate", "dropout"]
        page.focus("#clear")
        page.keyboard.press("Enter")
        assert page.input_value("#choose-subject") == ""
        assert page.locator("#chosen h3").count() == 0
        page.go_back()
        page.wait_for_function("number => document.getElementById('choose-configuration').value === number", arg=number)
        assert page.input_value("#choose-subject") == chosen
        page.go_back()
        page.wait_for_function("() => document.getElementById('choose-configuration').value === ''")
        assert page.locator("#chosen h3").all_inner_texts() == [f"Subject {chosen}"]


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


def test_a_link_restores_the_choice(browser: Browser, make_run: Callable[..., Run]) -> None:
    run = make_run(subjects=("S3", "S4", "S5", *HOSTILE))
    with opened(browser, write_report(read_source(run)).as_uri() + "#people&subject=S3&configuration=99") as page:
        assert page.input_value("#choose-subject") == "S3"
        assert page.input_value("#choose-configuration") == ""  # the run has no such configuration
        page.locator("nav a").first.click()
        page.wait_for_function("() => location.hash === '#result&subject=S3'")
        page.select_option("#choose-configuration", "2")
        page.reload()
        assert page.input_value("#choose-subject") == "S3"
        assert page.input_value("#choose-configuration") == "2"
        assert page.locator("#chosen h3").all_inner_texts() == ["Subject S3", "Configuration 2"]
        for name in HOSTILE:
            page.select_option("#choose-subject", name)
            page.reload()
            assert page.input_value("#choose-subject") == name
            assert page.inner_text("#chosen h3 >> nth=0") == f"Subject {name}"
            assert page.locator("#chosen script, #chosen img").count() == 0
        page.locator("tr[data-subject=S4] td").first.click()
        assert page.inner_text("#chosen h3 >> nth=0") == "Subject S4"
        page.click("#clear")
        assert page.evaluate("location.hash") == "#result"
    chosen = "document.getElementById('choose-subject')?.value === 'S4'"
    with served(Path(str(run.folder))) as address, opened(browser, address + "#part=people&subject=S4") as page:
        page.wait_for_selector("#table-subjects .tools")
        page.wait_for_function(chosen)
        page.wait_for_selector("#chosen h3")
        assert page.inner_text("#chosen h3") == "Subject S4"
        assert page.inner_text("#chosen-line").startswith("S4: KL ")
        page.get_by_text(PARTS["parameters"], exact=True).first.click()
        page.locator("#table-configurations thead button").first.click()
        assert page.locator("#table-configurations [aria-sort=ascending]").count() == 1
        assert page.locator("#table-configurations tbody tr").count() == 5
        page.wait_for_function("() => location.hash === '#part=parameters&subject=S4'")
        page.locator("#table-configurations tr[data-configuration='2'] td").first.click()
        page.wait_for_function("() => location.hash === '#part=parameters&subject=S4&configuration=2'")
        page.get_by_role("heading", name="Configuration 2").wait_for()
        page.go_back()
        page.get_by_role("heading", name="Configuration 2").wait_for(state="detached")
        page.wait_for_function("() => location.hash === '#part=parameters&subject=S4'")
        page.go_back()
        page.wait_for_selector("#table-subjects .tools")
        assert page.evaluate("location.hash") == "#part=people&subject=S4"
        page.go_forward()
        page.wait_for_selector("#table-configurations .tools")
        page.reload()
        page.wait_for_selector("#table-configurations .tools")
        page.wait_for_function(chosen)


def wait_for_figures(page: Page, part: str) -> None:
    """Open a part of a dashboard, and wait until every figure is drawn, or a note gives the reason for its absence."""
    page.get_by_role("link", name=PARTS[part], exact=True).click()
    page.wait_for_function(
        "names => names.every(name => document.getElementById(`exhibit-${name}`) &&"
        " [...document.querySelectorAll(`#exhibit-${name} figure`)].every(place =>"
        " place.querySelector('.main-svg') || place.querySelector('.note')?.textContent.includes('Nothing')))",
        arg=[name for name, one in EXHIBITS.items() if one.part == part],
    )


def layouts(page: Page, name: str) -> list[Any]:
    """Return the axes of a figure of all runs as they are drawn: ranges, and the order of categories."""
    script = """all => all.map(({_fullLayout: {xaxis, yaxis}}) =>
        [xaxis, yaxis].map(({range, categoryarray}) => [range, categoryarray ?? null]))"""
    found: list[Any] = page.eval_on_selector_all(f"#exhibit-{name} .js-plotly-plot", script)
    return found


def test_a_dashboard_follows_a_search(browser: Browser, searched: Run) -> None:
    """Show a finished run beside a search whose cells arrive one after another, until it stops without its model."""
    phases = list(dict.fromkeys(entry.phase for entry in read_journal(searched.folder)))
    assert phases == [phase for phase in SearchPhase if phase not in ENDINGS] + [SearchPhase.COMPLETE]
    whole = Path(str(searched.folder))
    other = whole.with_name("growing")
    shutil.copytree(whole, other)
    for table in ("cells", "epochs", "predictions"):
        (other / f"{table}.parquet").unlink()
    (other / "journal.jsonl").unlink()
    shutil.rmtree(other / "model")  # only a search that has ended has one
    held = sorted((other / "ledger").glob("c*.parquet"))[-5:]
    for file in held:
        file.rename(other / file.name)
    cells = len(list((other / "ledger").glob("c*.parquet")))
    with served(whole, other) as address, opened(browser, address) as page:
        growing, bar = page.locator(".overview").nth(1), page.get_by_role("progressbar").nth(1)
        with Run.open(other).lock():
            journal = Journal(Run.open(other).folder)
            journal.write("the first line", SearchPhase.CELLS, cells=(cells, 45), baselines=(0, 0))
            page.wait_for_selector(".js-plotly-plot .main-svg")
            growing.locator(".badge.running").wait_for()
            growing.get_by_text("the first line").wait_for()
            assert f"{cells} of 45 cells finished" in growing.inner_text()
            beside = page.locator("#compared tbody tr")
            assert [row.split("\t")[0] for row in beside.all_inner_texts()] == ["run", "growing"]
            for file in held:
                cells += 1
                (other / file.name).rename(file)
                growing.get_by_text(f"{cells} of 45 cells finished").first.wait_for(timeout=60_000)
            assert bar.get_attribute("aria-valuenow") == "45"
            journal.write(phase=SearchPhase.OUT_OF_TIME)
        growing.locator(".badge.stopped").wait_for()
        assert "its time was up; all cells are finished, the model is not fitted yet" in growing.inner_text()
        assert f"python -m helo.search --resume {other}" in growing.inner_text()
        assert page.locator(".overview").nth(0).locator(".badge.finished").count() == 1
        for part in PARTS:
            wait_for_figures(page, part)
            section = f"#exhibit-{next(name for name, one in EXHIBITS.items() if one.part == part)}"
            assert page.locator(f"{section} figure h3").all_inner_texts() == ["run", "growing"]
        wait_for_figures(page, "people")
        place = '[id*=\'"name":"subjects"\'][id*=\'"run":0\'][id*=\'"kind":"figure"\']'
        page.wait_for_selector(f"{place} .points path")
        first, second = layouts(page, "subjects")
        assert first == second
        click_point(page, place, 2)
        page.wait_for_function("() => document.getElementById('choose-subject').value !== ''")
        chosen = page.input_value("#choose-subject")
        assert chosen in {fold["test"] for fold in searched.folds}
        page.wait_for_function("() => document.querySelectorAll('#chosen h3').length === 2")
        assert page.locator("#chosen h3").all_inner_texts() == [
            f"{run}: Subject {chosen}" for run in ("run", "growing")
        ]
        assert find_violations(page) == []
        page.set_viewport_size(PHONE)  # type: ignore[arg-type]
        page.emulate_media(color_scheme="dark")
        width = "width => document.documentElement.scrollWidth === width"  # once the figures are drawn again
        page.wait_for_function(width, arg=PHONE["width"])
        assert find_violations(page) == []
