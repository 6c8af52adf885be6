"""Zip files of downloads: what reading one can raise, and which members Python can open."""

from __future__ import annotations

import struct
import zipfile
import zlib
from pathlib import Path
from typing import Final

from helo.errors import InputError

try:
    from lzma import LZMAError

    _LZMA_ERRORS: tuple[type[Exception], ...] = (LZMAError,)
except ImportError:  # a Python that was built without liblzma, which refuses such members with RuntimeError
    _LZMA_ERRORS = ()

ZIP_ERRORS: Final[tuple[type[Exception], ...]] = (
    *(zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError),
    *(zlib.error, struct.error, UnicodeDecodeError),
    *_LZMA_ERRORS,
)
"""Errors other than OSError that reading a damaged, encrypted or unsupported zip file raises."""

READ_ERRORS: Final[tuple[type[Exception], ...]] = (OSError, *ZIP_ERRORS)
"""Errors that reading a zip file raises."""

_READABLE: Final = {0, 8, 12, 14}  # stored, deflate, bzip2 and LZMA
_METHODS: Final = {6: "implode", 9: "deflate64", 93: "Zstandard", 95: "XZ", 98: "PPMd", 99: "AES encryption"}


def require_readable(path: Path, member: zipfile.ZipInfo) -> None:
    """Raise `InputError` for a member that Python cannot open, with the reason.

    Parameters
    ----------
    path
        Zip file, for the message.
    member
        Entry of its directory.
    """
    unpack = "unpack the file with another program, and give the folder"
    if member.compress_type not in _READABLE:
        method = _METHODS.get(member.compress_type, f"method {member.compress_type}")
        raise InputError(f"{path}: {member.filename}: is compressed with {method}, which Python cannot open; {unpack}")
    if member.flag_bits & 1:
        raise InputError(f"{path}: {member.filename}: is encrypted; {unpack}")
