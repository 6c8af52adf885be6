"""Files of each subject in the official download, which is a folder or the original zip file."""

from __future__ import annotations

import io
import re
import struct
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final

from helo._paths import local_path, regular_file
from helo.data.archives import ZIP_ERRORS, require_readable
from helo.data.dataset import natural_key
from helo.errors import InputError, shorten

MAX_BYTES: Final = 4 * 10**9
"""Maximum size of a pickle in bytes; the official files have about 1 GB."""

_MAX_QUEST_BYTES: Final = 2**20
_BUFFER: Final = 2**20
_EXPECTED: Final = "it must hold S2/S2.pkl, S2/S2_quest.csv and so on, or lie one or two folders above them"


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
    except ZIP_ERRORS as error:
        whole = shorten(_whole_subjects(path), most=20)
        raise InputError(
            f"{path}: is not a complete zip file ({error or 'truncated'}); download it again"
            + (f" (whole in it are {whole})" if whole else "")
        ) from None


def _whole_subjects(path: Path) -> list[str]:
    """Return the subjects whose pickles are whole at the beginning of a truncated zip file."""
    found: list[str] = []
    with path.open("rb") as file:
        end, place = path.stat().st_size, 0
        while True:
            file.seek(place)
            header = file.read(30)
            if len(header) < 30 or header[:4] != b"PK\x03\x04":
                return found
            flags, size, name_size, extra_size = struct.unpack("<6xH10xI4xHH", header)
            name = file.read(name_size).decode("utf-8", "replace")
            place += 30 + name_size + extra_size + size
            if (flags & 8 and not size) or size == 0xFFFFFFFF or place > end:  # the size is unknown, or the end missing
                return found
            if subject := _subject(PurePosixPath(name)):
                found.append(subject)


@contextmanager
def _opened(archive: Path | None, path: str, where: str, absent: str) -> Iterator[BinaryIO]:
    """Open a file or a member of an archive with a buffer; `absent` is the message if it is missing."""
    try:
        if archive is None:
            with open(regular_file(Path(path)), "rb", buffering=_BUFFER) as stream:
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
        True for a zip file, for a folder with files such as ``S2/S2.pkl``, and for the folder of a subject, which
        `find_sources` refuses.
    """
    path = local_path(path)
    if path.is_file():
        return path.suffix.lower() == ".zip" or zipfile.is_zipfile(path)
    return bool(_in_folder(path)) or (path / f"{path.absolute().name}.pkl").is_file()


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
    path = local_path(path)
    if path.is_file():
        with _archive(path) as archive:
            members = [member for member in archive.infolist() if _subject(PurePosixPath(member.filename))]
        for member in members:
            require_readable(path, member)
        found = [member.filename for member in members]
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
    sources.sort(key=lambda source: natural_key(source.subject))
    subjects = [source.subject for source in sources]
    if not subjects:
        above = next((folder for folder in path.absolute().parents[:2] if any(folder.glob("S*/S*.pkl"))), None)
        hint = "" if above is None else f"; {above} does"
        raise InputError(f"{path}: holds no recordings of WESAD ({_EXPECTED}){hint}")
    repeated = sorted({subject for subject in subjects if subjects.count(subject) > 1}, key=natural_key)
    if repeated:
        which = [source.pickle for source in sources if source.subject == repeated[0]]
        raise InputError(f"{path}: must hold each subject once, but {repeated[0]} appears as {shorten(which)}")
    if archived is None:
        _require_whole(path, sources)
    for source in sources:
        if source.size > MAX_BYTES:
            raise InputError(
                f"{source.where}: has {source.size / 1e9:.1f} GB, more than any file of WESAD (about 1 GB; at most "
                f"{MAX_BYTES / 1e9:.0f} GB are read)"
            )
    return tuple(sources)


def _require_whole(path: Path, sources: Sequence[Source]) -> None:
    """Raise `InputError` if files of a folder are missing or truncated, with all subjects that lack one."""
    lacking = {}
    for source in sources:
        pickle, quest = Path(source.pickle), Path(source.quest)
        if not quest.is_file():
            lacking[source.subject] = quest.name
        elif not _ends_as_pickle(pickle):
            lacking[source.subject] = f"the end of {pickle.name}"
    if lacking:
        whole = shorten((source.subject for source in sources if source.subject not in lacking), most=20)
        raise InputError(
            f"{path}: is not complete: {shorten((f'{name} lacks {what}' for name, what in lacking.items()), most=8)}; "
            + (f"download them again, or move them away (whole are {whole})" if whole else "download them again")
        )


def _ends_as_pickle(path: Path) -> bool:
    """Return whether a file ends with the opcode that ends every pickle. Other faults are found when it is read."""
    try:
        with regular_file(path).open("rb") as file:
            file.seek(-1, io.SEEK_END)
            return file.read(1) == b"."
    except OSError:  # an empty file
        return False


def _in_folder(path: Path) -> list[Path]:
    """Return the pickles such as ``S2/S2.pkl`` in a folder or, if there are none, one or two levels below."""
    for pattern in ("S*/S*.pkl", "*/S*/S*.pkl", "*/*/S*/S*.pkl"):
        found = [pickle for pickle in sorted(path.glob(pattern)) if _subject(PurePosixPath(pickle.as_posix()))]
        if found:
            return found
    return []


def _subject(path: PurePosixPath) -> str | None:
    """Return the subject of a pickle (``S2`` for ``WESAD/S2/S2.pkl``), or None for other paths."""
    fits = path.suffix == ".pkl" and path.stem == path.parent.name and re.fullmatch("S[0-9]{1,4}", path.stem)
    return path.stem if fits and "__MACOSX" not in path.parts else None
