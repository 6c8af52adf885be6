"""Fetch a file of a ledger, and tell what will never be readable from a storage that fails."""

from __future__ import annotations

import errno
from typing import Final

from helo.storage import Folder

NO_FILE: Final = frozenset({errno.EISDIR, errno.ELOOP, errno.EINVAL, errno.ENXIO})
"""Error numbers of opening a folder, a circle of links, a FIFO or a device. None of them will become readable."""


class DamagedError(ValueError):
    """Error for something that is not a valid file of the ledger."""


def fetch(folder: Folder, name: str) -> bytes:
    """Return the content of a file.

    Parameters
    ----------
    folder : Folder
        Folder of the ledger.
    name : str
        Name of the file.

    Returns
    -------
    bytes
        The content.

    Raises
    ------
    DamagedError
        If it is no file.
    OSError
        If it is missing, or the storage fails. The message about a local file says what to do.
    """
    try:
        return folder.read(name)
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno in NO_FILE:
            raise DamagedError(first_line(error)) from None
        if error.strerror and folder.here is not None:
            way_out = "make the file readable, or move it out of the ledger, so that its cells run again"
            raise OSError(error.errno, f"{error.strerror}; {way_out}", folder.where(name)) from None
        raise


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, or the name of its type if the message is empty."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__
