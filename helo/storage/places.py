"""From what a user calls a place to the folder that lies there."""

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
"""Object storage that writes an object whole or not at all."""

OPTIONS: Final = {"s3": ("region", "endpoint_override", "scheme"), "gs": ("endpoint_override", "scheme")}
"""What may stand behind ``?`` in a URI."""


def is_uri(place: os.PathLike[str] | str) -> bool:
    """Whether a place is named by a URI, not by a path.

    >>> is_uri("s3://bucket/runs/first"), is_uri("runs/first"), is_uri("C:/runs")
    (True, False, False)
    """
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", os.fspath(place)) is not None


def place_of(place: os.PathLike[str] | str) -> Path | str:
    """A place as it can be named from anywhere: an absolute path, or the URI; raise `InputError` for a bad URI."""
    return _checked(os.fspath(place)) if is_uri(place) else Path(_no_uri(os.fspath(place))).resolve()


def open_folder(place: Folder | os.PathLike[str] | str) -> Folder:
    """The folder at a path or URI, which need not be there; raise `InputError` for a URI that cannot be one."""
    if isinstance(place, Folder):
        return place
    if not is_uri(place):
        return LocalFolder(Path(_no_uri(os.fspath(place))))
    from helo.storage.remote import RemoteFolder  # pyarrow: not for those who only ask for help

    uri = urlsplit(_checked(os.fspath(place)))
    given = tuple(parse_qsl(uri.query))
    return RemoteFolder(uri.scheme, f"{uri.netloc}{uri.path}".rstrip("/"), given, _surroundings(uri.scheme))


def _no_uri(text: str) -> str:
    """A path; raise `InputError` for what is a URI with a typing error: its run would be lost with this machine."""
    found = re.match(r"(\w+):/*(.*)", text)
    if found and found[1].lower() in SCHEMES:
        raise InputError(f"{text}: is no URI; did you mean {found[1].lower()}://{found[2]}?")
    return text


def _surroundings(scheme: str) -> tuple[tuple[str, str], ...]:
    """What the environment says of the storage: pyarrow does not look at it itself, other tools for S3 do."""
    names = {
        "endpoint_override": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
        "region": ("AWS_REGION", "AWS_DEFAULT_REGION"),
    }
    found = {option: next(filter(None, map(os.environ.get, known)), None) for option, known in names.items()}
    return tuple((option, value) for option, value in found.items() if value and scheme == "s3")


def _checked(text: str) -> str:
    uri = urlsplit(text)
    if uri.scheme not in SCHEMES:
        known = ", ".join(f"{scheme}://" for scheme in SCHEMES)
        raise InputError(f"{text}: unknown kind of storage {uri.scheme}://; known are {known} and paths")
    if "@" in uri.netloc:
        raise InputError(
            f"{uri.scheme}://…@{uri.hostname or ''}{uri.path}: holds credentials, which would end up in the run; leave "
            "them to the environment, a profile or the machine's role"
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
    """What lies in a folder of the user's; raise `InputError` if it cannot be read, or says what is `missing`."""
    try:
        names = folder.names()
        gone = not names and folder.is_new()
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error})") from None
    if gone:
        raise InputError(f"{folder}: {missing}")
    return names


def require_new_folder(folder: Folder, option: str = "--out") -> None:
    """Raise `InputError` if something is there already, or the place is in a run: nothing a user has made is touched.

    `option`: what the user chose the place with.
    """
    try:
        new, inside = folder.is_new(), folder.parent.exists(FileName.MANIFEST)
    except OSError as error:
        raise InputError(f"{folder}: cannot be reached ({error})") from None
    if not new:
        raise InputError(f"{folder}: is already there; choose another {option} or remove it")
    if inside:
        raise InputError(f"{folder}: lies in a run, and would go with it; choose another {option}")
