"""WESAD: 15 people, five conditions, chest and wrist signals, and what each person said they felt.

Source: Schmidt, Reiss, Duerichen, Marberger, Van Laerhoven, "Introducing WESAD, a multimodal dataset for
wearable stress and affect detection", ICMI 2018, doi:10.1145/3242969.3242985. For research use only.
Read here: ``windows.csv`` (features of 30 s windows every 15 s) and the official ``SX/SX_quest.csv``.
"""

from __future__ import annotations

import re
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from helo.data.dataset import Dataset
from helo.data.schema import Modality, Schema
from helo.errors import InputError, did_you_mean, shorten
from helo.names import BEHAVIOURAL, PHYSIOLOGICAL

CONDITIONS: Final = ("Base", "TSST", "Fun", "Medi 1", "Medi 2")
"""The five reported conditions. Every subject has all of them, in an order of their own."""

_PANAS: Final = (
    "Active Distressed Interested Inspired Annoyed Strong Guilty Scared Hostile Excited Proud Irritable "
    "Enthusiastic Ashamed Alert Nervous Determined Attentive Jittery Afraid Stressed Frustrated Happy"
)
_DMER: Final = "Inspired Alert Excited Enthusiastic Determined Afraid Nervous Scared Distressed"
_TSST_ONLY: Final = ("Angry", "Irritated")
ITEM_SETS: Final = {
    # Sad is 1 in all 75 reports: it tells nothing, and would only dilute the other shares.
    "panas23": tuple(_PANAS.split()),
    # The items that DMER has as well.
    "panas9": tuple(_DMER.split()),
}
"""Item sets by name: which answers make up the emotion distribution."""

ITEMS: Final = (*ITEM_SETS["panas23"], "Sad")
"""The PANAS items asked after every condition, in the order of a ``# PANAS`` row."""

_TSST_ITEMS: Final = (*ITEM_SETS["panas23"], *_TSST_ONLY, "Sad")

_COLUMNS: Final = {
    "ecg": "ECG_Mean ECG_Std ECG_Skewness ECG_Kurtosis Heart_Rate SDNN RMSSD",
    "emg": "EMG_Mean EMG_Std EMG_Max EMG_Skewness EMG_Kurtosis",
    "chest_eda": "Chest_EDA_Mean Chest_EDA_Std Chest_EDA_Max Chest_SCR_Count Chest_SCR_Amplitude_Mean",
    "wrist_eda": "Wrist_EDA_Mean Wrist_EDA_Std Wrist_EDA_Max Wrist_SCR_Count Wrist_SCR_Amplitude_Mean",
    "bvp": "BVP_Mean BVP_Std BVP_Amplitude Pulse_Rate",
    "temp": "Wrist_TEMP_Mean Wrist_TEMP_Std Wrist_TEMP_Slope",
    "acc": "ACC_X_Mean ACC_X_Std ACC_X_Range ACC_Y_Mean ACC_Y_Std ACC_Y_Range ACC_Z_Mean ACC_Z_Std "
    "ACC_Z_Range ACC_Mag_Mean ACC_Mag_Std ACC_Mag_Max ACC_Jerk_Mean ACC_Jerk_Std ACC_PeakFreq "
    "ACC_Energy_0p5_5Hz ACC_ZeroMotionFrac",
}

MODALITIES: Final = tuple(
    # No feature is a channel or a band of another: each is a token of its own.
    Modality(name, BEHAVIOURAL if name == "acc" else PHYSIOLOGICAL, columns, len(columns), main=name == "ecg")
    for name, columns in ((name, tuple(text.split())) for name, text in _COLUMNS.items())
)
"""The seven modalities and 46 feature columns of ``windows.csv``."""

_WINDOWS: Final = "windows.csv"
_SUBJECT, _CONDITION, _START, _END = "Subject_ID", "condition", "start_s", "end_s"

# Whoever leaves an item out has not claimed to feel it, and 1 means "not at all". The one case in the data is
# S5's Nervous after the first meditation; after the second, S5 answered 1.
_ANSWERS: Final = {"1": 1, "2": 2, "3": 3, "4": 4, "5": 5, "Nan": 1}

