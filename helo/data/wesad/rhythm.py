"""Heart beats and breaths: peaks, the intervals between them, and rates.

Rates come from intervals, never from counts. An interval lies within one piece of the signal, so none spans a gap, and
no peak comes from a sample that was made up. An impossible interval of the heart is an artefact: it does not count, and
no change is measured across it. Where something does not count, the intervals that are left must cover a quarter of the
window; otherwise everything that comes from intervals is NaN. The pulse of a window without gaps is an exception: as in
``windows.csv``, it is the mean of all intervals, artefacts included.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from helo.data.wesad.pieces import Samples, pieces

Places = NDArray[np.intp]

_INTERVAL_MS: Final = (300.0, 2000.0)
"""Minimum and maximum interval between heart beats in ms (200 and 30 per minute); others are detection errors."""

_COVERED: Final = 0.25
"""Minimum share of a window that intervals must cover, where some of them do not count."""

_BEATS_S: Final = 2
_BREATHS_S: Final = 6
"""Minimum length of a piece in which beats and breaths are sought, in seconds."""


class Intervals(NamedTuple):
    """Intervals between successive peaks of one piece, in samples."""

    starts: Places  # (n,)
    stops: Places  # (n,)

    def within(self, first: int, stop: int) -> Intervals:
        """Return the intervals whose peaks both lie in the samples from `first` up to, but not including, `stop`."""
        low, high = np.searchsorted(self.starts, first), np.searchsorted(self.stops, stop)
        return Intervals(self.starts[low:high], self.stops[low:high])


class Breaths(NamedTuple):
    """Breaths of a recording.

    Attributes
    ----------
    intervals
        Intervals between peaks.
    peaks, depths
        Peaks, and how far each lies above the trough before it in the same piece (NaN without a trough).
    """

    intervals: Intervals
    peaks: Places
    depths: Samples


def _peaks(find: Callable[[Samples], Any], x: Samples) -> Places:
    """Return the samples of peaks; an empty array for signals without peaks."""
    if not np.ptp(x):
        return np.empty(0, dtype=np.intp)
    try:
        found = np.asarray(find(x), dtype=np.float64)
    except (ValueError, IndexError, ZeroDivisionError):  # raised by NeuroKit2 for signals without peaks
        return np.empty(0, dtype=np.intp)
    return found[np.isfinite(found)].astype(np.intp)


def _joined(parts: list[Places]) -> Places:
    return np.concatenate([np.empty(0, dtype=np.intp), *parts])


def _intervals(peaks: list[Places]) -> Intervals:
    """Return the intervals between the peaks of each piece."""
    return Intervals(_joined([part[:-1] for part in peaks]), _joined([part[1:] for part in peaks]))


def heart_intervals(values: Samples, rate: int) -> Intervals:
    """Find the heart beats of an electrocardiogram of shape (n,), and return their intervals."""
    import neurokit2 as nk

    def find(x: Samples) -> Any:
        return nk.ecg_findpeaks(nk.ecg_clean(x, sampling_rate=rate), sampling_rate=rate)["ECG_R_Peaks"]

    return _intervals([run.start + _peaks(find, values[run]) for run in pieces(values, _BEATS_S * rate)])


def pulse_intervals(values: Samples, rate: int) -> Intervals:
    """Find the heart beats of a pulse wave of shape (n,), and return their intervals."""
    import neurokit2 as nk

    def find(x: Samples) -> Any:
        return nk.ppg_findpeaks(nk.ppg_clean(x, sampling_rate=rate), sampling_rate=rate)["PPG_Peaks"]

    return _intervals([run.start + _peaks(find, values[run]) for run in pieces(values, _BEATS_S * rate)])


def find_breaths(values: Samples, rate: int) -> Breaths:
    """Find the breaths in a signal of shape (n,)."""
    import neurokit2 as nk

    found: list[Places] = []
    depths: list[Samples] = [np.empty(0)]
    for run in pieces(values, _BREATHS_S * rate):
        x = values[run]
        clean = np.asarray(nk.rsp_clean(x, sampling_rate=rate)) if np.ptp(x) else np.zeros_like(x)
        extrema: dict[str, Any] = {}

        def find(x: Samples, extrema: dict[str, Any] = extrema) -> Any:
            extrema.update(nk.rsp_findpeaks(x, sampling_rate=rate))
            return extrema["RSP_Peaks"]

        peaks = _peaks(find, clean)
        troughs = np.asarray(extrema.get("RSP_Troughs", []), dtype=np.intp)
        # The depth of a breath is measured from the last trough before its peak.
        before = np.searchsorted(troughs, peaks) - 1
        depth = np.full(len(peaks), np.nan)
        if len(troughs):
            depth[before >= 0] = (clean[peaks] - clean[troughs[before]])[before >= 0]
        found.append(run.start + peaks)
        depths.append(depth)
    return Breaths(_intervals(found), _joined(found), np.concatenate(depths))


def _covered(kept: NDArray[Any], samples: int, whole: bool) -> bool:
    """Return whether the intervals that count are enough; `whole` says that none is missing."""
    return bool(len(kept)) and (whole or float(kept.sum()) >= _COVERED * samples)


def heart(intervals: Intervals, rate: int, x: Samples) -> tuple[float, float, float]:
    """Return beats per minute, and SDNN and RMSSD in ms.

    Parameters
    ----------
    intervals
        Intervals in the window.
    rate
        Samples in a second.
    x
        Samples of the window, NaN in gaps.

    Returns
    -------
    tuple of float
        NaN for fewer than three intervals, or where too little of the window is left.
    """
    lengths = (intervals.stops - intervals.starts) * 1000.0 / rate
    good = _possible(lengths)
    adjacent = intervals.stops[:-1] == intervals.starts[1:]
    changes = np.diff(lengths)[good[1:] & good[:-1] & adjacent]
    kept = lengths[good]
    whole = bool(good.all()) and not np.isnan(x).any()
    if len(kept) < 3 or not len(changes) or not _covered(kept * rate / 1000, len(x), whole):
        return np.nan, np.nan, np.nan
    return 60_000 / float(kept.mean()), float(kept.std(ddof=1)), float(np.sqrt((changes**2).mean()))


def _possible(lengths: Samples) -> NDArray[np.bool_]:
    """Return a mask of the intervals in ms that are possible between heart beats."""
    return (lengths >= _INTERVAL_MS[0]) & (lengths <= _INTERVAL_MS[1])


def pulse_rate(intervals: Intervals, rate: int, x: Samples) -> float:
    """Return beats per minute by the mean interval of a window `x`; NaN where too little of it is left.

    Impossible intervals count in windows without gaps, as in ``windows.csv``.
    """
    lengths, whole = intervals.stops - intervals.starts, not np.isnan(x).any()
    kept = lengths if whole else lengths[_possible(lengths * 1000.0 / rate)]
    return _per_minute(kept, rate) if _covered(kept, len(x), whole) else np.nan


def breath_rate(intervals: Intervals, rate: int, x: Samples) -> float:
    """Return breaths per minute by the mean interval of a window `x`; NaN where too little of it is left."""
    lengths = intervals.stops - intervals.starts
    return _per_minute(lengths, rate) if _covered(lengths, len(x), not np.isnan(x).any()) else np.nan


def _per_minute(lengths: NDArray[Any], rate: int) -> float:
    return float(60 * rate / lengths.mean())
