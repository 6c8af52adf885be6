"""Signals of an E4 recording: ``ACC.csv``, ``BVP.csv``, ``EDA.csv`` and ``TEMP.csv`` in a folder or a zip file.

The first line of a file is the start of the recording (Unix time in seconds, UTC), the second one the sampling rate in
Hz, and each further line a sample. ``ACC.csv`` has three columns, in 1/64 g. ``tags.csv`` has the Unix time of each
press of the button. ``IBI.csv`` and ``HR.csv``, which the device's maker derives from ``BVP.csv``, are not read.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from helo._paths import regular_file
from helo.data.archives import READ_ERRORS, require_readable
from helo.data.wesad.recording import SIGNALS
from helo.errors import InputError, shorten

FILES: Final = {"wrist_eda": "EDA.csv", "bvp": "BVP.csv", "temp": "TEMP.csv", "acc": "ACC.csv"}
"""File of each modality."""

_TAGS: Final = "tags.csv"
_ARCHIVE: Final = "_E4_Data"  # ending of the archives of WESAD
_LEVELS: Final = 3
_MAX_BYTES: Final = 2**30
_FIRST_S: Final = 1e8
_LAST_S: Final = 1e11
"""Limits of a plausible Unix time in seconds: 1973 and 5138."""

_MAX_APART_S: Final = 60.0
"""Maximum difference between the starts of the signals of a recording, in seconds."""


@dataclass(frozen=True)
class E4Files:
    """Files of one recording.

    Attributes
    ----------
    subject
        Name of the subject: that of the folder or archive directly below the folder that the user names.
    place
        Folder or zip file.
    members
        Name of a file, such as ``EDA.csv`` → its path in the folder or the archive.
    """

    subject: str
    place: Path
    members: dict[str, str]

    def where(self, name: str) -> str:
        """Return the place of a file, for messages."""
        member = self.members.get(name, name)
        return f"{self.place}: {member}" if self.place.is_file() else str(self.place / member)

    def read(self, name: str) -> str | None:
        """Return the text of a file; None if the recording has no such file."""
        if name not in self.members:
            return None
        try:
            if self.place.is_file():
                with zipfile.ZipFile(self.place) as archive, archive.open(self.members[name]) as stream:
                    raw = stream.read(_MAX_BYTES + 1)
            else:
                with regular_file(self.place / self.members[name]).open("rb") as stream:
                    raw = stream.read(_MAX_BYTES + 1)
            if len(raw) > _MAX_BYTES:
                raise InputError(f"{self.where(name)}: has more than 1 GB, which no recording of an E4 has")
            return raw.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise InputError(f"{self.where(name)}: is not a text file") from None
        except READ_ERRORS as error:
            raise InputError(f"{self.where(name)}: cannot be read ({error or 'truncated'})") from None


@dataclass
class E4Recording:
    """Signals of a recording, cut to a common start.

    Attributes
    ----------
    subject, where
        Name of the subject, and place of the recording for messages.
    start
        Common start, Unix time in seconds.
    signals
        Modality → samples (n,) or (n, 3) at the rate of `helo.data.wesad.recording.SIGNALS`.
    tags
        Presses of the button, in seconds after the start.
    """

    subject: str
    where: str
    start: float
    signals: dict[str, NDArray[np.float64]]
    tags: tuple[float, ...]

    @property
    def seconds(self) -> float:
        """Length of the shortest signal in seconds."""
        return min(len(values) / SIGNALS[name].rate for name, values in self.signals.items())


def find_recordings(folder: Path) -> list[E4Files]:
    """Find the recordings in a folder.

    Parameters
    ----------
    folder
        Folder with a folder or a zip file for each subject, in which the files of a recording lie, up to two folders
        below. ``S2_E4_Data.zip`` belongs to subject S2.

    Returns
    -------
    list of E4Files
        Recordings in the order of subjects and paths.

    Raises
    ------
    InputError
        If there is no recording, or a recording lacks a file.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: is not a folder; it must hold a folder or zip file with E4 recordings per subject")
    found: list[E4Files] = []
    for place in sorted(folder.iterdir()):
        if place.is_dir():
            found += _in_folder(place)
        elif place.suffix.lower() == ".zip":
            found += _in_archive(place, place.stem.removesuffix(_ARCHIVE))
    if not found:
        own = " (give the folder above that of a subject)" if (folder / FILES["bvp"]).is_file() else ""
        raise InputError(f"{folder}: holds no recordings such as SUBJECT/{FILES['bvp']}{own}")
    for one in found:
        lacking = [name for name in FILES.values() if name not in one.members]
        if lacking:
            raise InputError(f"{one.where(lacking[0])}: is missing; a recording has {', '.join(FILES.values())}")
    return found


