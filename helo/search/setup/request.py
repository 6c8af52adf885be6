"""Request for a search, from the command line or from Python: plain values and their validation."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from numbers import Integral
from typing import TYPE_CHECKING, Any, Final

from helo.configuration import MAX_CONFIGURATIONS
from helo.errors import InputError, did_you_mean, shorten
from helo.names import FITTED_BASELINES, CellLogger, Delivery, Normalisation, Precision, SearchProtocol, enum_values

if TYPE_CHECKING:
    from helo.data.dataset import Dataset
    from helo.search.planning.space import Space

SIMULATED: Final = "simulated"
AUTO: Final = "auto"
ALL: Final = "all"
NONE: Final = "none"

ADDRESS_TIMEOUT_S = 5.0
"""Maximum seconds to wait for an answer from the port of a Ray cluster."""

TIME_BUDGET_S: Final = (1.0, 1000 * 86400.0)
"""Minimum and maximum of the time budget in seconds."""

_COUNTS: Final[Mapping[str, tuple[int, int]]] = {
    "configurations": (1, MAX_CONFIGURATIONS),
    "concurrency": (1, 100_000),
    "cpus_per_cell": (1, 1024),
    "inner_folds": (1, 10_000),
    "seed": (0, 2**63 - 1),
}
"""Minimum and maximum of whole numbers. The maxima are beyond the largest clusters, and refuse slips of a finger."""

_SETTINGS: Final = b"\x04"
"""Type byte of a SETTINGS frame of HTTP/2."""

_HTTP2: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0" + _SETTINGS + bytes(5)
"""Connection preface of an HTTP/2 client (RFC 9113, section 3.4). Ray speaks HTTP/2 and answers with such a frame."""

DEFAULTS: Final[Mapping[str, Any]] = {
    "data": SIMULATED,
    "space": "demo",
    "protocol": SearchProtocol.SHARED,
    "racing": True,
    "baselines": ALL,
    "seed": 0,
    "normalise": Normalisation.TRAIN,
    "cpus_per_cell": 1,
    "precision": Precision.FULL,
    "compile": False,
    "gpus_per_cell": AUTO,
    "export_predictions": False,
    "retry_failed": False,
    "allow_version_change": False,
    "deliver": Delivery.RECOMMENDED,
    "log": (),
}
"""Defaults of the fields. Fields that are missing here take their value from the space, the machine or the run."""

FIXED: Final = (
    "out",
    "space",
    "configurations",
    "sampler",
    "seed",
    "normalise",
    "inner_folds",
    "protocol",
    "racing",
    "baselines",
    "cpus_per_cell",
    "precision",
    "compile",
)
"""Fields that determine the results. A run that is resumed reads them from its manifest."""


def as_argument(name: str) -> str:
    """Return the argument of `helo.run_search` that sets a field of a `Request`."""
    return {"data": "dataset"}.get(name, name)


@dataclass(frozen=True, kw_only=True)
class Request:
    """Values that a user has given for a search. Fields without a given value are None.

    The fields are the arguments of `helo.run_search`, which documents them.

    Attributes
    ----------
    data : Dataset or path or str or None
        The argument `dataset` of `helo.run_search`.
    baselines : iterable of str or str or None
        ``"all"``, ``"none"``, or names in a list or separated by commas.
    log : sequence of str or str or None
        Names of `helo.names.CellLogger`, in a list or separated by commas.
    spell : callable
        Function that returns the name of a field in messages, as the user wrote it: an argument or an option.
    """

    data: Dataset | os.PathLike[str] | str | None = None
    space: Space | Mapping[str, Any] | os.PathLike[str] | str | None = None
    out: os.PathLike[str] | str | None = None
    resume: os.PathLike[str] | str | None = None
    configurations: int | None = None
    sampler: str | None = None
    protocol: str | None = None
    racing: bool | None = None
    baselines: Iterable[str] | str | None = None
    seed: int | None = None
    normalise: str | None = None
    inner_folds: int | None = None
    concurrency: int | None = None
    cpus_per_cell: int | None = None
    gpus_per_cell: float | str | None = None
    time_budget: float | str | None = None
    address: str | None = None
    precision: str | None = None
    compile: bool | None = None
    export_predictions: bool | None = None
    retry_failed: bool | None = None
    allow_version_change: bool | None = None
    deliver: str | None = None
    log: Sequence[str] | str | None = None
    spell: Callable[[str], str] = as_argument

    @classmethod
    def of_arguments(cls, **values: Any) -> Request:
        """Return the request of a call in Python.

        A value that equals the default counts as not given, because Python does not show the difference.

        Parameters
        ----------
        **values : Any
            Value of each field.

        Returns
        -------
        Request
            The request.
        """
        given: dict[str, Any] = {name: None if _is_default(name, value) else value for name, value in values.items()}
        return cls(**given)

    def value(self, name: str) -> Any:
        """Return the given value of a field, or its default."""
        given = getattr(self, name)
        return DEFAULTS[name] if given is None else given

    @property
    def chosen_baselines(self) -> tuple[str, ...]:
        """Names of the requested baselines, in the order of `FITTED_BASELINES`. Unknown names raise `InputError`."""
        option, given = self.spell("baselines"), self.value("baselines")
        names = _names(given, option)
        if names in ((ALL,), (NONE,)):
            return FITTED_BASELINES if names == (ALL,) else ()
        for name in names:
            if name in (ALL, NONE):
                raise InputError(f"{option}: {name!r} cannot be combined with other names, got {given!r}")
            if name not in FITTED_BASELINES:
                known = (ALL, NONE, *FITTED_BASELINES)
                raise InputError(f"{option}: unknown {name!r}{did_you_mean(name, known)}; known are {', '.join(known)}")
            if names.count(name) > 1:
                raise InputError(f"{option} names {name!r} twice, got {given!r}")
        return tuple(name for name in FITTED_BASELINES if name in names)

    @property
    def loggers(self) -> tuple[str, ...]:
        """Names of the requested loggers of `helo.names.CellLogger`. Unknown names raise `InputError`."""
        option = self.spell("log")
        names = tuple(dict.fromkeys(_names(self.value("log"), option)))
        known = enum_values(CellLogger)
        for name in names:
            if name not in known:
                raise InputError(f"{option}: unknown {name!r}{did_you_mean(name, known)}; known are {', '.join(known)}")
        return names

    @property
    def seconds(self) -> float | None:
        """Time budget in seconds, or None. An invalid time, or one that is not positive, raises `InputError`."""
        from helo._text import parse_duration

        given, option = self.time_budget, self.spell("time_budget")
        if given is None:
            return None
        try:
            found = parse_duration(given) if isinstance(given, str) else float(given)
        except (TypeError, ValueError):
            rule = "must be a number with the unit s, m, h or d, such as 90s or 2h"
            raise InputError(f"{option} {rule}, got {given!r}") from None
        low, high = TIME_BUDGET_S
        if not low <= found <= high:
            raise InputError(f"{option} must be from {low:g} s to {high / 86400:g} d, got {given!r}")
        return found

    @property
    def gpu_share(self) -> float | None:
        """Share of a GPU for each cell. None means auto, and NaN an invalid value."""
        given = self.gpus_per_cell
        if given is None or given == AUTO:
            return None
        try:
            return float(given)
        except (TypeError, ValueError):
            return float("nan")

    def as_call(self) -> str:
        """Return the text of the call of `helo.run_search` that makes this request, for the manifest."""
        given = []
        for field in fields(self):
            value, name = getattr(self, field.name), as_argument(field.name)
            if value is None or field.name == "spell":
                continue
            is_object = not isinstance(value, str | os.PathLike) and field.name in ("data", "space")
            value = os.fspath(value) if isinstance(value, os.PathLike) else value
            given.append(f"{name}={name if is_object else _spelled(value)}")
        return f"helo.run_search({', '.join(given)})"


def _spelled(value: object) -> str:
    """Return the representation of a value, also of numbers that Python refuses to spell out."""
    try:
        return repr(value)
    except ValueError:
        return "..."


def _is_default(name: str, value: Any) -> bool:
    """Return whether a value equals the default of a field in type and value."""
    default = DEFAULTS.get(name)
    # A string equals the member of an enumeration that has its value.
    is_same_type = type(value) is type(default) or (isinstance(value, str) and isinstance(default, str))
    return is_same_type and bool(value == default)


def problems_of(request: Request) -> list[str]:
    """Return the problems of the values of a request, without reading any input.

    Parameters
    ----------
    request : Request
        Request to check.

    Returns
    -------
    list of str
        A message for each problem.
    """
    from helo.search.planning.space import SAMPLERS

    spell = request.spell
    problems = _type_problems(request)
    for name, (minimum, maximum) in _COUNTS.items():
        value = getattr(request, name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, Integral)):
            problems.append(f"{spell(name)} must be a whole number, got {value!r}")
        elif value is not None and value < minimum:
            problems.append(f"{spell(name)} must be at least {minimum}, got {value}")
        elif value is not None and int(value) > maximum:
            given_number = str(value) if int(value) < 10**18 else "more than 10**18"  # it may have thousands of digits
            problems.append(f"{spell(name)} must be at most {maximum}, got {given_number}")
    for name, known in (
        ("sampler", SAMPLERS),
        ("protocol", enum_values(SearchProtocol)),
        ("deliver", enum_values(Delivery)),
        ("normalise", enum_values(Normalisation)),
        ("precision", enum_values(Precision)),
    ):
        value = getattr(request, name)
        if value is not None and value not in known:
            hint = did_you_mean(str(value), known)
            problems.append(f"{spell(name)} must be {' or '.join(known)}, got {value!r}{hint}")
    share = request.gpu_share
    if share is not None and not (0 <= share <= 1 or (share.is_integer() and share > 0)):
        problems.append(
            f"{spell('gpus_per_cell')} must be auto, from 0 to 1, or a whole number, got {request.gpus_per_cell}"
        )
    if isinstance(request.address, str):
        problems += _address_problems(request.address, spell("address"))
    for name in ("chosen_baselines", "loggers", "seconds"):
        try:
            getattr(request, name)
        except InputError as error:
            problems.append(str(error))
    if request.retry_failed and request.resume is None:
        problems.append(f"{spell('retry_failed')} needs {spell('resume')}")
    if request.resume is None and request.address is None and request.allow_version_change:
        problems.append(f"{spell('allow_version_change')} needs {spell('resume')} or {spell('address')}")
    if request.resume is not None:
        given = [spell(name) for name in FIXED if getattr(request, name) is not None]
        if given:
            problems.append(f"{spell('resume')} reads the settings from the run; leave out {shorten(given, 9)}")
    return problems


def _type_problems(request: Request) -> list[str]:
    """Return the problems of values of a wrong type, which only Python can give."""
    from helo.data.dataset import Dataset
    from helo.search.planning.space import Space

    path = (str, os.PathLike)
    types: dict[str, tuple[tuple[type, ...], str]] = {
        "data": ((Dataset, *path), f"a Dataset (see helo.data), a dataset directory or {SIMULATED!r}"),
        "space": ((Space, Mapping, *path), "the name of a space, a YAML file, or a mapping with its keys"),
        "out": (path, "a path"),
        "resume": (path, "the path of a run"),
        "racing": ((bool,), "True or False"),
        "compile": ((bool,), "True or False"),
        "export_predictions": ((bool,), "True or False"),
        "retry_failed": ((bool,), "True or False"),
        "allow_version_change": ((bool,), "True or False"),
        "address": ((str,), "auto or HOST:PORT"),
    }
    values = {name: getattr(request, name) for name in types}
    return [
        f"{request.spell(name)} must be {types[name][1]}, got a value of type {type(value).__name__}"
        for name, value in values.items()
        if value is not None and not isinstance(value, types[name][0])
    ]


def _names(value: Iterable[str] | str, name: str) -> tuple[str, ...]:
    """Return names from a list or from a text in which they are separated by commas."""
    if isinstance(value, str):
        return tuple(word.strip() for word in value.split(","))
    if not isinstance(value, Iterable):
        raise InputError(f"{name} must be a list of names, got {value!r}")
    return tuple(map(str, value))


def _address_problems(address: str, option: str) -> list[str]:
    """Return the problems of an address. The port is tried first, because Ray retries a wrong address for minutes."""
    import socket

    if address == AUTO:
        return []
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdecimal() or not 0 < int(port) < 65536:
        return [f"{option} must be auto or HOST:PORT, got {address!r}"]
    try:
        with socket.create_connection((host, int(port)), timeout=ADDRESS_TIMEOUT_S) as connection:
            connection.sendall(_HTTP2)
            answer = connection.recv(9)
    except OSError as error:
        return [f"{option} {address}: no Ray cluster answers there ({error.strerror or error})"]
    if answer[3:4] != _SETTINGS and not os.environ.get("RAY_USE_TLS"):
        return [f"{option} {address}: the server there is not a Ray cluster; the default port of Ray is 6379"]
    return []
