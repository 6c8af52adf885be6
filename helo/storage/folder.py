"""Interface of folders on any storage, and folders on this machine."""

from __future__ import annotations

import errno
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from helo._paths import regular_file
from helo._text import parse_whole
from helo.errors import InputError, StorageError, reason_of
from helo.storage.atomic import whole_file, whole_folder
from helo.storage.patience import Patience


class Folder(ABC):
    """Folder of files on any storage.

    Names are relative, with ``/`` between folders. Missing parents are created. A reader sees a file whole or not at
    all, even if the writing process is killed. Errors are `OSError`, `FileNotFoundError` for a missing file. Reading
    from what `open` returns may also raise errors of pyarrow.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """Last part of the path."""

    @property
    @abstractmethod
    def here(self) -> Path | None:
        """Path of the folder if it lies on this machine, else None."""

    @abstractmethod
    def __truediv__(self, name: str) -> Folder:
        """Return a folder inside this one."""

    @property
    @abstractmethod
    def parent(self) -> Folder:
        """Folder that contains this one."""

    def with_patience(self, patience: Patience) -> Folder:
        """Return this folder with another patience with storage that does not answer. Here it has no effect."""
        return self

    def existing(self) -> Folder:
        """Return this folder as one that writing does not make again if it is moved or removed."""
        return self

    @abstractmethod
    def where(self, name: str) -> str:
        """Return the full path or URI of a file, for messages."""

    @abstractmethod
    def names(self) -> list[str]:
        """Return the sorted names of files and folders directly in this one; empty if it does not exist."""

    @abstractmethod
    def exists(self, name: str) -> bool:
        """Return whether a file or folder of this name exists."""

    @abstractmethod
    def stamps(self, names: Sequence[str]) -> tuple[int, ...]:
        """Return a number for each file that changes whenever the file does; 0 for a missing file."""

    @abstractmethod
    def is_new(self) -> bool:
        """Return whether nothing exists at this place yet."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """Return the content of a file."""

    @abstractmethod
    def open(self, name: str) -> Any:
        """Return a path or an open file from which pyarrow can read parts of a file."""

    @abstractmethod
    def write(self, name: str, content: bytes) -> None:
        """Write a file. After this returns, the file survives a power cut."""

    @abstractmethod
    def delete(self, name: str) -> None:
        """Delete a file if it exists."""

    @abstractmethod
    def move(self, name: str, target: str) -> None:
        """Rename a file, and replace an existing one."""

    @abstractmethod
    def new_file(self, name: str) -> AbstractContextManager[Path]:
        """Open a context with a local path to write to. It becomes the file, or is deleted after an error."""

    @abstractmethod
    def filled(self, last: str) -> AbstractContextManager[Path]:
        """Open a context with a local folder to fill. It becomes this one, or is deleted after an error.

        This folder must not exist yet. The file `last` is written last: it marks the folder as complete.
        """

    @abstractmethod
    def at_hand(self, name: str) -> AbstractContextManager[Path]:
        """Open a context with a local path of a file."""

    def read_json(self, name: str) -> Any:
        """Return the content of a JSON file; raise `InputError` if it is missing or damaged."""
        try:
            return json.loads(self.read(name).decode("utf-8"), parse_int=parse_whole)
        except StorageError:
            raise
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(f"{self.where(name)}: cannot be read ({reason_of(error)})") from None

    def write_json(self, name: str, content: Any) -> None:
        """Write indented JSON. Paths that Python has read in another encoding keep their bytes."""
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        try:
            written = text.encode("utf-8", "surrogateescape")
            written.decode("utf-8")
        except UnicodeError:
            # Half of a surrogate pair has no UTF-8 form. Python's escape of it is also that of JSON.
            written = text.encode("utf-8", "backslashreplace")
        self.write(name, written)


@dataclass(frozen=True)
class LocalFolder(Folder):
    """Folder on this machine, or on a file system that is mounted here.

    Attributes
    ----------
    path : Path
        The folder.
    inside : Path or None
        This folder, or one that contains it, which has to exist: if it is moved or removed, writing fails instead of
        making it again.
    """

    path: Path
    inside: Path | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return str(self.path)

    @property
    def name(self) -> str:
        """See `Folder`."""
        return self.path.resolve().name

    @property
    def here(self) -> Path:
        """See `Folder`."""
        return self.path

    def __truediv__(self, name: str) -> LocalFolder:
        return LocalFolder(self.path / name, self.inside)

    def existing(self) -> LocalFolder:
        """See `Folder`."""
        return LocalFolder(self.path, self.path)

    def _require(self) -> None:
        if self.inside is not None and not self.inside.is_dir():
            raise FileNotFoundError(errno.ENOENT, "has been moved or removed", str(self.inside))

    @property
    def parent(self) -> LocalFolder:
        """See `Folder`."""
        return LocalFolder(self.path.absolute().parent)

    def where(self, name: str) -> str:
        """See `Folder`."""
        return str(self.path / name)

    def names(self) -> list[str]:
        """See `Folder`."""
        try:
            return sorted(os.listdir(self.path))  # by name: paths are slow to compare, and this is asked often
        except FileNotFoundError:
            return []

    def exists(self, name: str) -> bool:
        """See `Folder`."""
        return (self.path / name).exists()

    def stamps(self, names: Sequence[str]) -> tuple[int, ...]:
        """See `Folder`."""
        return tuple(self._stamp(self.path / name) for name in names)

    def _stamp(self, path: Path) -> int:
        try:
            return path.stat().st_mtime_ns
        except OSError:
            return 0

    def is_new(self) -> bool:
        """See `Folder`."""
        return not self.path.exists()

    def read(self, name: str) -> bytes:
        """See `Folder`."""
        return regular_file(self.path / name).read_bytes()

    def open(self, name: str) -> Path:
        """See `Folder`."""
        return regular_file(self.path / name)

    def write(self, name: str, content: bytes) -> None:
        """See `Folder`."""
        with self.new_file(name) as hidden, hidden.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        folder = os.open((self.path / name).parent, os.O_RDONLY)
        try:
            with suppress(OSError):  # some network file systems cannot do this; the content is on disk already
                os.fsync(folder)  # its name, too: others are deleted because this one is there
        finally:
            os.close(folder)

    def delete(self, name: str) -> None:
        """See `Folder`."""
        (self.path / name).unlink(missing_ok=True)

    def move(self, name: str, target: str) -> None:
        """See `Folder`."""
        self._require()
        (self.path / target).parent.mkdir(parents=True, exist_ok=True)
        os.replace(self.path / name, self.path / target)

    @contextmanager
    def new_file(self, name: str) -> Iterator[Path]:
        """See `Folder`."""
        self._require()
        final = self.path / name
        final.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(final) as hidden:
            yield hidden

    def filled(self, last: str) -> AbstractContextManager[Path]:
        """See `Folder`."""
        self._require()
        return whole_folder(self.path)

    @contextmanager
    def at_hand(self, name: str) -> Iterator[Path]:
        """See `Folder`."""
        yield regular_file(self.path / name)
