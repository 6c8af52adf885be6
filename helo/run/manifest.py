"""The manifest of a run: what was searched, on which data, and under which circumstances.

``manifest.json`` is built, written, read and checked here. Reading is lenient, so that reports work on partial
manifests: a value that is missing or of the wrong type is None. `Manifest.recorded_search` is strict, for resuming.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, TypeVar, cast

from helo.errors import InputError
from helo.names import FITTED_BASELINES, Normalisation, Precision, SearchProtocol, enum_values

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
        emotions = _get(found, "emotions", list)
        return cls(
            name=_get(found, "name", str),
            digest=_get(found, "digest", str),
            subjects=_get(found, "subjects", int),
            windows=_get(found, "windows", int),
            missing=_get(found, "missing", str),
            emotions=None if emotions is None else tuple(map(str, emotions)),
            modalities=_get(found, "modalities", dict),
            source=_get(found, "source", str),
            licence=_get(found, "licence", str),
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
    """

    resources: ResourcesRecord | None = None
    machine: MachineRecord | None = None
    versions: Mapping[str, Any] | None = None
    git: str | None = None

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Circumstances:
        """Read the circumstances from a manifest or from an entry of its ``resumed``."""
        resources, machine = _get(found, "resources", dict), _get(found, "machine", dict)
        return cls(
            resources=None
            if resources is None
            else ResourcesRecord(
                concurrency=_get(resources, "concurrency", int),
                cpus_per_cell=_get(resources, "cpus_per_cell", int),
                gpus_per_cell=_get(resources, "gpus_per_cell", float),
            ),
            machine=None
            if machine is None
            else MachineRecord(
                node=_get(machine, "node", str), system=_get(machine, "system", str), cpus=_get(machine, "cpus", int)
            ),
            versions=_get(found, "versions", dict),
            git=_get(found, "git", str),
        )


@dataclass(frozen=True)
class Resumption:
    """Record of one resumption of a search: time (ISO 8601, UTC), command, location of the data, circumstances."""

    started: str
    command: str
    data: str
    circumstances: Circumstances

    def as_dict(self) -> dict[str, Any]:
        """Return the entry of ``resumed`` in ``manifest.json``."""
        return {
            "started": self.started,
            "command": self.command,
            "data": self.data,
            **asdict(self.circumstances),
        }


@dataclass(frozen=True)
class RecordedSearch:
    """The settings of a manifest that a search is resumed with, checked. The digests are None where it lacks them."""

    seed: int
    protocol: str
    racing: bool
    pace: PaceRecord
    normalise: str
    precision: str
    compiled: bool
    cpus_per_cell: int
    space: Mapping[str, Any]
    folds_digest: str | None
    inner_folds: int
    dataset_digest: str | None
    baselines: tuple[str, ...]


