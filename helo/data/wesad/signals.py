"""Features of windows, modality by modality, with the names and meanings of ``windows.csv``.

Signals are filtered, and heart beats and breaths of the chest found, on the whole recording, so that windows
have no edges of their own; then windows are cut. The pulse at the wrist is treated window by window: the
threshold of its peaks is an average, and a movement elsewhere in the recording would hide them. Chest signals
other than ECG and EMG change slowly and are averaged down to 4 Hz (skin conductance responses, temperature)
or 35 Hz (respiration, movement).

All but two features of the wrist agree with those of the table (correlation above 0.99). The two are
`Pulse_Rate` (0.989) and `Wrist_SCR_Count` (0.938): which peaks count there is not published. Those of the chest
could not be compared: the table came without the signals.

Gaps (NaN or infinite samples) are bridged by straight lines; a window with signal in less than half of its
samples has NaN for all features of that modality.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from helo.data.wesad.recording import LABEL_RATE, SIGNALS, Recording, Segment
from helo.data.wesad.schema import COLUMNS

Samples = NDArray[np.float64]
Cut = Callable[[Samples, int], Iterator[tuple[int, Samples]]]
"""Cuts a signal of some rate in Hz into windows: each with the number of its first sample."""

_SLOW: Final = 4
_MOVING: Final = 35
_INTERVAL_MS: Final = (300.0, 2000.0)
"""Intervals between heart beats: 200 to 30 a minute. Others are missed or made-up beats, and left out."""

_TONE_S: Final = 0.05
"""Seconds over which the strength of a muscle's signal is taken."""

_FALL_S: Final = 5
_ROUNDING: Final = 1e-9

_STILL_G: Final = 0.01
"""Change of the acceleration from one sample to the next, below which nothing moves."""


def window_starts(segments: tuple[Segment, ...], window: float, step: float) -> tuple[NDArray[np.intp], list[str]]:
    """First label sample (N,) of each window, and its condition: every `step` s, wholly inside a segment."""
    length, apart = round(window * LABEL_RATE), round(step * LABEL_RATE)
    starts: list[int] = []
    conditions: list[str] = []
    for segment in segments:
        mine = range(segment.start, segment.stop - length + 1, apart)
        starts += mine
        conditions += [segment.condition] * len(mine)
    return np.asarray(starts, dtype=np.intp), conditions


def window_features(recording: Recording, starts: NDArray[np.intp], window: float) -> Samples:
    """Features (N, F) of windows of `window` seconds that begin at the label samples `starts` (N,).

    Columns are those of the recording's modalities, in their order. Signals are taken out of `recording` one
    by one, so that its memory is free again as soon as may be.
    """
    names = tuple(recording.signals)
    return np.concatenate([_modality(name, recording.signals.pop(name), starts, window) for name in names], axis=1)


def _modality(name: str, raw: NDArray[Any], starts: NDArray[np.intp], window: float) -> Samples:
    rate, unit = SIGNALS[name].rate, SIGNALS[name].unit
    values, present = _bridged(raw, unit)
    table = np.full((len(starts), len(COLUMNS[name])), np.nan)
    if not present.any():
        return table

    def cut(signal: Samples, hertz: int) -> Iterator[tuple[int, Samples]]:
        for start in starts.tolist():
            first = start * hertz // LABEL_RATE  # the last sample not after the start, as in windows.csv
            yield first, signal[first : first + round(window * hertz)]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of NeuroKit2, about what it does with short and flat signals
        rows = _FEATURES[name](values, rate, cut)
    for place, row in enumerate(rows):
        first = int(starts[place]) * rate // LABEL_RATE
        if present[first : first + round(window * rate)].mean() >= 0.5:
            table[place] = row
    return table


def _bridged(raw: NDArray[Any], unit: float) -> tuple[Samples, NDArray[np.bool_]]:
    """A signal in its unit without gaps, and where (n,) it has none."""
    values = raw.astype(np.float64)
    values *= unit
    columns = values.reshape(len(values), -1)
    present = np.asarray(np.isfinite(columns).all(axis=1))
    if present.any() and not present.all():
        known, missing = np.flatnonzero(present), np.flatnonzero(~present)
        for column in columns.T:
            column[missing] = np.interp(missing, known, column[known])
    return values, present


