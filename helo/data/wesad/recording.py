"""Content of ``SX.pkl``: signals of a subject and times of the conditions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from helo.data.wesad.questionnaire import Allowance, Questionnaire, check_times
from helo.errors import InputError, did_you_mean, shorten

LABEL_RATE: Final = 700
"""Sampling rate of the protocol label in Hz, which is that of the chest device."""

_PROTOCOL: Final = {1: "baseline", 2: "stress", 3: "amusement", 4: "meditation"}
_CODES: Final = {"Base": 1, "TSST": 2, "Fun": 3, "Medi 1": 4, "Medi 2": 4}
_LABELS: Final = range(8)

# In all 75 conditions, the label begins at START and ends 20 s before END, to the second.
_ALLOWED: Final = Allowance("the label begins", (0, 0), (20, 20))

_TOLERANCE_S: Final = 1.0
"""Maximum difference in length between signals of a recording, in seconds; the signals were cut to whole seconds."""


class Signal(NamedTuple):
    """Place and form of a signal in the pickle.

    Attributes
    ----------
    device, key
        Keys of the signal.
    rate
        Sampling rate in Hz.
    axes
        Number of axes.
    unit
        Factor that converts stored values to the unit of the signal.
    """

    device: str
    key: str
    rate: int
    axes: int = 1
    unit: float = 1.0


SIGNALS: Final = {
    "ecg": Signal("chest", "ECG", 700),
    "emg": Signal("chest", "EMG", 700),
    "chest_eda": Signal("chest", "EDA", 700),
    "resp": Signal("chest", "Resp", 700),
    "chest_temp": Signal("chest", "Temp", 700),
    "chest_acc": Signal("chest", "ACC", 700, axes=3),
    "wrist_eda": Signal("wrist", "EDA", 4),
    "bvp": Signal("wrist", "BVP", 64),
    "temp": Signal("wrist", "TEMP", 4),
    "acc": Signal("wrist", "ACC", 32, axes=3, unit=1 / 64),
}
"""Signal of each modality. Units: mV, µS, % (Resp), °C, g."""


@dataclass
class Recording:
    """A checked recording.

    Attributes
    ----------
    subject
        Name of the subject.
    label
        Protocol label (N,) at 700 Hz.
    signals
        Modality → samples (n,) or (n, 3) as in `SIGNALS`, NaN or infinite where missing. Users remove a signal after
        use, which frees its memory.
    """

    subject: str
    label: NDArray[np.integer[Any]]
    signals: dict[str, NDArray[Any]]


class Segment(NamedTuple):
    """A condition, from sample `start` of the label up to, but not including, `stop`."""

    condition: str
    start: int
    stop: int


def make_recording(content: Any, subject: str, names: tuple[str, ...], where: str) -> Recording:
    """Build a recording from the content of a pickle.

    Parameters
    ----------
    content
        Content of the pickle.
    subject
        Name of the subject, by the name of the file.
    names
        Modalities whose signals are kept.
    where
        Name of the file, for messages.

    Returns
    -------
    Recording
        The recording.

    Raises
    ------
    InputError
        If a key or signal is missing or has the wrong form.
    """
    try:
        top = _mapping(content, "the pickle", ("subject", "signal", "label"))
        if top["subject"] != subject:
            # A number may have more digits than Python can convert to text.
            found = repr(top["subject"])[:40] if isinstance(top["subject"], str) else type(top["subject"]).__name__
            raise InputError(f"'subject' must be {subject!r} like the name of the file, got {found}")
        label = _label(top["label"])
        devices = dict.fromkeys(SIGNALS[name].device for name in names)
        signal = _mapping(top["signal"], "'signal'", tuple(devices))
        for device in devices:
            keys = tuple(SIGNALS[name].key for name in names if SIGNALS[name].device == device)
            _mapping(signal[device], f"'signal' {device!r}", keys)
        signals = {name: _signal(signal, SIGNALS[name], len(label) / LABEL_RATE) for name in names}
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    return Recording(subject, label, signals)


def _mapping(value: Any, what: str, keys: tuple[str, ...]) -> dict[str, Any]:
    """Return a dictionary; raise `InputError` for other types and missing keys."""
    if not isinstance(value, dict):
        raise InputError(f"{what} must be a dictionary with {', '.join(keys)}, got {type(value).__name__}")
    missing = [key for key in keys if key not in value]
    if missing:
        hint = did_you_mean(missing[0], value)
        raise InputError(f"{what} must have the key {shorten(map(repr, missing))}{hint}; it has {shorten(value, 8)}")
    return value


def _label(value: Any) -> NDArray[np.integer[Any]]:
    """Return the label as a vector; raise `InputError` for other forms and unknown codes."""
    label: NDArray[Any] = value if isinstance(value, np.ndarray) else np.empty(0)
    if label.ndim == 2 and label.shape[1] == 1:
        label = label[:, 0]
    if label.ndim != 1 or not len(label) or label.dtype.kind not in "iu":
        raise InputError(f"'label' must be whole numbers, {LABEL_RATE} a second, got {_form(value)}")
    unknown = np.unique(label[(label < _LABELS.start) | (label >= _LABELS.stop)])
    if len(unknown):
        raise InputError(f"'label' must be {_LABELS.start} to {_LABELS.stop - 1}, got {shorten(unknown)}")
    return label


def _signal(devices: dict[str, Any], form: Signal, seconds: float) -> NDArray[Any]:
    """Return a signal; raise `InputError` for other forms and lengths."""
    what = f"'signal' {form.device!r} {form.key!r}"
    values: NDArray[Any] = devices[form.device][form.key]
    shape = f"({'N,' if form.axes == 1 else f'N, {form.axes}'})"
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "iuf":
        raise InputError(f"{what} must be an array of numbers of shape {shape}, got {_form(values)}")
    if form.axes == 1 and values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.shape[1:] != (() if form.axes == 1 else (form.axes,)):
        raise InputError(f"{what} must have shape {shape}, got {values.shape}")
    if abs(len(values) / form.rate - seconds) > _TOLERANCE_S:
        raise InputError(
            f"{what} has {len(values):,} samples, {len(values) / form.rate:,.1f} s at {form.rate} Hz, but 'label' "
            f"lasts {seconds:,.1f} s at {LABEL_RATE} Hz: they must be equal within {_TOLERANCE_S:g} s"
        )
    return values


def _form(value: Any) -> str:
    """Return the type of a value as text."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype} of shape {value.shape}"
    return type(value).__name__


