"""Where the official download keeps each subject: in a folder, or in the zip file as it came."""

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

MOST_BYTES: Final = 4 * 10**9
"""The largest pickle that is opened: the official ones have about 1 GB."""

_MOST_QUEST_BYTES: Final = 2**20
_BUFFER: Final = 2**20
_ZIP_ERRORS: Final = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)
"""What reading a damaged, encrypted or otherwise strange archive raises."""

_WANTED: Final = "it must hold S2/S2.pkl, S2/S2_quest.csv and so on, or lie one folder above them"


@dataclass(frozen=True)
class Source:
    """One subject's files: paths, or members of the zip file `archive`."""

    subject: str
    pickle: str
    quest: str
    archive: Path | None = None

    @property
    def where(self) -> str:
        """The pickle's name in messages."""
        return self._name(self.pickle)

    @property
    def quest_where(self) -> str:
        """The questionnaire's name in messages."""
        return self._name(self.quest)

    def _name(self, path: str) -> str:
        return path if self.archive is None else f"{self.archive}: {path}"

    def quest_text(self) -> str:
        """The questionnaire."""
        where = self.quest_where
        with _opened(self.archive, self.quest, where, f"is missing; {self.where} needs its questionnaire") as stream:
            raw = stream.read(_MOST_QUEST_BYTES)
        try:
            return raw.decode("utf-8-sig")  # without the byte order mark of spreadsheet programs
        except UnicodeDecodeError as error:
            raise InputError(f"{where}: cannot be read as a UTF-8 text file ({error})") from None

    @contextmanager
    def open_pickle(self) -> Iterator[BinaryIO]:
        """The pickle, to be read once from its beginning; nothing is written anywhere."""
        with _opened(self.archive, self.pickle, self.where, "is missing") as stream:
            yield stream

    @property
    def size(self) -> int:
        """Bytes of the pickle."""
        return self.stamp[0]

    @property
    def stamp(self) -> tuple[int, ...]:
        """What changes when the pickle does: size, time of change, and in a zip file the checksum."""
        if self.archive is None:
            about = Path(self.pickle).stat()
            return about.st_size, about.st_mtime_ns
        with _archive(self.archive) as archive:
            member = archive.getinfo(self.pickle)
            return member.file_size, self.archive.stat().st_mtime_ns, member.CRC


@contextmanager
def _archive(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except _ZIP_ERRORS as error:
        raise InputError(f"{path}: is not a whole zip file ({error or 'cut short'}); download it again") from None


@contextmanager
def _opened(archive: Path | None, path: str, where: str, absent: str) -> Iterator[BinaryIO]:
    """A file or a member of an archive, buffered."""
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
    """Whether `path` looks like the official download: a zip file, or a folder with ``S2/S2.pkl`` or the like."""
    path = Path(path)
    if path.is_file():
        return path.suffix.lower() == ".zip" or zipfile.is_zipfile(path)
    return bool(_in_folder(path))


def find_sources(path: Path) -> tuple[Source, ...]:
    """All subjects of a download in natural order; raise `InputError` for none, one twice, or one too large."""
    path = Path(path)
    if path.is_file():
        with _archive(path) as archive:
            found = [name for name in archive.namelist() if _subject(PurePosixPath(name))]
        archived: Path | None = path
    elif path.is_dir():
        found, archived = [str(pickle) for pickle in _in_folder(path)], None
    else:
        raise InputError(f"{path}: no such folder or zip file ({_WANTED})")
    sources = []
    for name in found:
        pickle = PurePosixPath(Path(name).as_posix())
        subject = pickle.stem
        quest = str(pickle.with_name(f"{subject}_quest.csv"))
        sources.append(Source(subject, name, quest, archived))
    subjects = [source.subject for source in sources]
    if not subjects:
        raise InputError(f"{path}: holds no recordings of WESAD ({_WANTED})")
    twice = sorted({subject for subject in subjects if subjects.count(subject) > 1}, key=natural_key)
    if twice:
        which = [source.pickle for source in sources if source.subject == twice[0]]
        raise InputError(f"{path}: must hold each subject once, but {twice[0]} is there as {shorten(which)}")
    for source in sources:
        if source.size > MOST_BYTES:
            raise InputError(
                f"{source.where}: has {source.size / 1e9:.1f} GB, more than any file of WESAD (about 1 GB; at most "
                f"{MOST_BYTES / 1e9:.0f} GB are read)"
            )
    return tuple(sorted(sources, key=lambda source: natural_key(source.subject)))


def _in_folder(path: Path) -> list[Path]:
    """The pickles in ``S2/S2.pkl`` or, if there are none, ``WESAD/S2/S2.pkl`` below a folder."""
    for pattern in ("S*/S*.pkl", "*/S*/S*.pkl"):
        found = [pickle for pickle in sorted(path.glob(pattern)) if _subject(PurePosixPath(pickle.as_posix()))]
        if found:
            return found
    return []


def _subject(path: PurePosixPath) -> str | None:
    """The subject whose pickle a path is: S2 of ``WESAD/S2/S2.pkl``."""
    fits = path.suffix == ".pkl" and path.stem == path.parent.name and re.fullmatch("S[0-9]{1,4}", path.stem)
    return path.stem if fits and "__MACOSX" not in path.parts else None
