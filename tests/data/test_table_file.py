"""Files of tables: what is read equals what pandas reads, and damaged files give one clear line."""

from __future__ import annotations

import csv
import io
import sys
import zipfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pyreadstat
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helo.data.delimited import EMPTY_CELLS
from helo.data.table_file import TableFile, open_table
from helo.errors import InputError

NUMBERS = ("hr", "eda")
FRAME = pd.DataFrame({"who": ["001", "NA", "ä b"], "hr": [60.5, np.nan, -1e-3], "eda": [1.0, 2.0, 3.0]})


def content(table: TableFile, texts: tuple[str, ...] = ("who",), numbers: tuple[str, ...] = NUMBERS) -> dict[str, list]:
    return {
        name: values.to_pylist() if name in texts else values.to_numpy(zero_copy_only=False).tolist()
        for name, values in table.read(texts, dict.fromkeys(numbers, pa.float64()))
    }


def assert_like_frame(table: TableFile, who: tuple[str, ...] = ("001", "NA", "ä b")) -> None:
    found = content(table)
    assert found["who"] == list(who)
    for name in NUMBERS:
        np.testing.assert_array_equal(found[name], FRAME[name])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize(
    ("separator", "decimal", "suffix", "notes"),
    [
        (",", ".", ".csv", 0),
        (";", ",", ".csv", 2),
        (";", ".", ".csv.gz", 1),
        ("\t", ",", ".txt", 1),
        ("\t", ".", ".tsv.gz", 0),
        (",", ".", ".tsv", 1),
    ],
)
def test_text(tmp_path: Path, separator: str, decimal: str, suffix: str, notes: int, encoding: str) -> None:
    path = tmp_path / f"t{suffix}"
    FRAME.to_csv(path, index=False, sep=separator, decimal=decimal, encoding=encoding)
    table = open_table(path)
    assert_like_frame(table)
    assert len(table.notes) == notes, table.notes


@pytest.mark.parametrize(
    "text",
    [
        "who,hr,eda,\n001,60.5,1,\nNA,,2,\nä b,-1e-3,3,\n",
        "who,hr,eda\n001,60.5,1,\nNA,,2,\nä b,-1e-3,3,\n",
        "who,hr,eda,,\n001,60.5,1\nNA,,2\nä b,-1e-3,3\n",
        ",who,hr,eda\n0,001,60.5,1\n1,NA,,2\n2,ä b,-1e-3,3\n",
        "\n\nwho,hr,eda\n\n001,60.5,1\nNA,None,2\nä b,-1e-3,3\n\n",
        "who;hr;eda;\r\n001;60,5;1;\r\nNA;;2;\r\nä b;-1e-3;3;\r\n",
        'who,hr,eda,"a;b"\r001, 60.5,1,"x\r;y"\rNA,NaN,+2,\rä b,"-1e-3",3.,\r',
    ],
)
def test_text_of_spreadsheet_programs(tmp_path: Path, text: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text, encoding="utf-8", newline="")
    assert_like_frame(open_table(path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "who,hr\na,1\nb,1\u00a0234\n",
            "line 3, column 'hr': must be a number, got '1\\xa0234', which holds a no-break",
        ),
        ("who;hr\na;1,5\nb;2\u202f000,5\n", "line 3, column 'hr': must be a number, got '2\\u202f000,5', which holds"),
        (
            "who;hr;eda\na;0,5;1\nb;0,5;1.5\n",
            "line 3, column 'eda': must be a number, got '1.5'; all numbers must have",
        ),
        ("who;hr\na;0,5\nb;1.234,5\n", "line 3, column 'hr': must be a number, got '1.234,5'; all numbers must have"),
        ("who,hr\na,1\nb,2_000\n", "line 3, column 'hr': must be a number, got '2_000'"),
        ('who,hr\na,1\nb,"0,5"\n', "got '0,5'; with decimal commas, columns must be separated by semicolons or tabs"),
        ("who,hr\na,1\nb,2,x\n", "line 3: must have 2 cells, like the first line, got 3"),
        ("who,hr\na,1,\nb,2,x\n", "line 3: must have 2 cells, like the first line, got 3"),
    ],
)
def test_text_that_is_no_table(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        content(open_table(path), numbers=("hr", "eda") if "eda" in text else ("hr",))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pa.array([Decimal("60.50"), None, Decimal("-0.25")]), [60.5, np.nan, -0.25]),
        (pa.array(np.array([60.5, np.nan, -0.25], np.float16)), [60.5, np.nan, -0.25]),
        (pa.array([60.5, None, 60.5]).dictionary_encode(), [60.5, np.nan, 60.5]),
        (pa.array([True, None, False]), [1, np.nan, 0]),
        (pa.array([1, None, 2**60], pa.int64()), [1, np.nan, 2.0**60]),
        (pa.array([None, None, None]), [np.nan] * 3),
    ],
)
def test_types_of_parquet(tmp_path: Path, values: pa.Array, expected: list[float]) -> None:
    pq.write_table(pa.table({"who": ["a", "b", "c"], "x": values}), tmp_path / "t.parquet")
    np.testing.assert_array_equal(content(open_table(tmp_path / "t.parquet"), numbers=("x",))["x"], expected)


