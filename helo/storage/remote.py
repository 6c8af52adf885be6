"""Folders on object storage, through the file systems of pyarrow."""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import pyarrow as pa
from pyarrow import fs

from helo.errors import StorageError
from helo.storage.folder import Folder

ATTEMPTS: Final = 6
"""Attempts at a request, with growing pauses between them (15 s in total)."""

PATIENCE: Final = timedelta(seconds=15)
"""Time limit for the attempts, for clients that limit the time instead of the number."""

PIECE: Final = 5 * 2**20
"""Maximum bytes in one request. Of a larger file, the part before a failed request would become an object."""


@dataclass(frozen=True)
class RemoteFolder(Folder):
    """Folder on object storage.

    Attributes
    ----------
    scheme : str
        ``"s3"`` or ``"gs"``.
    path : str
        Bucket and prefix.
    options : tuple of (str, str)
        Options in the URI, see `helo.storage.places.OPTIONS`.
    surroundings : tuple of (str, str)
        Options from the environment of the process that opened the folder. Workers may have a different environment.
    """

    scheme: str
    path: str
    options: tuple[tuple[str, str], ...] = ()
    surroundings: tuple[tuple[str, str], ...] = ()

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
        return replace(self, path=f"{self.path}/{name}")

    @property
    def parent(self) -> RemoteFolder:
        """See `Folder`."""
        return replace(self, path=self.path.rpartition("/")[0])

    def where(self, name: str) -> str:
        """See `Folder`."""
        return self._uri(self._at(name))

    def _at(self, name: str) -> str:
        return f"{self.path}/{name}" if name else self.path

    @contextmanager
    def _system(self, name: str = "") -> Iterator[fs.FileSystem]:
        """Open a context with the client. Its errors become those that `Folder` documents."""
        try:
            given = tuple({**dict(self.surroundings), **dict(self.options)}.items())
            yield _file_system(self.scheme, self.path.partition("/")[0], given, os.getpid())
        except FileNotFoundError:
            raise
        except (OSError, pa.ArrowException) as error:
            raise StorageError(f"{self.where(name)}: {_said(error, self.path.partition('/')[0])}") from None

    def names(self) -> list[str]:
        """See `Folder`."""
        with self._system() as system:
            found = system.get_file_info(fs.FileSelector(self.path, allow_not_found=True))
        return sorted(info.base_name for info in found)

    def exists(self, name: str) -> bool:
        """See `Folder`."""
        with self._system(name) as system:
            return bool(system.get_file_info(self._at(name)).type != fs.FileType.NotFound)

    def stamps(self, names: Sequence[str]) -> tuple[int, ...]:
        """See `Folder`."""
        with self._system() as system:
            found = system.get_file_info([self._at(name) for name in names])
        return tuple(0 if one.type == fs.FileType.NotFound else one.mtime_ns or 1 for one in found)

    def is_new(self) -> bool:
        """See `Folder`."""
        return not self.names() and not self.exists("")

    def read(self, name: str) -> bytes:
        """See `Folder`."""
        with self._system(name) as system, system.open_input_file(self._at(name)) as file:
            return bytes(file.read())

    def open(self, name: str) -> Any:
        """See `Folder`."""
        with self._system(name) as system:
            return system.open_input_file(self._at(name))

    def write(self, name: str, content: bytes) -> None:
        """See `Folder`."""
        if len(content) > PIECE:
            with self.new_file(name) as path:
                path.write_bytes(content)
            return
        with self._system(name) as system, system.open_output_stream(self._at(name)) as stream:
            stream.write(content)

    def delete(self, name: str) -> None:
        """See `Folder`."""
        with contextlib.suppress(FileNotFoundError), self._system(name) as system:
            system.delete_file(self._at(name))

    def move(self, name: str, target: str) -> None:
        """See `Folder`."""
        with self._system(name) as system:
            system.copy_file(self._at(name), self._at(target))
            system.delete_file(self._at(name))

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
            path = Path(scratch) / Path(name).name
            path.write_bytes(self.read(name))
            yield path

    def _upload(self, path: Path, name: str) -> None:
        """Upload a file as an object, whole or not at all."""
        if path.stat().st_size <= PIECE:
            self.write(name, path.read_bytes())
            return
        # Under another name first, and then copied, which is one request: pyarrow makes an object of what it has sent
        # when one of several requests fails.
        folder, _, plain = name.rpartition("/")
        hidden = f"{folder}/.{plain}-{secrets.token_hex(4)}".lstrip("/")
        with self._system(name) as system:
            try:
                fs.copy_files(str(path), self._at(hidden), fs.LocalFileSystem(), system)
                system.copy_file(self._at(hidden), self._at(name))
            finally:
                with contextlib.suppress(OSError):  # one more failure, or it was never there
                    system.delete_file(self._at(hidden))


def _said(error: Exception, bucket: str) -> str:
    said = " ".join(str(error).split())
    if "NO_SUCH_BUCKET" in said:
        return f"there is no bucket {bucket!r}"
    if "ACCESS_DENIED" in said or "INVALID_ACCESS_KEY" in said:
        return f"access is denied; set credentials for bucket {bucket!r} ({said})"
    return said


@cache
def _file_system(scheme: str, bucket: str, options: tuple[tuple[str, str], ...], process: int) -> fs.FileSystem:
    """Return the client of this process. Clients of pyarrow do not survive a fork."""
    given = dict(options)
    if scheme == "gs":
        return fs.GcsFileSystem(**given, retry_time_limit=PATIENCE)
    if "region" not in given:
        given["region"] = "us-east-1" if "endpoint_override" in given else fs.resolve_s3_region(bucket)
    return fs.S3FileSystem(
        **given,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
        allow_delayed_open=True,  # one request for a small object
        background_writes=False,
    )
