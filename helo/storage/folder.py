"""A folder, wherever it lies, and the one on this machine."""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helo.errors import InputError
from helo.storage.atomic import whole_file, whole_folder


class Folder(ABC):
    """A folder of files. Names are relative, with ``/`` between folders; parents are made where they are missing.

    Whoever reads sees a file whole or not at all, whatever ends the process that writes it. Errors are `OSError`, a
    name that is not there `FileNotFoundError`; what is read through `open` raises pyarrow's own.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """The last part of where it lies."""

    @property
    @abstractmethod
    def here(self) -> Path | None:
        """Its path, if it lies on this machine."""

    @abstractmethod
    def __truediv__(self, name: str) -> Folder:
        """A folder in this one."""

    @property
    @abstractmethod
    def parent(self) -> Folder:
        """The folder that this one is in."""

    @abstractmethod
    def where(self, name: str) -> str:
        """Where a file in it lies, for messages."""

    @abstractmethod
    def names(self) -> list[str]:
        """What lies directly in it, sorted; nothing if it is not there."""

    @abstractmethod
    def exists(self, name: str) -> bool:
        """Whether there is a file or a folder of this name."""

    @abstractmethod
    def stamps(self, names: Sequence[str]) -> tuple[int, ...]:
        """A number for each name that changes when the file does; 0 if it is not there."""

    @abstractmethod
    def is_new(self) -> bool:
        """Whether nothing is there yet."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """The content of a file."""

    @abstractmethod
    def open(self, name: str) -> Any:
        """What pyarrow reads parts of a file from: a path, or an open file."""

    @abstractmethod
    def write(self, name: str, content: bytes) -> None:
        """Write a file; when this returns, a power cut does not take it."""

    @abstractmethod
    def delete(self, name: str) -> None:
        """Delete a file, if it is there."""

    @abstractmethod
    def move(self, name: str, target: str) -> None:
        """Give a file another name; what has that name goes."""

    @abstractmethod
    def new_file(self, name: str) -> AbstractContextManager[Path]:
        """A path on this machine to write to, which becomes the file at the end, or goes if that fails."""

    @abstractmethod
    def filled(self, last: str) -> AbstractContextManager[Path]:
        """A folder on this machine to fill, which becomes this one, or goes if that fails.

        This one must not be there yet. `last`: the file without which nobody takes it for what it is.
        """

    @abstractmethod
    def at_hand(self, name: str) -> AbstractContextManager[Path]:
        """A file as a path on this machine, for as long as the context lasts."""

    def read_json(self, name: str) -> Any:
        """The content of a JSON file; raise `InputError` if it has none."""
        try:
            return json.loads(self.read(name).decode("utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(f"{self.where(name)}: cannot be read ({error})") from None

    def write_json(self, name: str, content: Any) -> None:
        """Write JSON that people can read."""
        self.write(name, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode("utf-8"))


@dataclass(frozen=True)
class LocalFolder(Folder):
    """A folder on this machine, or on a file system that is mounted here."""

    path: Path

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
        return LocalFolder(self.path / name)

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
        return (self.path / name).read_bytes()

    def open(self, name: str) -> Path:
        """See `Folder`."""
        return self.path / name

    def write(self, name: str, content: bytes) -> None:
        """See `Folder`."""
        with self.new_file(name) as hidden, hidden.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        folder = os.open((self.path / name).parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # its name, too: others are deleted because this one is there
        finally:
            os.close(folder)

    def delete(self, name: str) -> None:
        """See `Folder`."""
        (self.path / name).unlink(missing_ok=True)

    def move(self, name: str, target: str) -> None:
        """See `Folder`."""
        (self.path / target).parent.mkdir(parents=True, exist_ok=True)
        os.replace(self.path / name, self.path / target)

    @contextmanager
    def new_file(self, name: str) -> Iterator[Path]:
        """See `Folder`."""
        final = self.path / name
        final.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(final) as hidden:
            yield hidden

    def filled(self, last: str) -> AbstractContextManager[Path]:
        """See `Folder`."""
        return whole_folder(self.path)

    @contextmanager
    def at_hand(self, name: str) -> Iterator[Path]:
        """See `Folder`."""
        yield self.path / name
