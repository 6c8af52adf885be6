"""``windows.csv``: labels and clocks, on files made here and on the real data if present."""

from __future__ import annotations

import itertools
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from helo.data.dataset import Dataset
from helo.data.wesad import CONDITIONS, MODALITIES, parse_items, read_feature_table
from helo.errors import InputError

Lines = Callable[..., list[str]]
Write = Callable[..., Path]

ORDER = ("Base", "TSST", "Medi 1", "Fun", "Medi 2")
START_S = (120, 485, 870, 1259, 3620)
END_S = (360, 735, 1120, 1500, 3860)
OFFSET = 50.25
"""By how much the questionnaire's clock is ahead of the recording's in the files written here."""


def windows_table(subjects: dict[int, tuple[str, ...]]) -> pd.DataFrame:
    """Windows that fit the questionnaires: 30 s every 15 s, from START until 20 s before END."""
    rng = np.random.default_rng(5)
    columns = [column for modality in MODALITIES for column in modality.columns]
    rows = []
    for number, order in subjects.items():
        for condition, start, end in zip(order, START_S, END_S, strict=True):
            for begin in np.arange(start - OFFSET, end - OFFSET - 20 - 30 + 1e-9, 15.0):
                features = dict(zip(columns, rng.normal(size=len(columns)), strict=True))
                features |= {"Chest_SCR_Count": 3, "Wrist_SCR_Count": 4}
                rows.append(
                    {"Subject_ID": number, "condition": condition, "start_s": begin, "end_s": begin + 30} | features
                )
    return pd.DataFrame(rows)


@pytest.fixture
def small(tmp_path: Path, quest_lines: Lines, write_quest: Write) -> Path:
    """A directory of two subjects who went through the conditions in different orders."""
    orders: dict[int, tuple[str, ...]] = {2: ORDER, 14: ("Base", "Fun", "Medi 2", "TSST", "Medi 1")}
    for number, order in orders.items():
        write_quest(tmp_path, quest_lines(f"S{number}", order), f"S{number}")
    windows_table(orders).to_csv(tmp_path / "windows.csv", index=False)
    return tmp_path


def edit_windows(folder: Path, **columns: object) -> pd.DataFrame:
    table = pd.read_csv(folder / "windows.csv").assign(**columns)
    table.to_csv(folder / "windows.csv", index=False)
    return table


# --- the dataset, on files written here ---------------------------------------------------------


def test_label_of_a_window_is_its_reports_share_of_answers(small: Path) -> None:
    dataset = read_feature_table(small, ("Happy", "Sad"))
    assert dataset.subject_names == ("S2", "S14")
    assert dataset.groups is not None
    assert set(dataset.groups) == set(CONDITIONS)
    # Medi 1 came third for S2 and fifth for S14; the k-th report answers k to Happy and 1 to Sad.
    for subject, condition, happy in (("S2", "Medi 1", 3), ("S14", "Medi 1", 5), ("S2", "TSST", 2)):
        labels = dataset.labels[(dataset.subjects == subject) & (dataset.groups == condition)]
        assert len(labels) > 1
        np.testing.assert_allclose(labels, [[happy / (happy + 1), 1 / (happy + 1)]] * len(labels))


def test_schema_has_46_features_in_7_modalities(small: Path) -> None:
    schema = read_feature_table(small).schema
    tokens = {modality.name: modality.tokens for modality in schema.modalities}
    physiological = {"ecg": 7, "emg": 5, "chest_eda": 5, "wrist_eda": 5, "bvp": 4, "temp": 3}
    assert tokens == physiological | {"acc": 17}
    assert len(set(schema.features)) == 46
    assert all(modality.token_features == 1 for modality in schema.modalities)
    assert schema.main.name == "ecg"
    assert [modality.name for modality in schema.behavioural] == ["acc"]
    assert schema.emotions["Happy"] == "label_Happy"
    assert "research" in schema.licence
    assert "Schmidt" in schema.source


def test_name_tells_the_items(small: Path) -> None:
    assert read_feature_table(small).schema.name == "wesad-panas23"
    assert read_feature_table(small, parse_items("panas9")).schema.name == "wesad-panas9"
    assert read_feature_table(small, ("Happy", "Sad")).schema.name == "wesad-custom2"


def test_features_are_those_of_the_table(small: Path) -> None:
    table = pd.read_csv(small / "windows.csv")
    dataset = read_feature_table(small)
    np.testing.assert_array_equal(dataset.features, table[list(dataset.schema.features)].to_numpy(np.float32))
    assert list(dataset.subjects) == [f"S{number}" for number in table["Subject_ID"]]


