"""Static images of the figures, drawn by a real Chromium, and clear words without one."""

from __future__ import annotations

import re
import shutil
import struct
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from helo.analysis.__main__ import main
from helo.analysis.exhibits import EXHIBITS
from helo.analysis.paper.images import WIDTH, parse_formats, write_images
from helo.analysis.source import Source
from helo.errors import InputError
from helo.run.directory import Run

HAS_CHROMIUM = any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome")))


@pytest.mark.parametrize("text", ["", "svg,", "jpeg", "svg,pgn"])
def test_formats_that_are_unknown_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="--figures must list formats out of svg, pdf, png; got"):
        parse_formats(text)


def test_letter_case_and_spaces_do_not_matter() -> None:
    assert parse_formats("PDF, svg") == ("pdf", "svg")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--figures", "svg"], "--figures needs --export DIR"),
        (["--figures", "gif", "--export", "new"], "got 'gif'"),
        (["--figures", "svg", "--export", "new"], "--figures needs Chromium or Chrome: BROWSER_PATH names"),
    ],
)
def test_what_cannot_be_drawn_is_one_line_before_anything_is_written(
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "no-such-program"))
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.rglob("*"))
    assert main(["report", str(tmp_path / "run"), *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert said in captured.err
    assert set(tmp_path.rglob("*")) == before


def test_a_program_that_is_no_browser_leaves_no_export(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BROWSER_PATH", shutil.which("true") or "")
    assert main(["report", str(tmp_path / "run"), "--export", str(tmp_path / "new"), "--figures", "svg"]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert "cannot draw the figures" in captured.err
    assert list(tmp_path.glob("*new*")) == []


@pytest.mark.slow
@pytest.mark.skipif(not HAS_CHROMIUM, reason="no Chromium is installed")
def test_images_have_the_size_of_a_page_and_words_that_can_be_searched(run: Run, tmp_path: Path) -> None:
    """The names of the data are shown as they are, and nothing is fetched from a network."""
    baselines = run.table("baselines")
    run.write_table("baselines", baselines.replace({"method": {"uniform": "<b>odd & own</b>"}}))
    figure = EXHIBITS["estimates"].plot(Source(run))
    write_images({"estimates": figure}, tmp_path, ("svg", "pdf", "png"))
    svg = (tmp_path / "estimates.svg").read_text(encoding="utf-8")
    height = figure.layout.height
    assert re.search(rf'<svg [^>]*width="{WIDTH}" height="{height}"', svg)
    assert "<b>odd & own</b>" in [element.text for element in ElementTree.fromstring(svg).iter()]
    assert "system-ui" not in svg
    pdf = (tmp_path / "estimates.pdf").read_bytes()
    assert pdf.startswith(b"%PDF-")
    left, bottom, right, top = map(float, re.search(rb"/MediaBox \[([\d. -]+)\]", pdf)[1].split())
    assert (right - left, top - bottom) == pytest.approx((0.75 * WIDTH, 0.75 * height), abs=1)  # points
    png = (tmp_path / "estimates.png").read_bytes()
    assert struct.unpack(">II", png[16:24]) == pytest.approx((7 * 300, height * 300 / 96), abs=1)
