"""A folder on object storage, by pyarrow's file systems."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from pyarrow import fs

from helo.storage.folder import Folder

ATTEMPTS: Final = 6
"""How often a request is tried, with longer and longer pauses (a quarter of a minute in all): networks have moods."""


@dataclass(frozen=True)
class RemoteFolder(Folder):
    """A folder on object storage, where writing an object is one request that succeeds or leaves nothing.

    `scheme`: ``s3`` or ``gs``; `path`: bucket and prefix; `options`: pairs from `helo.storage.places.OPTIONS`.
    """

    scheme: str
    path: str
    options: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return self._uri(self.path)

    def _uri(self, path: str) -> str:
        options = f"?{urlencode(self.options, safe=':/')}" if self.options else ""
        return f"{self.scheme}://{path}{options}"

    @property
    def name(self) -> str:
        """See `Folder`."""
        return self.path.rpartition("/")[2]

    @property
    def here(self) -> None:
        """See `Folder`."""
        return

    def __truediv__(self, name: str) -> RemoteFolder:
        return RemoteFolder(self.scheme, f"{self.path}/{name}", self.options)

    def where(self, name: str) -> str:
        """See `Folder`."""
        return self._uri(f"{self.path}/{name}")

    @property
    def _system(self) -> fs.FileSystem:
        given = dict(self.options)
        if self.scheme == "s3":
            # pyarrow does not look at these itself, other tools for S3 do.
            given.setdefault("endpoint_override", _known("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"))
            given.setdefault("region", _known("AWS_REGION", "AWS_DEFAULT_REGION"))
        return _file_system(self.scheme, self.path.partition("/")[0], tuple(given.items()), os.getpid())

    def _at(self, name: str) -> str:
        return f"{self.path}/{name}"

    def names(self) -> list[str]:
        """See `Folder`."""
        found = self._system.get_file_info(fs.FileSelector(self.path, allow_not_found=True))
        return sorted(info.base_name for info in found)

    def exists(self, name: str) -> bool:
        """See `Folder`."""
        return bool(self._system.get_file_info(self._at(name)).type != fs.FileType.NotFound)

    def stamps(self, names: Sequence[str]) -> tuple[int, ...]:
        """See `Folder`."""
        found = self._system.get_file_info([self._at(name) for name in names])
        return tuple(0 if one.type == fs.FileType.NotFound else one.mtime_ns or 1 for one in found)

    def is_new(self) -> bool:
        """See `Folder`."""
        return not self.names()

    def read(self, name: str) -> bytes:
        """See `Folder`."""
        with self._system.open_input_file(self._at(name)) as file:
            return bytes(file.read())

    def open(self, name: str) -> Any:
        """See `Folder`."""
        return self._system.open_input_file(self._at(name))

    def write(self, name: str, content: bytes) -> None:
        """See `Folder`."""
        with self._system.open_output_stream(self._at(name)) as stream:
            stream.write(content)  # at once: what fails in the middle of several pieces could be closed as a file

    def delete(self, name: str) -> None:
        """See `Folder`."""
        with contextlib.suppress(FileNotFoundError):
            self._system.delete_file(self._at(name))

    def move(self, name: str, target: str) -> None:
        """See `Folder`."""
        self._system.copy_file(self._at(name), self._at(target))
        self._system.delete_file(self._at(name))

    @contextmanager
    def new_file(self, name: str) -> Iterator[Path]:
        """See `Folder`."""
        with tempfile.TemporaryDirectory(prefix="helo-") as scratch:
            path = Path(scratch) / Path(name).name
            yield path
            self._upload(path, name)

    @contextmanager
    def filled(self, last: str) -> Iterator[Path]:
        """See `Folder`."""
        with tempfile.TemporaryDirectory(prefix="helo-") as scratch:
            yield (path := Path(scratch))
            for file in sorted(path.iterdir(), key=lambda file: (file.name == last, file.name)):
                self._upload(file, file.name)

    @contextmanager
    def at_hand(self, name: str) -> Iterator[Path]:
        """See `Folder`."""
        with tempfile.TemporaryDirectory(prefix="helo-") as scratch:
            path = Path(scratch) / Path(name or self.name).name
            source = self._at(name) if name else self.path
            if self._system.get_file_info(source).type == fs.FileType.Directory:
                path.mkdir()
            fs.copy_files(source, str(path), self._system, fs.LocalFileSystem())
            yield path

    def _upload(self, path: Path, name: str) -> None:
        fs.copy_files(str(path), self._at(name), fs.LocalFileSystem(), self._system)


def _known(*names: str) -> str:
    return next((found for name in names if (found := os.environ.get(name))), "")


@cache
def _file_system(scheme: str, bucket: str, options: tuple[tuple[str, str], ...], process: int) -> fs.FileSystem:
    """One client per process: those of pyarrow do not survive a fork."""
    given = {name: value for name, value in options if value}
    if scheme == "gs":
        return fs.GcsFileSystem(**given)
    if "region" not in given:
        given["region"] = "us-east-1" if "endpoint_override" in given else fs.resolve_s3_region(bucket)
    return fs.S3FileSystem(
        **given,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
        allow_delayed_open=True,  # one request for a small object
        background_writes=False,
    )
