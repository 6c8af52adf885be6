"""Features of windows by modality, with the names and definitions of ``windows.csv``.

To avoid edge effects, signals of the chest are filtered, and heart beats and breaths detected, on the whole recording
before it is cut into windows. The pulse at the wrist is processed window by window, because the threshold of its peaks
is an average, which movements elsewhere in the recording would raise. Chest signals other than ECG and EMG change
slowly, and are averaged to 4 Hz (skin conductance responses, temperature) or 35 Hz (respiration, movement).

The features of the wrist agree with those of the table (correlation above 0.99) except for `Pulse_Rate` (0.989) and
`Wrist_SCR_Count` (0.938), whose peak criteria are not published. Features of the chest could not be compared, since the
table came without the signals.

Missing samples (NaN or infinite) are never made up:

- Where less than half of the samples of a window are present, all features of the modality are NaN.
- Means, deviations, slopes, maxima and ranges come from the samples that are present.
- Filters, peaks, intervals and differences stay within a piece without a gap (`helo.data.wesad.rhythm`).
- A count of responses is that of the time that was observed, scaled to the whole window.
- A spectrum is that of the longest piece, and NaN where this piece is shorter than half of the window. Its energy is
  scaled to the whole window.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from helo.data.wesad.pieces import ENOUGH, Samples, averaged, enough, known, longest, pieces, with_gaps
from helo.data.wesad.recording import LABEL_RATE, SIGNALS, Recording, Segment
from helo.data.wesad.rhythm import breath_rate, find_breaths, heart, heart_intervals, pulse_intervals, pulse_rate
from helo.data.wesad.schema import COLUMNS

Cut = Callable[[Samples, int], Iterator[tuple[int, Samples]]]
"""Function that cuts a signal with a rate in Hz into windows, each with the number of its first sample."""

_SLOW: Final = 4
"""Rate of averaged skin conductance and temperature in Hz."""

_MOVING: Final = 35
"""Rate of averaged respiration and chest movement in Hz."""

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
    rate = SIGNALS[name].rate
    values = with_gaps(raw, SIGNALS[name].unit)
    table = np.full((len(starts), len(COLUMNS[name])), np.nan)

    def at(start: int, hertz: int) -> slice:
        first = start * hertz // LABEL_RATE  # the last sample not after the start, as in windows.csv
        return slice(first, first + round(window * hertz))

    rows = [row for row, start in enumerate(starts.tolist()) if enough(values[at(start, rate)])]
    if not rows:
        return table

    def cut(signal: Samples, hertz: int) -> Iterator[tuple[int, Samples]]:
        for start in starts[rows].tolist():
            where = at(start, hertz)
            yield where.start, signal[where]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NeuroKit2 warns of short and flat signals
        table[rows] = list(_FEATURES[name](values, rate, cut))
    return table


def _shape(x: Samples) -> tuple[float, float]:
    """Return skewness and excess kurtosis; NaN for a constant signal."""
    apart = x - x.mean()
    deviation = float(x.std())
    if deviation <= 1e-12 * float(np.abs(x).max()):
        return np.nan, np.nan
    return float((apart**3).mean() / deviation**3), float((apart**4).mean() / deviation**4 - 3)


def _ecg(values: Samples, rate: int, cut: Cut) -> Iterator[list[float]]:
    intervals = heart_intervals(values, rate)
    for first, x in cut(values, rate):
        here = known(x)
        yield [here.mean(), here.std(), *_shape(here), *heart(intervals.within(first, first + len(x)), rate, x)]


def _emg(values: Samples, rate: int, cut: Cut) -> Iterator[list[float]]:
    import neurokit2 as nk
    from scipy.ndimage import uniform_filter1d

    # The amplitude is a root mean square in mV. That of NeuroKit2 is a square (the energy of Teager and Kaiser).
    amplitude = np.full_like(values, np.nan)
    for run in pieces(values, 2 * round(_TONE_S * rate)):
        x = values[run]
        clean = np.asarray(nk.emg_clean(x, sampling_rate=rate)) if np.ptp(x) else np.zeros_like(x)
        amplitude[run] = np.sqrt(np.maximum(uniform_filter1d(clean**2, round(_TONE_S * rate)), 0))
    for _, x in cut(amplitude, rate):
        here = known(x)
        yield [here.mean(), here.std(), here.max(), *_shape(here)] if enough(x) else [np.nan] * 5


def _eda(values: Samples, rate: int, cut: Cut) -> Iterator[list[float]]:
    slow = averaged(values, rate, _SLOW)
    for (_, x), (_, coarse) in zip(cut(values, rate), cut(slow, _SLOW), strict=True):
        here = known(x)
        yield [here.mean(), here.std(), here.max(), *_responses(coarse)]


def _responses(x: Samples) -> tuple[float, float]:
    """Return the number and mean height of skin conductance responses.

    Responses are peaks of the signal smoothed over 1 s. The height of a peak is the fall of the signal in the 5 s after
    it. As in ``windows.csv``, there is no minimum height.

    In a window with gaps, the number is that of the observed time times the inverse of its share, NaN where less than
    half is observed. Only peaks without a gap in the 5 s after them have a height.
    """
    smooth = np.convolve(x, np.full(_SLOW, 1 / _SLOW), mode="valid")  # NaN near a gap
    change = np.diff(smooth)
    # Steps of the sensor are far larger than rounding errors.
    peaks = np.flatnonzero((change[:-1] > _ROUNDING) & (change[1:] < -_ROUNDING)) + 1
    observed = float(np.isfinite(change[:-1] + change[1:]).mean())
    if observed < ENOUGH:
        return np.nan, np.nan
    if not len(peaks):
        return 0, 0.0
    heights = np.asarray([smooth[peak] - smooth[peak : peak + _FALL_S * _SLOW].min() for peak in peaks.tolist()])
    measured = heights[np.isfinite(heights)]
    return len(peaks) / observed, float(measured.mean()) if len(measured) else np.nan


def _bvp(values: Samples, rate: int, cut: Cut) -> Iterator[list[float]]:
    for _, x in cut(values, rate):
        here = known(x)
        yield [here.mean(), here.std(), np.ptp(here), pulse_rate(pulse_intervals(x, rate), rate, x)]


def _temperature(values: Samples, rate: int, cut: Cut) -> Iterator[list[float]]:
    for _, x in cut(averaged(values, rate, _SLOW), _SLOW):
        seconds, here = (np.arange(len(x)) / _SLOW)[np.isfinite(x)], known(x)
        seconds -= seconds.mean()
        yield [here.mean(), here.std(), float(seconds @ here / (seconds @ seconds))] if enough(x) else [np.nan] * 3


def _respiration(values: Samples, rate: int, cut: Cut) -> Iterator[list[float]]:
    slow = averaged(values, rate, _MOVING)
    breaths = find_breaths(slow, _MOVING)
    for first, x in cut(slow, _MOVING):
        low, high = np.searchsorted(breaths.peaks, [first, first + len(x)])
        depths = known(breaths.depths[low:high])
        here = known(x)
        if not enough(x):
            yield [np.nan] * 4
            continue
        yield [
            here.mean(),
            here.std(),
            breath_rate(breaths.intervals.within(first, first + len(x)), _MOVING, x),
            float(depths.mean()) if len(depths) else np.nan,
        ]


def _motion(values: Samples, rate: int, cut: Cut) -> Iterator[list[float]]:
    hertz = min(rate, _MOVING)
    for _, x in cut(averaged(values, rate, hertz), hertz):
        if not enough(x):
            yield [np.nan] * 17
            continue
        here = known(x)
        row: list[float] = []
        for axis in here.T:
            row += [axis.mean(), axis.std(), np.ptp(axis)]
        strength = np.linalg.norm(x, axis=1)
        length = known(strength)
        # Differences across a gap are NaN.
        jerk = known(np.linalg.norm(np.diff(x, axis=0), axis=1)) * hertz
        still = float((np.abs(known(np.diff(strength))) < _STILL_G).mean())
        row += [length.mean(), length.std(), length.max(), jerk.mean(), jerk.std()]
        yield [*row, *_spectrum(strength, hertz), still]


def _spectrum(x: Samples, rate: int) -> tuple[float, float]:
    """Return the dominant frequency in Hz, and the power Σ |FFT|² / samples from 0.5 to 5 Hz."""
    run = longest(x)
    if len(run) < ENOUGH * len(x):
        return np.nan, np.nan
    power = np.abs(np.fft.rfft(run - run.mean())) ** 2
    frequency = np.fft.rfftfreq(len(run), 1 / rate)
    strongest = float(frequency[1:][power[1:].argmax()]) if power[1:].any() else np.nan
    energy = float(power[(frequency >= 0.5) & (frequency <= 5)].sum() / len(run))
    return strongest, energy * len(x) / len(run)


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
