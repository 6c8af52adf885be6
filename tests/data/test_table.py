"""A dataset from a table: a round trip, which column is what, and every way in which a table can be wrong."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helo.data.__main__ import main
from helo.data.dataset import Dataset
from helo.data.directory import read_dataset
from helo.data.simulated import simulate
from helo.data.table import ModalityPattern, TableColumns, parse_modality, read_table
from helo.errors import InputError

DATASET = simulate(subjects=3, clips=2, windows=2)
MODALITIES = [
    "ecg=physiological:ecg_*:4",
    "eda=physiological:eda_?",
    "resp=physiological:resp_0,resp_1,resp_2",
    "motion=behavioural:mot*:6",
]
WORDS = ["--subject", "subject", "--group", "group", "--emotions", "label_*", "--modality", *MODALITIES]


def frame(dataset: Dataset = DATASET) -> pd.DataFrame:
    """The dataset as a table that another program might write."""
    columns: dict[str, Any] = {"subject": dataset.subjects, "group": dataset.groups}
    columns |= {name: dataset.features[:, i] for i, name in enumerate(dataset.schema.features)}
    columns |= {name: dataset.labels[:, i] for i, name in enumerate(dataset.schema.emotions.values())}
    return pd.DataFrame(columns)


def save(table: pd.DataFrame, path: Path) -> Path:
    if path.suffix == ".parquet":
        table.to_parquet(path, index=False)
    else:
        table.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
    return path


def read(path: Path, **others: Any) -> Dataset:
    options = {name: others.pop(name) for name in ("name", "log") if name in others}
    columns: dict[str, Any] = {"subject": "subject", "group": "group", "emotions": ["label_*"]}
    columns |= {"modalities": [parse_modality(text) for text in MODALITIES]} | others
    return read_table(path, TableColumns(**columns), **options)


# --- what is read -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.tsv", "t.parquet", "my.tsv.csv", "T.CSV"])
def test_round_trip(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = save(frame(), tmp_path / name), tmp_path / "out"
    assert main(["table", str(path), *WORDS, "--out", str(out)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"next: python -m helo.data check {out}"
    back = read_dataset(out)
    for what in ("subjects", "groups", "features", "labels"):
        np.testing.assert_array_equal(getattr(back, what), getattr(DATASET, what))
    assert back.schema.modalities == DATASET.schema.modalities
    assert list(back.schema.emotions) == [f"label_{emotion}" for emotion in DATASET.emotions]
    assert back.schema.name == name.split(".")[0]


@pytest.mark.parametrize(
    ("modalities", "role", "main_name"),
    [(MODALITIES[:3], "physiological", "ecg"), (MODALITIES[3:], "behavioural", None)],
)
def test_a_table_with_one_kind_of_signal(
    tmp_path: Path, modalities: list[str], role: str, main_name: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = save(frame(), tmp_path / "t.csv"), tmp_path / "out"
    assert main(["table", str(path), *WORDS[:-4], *modalities, "--out", str(out)]) == 0
    schema = read_dataset(out).schema
    assert schema.roles == (role,)
    assert (schema.main and schema.main.name) == main_name
    capsys.readouterr()
    assert main(["check", str(out)]) == 0
    assert f"note: one kind of signal: all modalities are {role}, so transport is off" in capsys.readouterr().out


def test_a_main_modality_needs_physiological_ones(tmp_path: Path) -> None:
    path = save(frame(), tmp_path / "t.csv")
    with pytest.raises(InputError, match=r"--main must be a physiological modality \(there is none\), got 'motion'"):
        read(path, modalities=[parse_modality(MODALITIES[3])], main="motion")


@settings(max_examples=25, deadline=None)
@given(
    values=st.lists(st.floats(width=32, allow_infinity=False, allow_nan=True), min_size=4, max_size=4),
    shares=st.lists(st.floats(0.01, 1.0), min_size=2, max_size=2),
    suffix=st.sampled_from(["csv", "tsv", "parquet"]),
)
def test_any_numbers_come_back(
    tmp_path_factory: pytest.TempPathFactory, values: list[float], shares: list[float], suffix: str
) -> None:
    rows = np.array([values, values[::-1]], dtype=np.float32)
    rows[1, 0] = 1.0
    rows[0, 3] = 2.0  # a modality must not be missing in all windows
    made = pd.DataFrame(rows, columns=["a", "b", "c", "d"])
    made["who"] = ["x", "y"]
    made["joy"], made["fear"] = [shares[0], 1.0], [shares[1], 0.0]
    path = save(made, tmp_path_factory.mktemp("any") / f"t.{suffix}")
    modalities = [
        ModalityPattern("p", "physiological", ("a", "b"), 1),
        ModalityPattern("q", "behavioural", ("[cd]",), 1),
    ]
    dataset = read_table(path, TableColumns(subject="who", emotions=["joy", "fear"], modalities=modalities))
    np.testing.assert_array_equal(dataset.features, rows)
    expected = np.array([[shares[0], shares[1]], [1.0, 0.0]])
    np.testing.assert_allclose(dataset.labels, expected / expected.sum(axis=1, keepdims=True), rtol=1e-14)


def test_ratings_are_divided_by_their_sum_and_that_is_said(tmp_path: Path) -> None:
    ratings = frame()
    labels = [column for column in ratings if column.startswith("label_")]
    ratings.loc[3, labels] = [5, 0, 0, 0, 0, 5]
    lines_logged: list[str] = []
    dataset = read(save(ratings, tmp_path / "t.csv"), log=lines_logged.append)
    np.testing.assert_array_equal(dataset.labels[3], [0.5, 0, 0, 0, 0, 0.5])
    np.testing.assert_array_equal(dataset.labels[:3], DATASET.labels[:3])
    assert lines_logged[4:] == ["labels of 1 of 12 rows do not sum to 1 (ratings?): each row is divided by its sum"]


def test_columns_not_used_are_named(tmp_path: Path) -> None:
    lines_logged: list[str] = []
    path = save(frame().assign(note="x", start=1.5), tmp_path / "t.csv")
    dataset = read(path, group=None, log=lines_logged.append)
    assert lines_logged[0] == "ecg (8 columns, 4 tokens): ecg_0, ecg_1, ecg_2, ecg_3, ecg_4, ecg_5 and 2 more"
    assert lines_logged[4:] == ["not used: group, note, start"]
    assert dataset.groups is None


def test_modalities_take_columns_in_the_order_of_the_file(tmp_path: Path) -> None:
    reordered = frame()[["label_joy", "ecg_1", "subject", "ecg_0", "eda_2", "motion_0", "label_fear"]]
    dataset = read_table(
        save(reordered, tmp_path / "t.csv"),
        TableColumns(
            subject="subject",
            emotions=["fear=label_fear,joy=label_joy"],
            modalities=[parse_modality("m=behavioural:motion_0"), parse_modality("p=physiological:eda*,ecg_0,ecg_*")],
        ),
    )
    assert dataset.schema.features == ("motion_0", "ecg_1", "ecg_0", "eda_2")
    assert dataset.schema.emotions == {"fear": "label_fear", "joy": "label_joy"}
    assert dataset.schema.main.name == "p"
    assert dataset.schema.main.tokens == 3


def test_main_and_name(tmp_path: Path) -> None:
    dataset = read(save(frame(), tmp_path / "t.csv"), main="eda", name="mine")
    assert dataset.schema.main.name == "eda"
    assert dataset.schema.name == "mine"


def test_names_that_a_dataset_keeps_for_itself(tmp_path: Path) -> None:
    renamed = frame().rename(columns={"subject": "who", "group": "clip", "ecg_0": "subject", "label_joy": "group"})
    renamed["feature_subject"] = "taken"
    path = save(renamed, tmp_path / "t.csv")
    modalities = [parse_modality("e=physiological:subject,ecg_1:2"), parse_modality("m=behavioural:motion*")]
    dataset = read_table(
        path, TableColumns(subject="who", group="clip", emotions=["group", "label_*"], modalities=modalities)
    )
    assert dataset.schema.features[0] == "feature_feature_subject"
    assert dataset.schema.emotions["group"] == "label_group"
    np.testing.assert_array_equal(dataset.features[:, 0], DATASET.features[:, 0])
    np.testing.assert_array_equal(dataset.labels[:, 0], DATASET.labels[:, 0])


def test_names_that_mean_something_in_patterns(tmp_path: Path) -> None:
    renamed = frame().rename(columns={"ecg_0": "HR[bpm]", "ecg_1": "a:b", "label_joy": "x=1,y"})
    dataset = read_table(
        save(renamed, tmp_path / "t.csv"),
        TableColumns(
            subject="subject",
            emotions=["x=1,y", "label_fear"],
            modalities=[parse_modality("e=physiological:HR[bpm],a:b:2"), parse_modality("m=behavioural:motion*")],
        ),
    )
    assert dataset.schema.features[:2] == ("HR[bpm]", "a:b")
    assert dataset.emotions == ("x=1,y", "label_fear")


def test_subjects_may_be_numbers_or_called_na(tmp_path: Path) -> None:
    assert read(save(frame().assign(subject=[1, 2, 10] * 4), tmp_path / "t.parquet")).subject_names == ("1", "2", "10")
    assert read(save(frame().assign(subject=["NA", "x", "nan"] * 4), tmp_path / "t.csv")).subject_names == (
        "NA",
        "nan",
        "x",
    )
    kinds = frame().assign(subject=pd.Categorical(["a", "b", "c"] * 4), ecg_0=True)
    dataset = read(save(kinds, tmp_path / "u.parquet"))
    assert dataset.subject_names == ("a", "b", "c")
    assert (dataset.features[:, 0] == 1).all()


def test_a_byte_order_mark_and_empty_lines(tmp_path: Path) -> None:
    text = save(frame(), tmp_path / "t.csv").read_text()
    (tmp_path / "t.csv").write_text("\ufeff" + text.replace("\n", "\r\n\r\n"), encoding="utf-8", newline="")
    np.testing.assert_array_equal(read(tmp_path / "t.csv").features, DATASET.features)


def test_many_columns_need_a_number_of_tokens(tmp_path: Path) -> None:
    wide = pd.DataFrame(np.random.default_rng(0).random((4, 70)), columns=[f"v{i}" for i in range(70)])
    wide = wide.assign(who=list("aabb"), joy=1, fear=1, hr=[1, 2, 3, 4])
    path = save(wide, tmp_path / "t.csv")
    heart = parse_modality("heart=physiological:hr")
    with pytest.raises(InputError, match="must end in :TOKENS, the number of tokens that its 70 columns make"):
        read_table(
            path,
            TableColumns(
                subject="who", emotions=["joy", "fear"], modalities=[heart, parse_modality("v=behavioural:v*")]
            ),
        )
    dataset = read_table(
        path,
        TableColumns(subject="who", emotions=["joy", "fear"], modalities=[heart, parse_modality("v=behavioural:v*:7")]),
    )
    assert dataset.schema.behavioural[0].token_features == 10


# --- labels, persons and columns that tables really have ------------------------------------------


def test_a_column_of_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    classes = ["calm", "fear", None, "calm"] * 3
    path, out = save(frame().assign(felt=classes), tmp_path / "t.csv"), tmp_path / "out"
    words = [*WORDS[:4], "--one-hot", "felt", *WORDS[6:], "--out", str(out)]
    assert main(["table", str(path), *words]) == 2
    assert "line 4, column 'felt': must have a class, is empty (3 of 12 rows lack a class" in capsys.readouterr().err
    assert main(["table", str(path), *words, "--drop-unrated"]) == 0
    printed = capsys.readouterr().out
    assert "classes of 'felt' (windows): calm (6), fear (3)" in printed
    assert "left out of 12 rows: 3 that lack a rating" in printed
    dataset = read_dataset(out)
    assert dataset.schema.emotions == {"calm": "label_calm", "fear": "label_fear"}
    np.testing.assert_array_equal(dataset.labels, [[1, 0], [0, 1], [1, 0]] * 3)
    kept = [row for row in range(12) if row % 4 != 2]
    np.testing.assert_array_equal(dataset.features, DATASET.features[kept])
    assert main(["check", str(out)]) == 0
    checked = capsys.readouterr().out
    assert "note: one-hot labels: every label is a single class" in checked
    assert "mean entropy of a label: 0.000 nats, 0% of that" in checked


def test_options_of_ratings_do_not_go_with_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*WORDS[:4], "--one-hot", "group", *WORDS[6:], "--scale", "1:9"]
    message = refusal(tmp_path, capsys, save(frame(), tmp_path / "t.csv"), words)
    assert "--scale applies to ratings, so that it does not go with --one-hot" in message


def test_emotions_that_are_given_again_are_added(tmp_path: Path) -> None:
    path, out = save(frame(), tmp_path / "t.csv"), tmp_path / "out"
    words = [*WORDS[:4], "--emotions", "joy=label_joy", "--emotions", "fear=label_fear", *WORDS[6:]]
    assert main(["table", str(path), *words, "--out", str(out)]) == 0
    assert read_dataset(out).emotions == ("joy", "fear")


def test_a_pattern_leaves_out_what_another_one_excludes(tmp_path: Path) -> None:
    modalities = [parse_modality("a=physiological:*,!subject,!group,!label_*,!mot*:1"), parse_modality(MODALITIES[3])]
    dataset = read(save(frame(), tmp_path / "t.csv"), modalities=modalities)
    assert dataset.schema.main.columns == tuple(c for c in DATASET.schema.features if not c.startswith("mot"))


def test_one_person_under_several_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["S1_ses1", "S1_ses2", "S2_ses1", "S3_ses1"] * 3
    path, out = save(frame().assign(subject=names), tmp_path / "t.csv"), tmp_path / "out"
    assert main(["table", str(path), *WORDS, "--out", str(out)]) == 0
    assert (
        "may belong to one person, who is then in training and test data at once: S1_ses1 and S1_ses2; helo.data "
        in (capsys.readouterr().out)
    )
    merged = [*WORDS, "--subject-pattern", "(S[0-9]+)_", "--out", str(tmp_path / "merged")]
    assert main(["table", str(path), *merged]) == 0
    assert "one person" not in capsys.readouterr().out
    assert read_dataset(tmp_path / "merged").subject_names == ("S1", "S2", "S3")


def test_too_few_subjects_for_a_search_are_said_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = save(frame().assign(subject=["a", "b"] * 6), tmp_path / "t.csv")
    assert main(["table", str(path), *WORDS, "--out", str(tmp_path / "out")]) == 0
    assert "warning: 2 subjects; at least 3 are needed" in capsys.readouterr().out


# --- what is refused, through the command -------------------------------------------------------


def test_headings_with_line_breaks_name_emotions(tmp_path: Path) -> None:
    """Spreadsheets have them, and names of emotions must not."""
    path = save(frame().rename(columns={"label_joy": "label\njoy\u200b"}), tmp_path / "t.csv")
    data = read(path, emotions=["label*"])
    assert data.emotions[0] == "label joy"
    assert data.schema.emotions["label joy"] == "label\njoy\u200b"
    np.testing.assert_array_equal(data.labels, DATASET.labels)


@pytest.mark.parametrize("name", ["P01\0", "\x1b[31mP01", "P\u200b01"])
def test_names_with_letters_that_act_or_hide(tmp_path: Path, name: str) -> None:
    for column in ("subject", "group"):
        made = frame()
        made.loc[0, column] = name
        with pytest.raises(InputError, match=rf"{column}\.csv: line 2, column '{column}': a name must not have U\+"):
            read(save(made, tmp_path / f"{column}.csv"))


def spoilt(change: Callable[[pd.DataFrame], pd.DataFrame | None]) -> Callable[[Path], Path]:
    """A CSV file of a changed table."""

    def make(folder: Path) -> Path:
        made = frame()
        changed = change(made)
        return save(made if changed is None else changed, folder / "t.csv")

    return make


def parquet(change: Callable[[pd.DataFrame], pd.DataFrame | None]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        made = frame()
        changed = change(made)
        return save(made if changed is None else changed, folder / "t.parquet")

    return make


def cell(row: int, column: str, value: object) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def change(made: pd.DataFrame) -> pd.DataFrame:
        made[column] = made[column].astype(object)
        made.loc[row, column] = value
        return made

    return change


def text(name: str, content: str | bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return make


def lines(change: Callable[[list[str]], Any]) -> Callable[[Path], Path]:
    """A CSV file with its lines changed."""

    def make(folder: Path) -> Path:
        path = save(frame(), folder / "t.csv")
        rows = path.read_text().splitlines()
        change(rows)
        path.write_text("\n".join(rows) + "\n")
        return path

    return make


def no_labels(made: pd.DataFrame) -> None:
    made.loc[4, [column for column in made if column.startswith("label_")]] = 0


def no_signals(made: pd.DataFrame) -> None:
    made.loc[4, [*DATASET.schema.features]] = np.nan


def with_break(rows: list[str]) -> None:
    """A cell with a line break in it, an empty line, and then a word among the numbers."""
    rows[0] += ",note"
    rows[1:] = [f"{row},x" for row in rows[1:]]
    rows[2] = rows[2].removesuffix("x") + '"two\nlines"'
    rows.insert(3, "")
    rows[5] = rows[5].replace("clip 2,", "clip 2,high,", 1).rsplit(",", 1)[0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda f: f / "nowhere.csv", "nowhere.csv: no such file"),
        (lambda f: f, "must end in .csv, .csv.gz, .tsv, .tsv.gz, .txt, .parquet, .xlsx, .sav, .dta"),
        (text("t.csv", ""), "t.csv: is empty"),
        (text("t.xls", ""), "t.xls: must end in .csv"),
        (
            lines(lambda rows: rows.insert(0, "# exported in 2024, by hand")),
            "there is no column 'subject'; the first line names '# exported in 2024', ' by hand'",
        ),
        (text("t.csv", b"subject,group\n\xff\xfe,x\n"), "t.csv: "),
        (text("t.csv.gz", b"subject,group\n"), "cannot be read as a table of UTF-8 or UTF-16 text (Not a gzipped file"),
        (text("t.csv.gz", gzip.compress(b"subject,group\n" * 9000)[:40]), "t.csv.gz: cannot be read as a table"),
        (text("t.parquet", "subject,group\n"), "t.parquet: is not a readable Parquet file"),
        (lines(lambda rows: rows.__delitem__(slice(1, None))), "t.csv: must hold at least one row"),
        (lines(lambda rows: rows.__setitem__(3, rows[3] + ",9")), "line 4: must have 28 cells, like the first line, g"),
        (lines(lambda rows: rows.__setitem__(0, rows[0].replace("ecg_1", "ecg_0"))), "'ecg_0' is repeated"),
        (lines(with_break), "line 7, column 'ecg_0': must be a number, got 'high'"),
        (spoilt(cell(5, "eda_1", "high")), "t.csv: line 7, column 'eda_1': must be a number, got 'high'"),
        (spoilt(cell(5, "eda_1", "0,5")), "line 7, column 'eda_1': must be a number, got '0,5'"),
        (spoilt(cell(5, "eda_1", "inf")), "line 7, column 'eda_1': must be finite (float32), got inf"),
        (spoilt(cell(5, "eda_1", "1e300")), "line 7, column 'eda_1': must be finite"),
        (spoilt(cell(5, "label_joy", None)), "line 7, column 'label_joy': must have a label, is empty"),
        (spoilt(cell(5, "label_joy", -0.5)), "line 7, column 'label_joy': must not be negative, got -0.5"),
        (spoilt(cell(5, "label_joy", "much")), "line 7, column 'label_joy': must be a number, got 'much'"),
        (spoilt(cell(5, "subject", None)), "line 7, column 'subject': must name the subject, but is empty"),
        (spoilt(cell(5, "group", " ")), "line 7, column 'group': must name the group, but is empty"),
        (spoilt(cell(5, "subject", "p01")), "subjects 'P01' and 'p01' differ in spaces or case only"),
        (
            spoilt(no_labels),
            "line 6: the emotions must sum to more than 0 (1 rows have nothing but 0); remove them, or add --drop-unr",
        ),
        (spoilt(no_signals), "line 6: a window must have at least one signal"),
        (spoilt(lambda t: t.assign(subject="P1")), "needs at least 2 subjects, got 1"),
        (spoilt(lambda t: t.rename(columns={"subject": "Subject"})), "no column 'subject' (did you mean 'Subject'?)"),
        (spoilt(lambda t: t.drop(columns="group")), "--group: there is no column 'group'"),
        (spoilt(lambda t: t.drop(columns="resp_1")), "--modality resp: there is no column 'resp_1' (did you"),
        (spoilt(lambda t: t.rename(columns=lambda c: c.replace("mot", "Mot"))), "motion: no column matches 'mot*'"),
        (parquet(lambda t: t.assign(eda_1="high")), "t.parquet: column 'eda_1' must hold numbers, got"),
        (parquet(lambda t: t.assign(eda_1=np.inf)), "t.parquet: row 0 (counted from 0), column 'eda_1': must be f"),
        (parquet(cell(5, "subject", None)), "row 5 (counted from 0), column 'subject': must name the subject"),
        (parquet(lambda t: t.assign(subject=[["a"]] * 12)), "column 'subject' must hold names, got list<"),
        (parquet(no_labels), "row 4 (counted from 0): the emotions must sum to more than 0"),
    ],
)
def test_malformed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], make: Callable[[Path], Path], message: str
) -> None:
    assert message in refusal(tmp_path, capsys, make(tmp_path), WORDS)


def refusal(tmp_path: Path, capsys: pytest.CaptureFixture[str], path: Path, words: list[str]) -> str:
    """The one line of a command that leaves nothing behind."""
    before = sorted(tmp_path.rglob("*"))
    assert main(["table", str(path), *words, "--out", str(tmp_path / "out")]) == 2
    out, err = capsys.readouterr()
    (line,) = err.splitlines()
    assert line.startswith("helo-data: error: ")
    assert out == ""
    assert sorted(tmp_path.rglob("*")) == before
    return line


def replaced(old: str, new: str) -> list[str]:
    assert old in WORDS
    return [new if word == old else word for word in WORDS]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (replaced(MODALITIES[0], "ecg"), "--modality must be NAME=ROLE:PATTERN,PATTERN,…[:TOKENS], got 'ecg'"),
        (replaced(MODALITIES[0], "ecg=physiological"), "--modality must be NAME=ROLE"),
        (replaced(MODALITIES[0], "ecg=physiologic:ecg_*"), "'physiologic' (did you mean 'physiological'?)"),
        (replaced(MODALITIES[0], "ecg=physiological:ecg_*,"), "a pattern is empty in 'ecg_*,'"),
        (
            replaced(MODALITIES[0], "ecg=physiological:ecg_*:3"),
            "t.csv: modality 'ecg': tokens must divide its 8 columns, got 3; 2 and 4 would",
        ),
        (replaced(MODALITIES[0], "ecg=physiological:ecg_*:0"), "tokens must divide its 8 columns, got 0"),
        (replaced(MODALITIES[0], "eda=physiological:ecg_*:4"), "modalities must have different names"),
        (replaced(MODALITIES[0], "ecg=physiological:e*"), "column 'eda_0' must have one use, but --modality ecg and"),
        (replaced(MODALITIES[0], "ecg=physiological:ecg*,label_joy"), "'label_joy' must have one use, but --em"),
        (replaced(MODALITIES[0], "ecg=physiological:ecg*,group"), "'group' must have one use, but --group and"),
        (
            replaced(MODALITIES[0], "ecg=physiological:*"),
            "'subject' must have one use, but --subject and --modality ecg",
        ),
        (replaced(MODALITIES[0], "ecg=physiological:*,!subject"), "add '!group' to the patterns of --modality ecg"),
        ([*WORDS, "--scale", "9:1"], "--scale must be LOW:HIGH, such as 1:9, got '9:1'"),
        ([*WORDS, "--subject-pattern", "("], "--subject-pattern must be a regular expression, got '('"),
        (
            [*WORDS, "--subject-pattern", "P([0-9])$"],
            "line 2, column 'subject': --subject-pattern finds no name in 'P01",
        ),
        (replaced("label_*", "label_x"), "--emotions: there is no column 'label_x' (did you mean 'label_"),
        (replaced("label_*", "joy=label_jo"), "there is no column 'label_jo' (did you mean 'label_joy'?)"),
        (replaced("label_*", "=label_joy"), "an emotion must have a name"),
        (replaced("label_*", "label_joy"), "if it holds the class of each window, use --one-hot label_joy"),
        (replaced("label_*", "label_joy,a=label_joy"), "each may be named once, but 'a=label_joy' names 'a' again"),
        ([*WORDS, "--main", "motion"], "--main must be a physiological modality (ecg, eda, resp), got 'motion'"),
        ([*WORDS, "--main", "ecgg"], "got 'ecgg' (did you mean 'ecg'?)"),
    ],
)
def test_wrong_options(tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str) -> None:
    assert message in refusal(tmp_path, capsys, save(frame(), tmp_path / "t.csv"), words)


@pytest.mark.parametrize(
    ("words", "tokens", "patterns"),
    [
        ("a=behavioural:x*", None, ("x*",)),
        ("a=behavioural: x , y :3", 3, ("x", "y")),
        ("a=behavioural:b:c", None, ("b:c",)),
    ],
)
def test_modalities_are_taken_apart(words: str, tokens: int | None, patterns: tuple[str, ...]) -> None:
    assert parse_modality(words) == ModalityPattern("a", "behavioural", patterns, tokens)
