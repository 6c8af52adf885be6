"""CSV files: no text of a user is a formula, and everything else is as in the table."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helo._csv import guard_cell, write_csv


@pytest.mark.parametrize(
    "text",
    ["=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(A1)", "\t=1", '=HYPERLINK("http://x")', "-", "--1", "+a"],
)
def test_texts_that_act_get_an_apostrophe(tmp_path: Path, text: str) -> None:
    write_csv(pd.DataFrame({"subject": [text, "S1"], text: [1.0, -2.0]}), tmp_path / "t.csv")
    found = pd.read_csv(tmp_path / "t.csv")
    assert found["subject"].tolist() == [f"'{text}", "S1"]
    assert list(found) == ["subject", f"'{text}"]
    assert found[f"'{text}"].tolist() == [1.0, -2.0]


@pytest.mark.parametrize("text", ["-1", "+2.5", "-1e-3", ".5", "-.5E+3", "inf", "-inf", "S1", "", "a=b", "é", "1-2"])
def test_numbers_and_names_stay_as_they_are(text: str) -> None:
    assert guard_cell(text) == text


@given(st.text())
def test_no_text_begins_with_what_acts_unless_it_is_a_number(text: str) -> None:
    guarded = guard_cell(text)
    assert guarded in (text, f"'{text}")
    if guarded == text and text[:1] in tuple("=+-@\t\r") and text:
        float(text)


def test_other_cells_are_written_as_by_pandas(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {
            "number": [-1.5, float("nan")],
            "whole": [-1, 2],
            "flag": [True, False],
            "mixed": [-1, None],
            "time": pd.to_datetime(["2026-01-02", None], utc=True),
            "kind": pd.Categorical(["-x", "b"]),
        }
    )
    write_csv(table, tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text() == table.to_csv(index=False).replace("-x", "'-x")
