"""Tests of the HTML of tables: captions, heads, values in full precision, alignment and escapes."""

from __future__ import annotations

import json
from html.parser import HTMLParser

import numpy as np
import pytest

from helo.analysis.source import read_source
from helo.analysis.web.sortable import MISSING, Head, Row, metric_head, render_table, text_cell, value_cell
from helo.analysis.web.tables import TABLES
from helo.names import Column, Prefix
from helo.run.directory import Run


class Tables(HTMLParser):
    """The tables of a page: captions, heads and cells with their attributes and texts."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.files: list[str] = []
        self.regions: list[dict[str, str | None]] = []
        self.captions: list[str] = []
        self.rows: list[list[tuple[str, dict[str, str | None], str]]] = []
        self._open = ""
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if found.get("class") == "table":
            self.files.append(found["data-file"] or "")
        if found.get("role") == "region":
            self.regions.append(found)
        if tag == "caption":
            self.captions.append("")
        if tag == "tr":
            self.rows.append([])
        if tag in ("th", "td"):
            self.rows[-1].append((tag, found, ""))
        if tag in ("caption", "th", "td"):
            self._open = tag

    def handle_endtag(self, tag: str) -> None:
        self._open = "" if tag == self._open else self._open

    def handle_data(self, data: str) -> None:
        if self._open == "caption":
            self.captions[-1] += data
        elif self._open:
            tag, attributes, text = self.rows[-1][-1]
            self.rows[-1][-1] = (tag, attributes, text + data)


def values(cell: tuple[str, dict[str, str | None], str]) -> list[object]:
    found: list[object] = json.loads(cell[1]["data-values"] or "")
    return found


@pytest.mark.parametrize("name", [name for name in TABLES if name not in ("ablation", "answer")])
def test_every_table_has_a_caption_a_scope_for_each_head_and_a_region_for_the_keyboard(run: Run, name: str) -> None:
    source = read_source(run)
    found = Tables(TABLES[name].render(source))
    assert found.captions
    assert [region["aria-label"] for region in found.regions] == found.captions
    assert all(region["tabindex"] == "0" for region in found.regions)
    assert all(file.startswith("demo-") for file in found.files)
    assert len(set(found.files)) == len(found.captions)
    heads = next(row for row in found.rows)
    for row in found.rows:
        tag, attributes, _ = row[0]
        assert tag == "th"
        assert attributes["scope"] in ("col", "row")
        assert len(row) == len(heads)
        assert {cell[0] for cell in row[1:]} == ({"th"} if attributes["scope"] == "col" else {"td"})
        if attributes["scope"] == "col":
            assert all(cell[1]["scope"] == "col" and json.loads(cell[1]["data-names"] or "") for cell in row)
            assert all(cell[2] for cell in row)


def test_scores_are_shown_rounded_and_exported_in_full_precision(run: Run) -> None:
    source = read_source(run)
    scores = source.subjects[source.subjects[Column.ESTIMATE] == "per_fold_selection"].set_index(Column.SUBJECT)
    rows = {row[0][2]: row for row in Tables(TABLES["subjects"].render(source)).rows}
    for subject, expected in scores["kl"].items():
        cell = rows[str(subject)][4]
        assert values(cell) == [expected]
        assert float(cell[2]) == round(expected, 4)


def test_an_interval_is_exported_in_columns_of_its_own(run: Run) -> None:
    source = read_source(run)
    found = Tables(TABLES["estimates"].render(source))
    place = next(number for number, head in enumerate(found.rows[0]) if head[2].startswith("KL"))
    assert json.loads(found.rows[0][place][1]["data-names"] or "") == ["kl", "kl_ci_low", "kl_ci_high"]
    expected = source.summary.set_index(["estimate", "metric"]).loc[("per_fold_selection", "kl")]
    shown = next(row for row in found.rows if row[0][2] == "per_fold_selection")
    assert values(shown[place]) == [expected["mean"], expected["ci_low"], expected["ci_high"]]


def test_a_unit_is_in_the_head_alone(run: Run) -> None:
    found = Tables(TABLES["estimates"].render(read_source(run)))
    assert found.rows[0][1][2] == "Skill\xa0%"
    assert all("%" not in row[1][2] for row in found.rows[1:])


def test_all_configurations_are_listed(run: Run) -> None:
    source = read_source(run)
    found = Tables(TABLES["configurations"].render(source))
    assert len(found.rows) == 1 + len(source.configurations)
    params = [name for name in source.configurations if name.startswith(Prefix.PARAM)]
    heads = [json.loads(head[1]["data-names"] or "")[0] for head in found.rows[0]]
    assert set(params) - set(heads) == {"param_depth"}  # it has a single value


def test_numbers_align_on_the_decimal_point() -> None:
    rows = [
        Row([text_cell(name), value_cell(value, shown)])
        for name, value, shown in (
            ("four", 0.5855, "{:.4f}".format),
            ("three", 1.183, "{:.3f}".format),
            ("none", 12, str),
            ("missing", np.nan, str),
        )
    ]
    found = Tables(render_table("Scores", "file", [Head("Name", ("name",)), metric_head("kl")], rows))
    pads = [row[1][1].get("style") for row in found.rows[1:]]
    assert pads == [None, "--pad:1", "--pad:4.5", "--pad:4.5"]
    assert found.rows[4][1][2] == MISSING
    assert values(found.rows[4][1]) == [None]


def test_names_are_escaped_and_file_names_are_harmless() -> None:
    evil = "\"><img src=x onerror='alert(1)'>"
    row = Row([text_cell(evil, evil), value_cell(1.5)], {"data-subject": evil})
    content = render_table(evil, f"../run of {evil}\n-subjects", [Head(evil, (evil,)), metric_head("kl")], [row])
    assert "<img" not in content
    found = Tables(content)
    assert found.captions == [evil]
    assert values(found.rows[1][0]) == [evil]
    assert json.loads(found.rows[0][0][1]["data-names"] or "") == [evil]
    assert found.files == ["run-of-img-src-x-onerror-alert-1--subjects"]
