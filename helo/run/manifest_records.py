"""Parts of a manifest: the data, the folds, the lookahead, and the circumstances of a search.

Reading is lenient: a value that is missing or of the wrong type is None.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeVar, cast

T = TypeVar("T")


@dataclass(frozen=True)
class DatasetRecord:
    """Description of the dataset of a run.

    Attributes
    ----------
    name, digest, source, licence : str or None
        As in the dataset. The digest identifies its content.
    subjects, windows : int or None
        Numbers of subjects and windows.
    missing : str or None
        Which signals are missing; empty if all are present.
    emotions : tuple of str or None
        In the order of the labels.
    modalities : mapping or None
        Name of a modality to its role, tokens and columns.
    """

    name: str | None = None
    digest: str | None = None
    subjects: int | None = None
    windows: int | None = None
    missing: str | None = None
    emotions: tuple[str, ...] | None = None
    modalities: Mapping[str, Any] | None = None
    source: str | None = None
    licence: str | None = None

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> DatasetRecord:
        """Read the JSON object ``dataset``."""
        emotions = typed(found, "emotions", list)
        return cls(
            name=typed(found, "name", str),
            digest=typed(found, "digest", str),
            subjects=typed(found, "subjects", int),
            windows=typed(found, "windows", int),
            missing=typed(found, "missing", str),
            emotions=None if emotions is None else tuple(map(str, emotions)),
            modalities=typed(found, "modalities", dict),
            source=typed(found, "source", str),
            licence=typed(found, "licence", str),
        )


@dataclass(frozen=True)
class FoldsRecord:
    """Digest of the folds of a run, and number of inner splits of each fold.

    Earlier versions had one split and did not record its number.
    """

    digest: str | None = None
    inner_folds: int | None = None


@dataclass(frozen=True)
class PaceRecord:
    """Lookahead of a search; see `helo.search.planning.pace.Pace`. Earlier versions did not record `ahead`."""

    generation: int | None = None
    lag: int | None = None
    ahead: int | None = None


@dataclass(frozen=True)
class ResourcesRecord:
    """Number of cells that run at a time, with the CPUs and the share of a GPU of each."""

    concurrency: int | None = None
    cpus_per_cell: int | None = None
    gpus_per_cell: float | None = None


@dataclass(frozen=True)
class MachineRecord:
    """Host name, operating system and number of CPUs of the machine that drives a search."""

    node: str | None = None
    system: str | None = None
    cpus: int | None = None


@dataclass(frozen=True)
class Circumstances:
    """Circumstances of a search that do not decide which cells it computes.

    Attributes
    ----------
    resources : ResourcesRecord or None
        Resources of the cells.
    machine : MachineRecord or None
        The machine that drives the search.
    versions : mapping or None
        Name to version, of Python and of the packages that a result depends on.
    git : str or None
        Commit of the project's checkout; None if it does not run from one.
    other_versions : mapping or None
        Node of a cluster whose versions differ from `versions` → name → its version.
    """

    resources: ResourcesRecord | None = None
    machine: MachineRecord | None = None
    versions: Mapping[str, Any] | None = None
    git: str | None = None
    other_versions: Mapping[str, Any] | None = None

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Circumstances:
        """Read the circumstances from a manifest or from an entry of its ``resumed``."""
        resources, machine = typed(found, "resources", dict), typed(found, "machine", dict)
        return cls(
            resources=None
            if resources is None
            else ResourcesRecord(
                concurrency=typed(resources, "concurrency", int),
                cpus_per_cell=typed(resources, "cpus_per_cell", int),
                gpus_per_cell=typed(resources, "gpus_per_cell", float),
            ),
            machine=None
            if machine is None
            else MachineRecord(
                node=typed(machine, "node", str), system=typed(machine, "system", str), cpus=typed(machine, "cpus", int)
            ),
            versions=typed(found, "versions", dict),
            git=typed(found, "git", str),
            other_versions=typed(found, "other_versions", dict),
        )


@dataclass(frozen=True)
class Resumption:
    """Record of one resumption of a search.

    Its fields are the time (ISO 8601, UTC), the command, the location of the data, the model that is requested (a
    `helo.names.Delivery`) and the circumstances.
    """

    started: str
    command: str
    data: str
    deliver: str
    circumstances: Circumstances

    def as_dict(self) -> dict[str, Any]:
        """Return the entry of ``resumed`` in ``manifest.json``."""
        return {
            "started": self.started,
            "command": self.command,
            "data": self.data,
            "deliver": self.deliver,
            **asdict(self.circumstances),
        }


def typed(found: Mapping[str, Any], key: str, kind: type[T]) -> T | None:
    """Return a value if it is present and of a type. An integer counts as a float, a Boolean as neither."""
    value = found.get(key)
    if isinstance(value, bool) and kind is not bool:
        return None
    allowed = (float, int) if kind is float else kind
    return cast("T", value) if isinstance(value, allowed) else None
