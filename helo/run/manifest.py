"""The manifest of a run: what was searched, on which data, and under which circumstances.

``manifest.json`` is built, written, read and checked here. Reading is lenient, so that reports work on partial
manifests: a value that is missing or of the wrong type is None. `Manifest.recorded_search` is strict, for resuming.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from helo.errors import InputError
from helo.names import FITTED_BASELINES, Delivery, Normalisation, Precision, SearchProtocol, enum_values
from helo.run.manifest_records import (
    Circumstances,
    DatasetRecord,
    FoldsRecord,
    PaceRecord,
    Resumption,
    T,
    typed,
)
from helo.run.versions import DECISIVE, decisive_differences


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
    deliver: str


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
    deliver : str or None
        A `helo.names.Delivery`: the model that was requested last, at the start or at a resumption.
    cells : int or None
        Number of HeLo's cells at the end of the search if no further configuration is dropped, as of the last time that
        the tables were written. With as many finished cells, the search has ended. None in earlier versions.
    identity : str or None
        Digest of these settings, except the baselines, `deliver` and `cells`, and of the data. Files of the ledger
        carry it.
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
    deliver: str | None = None
    cells: int | None = None
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
        pace, folds = typed(found, "pace", dict), typed(found, "folds", dict)
        baselines, resumed = typed(found, "baselines", list), typed(found, "resumed", list) or []
        return cls(
            name=typed(found, "name", str),
            started=typed(found, "started", str),
            command=typed(found, "command", str),
            data=typed(found, "data", str),
            seed=typed(found, "seed", int),
            protocol=typed(found, "protocol", str),
            racing=typed(found, "racing", bool),
            pace=None
            if pace is None
            else PaceRecord(typed(pace, "generation", int), typed(pace, "lag", int), typed(pace, "ahead", int)),
            normalise=typed(found, "normalise", str),
            precision=typed(found, "precision", str),
            compiled=typed(found, "compiled", bool),
            cpus_per_cell=typed(found, "cpus_per_cell", int),
            space=typed(found, "space", dict),
            folds=None if folds is None else FoldsRecord(typed(folds, "digest", str), typed(folds, "inner_folds", int)),
            baselines=None if baselines is None else tuple(map(str, baselines)),
            deliver=typed(found, "deliver", str),
            cells=typed(found, "cells", int),
            identity=typed(found, "identity", str),
            dataset=DatasetRecord.from_dict(typed(found, "dataset", dict) or {}),
            circumstances=Circumstances.from_dict(found),
            resumed=tuple(Circumstances.from_dict(entry) for entry in resumed if isinstance(entry, dict)),
            document=dict(found),
        )

    @property
    def changed_versions(self) -> dict[str, tuple[str, ...]]:
        """Package of `DECISIVE` → its versions at the start and at resumptions, in order, where they differ."""
        found, all_versions = {}, [one.versions or {} for one in (self.circumstances, *self.resumed)]
        for package in DECISIVE:
            known = [str(versions[package]) for versions in all_versions if package in versions]
            versions = [version for version, _ in itertools.groupby(known)]
            if len(versions) > 1:
                found[package] = tuple(versions)
        return found

    def differences_from(self, versions: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
        """Return each package of `DECISIVE` whose latest recorded version is another, with both versions."""
        return decisive_differences(self.last_circumstances.versions or {}, versions)

    @property
    def other_versions(self) -> dict[str, dict[str, tuple[str, ...]]]:
        """Node whose versions differ from those of the search → name → version of the search and of the node."""
        found: dict[str, dict[str, tuple[str, ...]]] = {}
        for one in (self.circumstances, *self.resumed):
            for node, versions in (one.other_versions or {}).items():
                if isinstance(versions, dict):
                    of_search = one.versions or {}
                    found.setdefault(node, {}).update(
                        {name: (str(of_search.get(name, "?")), str(its)) for name, its in versions.items()}
                    )
        return found

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
            "deliver": self.deliver,
            "identity": self.identity,
            "dataset": {**asdict(self.dataset), "emotions": list(self.dataset.emotions or ())},
            **asdict(self.circumstances),
            "resumed": [],
        }

    def with_identity(self) -> Manifest:
        """Return this manifest with the digest of everything that decides which cells a search computes."""
        return replace(self, identity=_identity(self._settings(), self.dataset.digest))

    def with_resumption(self, resumption: Resumption) -> Manifest:
        """Return this manifest with one more entry in ``resumed``, and with the model that it requests."""
        document = {**self.as_dict(), "deliver": resumption.deliver}
        document["resumed"] = [*(typed(document, "resumed", list) or []), resumption.as_dict()]
        return Manifest.from_dict(document)

    def with_other_versions(self, node: str, versions: Mapping[str, str]) -> Manifest:
        """Return this manifest with the versions of a node that differ from those of the search as it runs now."""
        document = self.as_dict()
        resumed = list(typed(document, "resumed", list) or [])
        now = dict(resumed.pop()) if resumed else document
        now["other_versions"] = {**(typed(now, "other_versions", dict) or {}), node: dict(versions)}
        return Manifest.from_dict(document | {"resumed": [*resumed, now]} if now is not document else document)

    def with_cells(self, cells: int) -> Manifest:
        """Return this manifest with another number of cells of the whole search."""
        return Manifest.from_dict(self.as_dict() | {"cells": cells})

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
        deliver = found.get("deliver", Delivery.RECOMMENDED)  # earlier versions did not record it
        if deliver not in enum_values(Delivery):
            raise InputError(f"{where}: deliver must be {' or '.join(enum_values(Delivery))}, got {deliver!r}")
        recorded = RecordedSearch(
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
            deliver=deliver,
        )
        settings = {name: found.get(name) for name in self._settings()}
        if self.identity != _identity(settings, dataset_digest):
            raise InputError(
                f"{where}: was changed after the search had started: {', '.join(settings)} and dataset no longer give "
                "its identity, so new cells would be those of another search; undo the change, or start a new search"
            )
        return recorded

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


def _identity(settings: Mapping[str, Any], dataset_digest: str | None) -> str:
    """Return the digest of everything that decides which cells a search computes."""
    decisive = {**settings, "dataset": dataset_digest}
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:16]


def _require(found: Mapping[str, Any], key: str, kind: type[T], where: object) -> T:
    """Return a value; raise `InputError` if it is missing or of another type."""
    value = typed(found, key, kind)
    if value is None:
        raise InputError(f"{where}: {key} is missing or wrong; this search cannot be resumed")
    return value


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
