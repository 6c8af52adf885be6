"""What is asked of a search, on the command line or in Python: plain values, and what can be wrong with them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from numbers import Integral
from typing import TYPE_CHECKING, Any, Final

from helo.errors import InputError, did_you_mean, shorten
from helo.names import FITTED_BASELINES, CellLogger, Normalisation, Precision, SearchProtocol, enum_values

if TYPE_CHECKING:
    from helo.data.dataset import Dataset
    from helo.search.planning.space import Space

SIMULATED: Final = "simulated"
AUTO: Final = "auto"
ALL: Final = "all"
NONE: Final = "none"

ADDRESS_TIMEOUT_S = 5.0
"""How long to wait for a Ray cluster's port to answer."""

_SETTINGS: Final = b"\x04"
_HTTP2: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0" + _SETTINGS + bytes(5)
"""What a client of HTTP/2, which Ray speaks, says first (RFC 9113, section 3.4); the answer is such a frame, too."""

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
    "log": (),
}
"""What holds where nothing is asked. What is not here is left open: the space, the machine or the run has it."""

FIXED: Final = (
    "out",
    "space",
    "configurations",
    "sampler",
    "seed",
    "normalise",
    "protocol",
    "racing",
    "baselines",
    "cpus_per_cell",
    "precision",
    "compile",
)
"""What decides what is computed: a run that is resumed has it from its manifest."""


def as_argument(name: str) -> str:
    """How a value of a `Request` is called in Python."""
    return {"data": "dataset"}.get(name, name)


