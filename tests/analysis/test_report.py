"""The report: one file, nothing fetched, no name that does harm, no table that must be there."""

from __future__ import annotations

import json
import re
import resource
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from helo.analysis.__main__ import deprecated_main, main
from helo.analysis.exhibits import EXHIBITS
from helo.analysis.report import write_report, write_summary
from helo.analysis.source import read_source
from helo.analysis.wording import BY_GROUP_TITLE, format_score
from helo.errors import InputError
from helo.run.directory import Run
from helo.run.manifest import Manifest

EVIL = "</script><script>alert(1)</script>"


class Page(HTMLParser):
    """The scripts, the tags with what they would fetch, and the visible text of a page."""

    def __init__(self, path: Path | str) -> None:
        super().__init__()
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.fetched: list[str] = []
        self.text = ""
        self._inside = ""
        self.feed(Path(path).read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = tag
        if tag == "script":
            self.scripts.append((dict(attrs), ""))
        fetching = [pair for pair in attrs if pair[0] in ("src", "href", "data", "srcset")]
        self.fetched += [f"{tag} {name}" for name, target in fetching if not (target or "").startswith("#")]

    def handle_endtag(self, tag: str) -> None:
        self._inside = "" if tag == self._inside else self._inside

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            attributes, content = self.scripts[-1]
            self.scripts[-1] = (attributes, content + data)
        elif self._inside != "style":
            self.text += data

    @property
    def figures(self) -> dict[str, dict[str, object]]:
        found = {}
        for attributes, content in self.scripts:
            name = attributes.get("id") or ""
            if name.endswith("-json"):
                found[name.removesuffix("-json")] = json.loads(content)
        return found


def without_meta(content: object) -> object:
    if isinstance(content, dict):
        return {key: without_meta(value) for key, value in content.items() if key != "meta"}
    return [without_meta(value) for value in content] if isinstance(content, list) else content


def test_summary_is_written_and_returned(run: Run) -> None:
    summary = write_summary(read_source(run))
    pd.testing.assert_frame_equal(run.table("summary"), summary, check_dtype=False)
    assert len(summary) == 36


def test_scores_by_group_have_a_second_table(run: Run, make_run: Callable[..., Run]) -> None:
    source = read_source(run)
    write_summary(source)
    pd.testing.assert_frame_equal(run.table("summary_by_group"), source.summary_by_group, check_dtype=False)
    text = Page(write_report(source)).text
    first, second = text.split(BY_GROUP_TITLE)
    for summary, part in ((source.summary, first), (source.summary_by_group, second)):
        scores = summary.set_index(["estimate", "metric"])["mean"]
        assert format_score(scores["per_fold_selection", "kl"]) in part
        assert format_score(scores["train_mean", "cosine"]) in part
    without = make_run("without", groups=None)
    write_summary(read_source(without))
    assert not without.folder.exists("summary_by_group.parquet")
    assert "by group" not in Page(write_report(read_source(without))).text


def test_report_is_self_contained(run: Run) -> None:
    path = write_report(read_source(run))
    assert path == run.report
    page = Page(path)
    assert page.fetched == []
    assert sum("plotly.js v" in content for _, content in page.scripts) == 1
    content = path.read_text(encoding="utf-8")
    assert "default-src 'none'" in content
    assert '"showSendToCloud": false' in content
    assert set(page.figures) == set(EXHIBITS) - {"importance"}
    assert page.text.count("Nothing to show") == 1
    assert "importance needs at least 10 configurations with scores, got 5" in page.text
    assert "not reportable" in page.text
    assert "30 finished: 29 completed, 0 stopped, 1 failed" in page.text
    assert "loss is not finite (1)" in page.text
    assert "87 s" not in page.text
    assert "1 min from first start to last end" in page.text
    assert not list(run.folder.here.glob(".*"))


def test_reports_of_a_run_are_equal(run: Run) -> None:
    first = write_report(read_source(run)).read_bytes()
    assert write_report(read_source(run)).read_bytes() == first


def test_names_are_escaped(make_run: Callable[..., Run]) -> None:
    harmless = len(Page(write_report(read_source(make_run("harmless")))).scripts)
    run = make_run(
        "evil",
        name=EVIL,
        subjects=(EVIL, "<img src=x onerror=alert(1)>", '" onload="alert(1)', "S2", "S3"),
        emotions=(EVIL, "\u2028", "&lt;b&gt;"),
        groups=(EVIL, "--><b>"),
    )
    page = Page(write_report(read_source(run)))
    assert page.fetched == []
    assert len(page.scripts) == harmless
    assert EVIL in page.text
    labels = json.dumps(without_meta(page.figures))  # names in meta are compared, never shown
    assert "<script" not in labels
    assert "<img" not in labels
    assert "&lt;img src=x" in labels  # plotly shows this letter by letter


def test_numeric_subject_names_stay_strings(make_run: Callable[..., Run]) -> None:
    page = Page(write_report(read_source(make_run(subjects=("1", "2", "10", "2020-01-01")))))
    layout = page.figures["subjects"]["layout"]
    assert isinstance(layout, dict)
    assert layout["yaxis"]["type"] == "category"


@pytest.mark.parametrize("missing", ["cells", "epochs", "predictions", "baselines"])
def test_missing_tables_are_reported(make_run: Callable[..., Run], missing: str) -> None:
    text = Page(write_report(read_source(make_run(without=[missing])))).text
    assert f"{missing}.parquet" in text
    assert "missing" in text


def test_run_with_only_failed_cells(run: Run) -> None:
    cells = run.table("cells")
    scores = [column for column in cells if column.startswith(("val_", "test_"))]
    run.write_table("cells", cells.assign(status="failed", reason="out of memory", **dict.fromkeys(scores, np.nan)))
    run.write_table("predictions", run.table("predictions")[:0])
    write_summary(read_source(run))
    text = Page(write_report(read_source(run))).text
    assert "There is nothing to judge yet" in text
    assert "out of memory (30)" in text


def test_one_subject_and_one_configuration(make_run: Callable[..., Run]) -> None:
    run = make_run(subjects=("S2",), configurations=2)
    write_summary(read_source(run))
    assert "for 1 of 1 subjects" in Page(write_report(read_source(run))).text


def test_minimal_manifest_is_enough(make_run: Callable[..., Run]) -> None:
    run = make_run()
    bare = Run(run.folder, Manifest.from_dict({"space": {"objective": "kl"}}))
    assert "run on unnamed data" in Page(write_report(read_source(bare))).text


def test_failed_write_keeps_the_previous_report(run: Run) -> None:
    write_report(read_source(run))
    old = run.report.read_bytes()
    source, limits = read_source(run), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(old) // 2, limits[1]))  # like a disk that becomes full
    try:
        with pytest.raises(InputError, match="cannot be written"):
            write_report(source)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert run.report.read_bytes() == old
    assert not list(run.folder.here.glob(".report*"))


def test_command(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(run.folder.here)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "per_fold_selection" in out
    assert out.splitlines()[-3:] == [
        f"Report: {run.report}",
        "the model is not fitted yet; resume with:",
        f"  python -m helo.search --resume {run.folder}",
    ]
    assert 0 < out.index("Skill is shown") < out.index("Report: ")
    assert "This is the result to report" not in out
    assert main(["report", str(run.folder.here), "--verbose"]) == 0
    assert "This is the result to report" in capsys.readouterr().out
    assert run.report.is_file()
    assert (run.folder.here / "summary.parquet").is_file()


def test_a_run_that_cannot_be_written_is_exported(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("summary.parquet", "report.html"):  # a folder of the name is in the way, also for root
        (run.folder.here / name).mkdir()
    assert main(["report", str(run.folder.here)]) == 2
    assert "cannot be written" in capsys.readouterr().err
    assert main(["report", str(run.folder.here), "--export", str(tmp_path / "export")]) == 0
    out = capsys.readouterr().out
    assert "per_fold_selection" in out
    assert f"Report: not written; {run.folder.here}: cannot be written" in out
    assert (tmp_path / "export" / "summary.csv").is_file()


def test_command_on_a_wrong_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path / "nowhere")]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"helo-analysis: error: .*nowhere: is not a run directory .*\n", err)


