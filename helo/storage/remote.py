"""Folders on object storage, through the file systems of pyarrow."""

from __future__ import annotations

import contextlib
import io
import os
import re
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import pyarrow as pa
from pyarrow import fs

from helo.errors import StorageError
from helo.storage.folder import Folder
from helo.storage.patience import END_S, Answer, Patience
from helo.storage.scratch import scratch_folder

ATTEMPTS: Final = 3
"""Attempts of the client at a part of a request. It does not try all of them again, see `helo.storage.patience`."""

PATIENCE: Final = timedelta(seconds=2)
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
    credentials : tuple of (str, str)
        Keys from that environment. They are passed to workers in memory, and are left out of every text.
    patience : Patience
        How long requests are tried again.
    """

    scheme: str
    path: str
    options: tuple[tuple[str, str], ...] = ()
    surroundings: tuple[tuple[str, str], ...] = ()
    credentials: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    patience: Patience = field(default=Patience(), compare=False, repr=False)

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

    def with_patience(self, patience: Patience) -> RemoteFolder:
        """See `Folder`."""
        return replace(self, patience=patience)

    def _ask(self, request: Callable[[fs.FileSystem], Answer], name: str = "") -> Answer:
        """Return the answer of the storage to a request, which may be made several times.

        Errors become those that `Folder` documents.
        """

        def attempt() -> Answer:
            try:
                given = {**dict(self.surroundings), **dict(self.options), **dict(self.credentials)}
                return request(
                    _file_system(self.scheme, self.path.partition("/")[0], tuple(given.items()), os.getpid())
                )
            except FileNotFoundError:
                raise
            except (OSError, pa.ArrowException) as error:
                said = _said(error, self.path.partition("/")[0])
                raise StorageError(f"{self.where(name)}: {said}", may_pass=_may_pass(str(error))) from None

        return self.patience.keep_trying(attempt)

    def _change(self, request: Callable[[fs.FileSystem], Any], name: str) -> None:
        """Make a request that changes the folder, if this process may."""
        self.patience.guard()
        self._ask(request, name)

    def names(self) -> list[str]:
        """See `Folder`."""
        found = self._ask(lambda system: system.get_file_info(fs.FileSelector(self.path, allow_not_found=True)))
        return sorted(info.base_name for info in found)

    def exists(self, name: str) -> bool:
        """See `Folder`."""
        return bool(self._ask(lambda system: system.get_file_info(self._at(name)), name).type != fs.FileType.NotFound)

    def stamps(self, names: Sequence[str]) -> tuple[int, ...]:
        """See `Folder`."""
        found = self._ask(lambda system: system.get_file_info([self._at(name) for name in names]))
        return tuple(0 if one.type == fs.FileType.NotFound else one.mtime_ns or 1 for one in found)

    def is_new(self) -> bool:
        """See `Folder`."""
        return not self.names() and not self.exists("")

    def read(self, name: str) -> bytes:
        """See `Folder`."""

        def read(system: fs.FileSystem) -> bytes:
            with system.open_input_file(self._at(name)) as file:
                return bytes(file.read())

        return self._ask(read, name)

    def open(self, name: str) -> Any:
        """See `Folder`."""
        file = RemoteFile(lambda request: self._ask(request, name), self._at(name))
        return file if file.size > PIECE else pa.BufferReader(self.read(name))  # one request instead of several

    def write(self, name: str, content: bytes) -> None:
        """See `Folder`."""
        if len(content) > PIECE:
            with self.new_file(name) as path:
                path.write_bytes(content)
            return

        def write(system: fs.FileSystem) -> None:
            with system.open_output_stream(self._at(name)) as stream:
                stream.write(content)

        self._change(write, name)

    def delete(self, name: str) -> None:
        """See `Folder`."""
        with contextlib.suppress(FileNotFoundError):
            self._change(lambda system: system.delete_file(self._at(name)), name)

    def move(self, name: str, target: str) -> None:
        """See `Folder`."""
        self._change(lambda system: system.copy_file(self._at(name), self._at(target)), name)
        self.delete(name)

    @contextmanager
    def new_file(self, name: str) -> Iterator[Path]:
        """See `Folder`."""
        with scratch_folder("file") as scratch:
            path = scratch.path / Path(name).name
            yield path
            self._upload(path, name)

    @contextmanager
    def filled(self, last: str) -> Iterator[Path]:
        """See `Folder`."""
        with scratch_folder("file") as scratch:
            yield (path := scratch.path)
            for file in sorted(path.iterdir(), key=lambda file: (file.name == last, file.name)):
                self._upload(file, file.name)

    @contextmanager
    def at_hand(self, name: str) -> Iterator[Path]:
        """See `Folder`."""
        with scratch_folder("file") as scratch:
            path = scratch.path / Path(name).name
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

        def upload(system: fs.FileSystem) -> None:
            fs.copy_files(str(path), self._at(hidden), fs.LocalFileSystem(), system)
            system.copy_file(self._at(hidden), self._at(name))

        try:
            self._change(upload, name)
        finally:
            with contextlib.suppress(OSError):  # one more failure, or it was never there
                self.with_patience(Patience(END_S)).delete(hidden)


class RemoteFile(io.RawIOBase):
    """File on object storage that pyarrow reads in parts. Each part is requested until it is there.

    Parameters
    ----------
    ask : callable
        Makes a request of a file system, see `RemoteFolder`.
    path : str
        Bucket and key.

    Attributes
    ----------
    size : int
        Bytes of the file.
    """

    def __init__(self, ask: Callable[[Callable[[fs.FileSystem], Any]], Any], path: str) -> None:
        super().__init__()
        self._ask, self._path, self._position = ask, path, 0
        self._file: Any = None
        self.size = int(self._request(lambda file: file.size()))

    def _request(self, request: Callable[[Any], Any]) -> Any:
        def attempt(system: fs.FileSystem) -> Any:
            if self._file is None:
                self._file = system.open_input_file(self._path)
            return request(self._file)

        return self._ask(attempt)

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position of the next byte to read."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move the position, see `io.IOBase.seek`."""
        self._position = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}[whence]
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        """Return the next bytes, see `io.RawIOBase.read`."""
        left = max(0, self.size - self._position)
        count = left if size is None or size < 0 else min(size, left)
        found = bytes(self._request(lambda file: file.read_at(count, self._position))) if count else b""
        self._position += len(found)
        return found


_REFUSALS: Final = re.compile(
    r"AWS Error (ACCESS_DENIED|NO_SUCH_BUCKET|INVALID_\w+|SIGNATURE_\w+|MISSING_\w+|INCOMPLETE_\w+|UNRECOGNIZED_CLIENT|"
    r"EXPIRED_TOKEN|VALIDATION|OPT_IN_REQUIRED|MALFORMED_\w+)|HTTP status (?!408|429)4\d\d|"
    r"\b(PERMISSION_DENIED|UNAUTHENTICATED|INVALID_ARGUMENT|FAILED_PRECONDITION)\b|ExpiredToken"
)
"""Errors of storage that the same request would meet again."""


def _may_pass(said: str) -> bool:
    return _REFUSALS.search(said) is None


def _said(error: Exception, bucket: str) -> str:
    said = " ".join(str(error).split())
    if "NO_SUCH_BUCKET" in said:
        return f"there is no bucket {bucket!r}"
    if "ACCESS_DENIED" in said or "INVALID_ACCESS_KEY" in said:
        return f"access is denied; set credentials for bucket {bucket!r} ({said})"
    if "EXPIRED_TOKEN" in said or "ExpiredToken" in said:
        return f"the credentials for bucket {bucket!r} have expired; renew them ({said})"
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
