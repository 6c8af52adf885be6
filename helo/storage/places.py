"""Folders by path or URI, as users name them."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from helo.errors import InputError, did_you_mean
from helo.names import FileName
from helo.storage.folder import Folder, LocalFolder

SCHEMES: Final = ("s3", "gs")
"""URI schemes of the supported object storage, which writes an object whole or not at all."""

OPTIONS: Final = {"s3": ("region", "endpoint_override", "scheme"), "gs": ("endpoint_override", "scheme")}
"""Options that may follow ``?`` in a URI, by scheme."""


def is_uri(place: os.PathLike[str] | str) -> bool:
    """Return whether a place is a URI, not a path.

    >>> is_uri("s3://bucket/runs/first"), is_uri("runs/first"), is_uri("C:/runs")
    (True, False, False)
    """
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", os.fspath(place)) is not None


def place_of(place: os.PathLike[str] | str) -> Path | str:
    """Return a place in a form that does not depend on the working directory: the absolute path, or the URI.

    Parameters
    ----------
    place : path or str
        Path or URI.

    Returns
    -------
    Path or str
        The absolute path, or the URI unchanged.

    Raises
    ------
    InputError
        If the URI is invalid.
    """
    text = os.fspath(place)
    return _checked_uri(text) if is_uri(text) else Path(_checked_path(text)).resolve()


def open_folder(place: Folder | os.PathLike[str] | str) -> Folder:
    """Return the folder at a path or URI.

    Parameters
    ----------
    place : Folder, path or str
        Path or URI. The folder need not exist. A `Folder` is returned unchanged.

    Returns
    -------
    Folder
        A `LocalFolder`, or a `RemoteFolder` for a URI.

    Raises
    ------
    InputError
        If the URI is invalid.
    """
    if isinstance(place, Folder):
        return place
    if not is_uri(place):
        return LocalFolder(Path(_checked_path(os.fspath(place))))
    from helo.storage.remote import RemoteFolder  # imported here because it imports pyarrow, which takes time

    uri = urlsplit(_checked_uri(os.fspath(place)))
    options = tuple(parse_qsl(uri.query))
    return RemoteFolder(uri.scheme, f"{uri.netloc}{uri.path}".rstrip("/"), options, _environment_options(uri.scheme))


def _checked_path(text: str) -> str:
    """Return a path; raise `InputError` if it is a mistyped URI such as ``s3:/bucket/run``.

    A run at such a path would be written to the local disk, and be lost with a rented machine.
    """
    found = re.match(r"(\w+):/*(.*)", text)
    if found and found[1].lower() in SCHEMES:
        raise InputError(f"{text}: is not a valid URI; did you mean {found[1].lower()}://{found[2]}?")
    return text


_ENVIRONMENT: Final = {
    "endpoint_override": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
    "region": ("AWS_REGION", "AWS_DEFAULT_REGION"),
}
"""Environment variables that set an option of S3, in order of precedence."""


def _environment_options(scheme: str) -> tuple[tuple[str, str], ...]:
    """Return the storage options that the environment sets. Pyarrow ignores them, unlike other tools for S3."""
    if scheme != "s3":
        return ()
    options = []
    for option, variables in _ENVIRONMENT.items():
        values = [os.environ[variable] for variable in variables if os.environ.get(variable)]
        if values:
            options.append((option, values[0]))
    return tuple(options)


def _checked_uri(text: str) -> str:
    """Return a URI; raise `InputError` if it is invalid or contains credentials."""
    uri = urlsplit(text)
    if uri.scheme not in SCHEMES:
        known = ", ".join(f"{scheme}://" for scheme in SCHEMES)
        raise InputError(f"{text}: unknown kind of storage {uri.scheme}://; known are {known} and paths")
    if "@" in uri.netloc:
        raise InputError(
            f"{uri.scheme}://…@{uri.hostname or ''}{uri.path}: contains credentials, which would be stored in the run; "
            "set them in the environment, a profile or the machine's role"
        )
    if not uri.netloc or uri.fragment or not uri.path.strip("/"):
        raise InputError(f"{text}: must be {uri.scheme}://BUCKET/FOLDER")
    if any(part in ("", ".", "..") for part in uri.path.strip("/").split("/")):
        raise InputError(f"{text}: has an empty part, '.' or '..' in its path; object storage has no such folders")
    for name, value in parse_qsl(uri.query, keep_blank_values=True):
        if name not in OPTIONS[uri.scheme] or not value:
            hint = did_you_mean(name, OPTIONS[uri.scheme])
            raise InputError(f"{text}: unknown option {name!r}{hint}; known are {', '.join(OPTIONS[uri.scheme])}")
        if name == "scheme" and value not in ("http", "https"):
            raise InputError(f"{text}: scheme must be http or https, got {value!r}")
    return text


def names_in(folder: Folder, missing: str) -> list[str]:
    """Return the names of the files and folders in a folder that the user has named.

    Parameters
    ----------
    folder : Folder
        Folder to list.
    missing : str
        Message of the error if the folder does not exist.

    Returns
    -------
    list of str
        The names.

    Raises
    ------
    InputError
        If the folder does not exist or cannot be read.
    """
    try:
        names = folder.names()
        gone = not names and folder.is_new()
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error})") from None
    if gone:
        raise InputError(f"{folder}: {missing}")
    return names


def require_new_folder(folder: Folder, option: str = "--out") -> None:
    """Raise `InputError` if a folder exists already or lies in a run, so that no existing files are changed.

    Parameters
    ----------
    folder : Folder
        Folder to be made.
    option : str, optional
        Option with which the user chose the folder, for the message.

    Raises
    ------
    InputError
        If the folder exists, lies in a run or cannot be reached.
    """
    try:
        new, inside = folder.is_new(), folder.parent.exists(FileName.MANIFEST)
    except OSError as error:
        raise InputError(f"{folder}: cannot be reached ({error})") from None
    if not new:
        raise InputError(f"{folder}: is already there; choose another {option} or remove it")
    if inside:
        raise InputError(f"{folder}: lies in a run, and would be deleted with it; choose another {option}")
