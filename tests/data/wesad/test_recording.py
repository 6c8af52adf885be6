"""Recordings: each thing that can be wrong in the content of a pickle is named, with its place."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from helo.data.wesad.items import CONDITIONS
from helo.data.wesad.questionnaire import Questionnaire, Report
from helo.data.wesad.recording import SIGNALS, Segment, find_segments, make_recording
from helo.data.wesad.schema import CHEST, WRIST
from helo.errors import InputError

SECONDS = 40
ORDER = ("Base", "TSST", "Medi 1", "Fun", "Medi 2")


def content(**chest: Any) -> dict[str, Any]:
    """A whole recording of 40 s."""
    signals: dict[str, dict[str, Any]] = {"chest": {}, "wrist": {}}
    for form in SIGNALS.values():
        signals[form.device][form.key] = np.ones((SECONDS * form.rate, form.axes))
    signals["chest"] |= chest
    return {"subject": "S2", "signal": signals, "label": np.zeros(SECONDS * 700, np.int32)}


def changed(**values: Any) -> dict[str, Any]:
    return content() | values


def without(device: str, key: str) -> dict[str, Any]:
    whole = content()
    del whole["signal"][device][key]
    return whole


def test_signals_have_one_axis_or_three() -> None:
    recording = make_recording(content(), "S2", CHEST + WRIST, "S2.pkl")
    assert {name: signal.shape for name, signal in recording.signals.items()} == {
        name: (SECONDS * form.rate, 3) if form.axes == 3 else (SECONDS * form.rate,) for name, form in SIGNALS.items()
    }


def test_what_a_device_does_not_need_may_be_missing() -> None:
    whole = content()
    del whole["signal"]["chest"]
    assert set(make_recording(whole, "S2", WRIST, "S2.pkl").signals) == set(WRIST)


@pytest.mark.parametrize("extra", [-1.0, 0.5, 1.0])
def test_lengths_may_differ_by_a_second(extra: float) -> None:
    ecg = np.ones((round((SECONDS + extra) * 700), 1))
    make_recording(content(ECG=ecg), "S2", CHEST, "S2.pkl")


@pytest.mark.parametrize(
    ("whole", "message"),
    [
        ([1, 2], "the pickle must be a dictionary with subject, signal, label, got list"),
        ({"subject": "S2", "signals": {}, "label": 1}, "the key 'signal' (did you mean 'signals'?); it has subject,"),
        (changed(subject="S3"), "'subject' must be 'S2' like the name of the file, got 'S3'"),
        (changed(subject=2), "got int"),
        (changed(signal=None), "'signal' must be a dictionary with chest, wrist, got NoneType"),
        (changed(signal={"chest": {}}), "'signal' must have the key 'wrist'"),
        (without("wrist", "BVP"), "'signal' 'wrist' must have the key 'BVP'; it has EDA, TEMP, ACC"),
        (without("chest", "Temp"), "'signal' 'chest' must have the key 'Temp'"),
        (changed(label=np.zeros(SECONDS * 700)), "'label' must be whole numbers, 700 a second, got float64 of shape"),
        (
            changed(label=np.zeros((5, 2), int)),
            "'label' must be whole numbers, 700 a second, got int64 of shape (5, 2)",
        ),
        (changed(label=[0, 1]), "got list"),
        (changed(label=np.full(700, 9)), "'label' must be 0 to 7, got 9"),
        (
            changed(label=np.zeros((SECONDS - 2) * 700, int)),
            "has 28,000 samples, 40.0 s at 700 Hz, but 'label' lasts 38.0 s at 700 Hz: they must be equal within 1 s",
        ),
        (content(ECG=np.ones((SECONDS * 350, 1))), "'signal' 'chest' 'ECG' has 14,000 samples, 20.0 s at 700 Hz"),
        (content(ECG=np.ones((28_000, 2))), "'signal' 'chest' 'ECG' must have shape (N,), got (28000, 2)"),
        (content(ACC=np.ones(28_000)), "'signal' 'chest' 'ACC' must have shape (N, 3), got (28000,)"),
        (content(ECG="none"), "'signal' 'chest' 'ECG' must be an array of numbers of shape (N,), got str"),
        (content(ECG=np.ones(28_000, bool)), "got bool of shape (28000,)"),
        (content(ECG=np.float64(1)), "got float64"),
    ],
)
def test_wrong_content_is_refused(whole: Any, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        make_recording(whole, "S2", CHEST + WRIST, "S2.pkl")
    assert str(caught.value).startswith("S2.pkl: ")
    assert "\n" not in str(caught.value)


# --- segments -----------------------------------------------------------------------------------


def quest(order: tuple[str, ...] = ORDER, late: int = 0) -> Questionnaire:
    """Conditions of 40 s, one a minute; the third may be `late`."""
    starts = [100 + 60 * place + late * (place == 2) for place in range(5)]
    return Questionnaire("S2", tuple(Report(name, at, at + 60, {}) for name, at in zip(order, starts, strict=True)))


def label(*codes: int) -> np.ndarray:
    """40 s of each code, 20 s of something else between them."""
    return np.concatenate(
        [np.repeat([code, other], [40 * 700, 20 * 700]) for code, other in zip(codes, [0, 5] * 3, strict=False)]
    )


def test_both_meditations_are_told_apart_by_their_place() -> None:
    for order in (ORDER, ("Base", "Fun", "Medi 2", "TSST", "Medi 1")):
        codes = [{"Base": 1, "TSST": 2, "Fun": 3}.get(name, 4) for name in order]
        found = find_segments(label(*codes), quest(order), "S2.pkl", "S2_quest.csv")
        assert found == tuple(
            Segment(name, place * 42_000, place * 42_000 + 28_000) for place, name in enumerate(order)
        )
        assert {segment.condition for segment in found} == set(CONDITIONS)


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        ((1, 3, 4, 2, 4), "'label' has baseline, amusement, meditation, stress, meditation, but by ORDER in S2_quest"),
        ((1, 2, 4, 3), "must have baseline, stress, meditation, amusement, meditation"),
        ((1, 2, 4, 3, 4, 1), "'label' has baseline, stress, meditation, amusement, meditation, baseline, but"),
        ((0, 6), "'label' has no condition, but"),
    ],
)
def test_runs_that_order_does_not_know_are_refused(codes: tuple[int, ...], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        find_segments(label(*codes), quest(), "S2.pkl", "S2_quest.csv")
    assert str(caught.value).startswith("S2.pkl: ")


@pytest.mark.parametrize("late", [-2, 2, 30])
def test_a_condition_at_another_time_is_refused(late: int) -> None:
    message = f"S2.pkl: against S2_quest.csv: subject S2, Medi 1: the label begins {-late} s after START (right: 0)"
    with pytest.raises(InputError, match=re.escape(message)):
        find_segments(label(1, 2, 4, 3, 4), quest(late=late), "S2.pkl", "S2_quest.csv")


def test_whole_seconds_are_allowed_for() -> None:
    assert len(find_segments(label(1, 2, 4, 3, 4), quest(late=1), "S2.pkl", "S2_quest.csv")) == 5