def find_segments(
    label: NDArray[np.integer[Any]], quest: Questionnaire, where: str, quest_where: str
) -> tuple[Segment, ...]:
    """Find the five conditions, which are runs of equal labels from 1 to 4.

    Both meditations have label 4, so ORDER of the questionnaire identifies them.

    Parameters
    ----------
    label
        Protocol label (N,) at 700 Hz.
    quest
        Questionnaire of the subject.
    where, quest_where
        Names of the pickle and the questionnaire, for messages.

    Returns
    -------
    tuple of Segment
        The conditions in the order of time.

    Raises
    ------
    InputError
        If the runs contradict ORDER, START or END. Reports would then be assigned to the wrong condition.
    """
    edges = np.flatnonzero(np.diff(label)) + 1
    runs = [
        (int(label[start]), start, stop)
        for start, stop in pairwise([0, *edges.tolist(), len(label)])
        if int(label[start]) in _PROTOCOL
    ]
    expected = [_CODES[report.condition] for report in quest.reports]
    if [code for code, _, _ in runs] != expected:
        raise InputError(
            f"{where}: 'label' has {_listed([code for code, _, _ in runs])}, but by ORDER in {quest_where} it must "
            f"have {_listed(expected)}"
        )
    segments = tuple(
        Segment(report.condition, start, stop) for report, (_, start, stop) in zip(quest.reports, runs, strict=True)
    )
    check_times(quest, spans(segments), _ALLOWED, f"{where}: against {quest_where}")
    return segments


def spans(segments: tuple[Segment, ...]) -> Mapping[str, tuple[float, float]]:
    """Return the first and last second of each condition."""
    return {name: (start / LABEL_RATE, stop / LABEL_RATE) for name, start, stop in segments}


def _listed(codes: list[int]) -> str:
    """Return the names of label codes as text."""
    return shorten((_PROTOCOL[code] for code in codes), 8) or "no condition"