def _averaged(values: Samples, rate: int, lower: int) -> Samples:
    """A signal at a `lower` rate, which divides `rate`: the mean of each block of samples."""
    block = rate // lower
    whole = len(values) // block * block
    mean: Samples = values[:whole].reshape(whole // block, block, *values.shape[1:]).mean(axis=1)
    return mean


def _shape(x: Samples) -> tuple[float, float]:
    """Skewness and excess kurtosis; NaN of a constant signal."""
    apart = x - x.mean()
    deviation = float(x.std())
    if deviation <= 1e-12 * float(np.abs(x).max()):
        return np.nan, np.nan
    return float((apart**3).mean() / deviation**3), float((apart**4).mean() / deviation**4 - 3)


def _peaks(find: Callable[[Samples], Any], x: Samples) -> NDArray[np.intp]:
    """Places of peaks, none where there is nothing to see."""
    if not np.ptp(x):
        return np.empty(0, dtype=np.intp)
    try:
        found = np.asarray(find(x), dtype=np.float64)
    except (ValueError, IndexError, ZeroDivisionError):  # what NeuroKit2 raises for a signal without peaks
        return np.empty(0, dtype=np.intp)
    return found[np.isfinite(found)].astype(np.intp)


def _within(places: NDArray[np.intp], first: int, window: Samples) -> NDArray[np.intp]:
    low, high = np.searchsorted(places, [first, first + len(window)])
    return places[low:high]


def _per_minute(places: NDArray[np.intp], rate: int) -> float:
    """How often peaks come, from the mean interval between them; NaN of fewer than two."""
    return float(60 * rate / np.diff(places).mean()) if len(places) > 1 else np.nan


def _ecg(values: Samples, rate: int, cut: Cut) -> Iterator[list[float]]:
    import neurokit2 as nk

    beats = _peaks(
        lambda x: nk.ecg_findpeaks(nk.ecg_clean(x, sampling_rate=rate), sampling_rate=rate)["ECG_R_Peaks"], values
    )
    for first, x in cut(values, rate):
        yield [x.mean(), x.std(), *_shape(x), *_heart(_within(beats, first, x), rate)]


def _heart(beats: NDArray[np.intp], rate: int) -> tuple[float, float, float]:
    """Beats a minute, and SDNN and RMSSD in ms; NaN of fewer than three intervals."""
    intervals = np.diff(beats) * 1000.0 / rate
    good = (intervals >= _INTERVAL_MS[0]) & (intervals <= _INTERVAL_MS[1])
    changes = np.diff(intervals)[good[1:] & good[:-1]]
    if good.sum() < 3 or not len(changes):
        return np.nan, np.nan, np.nan
    kept = intervals[good]
    return 60_000 / float(kept.mean()), float(kept.std(ddof=1)), float(np.sqrt((changes**2).mean()))


def _emg(values: Samples, rate: int, cut: Cut) -> Iterator[list[float]]:
    import neurokit2 as nk
    from scipy.ndimage import uniform_filter1d

    # The strength in mV, a root mean square: NeuroKit2's own amplitude is a square (Teager and Kaiser's energy).
    clean = np.asarray(nk.emg_clean(values, sampling_rate=rate)) if np.ptp(values) else np.zeros_like(values)
    amplitude = np.sqrt(np.maximum(uniform_filter1d(clean**2, round(_TONE_S * rate)), 0))
    for _, x in cut(amplitude, rate):
        yield [x.mean(), x.std(), x.max(), *_shape(x)]


def _eda(values: Samples, rate: int, cut: Cut) -> Iterator[list[float]]:
    slow = _averaged(values, rate, _SLOW)
    for (_, x), (_, coarse) in zip(cut(values, rate), cut(slow, _SLOW), strict=True):
        yield [x.mean(), x.std(), x.max(), *_responses(coarse)]


def _responses(x: Samples) -> tuple[int, float]:
    """Number and mean height of skin conductance responses: peaks of the signal smoothed over a second.

    A peak's height is how far the signal falls in the 5 s after it. No peak is too low to count, as in
    ``windows.csv``: a threshold would be a guess, and the mean height tells large from small.
    """
    smooth = np.convolve(x, np.full(_SLOW, 1 / _SLOW), mode="valid")
    change = np.diff(smooth)
    # Equal samples are equal in spite of rounding: a sensor's steps are far larger.
    peaks = np.flatnonzero((change[:-1] > _ROUNDING) & (change[1:] < -_ROUNDING)) + 1
    if not len(peaks):
        return 0, 0.0
    heights = [smooth[peak] - smooth[peak : peak + _FALL_S * _SLOW].min() for peak in peaks.tolist()]
    return len(heights), float(np.mean(heights))


def _bvp(values: Samples, rate: int, cut: Cut) -> Iterator[list[float]]:
    import neurokit2 as nk

    def find(x: Samples) -> Any:
        return nk.ppg_findpeaks(nk.ppg_clean(x, sampling_rate=rate), sampling_rate=rate)["PPG_Peaks"]

    for _, x in cut(values, rate):
        beats = _peaks(find, x)
        yield [x.mean(), x.std(), np.ptp(x), _per_minute(beats, rate)]


def _temperature(values: Samples, rate: int, cut: Cut) -> Iterator[list[float]]:
    for _, x in cut(_averaged(values, rate, _SLOW), _SLOW):
        seconds = np.arange(len(x)) / _SLOW
        seconds -= seconds.mean()
        yield [x.mean(), x.std(), float(seconds @ x / (seconds @ seconds))]


def _respiration(values: Samples, rate: int, cut: Cut) -> Iterator[list[float]]:
    import neurokit2 as nk

    slow = _averaged(values, rate, _MOVING)
    clean = np.asarray(nk.rsp_clean(slow, sampling_rate=_MOVING)) if np.ptp(slow) else np.zeros_like(slow)
    found: dict[str, Any] = {}

    def find(x: Samples) -> Any:
        found.update(nk.rsp_findpeaks(x, sampling_rate=_MOVING))
        return found["RSP_Peaks"]

    peaks = _peaks(find, clean)
    troughs = np.asarray(found.get("RSP_Troughs", []), dtype=np.intp)
    # A breath's depth: from the last trough before its peak.
    before = np.searchsorted(troughs, peaks) - 1
    depths = np.where(before >= 0, clean[peaks] - clean[troughs[before]], np.nan) if len(troughs) else peaks * np.nan
    for first, x in cut(slow, _MOVING):
        low, high = np.searchsorted(peaks, [first, first + len(x)])
        mine = depths[low:high][np.isfinite(depths[low:high])]
        yield [
            x.mean(),
            x.std(),
            _per_minute(peaks[low:high], _MOVING),
            float(mine.mean()) if len(mine) else np.nan,
        ]


def _motion(values: Samples, rate: int, cut: Cut) -> Iterator[list[float]]:
    hertz = min(rate, _MOVING)
    for _, x in cut(_averaged(values, rate, hertz), hertz):
        row: list[float] = []
        for axis in x.T:
            row += [axis.mean(), axis.std(), np.ptp(axis)]
        strength = np.linalg.norm(x, axis=1)
        jerk = np.linalg.norm(np.diff(x, axis=0), axis=1) * hertz
        still = float((np.abs(np.diff(strength)) < _STILL_G).mean())
        row += [strength.mean(), strength.std(), strength.max(), jerk.mean(), jerk.std()]
        yield [*row, *_spectrum(strength, hertz), still]


def _spectrum(x: Samples, rate: int) -> tuple[float, float]:
    """Frequency of the strongest oscillation, and power from 0.5 to 5 Hz: Σ |FFT|² / samples."""
    power = np.abs(np.fft.rfft(x - x.mean())) ** 2
    frequency = np.fft.rfftfreq(len(x), 1 / rate)
    strongest = float(frequency[1:][power[1:].argmax()]) if power[1:].any() else np.nan
    return strongest, float(power[(frequency >= 0.5) & (frequency <= 5)].sum() / len(x))


_FEATURES: Final[dict[str, Callable[[Samples, int, Cut], Iterator[list[float]]]]] = {
    "ecg": _ecg,
    "emg": _emg,
    "chest_eda": _eda,
    "wrist_eda": _eda,
    "bvp": _bvp,
    "temp": _temperature,
    "acc": _motion,
    "resp": _respiration,
    "chest_temp": _temperature,
    "chest_acc": _motion,
}
