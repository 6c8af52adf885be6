"""Reader of ``windows.csv``, a table of features of 30 s windows every 15 s beside ``SX/SX_quest.csv``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from helo._paths import local_path
from helo.data.dataset import Dataset
from helo.data.wesad.items import CONDITIONS, ITEM_SETS, checked_items
from helo.data.wesad.questionnaire import Allowance, check_times, distribution, read_quest, require_subject
from helo.data.wesad.schema import MODALITIES, make_schema
from helo.errors import InputError, did_you_mean, shorten

_WINDOWS: Final = "windows.csv"
_SUBJECT, _CONDITION, _START, _END = "Subject_ID", "condition", "start_s", "end_s"

# Without the clock offset (32.8 to 154.8 s by subject), the differences over all 75 conditions range
# from 0.0 to 14.0 s and from 20.0 to 35.0 s. The protocol label begins at START and ends 20 s before END. Windows lie
# on a grid of 15 s, which the later meditation shares with the earlier one, since both have label 4.
_ALLOWED: Final = Allowance("windows begin", (0, 14), (20, 35))


def read_feature_table(folder: Path, items: tuple[str, ...] = ITEM_SETS["panas23"]) -> Dataset:
    """Read the windows of WESAD, with emotion distributions from the self-reports.

    The label of a window is r_i / Σ_j r_j, where r_i is the answer (1 to 5) to item i in the report of its subject on
    its condition. All windows of a subject and condition share this label. Groups are the conditions.

    Parameters
    ----------
    folder
        Folder with ``windows.csv`` and the questionnaires ``SX/SX_quest.csv``.
    items
        PANAS items that are the emotions.

    Returns
    -------
    Dataset
        N windows with features (N, 46) in the units of the table and labels (N, E).

    Raises
    ------
    InputError
        If a file is missing or malformed, or the times of the windows contradict the questionnaire. Reports would then
        be assigned to the wrong condition.
    """
    folder, items = local_path(folder), checked_items(items)
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
    """Columns of ``windows.csv``."""

    subjects: NDArray[np.str_]  # (N,)
    conditions: NDArray[np.str_]  # (N,)
    times: NDArray[np.float64]  # (N, 2): start and end in seconds of the recording
    features: NDArray[np.float64]  # (N, 46)

    def of(self, subject: str, condition: str) -> NDArray[np.bool_]:
        """Return a mask (N,) of the windows of a subject in a condition."""
        which: NDArray[np.bool_] = (self.subjects == subject) & (self.conditions == condition)
        return which

    def spans(self, subject: str) -> dict[str, tuple[float, float]]:
        """Return the start of the first and the end of the last window of a subject by condition, in seconds."""
        found = {}
        for condition in CONDITIONS:
            times = self.times[self.of(subject, condition)]
            if len(times):
                found[condition] = float(times[:, 0].min()), float(times[:, 1].max())
        return found


def _read_windows(folder: Path) -> _Windows:
    """Read and validate ``windows.csv``."""
    import pandas as pd  # imported late because it takes half a second; `--help` does not need it

    path = folder / _WINDOWS
    if not path.is_file():
        what = f"{_WINDOWS} is missing from the WESAD directory" if folder.is_dir() else "is no directory"
        raise InputError(
            f"{folder}: {what} (give the official download, WESAD.zip or a folder with S2/S2.pkl ..., or a folder with "
            f"{_WINDOWS} and S2/S2_quest.csv ...)"
        )
    try:
        table = pd.read_csv(path, dtype={_SUBJECT: str, _CONDITION: str}, low_memory=False)
    except (OSError, ValueError) as error:  # pandas raises subclasses of ValueError for malformed tables
        raise InputError(f"{path}: cannot be read as a CSV table ({' '.join(str(error).split())})") from None
    try:
        return _checked_windows(table)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _checked_windows(table: Any) -> _Windows:
    """Return the columns of a table; raise `InputError` if some are missing or malformed."""
    features = [column for modality in MODALITIES for column in modality.columns]
    required = [_SUBJECT, _CONDITION, _START, _END, *features]
    missing = [column for column in required if column not in table.columns]
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
        # The mean amplitude of no responses is 0 / 0, and is set to 0. Other NaN stay: the signal is missing.
        amplitude, count = (features.index(f"{part}_SCR_{what}") for what in ("Amplitude_Mean", "Count"))
        values[np.isnan(values[:, amplitude]) & (values[:, count] == 0), amplitude] = 0.0
    subjects = np.asarray([f"S{number}" for number in table[_SUBJECT]], dtype=np.str_)
    return _Windows(subjects, np.asarray(table[_CONDITION].tolist(), dtype=np.str_), times, values)