@pytest.mark.parametrize("part", ["Chest", "Wrist"])
def test_amplitude_of_no_response_is_zero(small: Path, part: str) -> None:
    table = pd.read_csv(small / "windows.csv")
    amplitude, count = f"{part}_SCR_Amplitude_Mean", f"{part}_SCR_Count"
    table.loc[7, [amplitude, count]] = [np.nan, 0]
    table.to_csv(small / "windows.csv", index=False)
    dataset = read_feature_table(small)
    column = dataset.schema.features.index(amplitude)
    assert dataset.features[7, column] == 0
    assert np.count_nonzero(dataset.features[:, column] == 0) == 1

    table.loc[7, count] = 1
    table.to_csv(small / "windows.csv", index=False)
    assert np.flatnonzero(np.isnan(read_feature_table(small).features[:, column])).tolist() == [7]


def test_a_subject_may_lack_windows_of_a_condition(small: Path) -> None:
    table = pd.read_csv(small / "windows.csv")
    table[(table["Subject_ID"] != 2) | (table["condition"] != "Fun")].to_csv(small / "windows.csv", index=False)
    dataset = read_feature_table(small)
    assert dataset.groups is not None
    assert "Fun" not in dataset.groups[dataset.subjects == "S2"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"condition": "Medi1"}, "unknown condition 'Medi1' (did you mean 'Medi 1'?)"),
        ({"condition": np.nan}, "unknown condition 'nan'"),
        ({"Subject_ID": "two"}, "Subject_ID must be the number of a subject (2 is S2), got 'two'"),
        ({"Subject_ID": np.nan}, "got 'nan'"),
        ({"Subject_ID": 3}, "S3_quest.csv: is missing; windows.csv has windows of subject S3"),
        ({"SDNN": "fast"}, "column 'SDNN' must hold numbers only"),
        ({"start_s": np.nan}, "start_s and end_s must be finite numbers"),
        ({"SDNN": np.inf}, "features must be finite numbers"),
    ],
)
def test_wrong_tables_are_refused(small: Path, changes: dict[str, object], message: str) -> None:
    edit_windows(small, **changes)
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        read_feature_table(small)
    assert "\n" not in str(caught.value)


def test_missing_files_and_columns_are_named(small: Path) -> None:
    with pytest.raises(InputError, match=r"elsewhere: is no directory \(give the official download, WESAD.zip or"):
        read_feature_table(small / "elsewhere")
    with pytest.raises(InputError, match=r"windows\.csv is missing from the WESAD directory"):
        read_feature_table(small / "S2")
    table = pd.read_csv(small / "windows.csv")
    table.rename(columns={"SDNN": "SDNN_"}).to_csv(small / "windows.csv", index=False)
    with pytest.raises(InputError, match=r"column 'SDNN' is missing \(did you mean 'SDNN_'\?\)"):
        read_feature_table(small)
    table.head(0).to_csv(small / "windows.csv", index=False)
    with pytest.raises(InputError, match="holds no windows"):
        read_feature_table(small)
    for content in (b"", b"a,b\n1,2,3\n1\n4,5,6,7\n", b"\xff\xfe\xff", b'"'):
        (small / "windows.csv").write_bytes(content)
        with pytest.raises(InputError, match=r"windows\.csv: ") as caught:
            read_feature_table(small)
        assert "\n" not in str(caught.value)


def test_the_questionnaire_of_someone_else_is_refused(small: Path) -> None:
    shutil.copyfile(small / "S14" / "S14_quest.csv", small / "S2" / "S2_quest.csv")
    with pytest.raises(InputError, match="must be the questionnaire of S2, but is that of S14"):
        read_feature_table(small)


def test_wrong_items_are_refused_before_any_file_is_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'Angry' is asked after TSST only"):
        read_feature_table(tmp_path / "nowhere", ("Happy", "Angry"))
    with pytest.raises(InputError, match="at least 2, got none"):
        read_feature_table(tmp_path / "nowhere", ())


# --- clocks -------------------------------------------------------------------------------------


@pytest.mark.parametrize("offset", [-1000.0, 0.0, 154.77])
def test_a_constant_offset_between_the_clocks_is_no_fault(small: Path, offset: float) -> None:
    expected = read_feature_table(small).labels
    table = pd.read_csv(small / "windows.csv")
    edit_windows(small, start_s=table["start_s"] + offset, end_s=table["end_s"] + offset)
    np.testing.assert_array_equal(read_feature_table(small).labels, expected)


