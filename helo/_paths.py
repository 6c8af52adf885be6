"""Paths as users name them."""

from __future__ import annotations

import errno
import os
import stat
import sys
from pathlib import Path

from helo.errors import InputError


def local_path(place: os.PathLike[str] | str) -> Path:
    """Return a path as a user names it, with the home directory in the place of ``~``.

    Shells do this for some arguments only: not for ``--out=~/run``, and never in Python. A home directory that is not
    known stays ``~``.

    Parameters
    ----------
    place : path or str
        Path.

    Returns
    -------
    Path

    Raises
    ------
    InputError
        If the locale lacks letters of the path.
    """
    text = os.path.expanduser(place)
    if "\0" in text:
        raise InputError(f"{text!r}: must not have a NUL character")
    try:  # in the C locale Python has no letter for a byte that is not ASCII, and pyarrow takes no stand-in for it
        os.fsencode(text), text.encode("utf-8")
    except UnicodeEncodeError:
        encoding = sys.getfilesystemencoding()
        way_out = "rename it" if encoding == "utf-8" else "set LC_ALL=C.UTF-8 or PYTHONUTF8=1"
        raise InputError(
            f"{text}: has letters that the encoding of this locale ({encoding}) lacks; {way_out}"
        ) from None
    return Path(text)


def regular_file(path: Path) -> Path:
    """Return the path of a file to read; raise `OSError` if it is a FIFO, a device or a socket.

    Reading these could wait or go on forever. The path itself may be a symbolic link. A missing file and a folder are
    left to the reader, whose errors say it better.

    Parameters
    ----------
    path : Path
        Path of the file.

    Returns
    -------
    Path
        The same path.

    Raises
    ------
    OSError
        If there is something else than a file or a folder, or the path cannot be reached.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return path
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise OSError(errno.EINVAL, "is not a regular file", str(path))
    return path