# Seconds that a condition's first window may begin after START, and its last may end before END, once the
# constant offset between the two clocks (32.8 to 154.8 s, by subject) is taken out. Measured on all 75
# conditions: 0.0 to 14.0 and 20.0 to 35.0. The protocol's label begins at START and stops 20 s before END;
# windows lie on a grid of 15 s, which the later meditation inherits from the earlier (both have label 4).
# START and END are whole seconds, so 1 s more on each side.
_AFTER_START: Final = (-1, 15)
_BEFORE_END: Final = (19, 36)


@dataclass(frozen=True)
class Report:
    """What a subject answered after one condition; times in seconds on the questionnaire's clock."""

    condition: str
    start_s: int
    end_s: int
    answers: dict[str, int]


@dataclass(frozen=True)
class Questionnaire:
    """A subject's five reports, in the order in which that subject went through the conditions."""

    subject: str
    reports: tuple[Report, ...]


def read_quest(path: Path) -> Questionnaire:
    """Read an official ``SX_quest.csv``; raise `InputError` for whatever in it cannot be right.

    Row k of ``# PANAS`` belongs to the k-th condition of ``# ORDER``. Answers are 1 to 5, 24 of them, and
    26 after the TSST. Times are minutes.seconds with trailing zeros lost: ``50.3`` is 50 min 30 s.
    """
    try:
        # Spreadsheet programs put a byte order mark in front; utf-8-sig takes it off.
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as a UTF-8 text file ({error})") from None
    try:
        return _questionnaire(_rows(text))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


class _Row(NamedTuple):
    line: int
    cells: list[str]


def _rows(text: str) -> dict[str, list[_Row]]:
    """Rows by their first word, without the empty cells that fill them up."""
    rows: dict[str, list[_Row]] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        head, *cells = (cell.strip() for cell in line.split(";"))
        if head.startswith("#"):
            while cells and not cells[-1]:
                cells.pop()
            rows.setdefault(head.strip("#: "), []).append(_Row(number, cells))
    return rows


def _questionnaire(rows: dict[str, list[_Row]]) -> Questionnaire:
    order, start, end, subject = (_only(rows, key) for key in ("ORDER", "START", "END", "Subj"))
    conditions = order.cells[: len(CONDITIONS)]
    if sorted(conditions) != sorted(CONDITIONS):
        unknown = next((name for name in conditions if name not in CONDITIONS), "")
        raise InputError(
            f"line {order.line}: ORDER must begin with {', '.join(CONDITIONS)}, in any order, got "
            f"{', '.join(conditions) or 'nothing'}{did_you_mean(unknown, CONDITIONS)}"
        )
    panas = rows.get("PANAS", [])
    if len(panas) != len(CONDITIONS):
        raise InputError(f"needs {len(CONDITIONS)} lines '# PANAS;...', one per condition, got {len(panas)}")
    if not subject.cells:
        raise InputError(f"line {subject.line}: Subj must name the subject, as in '# Subj;S2'")
    times = [_times(row, name) for row, name in ((start, "START"), (end, "END"))]
    reports = []
    for condition, start_s, end_s, row in zip(conditions, *times, panas, strict=True):
        if end_s <= start_s:
            raise InputError(f"line {end.line}: {condition} must end after {start_s} s, got {end_s} s")
        reports.append(Report(condition, start_s, end_s, _answers(row, condition)))
    return Questionnaire(subject.cells[0], tuple(reports))


def _only(rows: dict[str, list[_Row]], key: str) -> _Row:
    found = rows.get(key, [])
    if len(found) != 1:
        raise InputError(f"needs exactly one line '# {key};...' (cells parted by ';'), got {len(found)}")
    return found[0]


def _times(row: _Row, name: str) -> list[int]:
    if len(row.cells) < len(CONDITIONS):
        raise InputError(f"line {row.line}: {name} must hold {len(CONDITIONS)} times, got {len(row.cells)}")
    return [_seconds(cell, f"line {row.line}: {name}") for cell in row.cells[: len(CONDITIONS)]]


def _seconds(text: str, where: str = "time") -> int:
    """Seconds of a time written as minutes.seconds whose trailing zeros a spreadsheet has dropped.

    The digits after the dot are the left part of a two-digit number. Read as a float, ``50.3`` would be
    50 min 3 s or 50.3 minutes; both are wrong.

    >>> [_seconds(text) for text in ("50.3", "50.03", "7.08", "2", "60.2")]
    [3030, 3003, 428, 120, 3620]
    """
    match = re.fullmatch(r"([0-9]{1,4})(?:\.([0-9]{1,2}))?", text)
    seconds = int((match[2] or "").ljust(2, "0")) if match else 0
    if not match or seconds >= 60:
        raise InputError(f"{where} must be minutes.seconds, up to 59 s (50.3 is 50 min 30 s), got {text!r}")
    return 60 * int(match[1]) + seconds


