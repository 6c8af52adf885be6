"""``windows.csv``: a table of features, 30 s windows every 15 s, beside the official ``SX/SX_quest.csv``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from helo.data.dataset import Dataset
from helo.data.wesad.items import CONDITIONS, ITEM_SETS, checked_items
from helo.data.wesad.questionnaire import Allowance, check_times, distribution, read_quest, require_subject
from helo.data.wesad.schema import MODALITIES, make_schema
from helo.errors import InputError, did_you_mean, shorten

_WINDOWS: Final = "windows.csv"
_SUBJECT, _CONDITION, _START, _END = "Subject_ID", "condition", "start_s", "end_s"

# Measured on all 75 conditions, once the constant offset between the two clocks (32.8 to 154.8 s, by subject)
# is taken out: 0.0 to 14.0 and 20.0 to 35.0. The protocol's label begins at START and stops 20 s before END;
# windows lie on a grid of 15 s, which the later meditation inherits from the earlier (both have label 4).
_ALLOWED: Final = Allowance("windows begin", (0, 14), (20, 35))


def read_feature_table(folder: Path, items: tuple[str, ...] = ITEM_SETS["panas23"]) -> Dataset:
    """Read the windows of WESAD with an emotion distribution from the self-reports.

    The label of a window is r_i / Σ_j r_j, where r_i is the answer (1 to 5) to item i in the report of its
    subject on its condition: all windows of one condition share it. Groups are the conditions.

    Raises `InputError` for missing or malformed files, and where the times of the windows contradict those
    of the questionnaire: then a label would have gone to the wrong condition.
    """
    folder, items = Path(folder), checked_items(items)
    windows = _read_windows(folder)
    labels = np.empty((len(windows.subjects), len(items)))
    for subject in dict.fromkeys(windows.subjects.tolist()):
        path = folder / subject / f"{subject}_quest.csv"
        if not path.is_file():
            raise InputError(f"{path}: is missing; {_WINDOWS} has windows of subject {subject}")
        quest = read_quest(path)
        require_subject(quest, subject, str(path))
        check_times(quest, windows.spans(subject), _ALLOWED, str(path))
        for report in quest.reports:
            labels[windows.of(subject, report.condition)] = distribution(report, items)
    try:
        return Dataset(
            make_schema(items),
            windows.subjects,
            windows.features.astype(np.float32),
            labels,
            groups=windows.conditions,
        )
    except InputError as error:
        raise InputError(f"{folder / _WINDOWS}: {error}") from None


class _Windows(NamedTuple):
    subjects: NDArray[np.str_]  # (N,)
    conditions: NDArray[np.str_]  # (N,)
    times: NDArray[np.float64]  # (N, 2): start and end in seconds of the recording
    features: NDArray[np.float64]  # (N, 46)

    def of(self, subject: str, condition: str) -> NDArray[np.bool_]:
        """Which windows (N,) are this subject's in this condition."""
        which: NDArray[np.bool_] = (self.subjects == subject) & (self.conditions == condition)
        return which

    def spans(self, subject: str) -> dict[str, tuple[float, float]]:
        """Begin of the first and end of the last window of each condition that this subject has windows in."""
        found = {}
        for condition in CONDITIONS:
            times = self.times[self.of(subject, condition)]
            if len(times):
                found[condition] = float(times[:, 0].min()), float(times[:, 1].max())
        return found


def _read_windows(folder: Path) -> _Windows:
    import pandas as pd  # half a second that `--help` need not wait for

    path = folder / _WINDOWS
    if not path.is_file():
        what = f"{_WINDOWS} is missing from the WESAD directory" if folder.is_dir() else "is no directory"
        raise InputError(
            f"{folder}: {what} (give the official download, WESAD.zip or a folder with S2/S2.pkl ..., or a folder with "
            f"{_WINDOWS} and S2/S2_quest.csv ...)"
        )
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
