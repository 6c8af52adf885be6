"""Folders by path or URI, as users name them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from helo._paths import local_path
from helo.errors import InputError, StorageError, did_you_mean
from helo.names import FileName
from helo.storage.folder import Folder, LocalFolder
from helo.storage.patience import READ_S, Patience

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
    surroundings = _environment_options(uri.scheme, _ENVIRONMENT)
    keys = _environment_options(uri.scheme, _CREDENTIALS)
    credentials = keys if {"access_key", "secret_key"} <= dict(keys).keys() else ()
    path = f"{uri.netloc}{uri.path}".rstrip("/")
    return RemoteFolder(uri.scheme, path, options, surroundings, credentials, Patience(READ_S))


def _checked_path(text: str) -> str:
    """Return a path; raise `InputError` if it is a mistyped URI such as ``s3:/bucket/run``.

    A run at such a path would be written to the local disk, and be lost with a rented machine.
    """
    found = re.match(r"(\w+):/*(.*)", text)
    if found and found[1].lower() in SCHEMES:
        raise InputError(f"{text}: is not a valid URI; did you mean {found[1].lower()}://{found[2]}?")
    return str(local_path(text))


_ENVIRONMENT: Final = {
    "endpoint_override": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
    "region": ("AWS_REGION", "AWS_DEFAULT_REGION"),
}
"""Environment variables that set an option of S3, in order of precedence."""


_CREDENTIALS: Final = {
    "access_key": ("AWS_ACCESS_KEY_ID",),
    "secret_key": ("AWS_SECRET_ACCESS_KEY",),
    "session_token": ("AWS_SESSION_TOKEN",),
}
"""Environment variables with keys of S3. Profiles and roles, whose keys expire, are left to the client."""


def _environment_options(scheme: str, known: Mapping[str, tuple[str, ...]]) -> tuple[tuple[str, str], ...]:
    """Return the storage options that the environment sets.

    Pyarrow ignores some of them, unlike other tools for S3, and workers may not have them.
    """
    if scheme != "s3":
        return ()
    options = []
    for option, variables in known.items():
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
    if "@" in uri.netloc or "@" in uri.query:
        host = uri.netloc.rpartition("@")[2]
        raise InputError(
            f"{uri.scheme}://…@{host}{uri.path}: contains credentials, which would be stored in the run; set "
            "them in the environment, a profile or the machine's role"
        )
    if not uri.netloc or uri.fragment or not uri.path.strip("/"):
        raise InputError(f"{text}: must be {uri.scheme}://BUCKET/FOLDER")
    if any(part in ("", ".", "..") for part in uri.path.strip("/").split("/")):
        raise InputError(f"{text}: has an empty part, '.' or '..' in its path; object storage has no such folders")
    for name, value in parse_qsl(uri.query, keep_blank_values=True):
        if name not in OPTIONS[uri.scheme] or not value:
            hint = did_you_mean(name, OPTIONS[uri.scheme])
            known = ", ".join(OPTIONS[uri.scheme])
            place = f"{uri.scheme}://{uri.netloc}{uri.path}"  # without the value, which may be a key
            raise InputError(f"{place}: unknown option {name!r}{hint}; known are {known}")
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
    except StorageError:
        raise
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
    except StorageError:
        raise
    except OSError as error:
        raise InputError(f"{folder}: cannot be reached ({error})") from None
    if not new:
        raise InputError(f"{folder}: is already there; choose another {option} or remove it")
    if inside:
        raise InputError(f"{folder}: lies in a run, and would be deleted with it; choose another {option}")