@pytest.mark.parametrize("without", [["cells"], ["cells", "epochs", "predictions", "baselines"]])
def test_command_on_an_empty_run(
    make_run: Callable[..., Run], capsys: pytest.CaptureFixture[str], without: list[str]
) -> None:
    run = make_run(without=without)
    assert main(["report", str(run.folder.here)]) == 0
    assert "cells.parquet: is missing; the search has not got that far" in capsys.readouterr().out
    text = Page(run.report).text
    assert text.count("Nothing to show") >= 5
    assert "cells.parquet: is missing" in text


@pytest.mark.parametrize("name", ["cells", "epochs", "predictions", "baselines"])
@pytest.mark.parametrize("share", [0.0, 0.6])
def test_truncated_tables_are_reported(run: Run, name: str, share: float) -> None:
    path = run.folder.here / f"{name}.parquet"
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert main(["report", str(run.folder.here)]) == 0
    assert f"{name}.parquet" in Page(run.report).text


def test_run_without_its_folds_file(run: Run) -> None:
    (run.folder.here / "folds.json").unlink()
    assert main(["report", str(run.folder.here)]) == 0
    assert "folds.json: cannot be read" in Page(run.report).text


def test_the_former_name_of_the_command_works_with_a_note(
    run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["helo-report", "report", str(run.folder.here)])
    assert deprecated_main() == 0
    out, err = capsys.readouterr()
    assert err == "helo-report is deprecated since 0.2.0 and will be removed in 0.3.0; use helo-analysis\n"
    assert out.splitlines()[-3:] == [
        f"Report: {run.report}",
        "the model is not fitted yet; resume with:",
        f"  python -m helo.search --resume {run.folder}",
    ]
    assert 0 < out.index("Skill is shown") < out.index("Report: ")
    assert "This is the result to report" not in out
    assert main(["report", str(run.folder.here), "--verbose"]) == 0
    assert "This is the result to report" in capsys.readouterr().out


@pytest.mark.parametrize("module", ["analysis", "helo.analysis"])
def test_both_modules_run(module: str) -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-m", module, "--help"], capture_output=True, text=True, check=True, cwd=root
    )
    assert done.stdout.startswith("usage: helo-analysis ")


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys, helo.analysis.__main__ as m\n"
        "try: m.main(['report', '--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'pandas', 'numpy', 'plotly', 'rich', 'torch', 'ray'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "[]"


def test_analysis_needs_neither_the_search_nor_torch() -> None:
    code = (
        "import sys, helo.analysis.report, helo.analysis.terminal\n"
        "print([m for m in sys.modules if m.split('.')[0] in ('torch', 'ray', 'optuna')"
        " or m.startswith(('helo.search', 'helo.training.cell'))])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