def test_names_in_parquet(tmp_path: Path) -> None:
    columns = {
        "float": pa.array([1.0, 2.0, np.nan], from_pandas=False),
        "decimal": pa.array([Decimal("1.0"), Decimal("2.0"), None]),
        "large": pa.array(["001", None, "x"], pa.large_string()),
        "codes": pa.array(["b", "b", "a"]).dictionary_encode(),
    }
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    found = content(open_table(tmp_path / "t.parquet"), texts=tuple(columns), numbers=())
    assert found == {
        "float": ["1", "2", None],
        "decimal": ["1", "2", None],
        "large": ["001", None, "x"],
        "codes": ["b", "b", "a"],
    }


@pytest.mark.parametrize("kind", ["numpy_nullable", "pyarrow"])
def test_frames_with_an_index_and_nullable_types(tmp_path: Path, kind: Any) -> None:
    made = FRAME.convert_dtypes(dtype_backend=kind).set_index(pd.Index([5, 6, 7]))
    made.to_parquet(tmp_path / "t.parquet")
    table = open_table(tmp_path / "t.parquet")
    assert table.columns == ("who", "hr", "eda")
    assert_like_frame(table)


def test_excel(tmp_path: Path) -> None:
    path = tmp_path / "t.xlsx"
    with pd.ExcelWriter(path) as writer:
        FRAME.to_excel(writer, sheet_name="data", index=False, startrow=2)
        FRAME.to_excel(writer, sheet_name="notes", index=False)
    table = open_table(path)
    assert_like_frame(table)
    assert table.notes == ("sheet 'data' is read, not 'notes'",)
    assert table.place(1) == "row 5"


def workbook(path: Path, *rows: tuple[Any, ...]) -> Path:
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    book.save(path)
    return path


def test_cells_of_excel(tmp_path: Path) -> None:
    path = workbook(tmp_path / "t.xlsx", ("who", "hr", "eda"), (1.0, "60.5", True), ("01", "NA", 2), (True, 1, 0.5))
    found = content(open_table(path))
    assert found["who"] == ["1", "01", "True"]
    np.testing.assert_array_equal([found["hr"], found["eda"]], [[60.5, np.nan, 1], [1, 2, 0.5]])


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("60,5", "row 2, column 'hr': must be a number, got '60,5'"),
        ("#DIV/0!", "row 2, column 'hr': must be a number, got '#DIV/0!'"),
        (pd.Timestamp("2024-01-02"), "row 2, column 'hr': must be a number, got a date or time"),
        ("=1+1", "row 2, column 'hr': holds the formula '=1+1' without its value; open the file in a spreadsheet"),
    ],
)
def test_cells_of_excel_that_are_no_numbers(tmp_path: Path, cell: Any, message: str) -> None:
    path = workbook(tmp_path / "t.xlsx", ("who", "hr"), ("a", cell))
    with pytest.raises(InputError) as caught:
        content(open_table(path), numbers=("hr",))
    assert message in str(caught.value)


@pytest.mark.parametrize("suffix", [".sav", ".dta"])
def test_statistics_files(tmp_path: Path, suffix: str) -> None:
    made = FRAME.assign(code=[1.0, 2.0, 1.0])
    write = pyreadstat.write_sav if suffix == ".sav" else pyreadstat.write_dta
    write(made, str(tmp_path / f"t{suffix}"), variable_value_labels={"code": {1: "calm", 2: "fear"}})
    assert_like_frame(open_table(tmp_path / f"t{suffix}"))
    found = content(open_table(tmp_path / f"t{suffix}"), texts=("code",), numbers=())
    assert found == {"code": ["calm", "fear", "calm"]}
    assert content(open_table(tmp_path / f"t{suffix}"), texts=(), numbers=("code",)) == {"code": [1, 2, 1]}
    with pytest.raises(InputError, match="column 'who' must hold numbers, got"):
        content(open_table(tmp_path / f"t{suffix}"), texts=(), numbers=("who",))


def test_labels_that_would_merge_values_are_not_used(tmp_path: Path) -> None:
    labels: dict[str, Any] = {"code": {1: "same", 2: "same"}}
    pyreadstat.write_sav(pd.DataFrame({"code": [1.0, 2.0]}), str(tmp_path / "t.sav"), variable_value_labels=labels)
    assert content(open_table(tmp_path / "t.sav"), texts=("code",), numbers=()) == {"code": ["1", "2"]}


