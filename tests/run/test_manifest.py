"""Manifests: lossless to write and read, lenient for reports and strict for resuming."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest

from helo.errors import InputError
from helo.run.manifest import Manifest
from helo.run.manifest_records import (
    Circumstances,
    DatasetRecord,
    FoldsRecord,
    MachineRecord,
    PaceRecord,
    ResourcesRecord,
    Resumption,
)

BUILT = Manifest(
    name="run",
    started="2026-01-02T03:04:05+00:00",
    command="helo-search",
    data="simulated",
    seed=3,
    protocol="shared",
    racing=True,
    pace=PaceRecord(2, 1, 2),
    normalise="train",
    precision="full",
    compiled=False,
    cpus_per_cell=1,
    space={"name": "demo", "objective": "kl"},
    folds=FoldsRecord("of the folds", 2),
    baselines=("ridge",),
    deliver="recommended",
    dataset=DatasetRecord("mine", "of the data", 4, 40, "", ("joy", "fear"), {"eda": {}}, None, None),
    circumstances=Circumstances(ResourcesRecord(2, 1, 0.5), MachineRecord("here", "Linux", 8), {"torch": "2.6"}, None),
).with_identity()


SETTINGS = [
    "seed",
    "protocol",
    "racing",
    "pace",
    "normalise",
    "precision",
    "compiled",
    "cpus_per_cell",
    "space",
    "folds",
]
"""Keys of the settings that decide which cells are computed."""


def read(**changes: Any) -> Manifest:
    """The manifest as read from its file, with some values changed; None removes a value."""
    document = json.loads(json.dumps(BUILT.as_dict())) | changes
    return Manifest.from_dict({key: value for key, value in document.items() if value is not None})


def digest(**changes: Any) -> str:
    """The identity of the manifest with some settings changed."""
    document = {**BUILT.as_dict(), **changes}
    decisive = {name: document[name] for name in SETTINGS} | {"dataset": document["dataset"]["digest"]}
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:16]


def test_a_written_manifest_is_read_as_it_was_built() -> None:
    assert Manifest.from_dict(json.loads(json.dumps(BUILT.as_dict()))) == BUILT


def test_keys_and_their_order() -> None:
    assert list(BUILT.as_dict()) == [
        *("name", "started", "command", "data", "seed", "protocol", "racing", "pace", "normalise", "precision"),
        *("compiled", "cpus_per_cell", "space", "folds", "baselines", "deliver", "identity", "dataset"),
        *("resources", "machine", "versions", "git", "other_versions", "resumed"),
    ]


def test_the_identity_depends_only_on_settings_that_determine_results() -> None:
    assert replace(BUILT, name="other", circumstances=Circumstances()).with_identity().identity == BUILT.identity
    assert replace(BUILT, seed=4).with_identity().identity != BUILT.identity
    assert replace(BUILT, dataset=DatasetRecord(digest="other")).with_identity().identity != BUILT.identity


def test_a_resumption_keeps_everything_that_was_read() -> None:
    document = {**BUILT.as_dict(), "of another version": [1]}
    entry = Resumption("later", "again", "elsewhere", "ensemble", Circumstances(ResourcesRecord(8, 1, 0.0)))
    resumed = Manifest.from_dict(document).with_resumption(entry)
    assert resumed.as_dict() == {**document, "deliver": "ensemble", "resumed": [entry.as_dict()]}
    assert resumed.recorded_search("here").deliver == "ensemble"
    assert resumed.circumstances == BUILT.circumstances
    assert resumed.last_circumstances.resources == ResourcesRecord(8, 1, 0.0)


@pytest.mark.parametrize("document", [{}, {"seed": "3", "racing": 1, "space": [], "dataset": "x", "resumed": {}}])
def test_missing_and_wrong_values_are_none(document: dict[str, Any]) -> None:
    manifest = Manifest.from_dict(document)
    assert (manifest.seed, manifest.racing, manifest.space) == (None, None, None)
    assert manifest.dataset == DatasetRecord()
    assert manifest.as_dict() == document


def test_the_recorded_search_has_the_settings_of_the_manifest() -> None:
    found = read().recorded_search("here")
    assert (found.seed, found.pace, found.baselines) == (3, PaceRecord(2, 1, 2), ("ridge",))
    assert (found.dataset_digest, found.folds_digest, found.inner_folds) == ("of the data", "of the folds", 2)
    pace = {"generation": 2, "lag": 1}  # of an earlier version
    assert read(pace=pace, identity=digest(pace=pace)).recorded_search("here").pace.ahead is None
    assert read(deliver=None).recorded_search("here").deliver == "recommended"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"space": None}, "here: space is missing or wrong; this search cannot be resumed"),
        ({"seed": True}, "here: seed is missing or wrong"),
        (
            {"folds": {"digest": "of the folds"}},
            "here: is of an earlier version, whose cells were trained in another way",
        ),
        ({"folds": {"digest": "of the folds", "inner_folds": 0}}, "here: is of an earlier version"),
        ({"racing": "on"}, "here: racing is missing or wrong"),
        ({"protocol": "other"}, "here: is not the manifest of a search that this version can resume"),
        ({"identity": None}, "here: is not the manifest of a search that this version can resume"),
        (
            {"pace": {"generation": 2, "lag": 0, "ahead": 2}},
            "here: pace must have generation, lag and optionally ahead, whole",
        ),
        (
            {"pace": {"lag": 1}},
            "here: pace must have generation, lag and optionally ahead, whole numbers above 0, got {'lag': 1}",
        ),
        ({"deliver": "both"}, "here: deliver must be recommended or ensemble, got 'both'"),
        ({"baselines": ["ridge", "ridge"]}, "here: baselines must be different ones of knn, .*got .'ridge', 'ridge'."),
    ],
)
def test_resuming_refuses_incomplete_or_wrong_manifests(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(**changes).recorded_search("here")


@pytest.mark.parametrize(
    "changes",
    [
        {"normalise": "subject"},
        {"seed": 4},
        {"space": {"name": "demo", "objective": "chebyshev"}},
        {"identity": "0123456789abcdef"},
        {"dataset": {**BUILT.as_dict()["dataset"], "digest": "of other data"}},
    ],
)
def test_a_manifest_that_was_edited_is_not_resumed(changes: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="here: was changed after the search had started"):
        read(**changes).recorded_search("here")
    assert read(name="renamed", started="earlier").recorded_search("here").seed == 3


def resumed_with(manifest: Manifest, **versions: str) -> Manifest:
    circumstances = replace(BUILT.circumstances, versions=versions)
    return manifest.with_resumption(Resumption("later", "helo-search", "simulated", "recommended", circumstances))


def test_changes_of_versions_over_all_resumptions() -> None:
    assert BUILT.changed_versions == {}
    same = resumed_with(BUILT, torch="2.6", plotly="6")
    assert same.changed_versions == {}
    twice = resumed_with(resumed_with(same, torch="2.7", numpy="2.0"), torch="2.6", numpy="2.0", plotly="7")
    assert twice.changed_versions == {"torch": ("2.6", "2.7", "2.6")}
    assert resumed_with(twice, numpy="2.1").changed_versions["numpy"] == ("2.0", "2.1")


def test_versions_are_compared_with_the_latest_resumption() -> None:
    changed = resumed_with(BUILT, torch="2.7")
    assert changed.differences_from({"torch": "2.7", "plotly": "5"}) == {}
    assert changed.differences_from({"torch": "2.6", "numpy": "2.0"}) == {"torch": ("2.7", "2.6")}
    assert replace(BUILT, circumstances=Circumstances()).differences_from({"torch": "2.6"}) == {}


def test_versions_of_nodes_are_kept_with_the_start_or_resumption_in_which_they_ran() -> None:
    assert BUILT.other_versions == {}
    started = replace(BUILT, circumstances=replace(BUILT.circumstances, versions={"torch": "2.6", "numpy": "2.0"}))
    first = started.with_other_versions("a", {"torch": "2.5"}).with_other_versions("b", {"numpy": "2.1"})
    assert first.other_versions == {"a": {"torch": ("2.6", "2.5")}, "b": {"numpy": ("2.0", "2.1")}}
    resumed = resumed_with(first, torch="2.7", numpy="2.0").with_other_versions("a", {"torch": "2.6"})
    again = Manifest.from_dict(json.loads(json.dumps(resumed.as_dict())))
    assert again.other_versions == {"a": {"torch": ("2.7", "2.6")}, "b": {"numpy": ("2.0", "2.1")}}
    assert again.circumstances.other_versions == {"a": {"torch": "2.5"}, "b": {"numpy": "2.1"}}
    assert BUILT.other_versions == {}
