"""Files and folders that are written whole or not at all: made under a hidden name beside their place, then renamed."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

LEFT_S: Final = 3600.0
"""Age in seconds from which a hidden file counts as left by a killed process."""


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Open a context with a hidden path to write to. It replaces `path` at the end, or is deleted after an error.

    The hidden file is new and its name is random. So two processes that write the same file do not mix, and a link that
    somebody has put at the hidden path is not followed.
    """
    hidden = path.with_name(f".{path.stem}-{secrets.token_hex(8)}{path.suffix}")
    try:
        os.close(os.open(hidden, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except OSError as error:
        error.filename = str(path)  # the one that the user knows
        raise
    try:
        yield hidden
        os.replace(hidden, path)
    except BaseException:
        with contextlib.suppress(OSError):
            hidden.unlink()
        raise


def delete_leftovers(folder: Path) -> None:
    """Delete the hidden files in a folder that killed processes have left, see `whole_file`.

    Younger files than `LEFT_S` may belong to a process that is writing.
    """
    for path in folder.glob(".*-*"):
        if re.fullmatch(r"\..*-[0-9a-f]{16}(\.\w+)?", path.name):
            with contextlib.suppress(OSError):  # its process is not killed, and has renamed it
                if time.time() - path.lstat().st_mtime > LEFT_S:
                    path.unlink()


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Open a context with a hidden folder to fill, which becomes `path` at the end.

    After an error it is deleted, with the parents of `path` that were created for it. If `path` exists and is not an
    empty folder, it is kept and the end fails.
    """
    made: list[Path] = []
    staging: Path | None = None
    try:
        for folder in reversed([folder for folder in path.parents if not folder.exists()]):
            folder.mkdir()
            made.append(folder)
        staging = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
        staging.chmod(0o777 & ~_umask())  # mkdtemp makes a private directory; a result is not
        yield staging
        os.replace(staging, path)
    except BaseException:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)
        for folder in reversed(made):
            with contextlib.suppress(OSError):  # another process uses it by now
                folder.rmdir()
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