@pytest.mark.parametrize(
    ("suffix", "package", "extra"), [(".xlsx", "openpyxl", "excel"), (".sav", "pyreadstat", "stats")]
)
def test_a_missing_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, package: str, extra: str
) -> None:
    path = tmp_path / f"t{suffix}"
    path.touch()
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=rf"needs {package} \(pip install 'helo-search\[{extra}\]'\)"):
        open_table(path)


# --- arbitrary content --------------------------------------------------------------------------

PLAIN = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.integers(-(10**12), 10**12).map(str),
    st.sampled_from(["", "NA", "nan", "1e5", "+3", ".5", "5.", " 2", "-0", "007"]),
)
ODD = st.one_of(
    st.sampled_from(
        ["1,5", "1.234,5", "1 000", "1\u00a0000", "1_000", "0x1A", "True", "\u0661", "1e400", "--1", ".", "e5"]
    ),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=4),
)


def content_or_message(path: Path, numbers: tuple[str, ...] = NUMBERS) -> tuple[dict[str, list] | None, str]:
    """What is read, or the one line that refuses it."""
    try:
        table = open_table(path)
        missing = {"who", *numbers} - set(table.columns)
        return ({} if missing or table.unfit(numbers) else content(table, numbers=numbers)), ""
    except InputError as error:
        message = str(error)
    return (None, message) if "\n" not in message else (None, "")


def assert_equals_pandas(path: Path, cells: list[str], separator: str, encoding: str) -> None:
    """Each cell is read as pandas reads it and as Python does, or the table is refused."""
    text = io.StringIO()
    csv.writer(text, delimiter=separator).writerows(
        [["who", "x"], *([f"p{row}", cell] for row, cell in enumerate(cells))]
    )
    path.write_bytes(text.getvalue().encode(encoding))
    found, message = content_or_message(path, numbers=("x",))
    if found is None:
        assert message.startswith(str(path))
        assert not all(cell in EMPTY_CELLS or is_float(cell) for cell in cells)
        return
    assert found["who"] == [f"p{row}" for row in range(len(cells))]
    decimal = "," if separator != "," and any("," in cell for cell in cells) else "."
    expected = [np.nan if cell in EMPTY_CELLS else float(cell.replace(decimal, ".")) for cell in cells]
    np.testing.assert_array_equal(found["x"], expected)
    plain = pd.read_csv(path, sep=separator, decimal=decimal, encoding=encoding, float_precision="round_trip")
    if pd.api.types.is_numeric_dtype(plain["x"]) and len(plain) == len(cells):
        np.testing.assert_array_equal(found["x"], plain["x"].to_numpy(float))