def _answers(row: _Row, condition: str) -> dict[str, int]:
    items = _TSST_ITEMS if condition == "TSST" else ITEMS
    if len(row.cells) != len(items):
        raise InputError(
            f"line {row.line}: PANAS after {condition} must hold {len(items)} answers ({len(ITEMS)}, but "
            f"{len(_TSST_ITEMS)} after TSST), got {len(row.cells)}"
        )
    for item, cell in zip(items, row.cells, strict=True):
        if cell not in _ANSWERS:
            raise InputError(f"line {row.line}: {item} after {condition} must be 1 to 5 or Nan, got {cell!r}")
    return {item: _ANSWERS[cell] for item, cell in zip(items, row.cells, strict=True)}


def parse_items(text: str) -> tuple[str, ...]:
    """The items that `text` names: a set of `ITEM_SETS`, or PANAS items parted by commas.

    >>> parse_items("Happy, Stressed, Sad")
    ('Happy', 'Stressed', 'Sad')
    """
    if text.strip() in ITEM_SETS:
        return ITEM_SETS[text.strip()]
    return _checked_items(tuple(item.strip() for item in text.split(",")))


def _checked_items(items: tuple[str, ...]) -> tuple[str, ...]:
    for item in items:
        if item in _TSST_ONLY:
            raise InputError(f"items: {item!r} is asked after TSST only: no label in other conditions")
        if item not in ITEMS:
            hint = did_you_mean(item, (*ITEMS, *ITEM_SETS))
            raise InputError(f"items: unknown item {item!r}{hint}; known are {', '.join(ITEMS)}")
    twice = sorted({item for item in items if items.count(item) > 1})
    if twice:
        raise InputError(f"items: each may be named once, but {shorten(twice)} is named again")
    if len(items) < 2:
        raise InputError(f"items: a distribution needs at least 2, got {shorten(items) or 'none'}")
    return items


def wesad(folder: Path, items: tuple[str, ...] = ITEM_SETS["panas23"]) -> Dataset:
    """Read the windows of WESAD with an emotion distribution from the self-reports.

    The label of a window is r_i / Σ_j r_j, where r_i is the answer (1 to 5) to item i in the report of its
    subject on its condition: all windows of one condition share it. Groups are the conditions.

    Raises `InputError` for missing or malformed files, and where the times of the windows contradict those
    of the questionnaire: then a label would have gone to the wrong condition.
    """
    folder, items = Path(folder), _checked_items(items)
    windows = _read_windows(folder)
    labels = np.empty((len(windows.subjects), len(items)))
    for subject in dict.fromkeys(windows.subjects.tolist()):
        path = folder / subject / f"{subject}_quest.csv"
        if not path.is_file():
            raise InputError(f"{path}: is missing; {_WINDOWS} has windows of subject {subject}")
        quest = read_quest(path)
        if quest.subject != subject:
            raise InputError(f"{path}: must be the questionnaire of {subject}, is that of {quest.subject}")
        _check_times(path, quest, windows)
        for report in quest.reports:
            answers = np.array([report.answers[item] for item in items], dtype=np.float64)
            labels[windows.of(subject, report.condition)] = answers / answers.sum()
    try:
        return Dataset(
            _schema(items), windows.subjects, windows.features.astype(np.float32), labels, groups=windows.conditions
        )
    except InputError as error:
        raise InputError(f"{folder / _WINDOWS}: {error}") from None


def _schema(items: tuple[str, ...]) -> Schema:
    names = [name for name, known in ITEM_SETS.items() if known == items]
    return Schema(
        name=f"wesad-{names[0] if names else f'custom{len(items)}'}",
        modalities=MODALITIES,
        emotions={item: f"label_{item}" for item in items},
        source="WESAD: Schmidt et al., ICMI 2018, doi:10.1145/3242969.3242985",
        licence="for research use only",
        notes=(
            f"Items: {', '.join(items)}. The label of a window is answer / sum of answers over these PANAS "
            "items (1 to 5) in the report of its subject on its condition: all windows of a condition share "
            "it. An unanswered item counts as 1. The mean amplitude of no skin conductance response is 0."
        ),
    )