def _in_folder(place: Path) -> list[E4Files]:
    found: list[E4Files] = []
    for level in range(_LEVELS):
        for path in sorted(place.glob("/".join(["*"] * level + [FILES["bvp"]]))):
            inside = path.parent.relative_to(place)
            if "__MACOSX" not in inside.parts:
                names = {file.name: (inside / file.name).as_posix() for file in path.parent.iterdir()}
                found.append(E4Files(place.name, place, _known(names)))
        for archive in sorted(place.glob("/".join(["*"] * level + ["*.zip"]))):
            found += _in_archive(archive, place.name)
    return found


def _in_archive(path: Path, subject: str) -> list[E4Files]:
    try:
        with zipfile.ZipFile(regular_file(path)) as archive:
            known = [member for member in archive.infolist() if "__MACOSX" not in member.filename]
    except READ_ERRORS as error:
        raise InputError(f"{path}: cannot be read as a zip file ({error or 'truncated'})") from None
    members = []
    for member in known:
        members.append(PurePosixPath(member.filename))
        if members[-1].name in (*FILES.values(), _TAGS):
            require_readable(path, member)
    folders = sorted({member.parent for member in members if member.name == FILES["bvp"]})
    return [
        E4Files(subject, path, _known({one.name: str(one) for one in members if one.parent == folder}))
        for folder in folders
    ]


def _known(names: dict[str, str]) -> dict[str, str]:
    return {name: path for name, path in names.items() if name in (*FILES.values(), _TAGS)}


def read_recording(files: E4Files) -> E4Recording:
    """Read the signals of a recording.

    Parameters
    ----------
    files
        Its files.

    Returns
    -------
    E4Recording
        Signals from the latest of their starts on.

    Raises
    ------
    InputError
        If a file is damaged, has another sampling rate than an E4, or starts at another time than the others.
    """
    starts: dict[str, float] = {}
    signals: dict[str, NDArray[np.float64]] = {}
    for modality, name in FILES.items():
        starts[modality], signals[modality] = _signal(files, modality, name)
    start = max(starts.values())
    for modality, own in starts.items():
        if start - own > _MAX_APART_S:
            raise InputError(
                f"{files.where(FILES[modality])}: starts {start - own:.0f} s before another signal of the recording; "
                f"they must start within {_MAX_APART_S:g} s"
            )
        signals[modality] = signals[modality][round((start - own) * SIGNALS[modality].rate) :]
    return E4Recording(files.subject, str(files.place), start, signals, tuple(_tags(files, start)))


def _signal(files: E4Files, modality: str, name: str) -> tuple[float, NDArray[np.float64]]:
    """Return the start of a signal, and its samples."""
    where, form = files.where(name), SIGNALS[modality]
    table = _numbers(files, name, form.axes)
    if len(table) < 3:
        raise InputError(f"{where}: must hold the start, the sampling rate and samples, got {len(table)} lines")
    start, rate = table[0, 0], table[1, 0]
    if not _FIRST_S <= start <= _LAST_S:
        raise InputError(f"{where}: the first line must be the start in seconds since 1970, got {start:g}")
    if rate != form.rate:
        raise InputError(f"{where}: the second line must be the sampling rate of an E4, {form.rate} Hz, got {rate:g}")
    samples = table[2:]
    return float(start), samples[:, 0] if form.axes == 1 else samples


def _numbers(files: E4Files, name: str, columns: int) -> NDArray[np.float64]:
    """Return the numbers of a file, (lines, columns)."""
    text = files.read(name)
    assert text is not None
    if not text.strip():
        raise InputError(f"{files.where(name)}: is empty")
    try:
        table = np.loadtxt(io.StringIO(text), delimiter=",", ndmin=2, dtype=np.float64)
    except ValueError as error:
        raise InputError(f"{files.where(name)}: must hold numbers separated by commas ({error})") from None
    if table.shape[1] != columns:
        raise InputError(f"{files.where(name)}: must have {columns} columns, got {table.shape[1]}")
    return table


def _tags(files: E4Files, start: float) -> Iterator[float]:
    if not (files.read(_TAGS) or "").strip():
        return
    for value in _numbers(files, _TAGS, 1)[:, 0].tolist():
        yield float(value) - start


def describe_tags(recordings: Sequence[E4Recording]) -> list[str]:
    """Return a line on the presses of the button in each recording that has some.

    >>> describe_tags([E4Recording("P1", "P1", 1.5e9, {}, (12.25, 300.0))])
    ['P1: tags at 12.2, 300.0 s']
    """
    return [
        f"{one.subject}: tags at {shorten((f'{tag:.1f}' for tag in one.tags), most=12)} s"
        for one in recordings
        if one.tags
    ]


def as_signals(recording: E4Recording) -> dict[str, NDArray[Any]]:
    """Return the signals in the order of the columns of features."""
    return {name: recording.signals[name] for name in FILES}