def is_float(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return cell.isascii() and "_" not in cell and cell == cell.strip(" ")


CELLS = st.one_of(st.lists(PLAIN, min_size=1, max_size=8), st.lists(PLAIN | ODD, min_size=1, max_size=8))
FORMS = {
    "cells": CELLS,
    "separator": st.sampled_from(",;\t"),
    "encoding": st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
}


@settings(max_examples=200, deadline=None)
@given(**FORMS)
def test_any_cells(tmp_path_factory: pytest.TempPathFactory, cells: list[str], separator: str, encoding: str) -> None:
    assert_equals_pandas(tmp_path_factory.getbasetemp() / "any.csv", cells, separator, encoding)


@pytest.mark.slow
@settings(max_examples=2000, deadline=None)
@given(**FORMS)
def test_many_cells(tmp_path_factory: pytest.TempPathFactory, cells: list[str], separator: str, encoding: str) -> None:
    assert_equals_pandas(tmp_path_factory.getbasetemp() / "many.csv", cells, separator, encoding)


@pytest.fixture(scope="module")
def whole_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A whole file of each kind."""
    folder = tmp_path_factory.mktemp("whole")
    FRAME.to_csv(folder / "t.csv", index=False, sep=";", decimal=",")
    FRAME.to_csv(folder / "t.csv.gz", index=False)
    FRAME.to_parquet(folder / "t.parquet")
    FRAME.to_excel(folder / "t.xlsx", index=False)
    pyreadstat.write_sav(FRAME, str(folder / "t.sav"))
    pyreadstat.write_dta(FRAME, str(folder / "t.dta"))
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def read_damaged(
    folder: Path, whole_files: dict[str, bytes], name: str, damage: list[tuple[int, int]], cut: int
) -> None:
    """Whatever bytes are changed or missing, a table is read or refused in one line."""
    damaged = bytearray(whole_files[name])
    for place, byte in damage:
        damaged[place % len(damaged)] = byte
    path = folder / name
    path.write_bytes(damaged[: len(damaged) - cut % len(damaged)])
    found, message = content_or_message(path)
    assert found is not None or message.startswith(str(path))


@pytest.mark.parametrize("first", ["sep=;", '"sep=;"'])
def test_a_first_line_for_excel_names_the_separator(tmp_path: Path, first: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f"{first}\r\nwho;hr;eda\r\na;60,5;1\r\nb;x;2\r\n", newline="")
    with pytest.raises(InputError, match="line 4, column 'hr': must be a number, got 'x'"):
        content(open_table(path))
    path.write_text(f"{first}\r\nwho;hr;eda\r\na;60,5;1\r\nb;61;2\r\n", newline="")
    table = open_table(path)
    assert content(table) == {"who": ["a", "b"], "hr": [60.5, 61], "eda": [1, 2]}
    path.write_text("sep=;\n", newline="")
    with pytest.raises(InputError, match="is empty; its first line must name the columns"):
        open_table(path)


def test_text_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    """A damaged Parquet file may have it, although the format forbids it."""
    FRAME.to_parquet(tmp_path / "t.parquet", compression=None)
    whole = (tmp_path / "t.parquet").read_bytes()
    (tmp_path / "t.parquet").write_bytes(whole.replace("ä".encode(), b"\xa4\xa4"))
    with pytest.raises(InputError, match="column 'who' must hold text in UTF-8; the file may be damaged"):
        content(open_table(tmp_path / "t.parquet"))


def test_a_name_of_a_column_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    FRAME.to_parquet(tmp_path / "t.parquet", compression=None)
    whole = (tmp_path / "t.parquet").read_bytes()
    (tmp_path / "t.parquet").write_bytes(whole.replace(b"eda", b"\xffda"))
    with pytest.raises(InputError, match=r"t\.parquet: is not a readable Parquet file"):
        open_table(tmp_path / "t.parquet")


@pytest.mark.parametrize("suffix", [".sav", ".dta"])
def test_a_header_with_more_rows_than_the_file_can_hold(tmp_path: Path, suffix: str) -> None:
    """The reader of the file would reserve memory for all of them."""
    path = tmp_path / f"t{suffix}"
    (pyreadstat.write_sav if suffix == ".sav" else pyreadstat.write_dta)(FRAME, str(path))
    whole = path.read_bytes()
    place = 80 if suffix == ".sav" else whole.index(b"<N>") + 3
    assert whole[place : place + 4] == (3).to_bytes(4, "little")
    path.write_bytes(whole[:place] + (0x0FFF_FFFF).to_bytes(4, "little") + whole[place + 4 :])
    with pytest.raises(InputError, match="says 268,435,455 rows, more than a file of its size can hold"):
        open_table(path)


def write_sheet(path: Path, last: str) -> None:
    book = openpyxl.Workbook()
    for row in (["who", "hr", "eda"], ["a", 1, 2], ["b", 3, 4]):
        book.active.append(row)
    book.active["XFD1048576"] = " "
    book.save(path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text.replace(b'r="1048576"', b'r="%s"' % last.encode()))


def test_a_cell_in_the_last_row_and_column_does_not_fill_the_memory(tmp_path: Path) -> None:
    write_sheet(tmp_path / "t.xlsx", "1048576")
    found = content(open_table(tmp_path / "t.xlsx"))
    assert found["who"] == ["a", "b", ""]


def test_a_row_beyond_the_last_of_excel_is_refused(tmp_path: Path) -> None:
    write_sheet(tmp_path / "t.xlsx", "999999999999")
    with pytest.raises(InputError, match=r"is not a readable Excel file \(more than 1,048,576 rows\)"):
        open_table(tmp_path / "t.xlsx")


DAMAGE = {
    "name": st.sampled_from(["t.csv", "t.csv.gz", "t.parquet", "t.xlsx", "t.sav", "t.dta"]),
    "damage": st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), max_size=4),
    "cut": st.just(0) | st.integers(0, 1 << 20),
}


@settings(max_examples=120, deadline=None)
@given(**DAMAGE)
def test_damaged_files(
    tmp_path_factory: pytest.TempPathFactory, whole_files: dict[str, bytes], name: str, damage: list, cut: int
) -> None:
    read_damaged(tmp_path_factory.getbasetemp(), whole_files, name, damage, cut)


@pytest.mark.slow
@settings(max_examples=2000, deadline=None)
@given(**DAMAGE)
def test_many_damaged_files(
    tmp_path_factory: pytest.TempPathFactory, whole_files: dict[str, bytes], name: str, damage: list, cut: int
) -> None:
    read_damaged(tmp_path_factory.getbasetemp(), whole_files, name, damage, cut)