class _Windows(NamedTuple):
    subjects: NDArray[np.str_]  # (N,)
    conditions: NDArray[np.str_]  # (N,)
    times: NDArray[np.float64]  # (N, 2): start and end in seconds of the recording
    features: NDArray[np.float64]  # (N, 46)

    def of(self, subject: str, condition: str) -> NDArray[np.bool_]:
        """Which windows (N,) are this subject's in this condition."""
        which: NDArray[np.bool_] = (self.subjects == subject) & (self.conditions == condition)
        return which


def _read_windows(folder: Path) -> _Windows:
    import pandas as pd  # half a second that `--help` need not wait for

    path = folder / _WINDOWS
    if not path.is_file():
        what = "is missing from the WESAD directory" if folder.is_dir() else f"{folder} is no directory"
        raise InputError(f"{path}: {what} (it must hold {_WINDOWS}, S2/S2_quest.csv ...)")
    try:
        table = pd.read_csv(path, dtype={_SUBJECT: str, _CONDITION: str}, low_memory=False)
    except (OSError, ValueError) as error:  # what pandas raises for a bad table is a ValueError
        raise InputError(f"{path}: cannot be read as a CSV table ({' '.join(str(error).split())})") from None
    try:
        return _checked_windows(table)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _checked_windows(table: Any) -> _Windows:
    features = [column for modality in MODALITIES for column in modality.columns]
    wanted = [_SUBJECT, _CONDITION, _START, _END, *features]
    missing = [column for column in wanted if column not in table.columns]
    if missing:
        hint = did_you_mean(missing[0], [str(column) for column in table.columns])
        raise InputError(f"column {shorten(map(repr, missing))} is missing{hint}")
    if not len(table):
        raise InputError("holds no windows")
    for column in (_START, _END, *features):
        if table[column].dtype.kind not in "iuf":
            raise InputError(f"column {column!r} must hold numbers only")
    for number in map(str, table[_SUBJECT].unique()):
        if not re.fullmatch("[0-9]{1,4}", number):
            raise InputError(f"{_SUBJECT} must be the number of a subject (2 is S2), got {number!r}")
    for condition in map(str, table[_CONDITION].unique()):
        if condition not in CONDITIONS:
            hint = did_you_mean(condition, CONDITIONS)
            raise InputError(f"unknown {_CONDITION} {condition!r}{hint}; known are {', '.join(CONDITIONS)}")
    times = table[[_START, _END]].to_numpy(np.float64)
    if not np.isfinite(times).all():
        raise InputError(f"{_START} and {_END} must be finite numbers in every row")
    values = table[features].to_numpy(np.float64, copy=True)
    for part in ("Chest", "Wrist"):
        # A mean over no responses is 0 / 0: their amplitude is 0. Any other NaN stays: a signal that is missing.
        amplitude, count = (features.index(f"{part}_SCR_{what}") for what in ("Amplitude_Mean", "Count"))
        values[np.isnan(values[:, amplitude]) & (values[:, count] == 0), amplitude] = 0.0
    subjects = np.asarray([f"S{number}" for number in table[_SUBJECT]], dtype=np.str_)
    return _Windows(subjects, np.asarray(table[_CONDITION].tolist(), dtype=np.str_), times, values)


def _check_times(path: Path, quest: Questionnaire, windows: _Windows) -> None:
    """Raise `InputError` unless each condition's windows lie where the questionnaire says.

    Recording and questionnaire have clocks of their own: START − first window is the same offset c for all
    of a subject's conditions. The median over conditions finds c in spite of two wrong ones.
    """
    spans = []
    for report in quest.reports:
        times = windows.times[windows.of(quest.subject, report.condition)]
        if len(times):  # a subject need not have windows in all conditions
            spans.append((report, float(times[:, 0].min()), float(times[:, 1].max())))
    offset = statistics.median(report.start_s - first for report, first, _ in spans)
    for report, first, last in spans:
        after, before = first + offset - report.start_s, report.end_s - last - offset
        if not (_AFTER_START[0] <= after <= _AFTER_START[1] and _BEFORE_END[0] <= before <= _BEFORE_END[1]):
            raise InputError(
                f"{path}: subject {quest.subject}, {report.condition}: windows begin {round(after)} s after "
                f"START (right: 0 to 14) and end {round(before)} s before END (right: 20 to 35); "
                "check ORDER, START and END"
            )
