"""Files of WESAD made here: questionnaires, and recordings in the official format."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

ORDER = ("Base", "TSST", "Medi 1", "Fun", "Medi 2")
CODES = {"Base": 1, "TSST": 2, "Fun": 3, "Medi 1": 4, "Medi 2": 4}
START = ("2", "8.05", "14.3", "20.59", "60.2")
END = ("6", "12.15", "18.4", "25", "64.2")
ITEM_COUNT = 24

Quest = Callable[..., Path]


def lines_of(
    subject: str = "S2",
    order: tuple[str, ...] = ORDER,
    start: tuple[str, ...] = START,
    end: tuple[str, ...] = END,
) -> list[str]:
    """The lines of a valid questionnaire; the k-th report answers k to Happy, the last item but Sad."""
    rows = [
        ("Subj", subject),
        ("ORDER", *order, "sRead", "fRead"),
        ("START", *start, "54.42", "89.51"),
        ("END", *end, "56.07", "91.15"),
        (),
        # Angry and Irritated, 5 each, are asked after the TSST only.
        *(
            ("PANAS", *"1" * (ITEM_COUNT - 2), str(k), *(("5", "5") if condition == "TSST" else ()), "1")
            for k, condition in enumerate(order, start=1)
        ),
        (),
        ("STAI", "3", "2", "1", "4", "2", "3"),
        ("DIM", "7", "2"),
    ]
    return [f"# {';'.join(row)}".ljust(12) + ";;;" if row else ";;;;;" for row in rows]


@pytest.fixture(scope="session")
def quest_lines() -> Callable[..., list[str]]:
    """Lines of a valid questionnaire."""
    return lines_of


@pytest.fixture(scope="session")
def write_quest() -> Quest:
    """Writes ``SX/SX_quest.csv`` below a folder."""

    def write(folder: Path, lines: list[str], subject: str = "S2") -> Path:
        path = folder / subject / f"{subject}_quest.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return write


# --- recordings ---------------------------------------------------------------------------------

FIRST_S, LONG_S, EVERY_S, OFFSET_S = 10, 45, 60, 70
"""Conditions of 45 s, one a minute; the questionnaire's clock is 70 s ahead, and END is 20 s after the label's."""


def text_pickle(value: Any) -> bytes:
    """A pickle of protocol 0 as Python 2 wrote it, with the names of NumPy 1: that is what the official files are."""

    def text(raw: bytes) -> bytes:
        return b"S" + repr(raw)[1:].encode() + b"\n"

    def dump(value: Any) -> bytes:
        if isinstance(value, dict):
            return b"(dp0\n" + b"".join(dump(key) + dump(inner) + b"s" for key, inner in value.items())
        if isinstance(value, str):
            return text(value.encode("latin1"))
        kind = value.dtype.str
        shape = b"".join(b"I%d\n" % length for length in value.shape)
        dtype = b"cnumpy\ndtype\n(" + text(kind[1:].encode()) + b"I0\nI1\ntR(I3\n" + text(kind[:1].encode())
        return (
            b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n("
            + shape
            + b"t"
            + dtype
            + b"NNNI-1\nI-1\nI0\ntbI00\n"
            + text(value.tobytes())
            + b"tb"
        )

    return dump(value) + b"."


def made_up(order: tuple[str, ...], seed: int, chest: bool) -> tuple[NDArray[np.int32], dict[str, Any]]:
    """Label and signals of six minutes: a pulse of 72 a minute, breaths of 15, and noise."""
    rng = np.random.default_rng(seed)
    seconds = FIRST_S + EVERY_S * len(order) + 10

    def clock(rate: int) -> NDArray[np.float64]:
        return np.arange(seconds * rate) / rate

    def noise(rate: int, size: float, axes: int = 1) -> NDArray[np.float64]:
        return rng.normal(0, size, (seconds * rate, axes))

    label = np.zeros(seconds * 700, np.int32)
    for place, condition in enumerate(order):
        first = FIRST_S + EVERY_S * place
        label[first * 700 : (first + LONG_S) * 700] = CODES[condition]
    beat = (clock(64) * 1.2) % 1
    signals: dict[str, Any] = {
        "wrist": {
            "ACC": np.round(np.add(noise(32, 3, 3), [20, -10, 58])),
            "BVP": 80 * np.exp(-(((beat - 0.3) / 0.12) ** 2))[:, None] - 20 + noise(64, 1),
            "EDA": 1 + 0.2 * np.sin(clock(4) / 3)[:, None] + noise(4, 0.001),
            "TEMP": 33 + 0.001 * clock(4)[:, None],
        }
    }
    if chest:
        beat = (clock(700) * 1.2) % 1
        signals["chest"] = {
            "ACC": np.add(noise(700, 0.02, 3), [0.9, 0, -0.2]),
            "ECG": np.exp(-(((beat - 0.5) / 0.015) ** 2))[:, None] + noise(700, 0.01),
            "EMG": noise(700, 0.01),
            "EDA": 4 + 0.5 * np.sin(clock(700) / 4)[:, None],
            "Temp": (34 + 0.001 * clock(700)[:, None]).astype(np.float32),
            "Resp": 3 * np.sin(2 * np.pi * 0.25 * clock(700))[:, None] + noise(700, 0.01),
        }
    return label, signals


class Official:
    """A download below `folder`: two subjects who went through the conditions in different orders."""

    def __init__(self, folder: Path, chest: bool = False) -> None:
        self.folder = folder
        self.orders = {"S2": ORDER, "S14": ("Base", "Fun", "Medi 2", "TSST", "Medi 1")}
        self.content: dict[str, Any] = {}
        for seed, (subject, order) in enumerate(self.orders.items()):
            label, signals = made_up(order, seed, chest)
            self.content[subject] = {"subject": subject, "label": label, "signal": signals}
            self.write_quest(subject)
            self.write(subject)

    def path(self, subject: str = "S2") -> Path:
        return self.folder / subject / f"{subject}.pkl"

    def write(self, subject: str = "S2", dump: Callable[[Any], bytes] | None = None) -> Path:
        """Write a subject's pickle from `content`."""
        path = self.path(subject)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((dump or (lambda value: pickle.dumps(value, protocol=2)))(self.content[subject]))
        return path

    def write_quest(self, subject: str, order: tuple[str, ...] | None = None) -> Path:
        def times(first: int) -> tuple[str, ...]:
            whole = [first + EVERY_S * place for place in range(len(ORDER))]
            return tuple(f"{time // 60}.{time % 60:02d}" for time in whole)

        begin = FIRST_S + OFFSET_S
        lines = lines_of(subject, order or self.orders[subject], times(begin), times(begin + LONG_S + 20))
        path = self.folder / subject / f"{subject}_quest.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path


@pytest.fixture
def official(tmp_path: Path) -> Official:
    """A download with wrist signals only: small, and read in no time with ``device="wrist"``."""
    return Official(tmp_path / "WESAD")


@pytest.fixture(scope="session")
def official_both(tmp_path_factory: pytest.TempPathFactory) -> Official:
    """A download with wrist and chest signals, not to be altered."""
    return Official(tmp_path_factory.mktemp("both"), chest=True)


@pytest.fixture(scope="session")
def python2() -> Callable[[Any], bytes]:
    """Writes pickles as Python 2 did."""
    return text_pickle