@pytest.mark.parametrize(("shift", "fits"), [(-16, False), (-2, False), (14, True), (17, False)])
def test_windows_of_one_condition_off_its_time_are_refused(small: Path, shift: float, fits: bool) -> None:
    table = pd.read_csv(small / "windows.csv")
    one = (table["Subject_ID"] == 2) & (table["condition"] == "Medi 2")
    # 240 s hold windows until 20 s before END; those that would slip past that go, as they do in the data.
    table.loc[one, ["start_s", "end_s"]] += shift
    table = table[~one | (table["end_s"] + OFFSET <= END_S[ORDER.index("Medi 2")] - 20)]
    table.to_csv(small / "windows.csv", index=False)
    if fits:
        read_feature_table(small)
    else:
        with pytest.raises(InputError, match=f"subject S2, Medi 2: windows begin {shift} s after START"):
            read_feature_table(small)


def test_a_table_cut_short_is_refused(small: Path) -> None:
    pd.read_csv(small / "windows.csv").iloc[:-2].to_csv(small / "windows.csv", index=False)
    with pytest.raises(InputError, match=r"subject S14, Medi 1: .* end 60 s before END"):
        read_feature_table(small)


@pytest.mark.parametrize(("first", "second"), [*itertools.combinations(CONDITIONS, 2)])
def test_two_conditions_exchanged_in_order_are_refused(
    quest_lines: Lines, write_quest: Write, small: Path, first: str, second: str
) -> None:
    exchange = {first: second, second: first}
    order = tuple(exchange.get(condition, condition) for condition in ORDER)
    # The PANAS rows go along, so that it is the times which give it away, not the number of answers.
    write_quest(small, quest_lines("S2", order), "S2")
    with pytest.raises(InputError, match=f"subject S2, ({first}|{second}): windows begin"):
        read_feature_table(small)


# --- the real data ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real(wesad_folder: Path) -> Dataset:
    return read_feature_table(wesad_folder)


@pytest.fixture
def altered(wesad_folder: Path, tmp_path: Path) -> Path:
    """A copy of what `wesad` reads, to be altered."""
    shutil.copyfile(wesad_folder / "windows.csv", tmp_path / "windows.csv")
    for path in wesad_folder.glob("S*/S*_quest.csv"):
        (tmp_path / path.parent.name).mkdir()
        shutil.copyfile(path, tmp_path / path.parent.name / path.name)
    return tmp_path


def alter(folder: Path, subject: str, old: str, new: str) -> None:
    path = folder / subject / f"{subject}_quest.csv"
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


def test_real_windows_subjects_and_reports(real: Dataset) -> None:
    assert len(real) == 2870
    assert real.subject_names == tuple(f"S{number}" for number in range(2, 18) if number != 12)
    assert real.groups is not None
    assert len(set(zip(real.subjects, real.groups, strict=True))) == 75
    assert np.isfinite(real.features).all()
    column = real.schema.features.index("Wrist_SCR_Amplitude_Mean")
    assert np.count_nonzero(real.features[:, column] == 0) == 3


def test_real_clocks_betray_a_time_read_as_a_number(altered: Path) -> None:
    alter(altered, "S2", ";50.3;", ";50.03;")
    with pytest.raises(InputError, match=r"subject S2, TSST: .* end 8 s before END"):
        read_feature_table(altered)


def test_real_clocks_betray_a_wrong_order(altered: Path) -> None:
    alter(altered, "S14", "Medi 2;Fun;Medi 1", "Medi 1;Fun;Medi 2")
    with pytest.raises(InputError, match="subject S14, Medi 1: windows begin"):
        read_feature_table(altered)


# S13 and S14 are not among them: none of their ten times has lost a zero after the dot.
@pytest.mark.parametrize("number", [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 15, 16, 17])
def test_real_clocks_betray_times_all_read_as_numbers(altered: Path, number: int) -> None:
    path = altered / f"S{number}" / f"S{number}_quest.csv"
    lines = path.read_text().split("\n")
    for place in (2, 3):
        head, *cells = lines[place].split(";")
        lines[place] = ";".join([head, *(re.sub(r"\.(\d)$", r".0\1", cell) for cell in cells[:5]), *cells[5:]])
    path.write_text("\n".join(lines))
    with pytest.raises(InputError, match=rf"subject S{number}, .*: windows begin"):
        read_feature_table(altered)


def test_real_train_mean_scores_as_known(real: Dataset) -> None:
    """Chebyshev .0387 and KL .0703: leave one subject out, predict the mean label of the others' windows."""
    chebyshev, divergence = [], []
    for subject in real.subject_names:
        test = real.subjects == subject
        predicted = real.labels[~test].mean(axis=0)
        chebyshev.append(np.abs(real.labels[test] - predicted).max(axis=1).mean())
        divergence.append((real.labels[test] * np.log(real.labels[test] / predicted)).sum(axis=1).mean())
    assert np.mean(chebyshev) == pytest.approx(0.0387, rel=0.01)
    assert np.mean(divergence) == pytest.approx(0.0703, rel=0.01)
