"""Features of windows by modality, with the names and definitions of ``windows.csv``.

To avoid edge effects, signals of the chest are filtered, and heart beats and breaths detected, on the whole recording
before it is cut into windows. The pulse at the wrist is processed window by window, because the threshold of its peaks
is an average, which movements elsewhere in the recording would raise. Chest signals other than ECG and EMG change
slowly, and are averaged to 4 Hz (skin conductance responses, temperature) or 35 Hz (respiration, movement).

The features of the wrist agree with those of the table (correlation above 0.99) except for `Pulse_Rate` (0.989) and
`Wrist_SCR_Count` (0.938), whose peak criteria are not published. Features of the chest could not be compared, since the
table came without the signals.

Gaps (NaN or infinite samples) are interpolated linearly. Where less than half of the samples of a window are present,
all features of the modality are NaN.
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
"""Function that cuts a signal with a rate in Hz into windows, each with the number of its first sample."""

_SLOW: Final = 4
"""Rate of averaged skin conductance and temperature in Hz."""

_MOVING: Final = 35
"""Rate of averaged respiration and chest movement in Hz."""

_INTERVAL_MS: Final = (300.0, 2000.0)
"""Minimum and maximum interval between heart beats in ms (200 and 30 per minute); others are detection errors."""

_TONE_S: Final = 0.05
"""Length of the moving average of muscle activity, in seconds."""

_FALL_S: Final = 5
"""Time after a skin conductance peak in which its height is measured, in seconds."""

_ROUNDING: Final = 1e-9
"""Maximum rounding error of a difference of equal samples, in µS."""

_STILL_G: Final = 0.01
"""Change of acceleration between samples below which there is no movement, in g."""


def window_starts(segments: tuple[Segment, ...], window: float, step: float) -> tuple[NDArray[np.intp], list[str]]:
    """Place windows inside the conditions.

    Parameters
    ----------
    segments
        The conditions.
    window, step
        Length of a window, and time between the starts of successive windows, in seconds.

    Returns
    -------
    starts : ndarray
        First sample (N,) of each window at the rate of the label.
    conditions : list of str
        Condition of each window.
    """
    length, apart = round(window * LABEL_RATE), round(step * LABEL_RATE)
    starts: list[int] = []
    conditions: list[str] = []
    for segment in segments:
        inside = range(segment.start, segment.stop - length + 1, apart)
        starts += inside
        conditions += [segment.condition] * len(inside)
    return np.asarray(starts, dtype=np.intp), conditions


def window_features(recording: Recording, starts: NDArray[np.intp], window: float) -> Samples:
    """Compute the features of windows.

    Signals are removed from `recording` one by one, which frees their memory.

    Parameters
    ----------
    recording
        The recording.
    starts
        First sample (N,) of each window at the rate of the label.
    window
        Length of a window in seconds.

    Returns
    -------
    ndarray
        Features (N, F) with the columns of the recording's modalities, in the units of the signals.
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
        warnings.simplefilter("ignore")  # NeuroKit2 warns of short and flat signals
        rows = _FEATURES[name](values, rate, cut)
    for place, row in enumerate(rows):
        first = int(starts[place]) * rate // LABEL_RATE
        if present[first : first + round(window * rate)].mean() >= 0.5:
            table[place] = row
    return table


