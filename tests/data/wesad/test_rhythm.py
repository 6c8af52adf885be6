"""Signals of known truth with gaps: every number is missing or near the truth."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from helo.data.wesad.recording import SIGNALS, Recording
from helo.data.wesad.rhythm import Intervals, heart, pulse_rate
from helo.data.wesad.schema import COLUMNS
from helo.data.wesad.signals import window_features

pytest.importorskip("neurokit2")

SECONDS = 60
STARTS = np.asarray([0, 15, 30]) * 700
GAPS = (0.9, 5.0, 10.0, 14.0)


def clock(rate: int) -> NDArray[np.float64]:
    return np.arange(SECONDS * rate) / rate


def heart_at(beats: NDArray[np.float64]) -> NDArray[np.float64]:
    """An electrocardiogram with an R peak and a T wave at each beat."""
    apart = clock(700)[:, None] - beats
    return np.asarray((np.exp(-((apart / 0.012) ** 2)) + 0.2 * np.exp(-(((apart - 0.25) / 0.05) ** 2))).sum(axis=1))


STEADY = np.arange(0.5, SECONDS, 60 / 72)
ALTERNATING = np.cumsum(np.tile([0.7, 0.9], 40))
TRUE_SIGNALS = {
    "ecg": heart_at(STEADY),
    "bvp": 80 * np.exp(-(((((clock(64) * 1.2) % 1) - 0.3) / 0.12) ** 2)),
    "resp": 3 * np.sin(2 * np.pi * 0.25 * clock(700)),
    "emg": np.random.default_rng(3).normal(0, 0.02, SECONDS * 700),
    "chest_eda": 2 + 0.4 * np.exp(-(((clock(700) % 5) - 2) ** 2)),
    "temp": 33 + 0.002 * clock(4),
    "acc": 64 + 16 * np.sin(2 * np.pi * 2 * clock(32))[:, None] * [0, 0, 1],
}
NEAR: Mapping[str, float] = {
    # Feature → how far from the truth it may be. One standard deviation differs by which cycles are present.
    "Heart_Rate": 0.5,
    "SDNN": 3,
    "RMSSD": 5,
    "Pulse_Rate": 1.5,
    "RESP_Rate": 0.75,
    "RESP_Amplitude": 0.9,
    "RESP_Mean": 1.0,
    "RESP_Std": 0.3,
    "ECG_Mean": 0.01,
    "ECG_Std": 0.02,
    "ECG_Skewness": 0.6,
    "ECG_Kurtosis": 5,
    "BVP_Mean": 3,
    "BVP_Std": 3,
    "BVP_Amplitude": 0.1,
    "EMG_Mean": 0.001,
    "EMG_Std": 0.001,
    "Chest_SCR_Count": 4,  # two in the observed half of a window
    "Chest_SCR_Amplitude_Mean": 0.08,
    "Chest_EDA_Mean": 0.03,
    "Chest_EDA_Max": 0.001,
    "Wrist_TEMP_Slope": 1e-9,
    "ACC_Z_Range": 1e-9,
    "ACC_Mag_Std": 0.01,
    "ACC_Jerk_Mean": 0.05,
    "ACC_Jerk_Std": 0.05,
    "ACC_PeakFreq": 0.07,  # the width of a line of the spectrum of 15 s
    "ACC_Energy_0p5_5Hz": 1.5,
    "ACC_ZeroMotionFrac": 0.02,
}


def features(signals: Mapping[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
    """Features (N,) by name of windows of 30 s."""
    recording = Recording("S2", np.zeros(SECONDS * 700, np.int32), dict(signals))
    table = window_features(recording, STARTS, 30.0)
    return dict(zip([column for name in signals for column in COLUMNS[name]], table.T, strict=True))


def with_gaps(name: str, signal: NDArray[np.float64], gaps: list[tuple[float, float]]) -> NDArray[np.float64]:
    """Return the signal of a modality without the samples of gaps, each a start and a length in seconds."""
    left, rate = signal.astype(np.float64), SIGNALS[name].rate
    for start, length in gaps:
        left[round(start * rate) : round((start + length) * rate)] = np.nan
    return left


@cache
def features_without_gaps() -> dict[str, NDArray[np.float64]]:
    return features(TRUE_SIGNALS)


@pytest.fixture
def truth() -> dict[str, NDArray[np.float64]]:
    return features_without_gaps()


def check(truth: Mapping[str, NDArray[np.float64]], found: Mapping[str, NDArray[np.float64]]) -> None:
    """Assert that each number is missing or near the truth."""
    for name, margin in NEAR.items():
        if name in found:
            wrong = np.abs(found[name] - truth[name]) > margin
            assert not wrong.any(), (name, found[name], truth[name])


def test_the_truth_is_what_was_made(truth: dict[str, NDArray[np.float64]]) -> None:
    np.testing.assert_allclose(truth["Heart_Rate"], 72, rtol=0.002)
    np.testing.assert_allclose(truth["Pulse_Rate"], 72, rtol=0.01)
    np.testing.assert_allclose(truth["RESP_Rate"], 15, rtol=0.01)
    assert truth["Chest_SCR_Count"].tolist() == [6, 6, 6]


@pytest.mark.parametrize("length", GAPS)
@pytest.mark.parametrize("start", [0.0, 3.3, 16.0, 22.4])
def test_no_rate_spans_a_gap(truth: dict[str, NDArray[np.float64]], start: float, length: float) -> None:
    """Once, 10 s without signal turned 72 beats into 48.7, and 0.9 s turned an RMSSD of 1.2 into 148 ms."""
    signals = {name: with_gaps(name, TRUE_SIGNALS[name], [(start, length)]) for name in ("ecg", "bvp", "resp")}
    found = features(signals)
    check(truth, found)
    # Half of the window is there, and enough for the heart.
    assert np.isfinite(found["Heart_Rate"]).all()
    assert np.isfinite(found["RMSSD"]).all()
    assert np.isfinite(found["Pulse_Rate"]).all()


@settings(deadline=None, max_examples=25, derandomize=True)
@given(st.lists(st.tuples(st.floats(0, SECONDS), st.floats(0.002, 14)), min_size=1, max_size=4))
def test_numbers_are_missing_or_near_the_truth(gaps: list[tuple[float, float]]) -> None:
    check(
        features_without_gaps(),
        features({name: with_gaps(name, signal, gaps) for name, signal in TRUE_SIGNALS.items()}),
    )


@settings(deadline=None, max_examples=10, derandomize=True)
@given(st.lists(st.tuples(st.floats(0, SECONDS), st.floats(0.002, 14)), min_size=1, max_size=4))
def test_a_heart_that_alternates_keeps_its_variability(gaps: list[tuple[float, float]]) -> None:
    found = features({"ecg": with_gaps("ecg", heart_at(ALTERNATING[ALTERNATING < SECONDS]), gaps)})
    for name, expected, margin in (("Heart_Rate", 75, 1.5), ("SDNN", 100, 10), ("RMSSD", 200, 10)):
        wrong = np.abs(found[name] - expected) > margin
        assert not wrong.any(), (name, found[name])


@pytest.mark.parametrize("last", [53.0, 54.5, 56.0, 57.5, 59.0])
def test_the_last_breath_changes_no_rate(last: float) -> None:
    """NeuroKit2 leaves out the last extremum, which a count of breaths would miss."""
    found = features({"resp": with_gaps("resp", TRUE_SIGNALS["resp"], [(last, SECONDS)])})
    np.testing.assert_allclose(found["RESP_Rate"], 15, atol=0.75)


def test_what_a_window_without_gaps_gives_does_not_depend_on_gaps_elsewhere(
    truth: dict[str, NDArray[np.float64]],
) -> None:
    gaps = [(0.0, 2.0), (9.0, 0.5), (46.0, 1.0)]
    found = features({name: with_gaps(name, signal, gaps) for name, signal in TRUE_SIGNALS.items()})
    for name in found:  # the second window lasts from 15 s to 45 s
        np.testing.assert_allclose(found[name][1], truth[name][1], rtol=0.02, atol=0.3, err_msg=name)


def test_too_little_signal_is_missing() -> None:
    everything = [(0.0, 15.5), (15.7, 15.5), (31.4, 15.5), (47.1, 12.9)]
    found = features({name: with_gaps(name, signal, everything) for name, signal in TRUE_SIGNALS.items()})
    assert all(np.isnan(values).all() for values in found.values())
    # Enough samples, but in pieces too short for beats and breaths: only what needs no piece is left.
    often = [(float(second), 0.2) for second in range(SECONDS)]
    found = features({name: with_gaps(name, TRUE_SIGNALS[name], often) for name in ("ecg", "bvp", "resp", "temp")})
    for name in ("Heart_Rate", "SDNN", "RMSSD", "Pulse_Rate", "RESP_Rate", "RESP_Amplitude"):
        assert np.isnan(found[name]).all(), name
    assert np.isfinite(found["ECG_Mean"]).all()
    np.testing.assert_allclose(found["Wrist_TEMP_Slope"], 0.002)


# --- intervals made by hand ---------------------------------------------------------------------


def intervals(*runs: list[int]) -> Intervals:
    """Intervals in ms between the beats of each piece."""
    return Intervals(
        np.asarray([beat for run in runs for beat in run[:-1]], dtype=np.intp),
        np.asarray([beat for run in runs for beat in run[1:]], dtype=np.intp),
    )


def test_no_change_is_measured_across_an_artefact_or_a_gap() -> None:
    whole = np.zeros(12_000)
    # 800, 800, an artefact of 4000, 900, 900: no change between 800 and 900.
    rate, _, changes = heart(intervals([0, 800, 1600, 5600, 6500, 7400]), 1000, whole)
    assert rate == pytest.approx(60_000 / 850)
    assert changes == 0
    # The same with a gap in place of the artefact.
    gap = np.where(np.arange(12_000) == 3000, np.nan, 0.0)
    assert heart(intervals([0, 800, 1600], [5600, 6500, 7400]), 1000, gap)[2] == 0


def test_artefacts_leave_too_little_or_count_not_at_all() -> None:
    gap = np.where(np.arange(30_000) == 20_000, np.nan, 0.0)
    beats = [*range(0, 9000, 800), 15_000]  # the pulse was lost for 6 s
    assert pulse_rate(intervals(beats), 1000, gap) == pytest.approx(75)
    assert np.isnan(pulse_rate(intervals([0, 800, 1600, 15_000]), 1000, gap))
    assert np.isnan(heart(intervals([0, 800, 1600, 2400, 3200, 15_000]), 1000, np.zeros(30_000))[0])