@dataclass(frozen=True, kw_only=True)
class Request:
    """The values that a search can be asked with, None where a user has not given one.

    - `data`: a dataset, its directory, or ``"simulated"``
    - `space`: a space, its name or YAML file, or a mapping as in such a file
    - `baselines`: ``"all"``, ``"none"``, or names, in a list or parted by commas
    - `gpus_per_cell`: ``"auto"`` or a share
    - `time_budget`: seconds, or words such as ``"2h"``
    - `spell`: how a value is called where the user gave it, for messages
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
    concurrency: int | None = None
    cpus_per_cell: int | None = None
    gpus_per_cell: float | str | None = None
    time_budget: float | str | None = None
    address: str | None = None
    precision: str | None = None
    compile: bool | None = None
    export_predictions: bool | None = None
    log: Sequence[str] | str | None = None
    spell: Callable[[str], str] = as_argument

    @classmethod
    def of_arguments(cls, **values: Any) -> Request:
        """A request from Python, where a default that is given cannot be told from one that is not."""
        given: dict[str, Any] = {name: None if _is_default(name, value) else value for name, value in values.items()}
        return cls(**given)

    def value(self, name: str) -> Any:
        """What was given, or the default."""
        given = getattr(self, name)
        return DEFAULTS[name] if given is None else given

    @property
    def chosen_baselines(self) -> tuple[str, ...]:
        """Names from `FITTED_BASELINES`, in its order; raise `InputError` for others."""
        option, given = self.spell("baselines"), self.value("baselines")
        names = _names(given, option)
        if names in ((ALL,), (NONE,)):
            return FITTED_BASELINES if names == (ALL,) else ()
        for name in names:
            if name in (ALL, NONE):
                raise InputError(f"{option}: {name!r} stands alone, got {given!r}")
            if name not in FITTED_BASELINES:
                known = (ALL, NONE, *FITTED_BASELINES)
                raise InputError(f"{option}: unknown {name!r}{did_you_mean(name, known)}; known are {', '.join(known)}")
        return tuple(name for name in FITTED_BASELINES if name in names)

    @property
    def loggers(self) -> tuple[str, ...]:
        """Names from `LOGS`; raise `InputError` for others."""
        option = self.spell("log")
        names = tuple(dict.fromkeys(_names(self.value("log"), option)))
        for name in names:
            if name not in enum_values(CellLogger):
                raise InputError(
                    f"{option}: unknown {name!r}{did_you_mean(name, enum_values(CellLogger))}; known are {', '.join(enum_values(CellLogger))}"
                )
        return names

    @property
    def seconds(self) -> float | None:
        """The time budget; raise `InputError` if it is no time span, or none that is left."""
        from helo._text import parse_duration

        given, option = self.time_budget, self.spell("time_budget")
        if given is None:
            return None
        try:
            found = parse_duration(given) if isinstance(given, str) else float(given)
        except (TypeError, ValueError):
            rule = "must be a number and s, m, h or d, such as 90s or 2h"
            raise InputError(f"{option} {rule}, got {given!r}") from None
        if not found > 0:
            raise InputError(f"{option} must be above 0")
        return found

    @property
    def gpu_share(self) -> float | None:
        """A share of a GPU; None for auto; NaN for what is neither."""
        given = self.gpus_per_cell
        if given is None or given == AUTO:
            return None
        try:
            return float(given)
        except (TypeError, ValueError):
            return float("nan")

    def as_call(self) -> str:
        """The request as the call that makes it, for the manifest."""
        given = []
        for field in fields(self):
            value, name = getattr(self, field.name), as_argument(field.name)
            if value is None or field.name == "spell":
                continue
            plain = not isinstance(value, str | os.PathLike) and field.name in ("data", "space")
            value = os.fspath(value) if isinstance(value, os.PathLike) else value
            given.append(f"{name}={name if plain else repr(value)}")
        return f"helo.run_search({', '.join(given)})"


def _is_default(name: str, value: Any) -> bool:
    default = DEFAULTS.get(name)
    return type(value) is type(default) and bool(value == default)


def problems_of(request: Request) -> list[str]:
    """Everything that is wrong with the values themselves."""
    from helo.search.planning.space import SAMPLERS

    spell = request.spell
    problems = _wrong_kinds(request)
    for name, least in (("configurations", 1), ("concurrency", 1), ("cpus_per_cell", 1), ("seed", 0)):
        value = getattr(request, name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, Integral)):
            problems.append(f"{spell(name)} must be a whole number, got {value!r}")
        elif value is not None and value < least:
            problems.append(f"{spell(name)} must be at least {least}, got {value}")
    for name, known in (
        ("sampler", SAMPLERS),
        ("protocol", enum_values(SearchProtocol)),
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
    if request.resume is not None:
        given = [spell(name) for name in FIXED if getattr(request, name) is not None]
        if given:
            what = f"leave out {shorten(given, 9)}"
            problems.append(f"{spell('resume')} goes on with what the run was started with; {what}")
    return problems


def _wrong_kinds(request: Request) -> list[str]:
    """What no command line can give: values that are not of the kind that is asked for."""
    from helo.data.dataset import Dataset
    from helo.search.planning.space import Space

    path = (str, os.PathLike)
    kinds: dict[str, tuple[tuple[type, ...], str]] = {
        "data": ((Dataset, *path), f"a Dataset (see helo.data), a dataset directory or {SIMULATED!r}"),
        "space": ((Space, Mapping, *path), "the name of a space, a YAML file, or a mapping as in one"),
        "out": (path, "a path"),
        "resume": (path, "the path of a run"),
        "racing": ((bool,), "True or False"),
        "compile": ((bool,), "True or False"),
        "export_predictions": ((bool,), "True or False"),
        "address": ((str,), "auto or HOST:PORT"),
    }
    values = {name: getattr(request, name) for name in kinds}
    return [
        f"{request.spell(name)} must be {kinds[name][1]}, got a value of type {type(value).__name__}"
        for name, value in values.items()
        if value is not None and not isinstance(value, kinds[name][0])
    ]


def _names(value: Iterable[str] | str, name: str) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(word.strip() for word in value.split(","))
    if not isinstance(value, Iterable):
        raise InputError(f"{name} must be names in a list, got {value!r}")
    return tuple(map(str, value))


def _address_problems(address: str, option: str) -> list[str]:
    """What is wrong with an address. Asking a port is quick; Ray tries for minutes."""
    import socket

    if address == AUTO:
        return []
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdecimal() or not 0 < int(port) < 65536:
        return [f"{option} must be auto or HOST:PORT, got {address!r}"]
    try:
        with socket.create_connection((host, int(port)), timeout=ADDRESS_TIMEOUT_S) as asked:
            asked.sendall(_HTTP2)
            answer = asked.recv(9)
    except OSError as error:
        return [f"{option} {address}: no Ray cluster answers there ({error.strerror or error})"]
    if answer[3:4] != _SETTINGS and not os.environ.get("RAY_USE_TLS"):
        return [
            f"{option} {address}: what answers there is no Ray cluster; its port is 6379 unless it was told another"
        ]
    return []