def _bridged(raw: NDArray[Any], unit: float) -> tuple[Samples, NDArray[np.bool_]]:
    """Return a signal in its unit with gaps interpolated, and a mask (n,) of the samples that are present."""
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
    """Return a signal averaged in blocks to a `lower` rate, which must divide `rate`."""
    block = rate // lower
    whole = len(values) // block * block
    mean: Samples = values[:whole].reshape(whole // block, block, *values.shape[1:]).mean(axis=1)
    return mean


def _shape(x: Samples) -> tuple[float, float]:
    """Return skewness and excess kurtosis; NaN for a constant signal."""
    apart = x - x.mean()
    deviation = float(x.std())
    if deviation <= 1e-12 * float(np.abs(x).max()):
        return np.nan, np.nan
    return float((apart**3).mean() / deviation**3), float((apart**4).mean() / deviation**4 - 3)


def _peaks(find: Callable[[Samples], Any], x: Samples) -> NDArray[np.intp]:
    """Return the samples of peaks; an empty array for signals without peaks."""
    if not np.ptp(x):
        return np.empty(0, dtype=np.intp)
    try:
        found = np.asarray(find(x), dtype=np.float64)
    except (ValueError, IndexError, ZeroDivisionError):  # raised by NeuroKit2 for signals without peaks
        return np.empty(0, dtype=np.intp)
    return found[np.isfinite(found)].astype(np.intp)


def _within(places: NDArray[np.intp], first: int, window: Samples) -> NDArray[np.intp]:
    low, high = np.searchsorted(places, [first, first + len(window)])
    return places[low:high]


def _per_minute(places: NDArray[np.intp], rate: int) -> float:
    """Return the rate of peaks per minute by their mean interval; NaN for fewer than two peaks."""
    return float(60 * rate / np.diff(places).mean()) if len(places) > 1 else np.nan


def _ecg(values: Samples, rate: int, cut: Cut) -> Iterator[list[float]]:
    import neurokit2 as nk

    beats = _peaks(
        lambda x: nk.ecg_findpeaks(nk.ecg_clean(x, sampling_rate=rate), sampling_rate=rate)["ECG_R_Peaks"], values
    )
    for first, x in cut(values, rate):
        yield [x.mean(), x.std(), *_shape(x), *_heart(_within(beats, first, x), rate)]


def _heart(beats: NDArray[np.intp], rate: int) -> tuple[float, float, float]:
    """Return beats per minute, and SDNN and RMSSD in ms; NaN for fewer than three intervals."""
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

    # The amplitude is a root mean square in mV. That of NeuroKit2 is a square (the energy of Teager and Kaiser).
    clean = np.asarray(nk.emg_clean(values, sampling_rate=rate)) if np.ptp(values) else np.zeros_like(values)
    amplitude = np.sqrt(np.maximum(uniform_filter1d(clean**2, round(_TONE_S * rate)), 0))
    for _, x in cut(amplitude, rate):
        yield [x.mean(), x.std(), x.max(), *_shape(x)]


def _eda(values: Samples, rate: int, cut: Cut) -> Iterator[list[float]]:
    slow = _averaged(values, rate, _SLOW)
    for (_, x), (_, coarse) in zip(cut(values, rate), cut(slow, _SLOW), strict=True):
        yield [x.mean(), x.std(), x.max(), *_responses(coarse)]


def _responses(x: Samples) -> tuple[int, float]:
    """Return the number and mean height of skin conductance responses.

    Responses are peaks of the signal smoothed over 1 s. The height of a peak is the fall of the signal in the 5 s after
    it. As in ``windows.csv``, there is no minimum height.
    """
    smooth = np.convolve(x, np.full(_SLOW, 1 / _SLOW), mode="valid")
    change = np.diff(smooth)
    # Steps of the sensor are far larger than rounding errors.
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
    # The depth of a breath is measured from the last trough before its peak.
    before = np.searchsorted(troughs, peaks) - 1
    depths = np.where(before >= 0, clean[peaks] - clean[troughs[before]], np.nan) if len(troughs) else peaks * np.nan
    for first, x in cut(slow, _MOVING):
        low, high = np.searchsorted(peaks, [first, first + len(x)])
        inside = depths[low:high][np.isfinite(depths[low:high])]
        yield [
            x.mean(),
            x.std(),
            _per_minute(peaks[low:high], _MOVING),
            float(inside.mean()) if len(inside) else np.nan,
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
    """Return the dominant frequency in Hz, and the power Σ |FFT|² / samples from 0.5 to 5 Hz."""
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