@dataclass(frozen=True)
class Manifest:
    """Content of ``manifest.json``; None for values that are missing or of the wrong type.

    Attributes
    ----------
    name, started, command, data : str or None
        Name of the run directory, start (ISO 8601, UTC), command, and location of the data.
    seed, protocol, racing, pace, normalise, precision, compiled, cpus_per_cell, space, folds
        The settings that decide which cells of HeLo are computed.
    baselines : tuple of str or None
        Fitted baselines of the search.
    identity : str or None
        Digest of these settings, except the baselines, and of the data. Files of the ledger carry it.
    dataset : DatasetRecord
        Description of the data.
    circumstances : Circumstances
        Resources, machine and versions. Their keys stand at the top level of the file.
    resumed : tuple of Circumstances
        The circumstances of each resumption, the latest last.
    document : dict or None
        The JSON object that was read, so that rewriting the manifest of another version loses nothing. None for a
        manifest that was built.
    """

    name: str | None = None
    started: str | None = None
    command: str | None = None
    data: str | None = None
    seed: int | None = None
    protocol: str | None = None
    racing: bool | None = None
    pace: PaceRecord | None = None
    normalise: str | None = None
    precision: str | None = None
    compiled: bool | None = None
    cpus_per_cell: int | None = None
    space: Mapping[str, Any] | None = None
    folds: FoldsRecord | None = None
    baselines: tuple[str, ...] | None = None
    identity: str | None = None
    dataset: DatasetRecord = field(default_factory=DatasetRecord)
    circumstances: Circumstances = field(default_factory=Circumstances)
    resumed: tuple[Circumstances, ...] = ()
    document: dict[str, Any] | None = field(default=None, repr=False, compare=False)

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Manifest:
        """Read a JSON object. Values of the wrong type are read as None.

        >>> Manifest.from_dict({"seed": 3, "racing": "yes"}).seed
        3
        >>> Manifest.from_dict({"seed": 3, "racing": "yes"}).racing is None
        True
        """
        pace, folds = _get(found, "pace", dict), _get(found, "folds", dict)
        baselines, resumed = _get(found, "baselines", list), _get(found, "resumed", list) or []
        return cls(
            name=_get(found, "name", str),
            started=_get(found, "started", str),
            command=_get(found, "command", str),
            data=_get(found, "data", str),
            seed=_get(found, "seed", int),
            protocol=_get(found, "protocol", str),
            racing=_get(found, "racing", bool),
            pace=None
            if pace is None
            else PaceRecord(_get(pace, "generation", int), _get(pace, "lag", int), _get(pace, "ahead", int)),
            normalise=_get(found, "normalise", str),
            precision=_get(found, "precision", str),
            compiled=_get(found, "compiled", bool),
            cpus_per_cell=_get(found, "cpus_per_cell", int),
            space=_get(found, "space", dict),
            folds=None if folds is None else FoldsRecord(_get(folds, "digest", str), _get(folds, "inner_folds", int)),
            baselines=None if baselines is None else tuple(map(str, baselines)),
            identity=_get(found, "identity", str),
            dataset=DatasetRecord.from_dict(_get(found, "dataset", dict) or {}),
            circumstances=Circumstances.from_dict(found),
            resumed=tuple(Circumstances.from_dict(entry) for entry in resumed if isinstance(entry, dict)),
            document=dict(found),
        )

    @property
    def last_circumstances(self) -> Circumstances:
        """The circumstances of the latest resumption, or of the start."""
        return self.resumed[-1] if self.resumed else self.circumstances

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON object that is written. For a manifest that was read, it has everything that was read."""
        if self.document is not None:
            return dict(self.document)
        return {
            "name": self.name,
            "started": self.started,
            "command": self.command,
            "data": self.data,
            **self._settings(),
            "baselines": list(self.baselines or ()),
            "identity": self.identity,
            "dataset": {**asdict(self.dataset), "emotions": list(self.dataset.emotions or ())},
            **asdict(self.circumstances),
            "resumed": [],
        }

    def with_identity(self) -> Manifest:
        """Return this manifest with the digest of everything that decides which cells a search computes."""
        decisive = {**self._settings(), "dataset": self.dataset.digest}
        digest = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:16]
        return replace(self, identity=digest)

    def with_resumption(self, resumption: Resumption) -> Manifest:
        """Return this manifest with one more entry in ``resumed``."""
        document = self.as_dict()
        document["resumed"] = [*(_get(document, "resumed", list) or []), resumption.as_dict()]
        return Manifest.from_dict(document)

    def recorded_search(self, where: object) -> RecordedSearch:
        """Return the settings that a search is resumed with.

        Parameters
        ----------
        where : object
            Location of the manifest, for messages.

        Raises
        ------
        InputError
            If a value that resuming needs is missing or wrong.
        """
        found = self.as_dict()
        space = _require(found, "space", dict, where)
        pace = _require(found, "pace", dict, where)
        seed = _require(found, "seed", int, where)
        if (
            self.protocol not in enum_values(SearchProtocol)
            or self.normalise not in enum_values(Normalisation)
            or self.precision not in enum_values(Precision)
            or not self.identity
        ):
            raise InputError(f"{where}: is not the manifest of a search that this version can resume")
        dataset_digest = _require(found, "dataset", dict, where).get("digest")
        folds = _require(found, "folds", dict, where)
        if not _is_count(folds.get("inner_folds")):
            raise InputError(
                f"{where}: is of an earlier version, whose cells were trained in another way; the run can be reported, "
                "and a search with the same settings needs a new one"
            )
        counts = {name: pace[name] for name in ("generation", "lag", "ahead") if name in pace}
        if not {"generation", "lag"} <= set(counts) or not all(map(_is_count, counts.values())):
            raise InputError(
                f"{where}: pace must have generation, lag and optionally ahead, whole numbers above 0, got {pace}"
            )
        cpus_per_cell = _require(found, "cpus_per_cell", int, where)
        if not _is_count(cpus_per_cell):
            raise InputError(f"{where}: cpus_per_cell must be a whole number above 0, got {cpus_per_cell}")
        baselines = _require(found, "baselines", list, where)
        if not all(name in FITTED_BASELINES for name in baselines) or len(set(baselines)) < len(baselines):
            raise InputError(
                f"{where}: baselines must be different ones of {', '.join(FITTED_BASELINES)}, got {baselines}"
            )
        return RecordedSearch(
            seed=seed,
            protocol=str(self.protocol),
            racing=_require(found, "racing", bool, where),
            pace=PaceRecord(**counts),
            normalise=str(self.normalise),
            precision=str(self.precision),
            compiled=_require(found, "compiled", bool, where),
            cpus_per_cell=cpus_per_cell,
            space=space,
            folds_digest=folds.get("digest"),
            inner_folds=folds["inner_folds"],
            dataset_digest=dataset_digest,
            baselines=tuple(baselines),
        )

    def _settings(self) -> dict[str, Any]:
        """Return the settings that decide which cells are computed, in the order of the file."""
        return {
            "seed": self.seed,
            "protocol": self.protocol,
            "racing": self.racing,
            "pace": None if self.pace is None else asdict(self.pace),
            "normalise": self.normalise,
            "precision": self.precision,
            "compiled": self.compiled,
            "cpus_per_cell": self.cpus_per_cell,
            "space": None if self.space is None else dict(self.space),
            "folds": None if self.folds is None else asdict(self.folds),
        }


def _get(found: Mapping[str, Any], key: str, kind: type[T]) -> T | None:
    """Return a value if it is present and of a type. An integer counts as a float, a Boolean as neither."""
    value = found.get(key)
    if isinstance(value, bool) and kind is not bool:
        return None
    allowed = (float, int) if kind is float else kind
    return cast("T", value) if isinstance(value, allowed) else None


def _require(found: Mapping[str, Any], key: str, kind: type[T], where: object) -> T:
    """Return a value; raise `InputError` if it is missing or of another type."""
    value = _get(found, key, kind)
    if value is None:
        raise InputError(f"{where}: {key} is missing or wrong; this search cannot be resumed")
    return value


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
