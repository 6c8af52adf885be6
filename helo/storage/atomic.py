"""Files and folders that are written whole or not at all: made under a hidden name beside their place, then renamed."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Open a context with a hidden path to write to. It replaces `path` at the end, or is deleted after an error."""
    hidden = path.with_name(f".{path.name}")
    try:
        yield hidden
        os.replace(hidden, path)
    except BaseException:
        with contextlib.suppress(OSError):
            hidden.unlink()
        raise


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
