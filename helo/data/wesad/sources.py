"""Files of each subject in the official download, which is a folder or the original zip file."""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final

from helo.data.dataset import natural_key
from helo.errors import InputError, shorten

MAX_BYTES: Final = 4 * 10**9
"""Maximum size of a pickle in bytes; the official files have about 1 GB."""

_MAX_QUEST_BYTES: Final = 2**20
_BUFFER: Final = 2**20
_ZIP_ERRORS: Final = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)
"""Errors raised for damaged, encrypted and unsupported archives."""

_EXPECTED: Final = "it must hold S2/S2.pkl, S2/S2_quest.csv and so on, or lie one folder above them"


@dataclass(frozen=True)
class Source:
    """Files of one subject.

    Attributes
    ----------
    subject
        Name of the subject, such as ``S2``.
    pickle, quest
        Paths of the pickle and the questionnaire, or names of members of `archive`.
    archive
        Path of the zip file, or None for a folder.
    """

    subject: str
    pickle: str
    quest: str
    archive: Path | None = None

    @property
    def where(self) -> str:
        """Name of the pickle in messages."""
        return self._name(self.pickle)

    @property
    def quest_where(self) -> str:
        """Name of the questionnaire in messages."""
        return self._name(self.quest)

    def _name(self, path: str) -> str:
        return path if self.archive is None else f"{self.archive}: {path}"

    def quest_text(self) -> str:
        """Return the text of the questionnaire; raise `InputError` if it is missing or not UTF-8."""
        where = self.quest_where
        with _opened(self.archive, self.quest, where, f"is missing; {self.where} needs its questionnaire") as stream:
            raw = stream.read(_MAX_QUEST_BYTES)
        try:
            return raw.decode("utf-8-sig")  # removes the byte order mark of spreadsheet programs
        except UnicodeDecodeError as error:
            raise InputError(f"{where}: cannot be read as a UTF-8 text file ({error})") from None

    @contextmanager
    def open_pickle(self) -> Iterator[BinaryIO]:
        """Open the pickle for one sequential read, without extracting it to disk."""
        with _opened(self.archive, self.pickle, self.where, "is missing") as stream:
            yield stream

    @property
    def size(self) -> int:
        """Size of the pickle in bytes."""
        return self.stamp[0]

    @property
    def stamp(self) -> tuple[int, ...]:
        """Values that change with the pickle: size, modification time and, in a zip file, checksum."""
        if self.archive is None:
            about = Path(self.pickle).stat()
            return about.st_size, about.st_mtime_ns
        with _archive(self.archive) as archive:
            member = archive.getinfo(self.pickle)
            return member.file_size, self.archive.stat().st_mtime_ns, member.CRC


@contextmanager
def _archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip file; raise `InputError` if opening or reading it fails."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except _ZIP_ERRORS as error:
        raise InputError(f"{path}: is not a complete zip file ({error or 'truncated'}); download it again") from None


@contextmanager
def _opened(archive: Path | None, path: str, where: str, absent: str) -> Iterator[BinaryIO]:
    """Open a file or a member of an archive with a buffer; `absent` is the message if it is missing."""
    try:
        if archive is None:
            with open(path, "rb", buffering=_BUFFER) as stream:
                yield stream
        else:
            with _archive(archive) as opened, opened.open(path) as member:
                yield io.BufferedReader(member, _BUFFER)  # type: ignore[type-var]  # it has readinto
    except (FileNotFoundError, KeyError):
        raise InputError(f"{where}: {absent}") from None
    except OSError as error:
        raise InputError(f"{where}: cannot be read ({error.strerror or error})") from None


def is_download(path: Path) -> bool:
    """Return whether a path looks like the official download.

    Parameters
    ----------
    path
        Path of a file or folder.

    Returns
    -------
    bool
        True for a zip file, and for a folder with files such as ``S2/S2.pkl``.
    """
    path = Path(path)
    if path.is_file():
        return path.suffix.lower() == ".zip" or zipfile.is_zipfile(path)
    return bool(_in_folder(path))


def find_sources(path: Path) -> tuple[Source, ...]:
    """Find the files of all subjects of a download.

    Parameters
    ----------
    path
        Folder or zip file.

    Returns
    -------
    tuple of Source
        Files by subject, in natural order.

    Raises
    ------
    InputError
        If there are no subjects, a subject is repeated, or a pickle is too large.
    """
    path = Path(path)
    if path.is_file():
        with _archive(path) as archive:
            found = [name for name in archive.namelist() if _subject(PurePosixPath(name))]
        archived: Path | None = path
    elif path.is_dir():
        found, archived = [str(pickle) for pickle in _in_folder(path)], None
    else:
        raise InputError(f"{path}: no such folder or zip file ({_EXPECTED})")
    sources = []
    for name in found:
        pickle = PurePosixPath(Path(name).as_posix())
        subject = pickle.stem
        quest = str(pickle.with_name(f"{subject}_quest.csv"))
        sources.append(Source(subject, name, quest, archived))
    subjects = [source.subject for source in sources]
    if not subjects:
        raise InputError(f"{path}: holds no recordings of WESAD ({_EXPECTED})")
    repeated = sorted({subject for subject in subjects if subjects.count(subject) > 1}, key=natural_key)
    if repeated:
        which = [source.pickle for source in sources if source.subject == repeated[0]]
        raise InputError(f"{path}: must hold each subject once, but {repeated[0]} appears as {shorten(which)}")
    for source in sources:
        if source.size > MAX_BYTES:
            raise InputError(
                f"{source.where}: has {source.size / 1e9:.1f} GB, more than any file of WESAD (about 1 GB; at most "
                f"{MAX_BYTES / 1e9:.0f} GB are read)"
            )
    return tuple(sorted(sources, key=lambda source: natural_key(source.subject)))


def _in_folder(path: Path) -> list[Path]:
    """Return the pickles such as ``S2/S2.pkl`` in a folder or, if there are none, one level below."""
    for pattern in ("S*/S*.pkl", "*/S*/S*.pkl"):
        found = [pickle for pickle in sorted(path.glob(pattern)) if _subject(PurePosixPath(pickle.as_posix()))]
        if found:
            return found
    return []


def _subject(path: PurePosixPath) -> str | None:
    """Return the subject of a pickle (``S2`` for ``WESAD/S2/S2.pkl``), or None for other paths."""
    fits = path.suffix == ".pkl" and path.stem == path.parent.name and re.fullmatch("S[0-9]{1,4}", path.stem)
    return path.stem if fits and "__MACOSX" not in path.parts else None
