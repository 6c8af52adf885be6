"""Manifests: lossless to write and read, lenient for reports and strict for resuming."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from helo.errors import InputError
from helo.run.manifest import (
    Circumstances,
    DatasetRecord,
    FoldsRecord,
    MachineRecord,
    Manifest,
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
    dataset=DatasetRecord("mine", "of the data", 4, 40, "", ("joy", "fear"), {"eda": {}}, None, None),
    circumstances=Circumstances(ResourcesRecord(2, 1, 0.5), MachineRecord("here", "Linux", 8), {"torch": "2.6"}, None),
).with_identity()


def read(**changes: Any) -> Manifest:
    """The manifest as read from its file, with some values changed; None removes a value."""
    document = json.loads(json.dumps(BUILT.as_dict())) | changes
    return Manifest.from_dict({key: value for key, value in document.items() if value is not None})


def test_a_written_manifest_is_read_as_it_was_built() -> None:
    assert Manifest.from_dict(json.loads(json.dumps(BUILT.as_dict()))) == BUILT


def test_keys_and_their_order() -> None:
    assert list(BUILT.as_dict()) == [
        *("name", "started", "command", "data", "seed", "protocol", "racing", "pace", "normalise", "precision"),
        *("compiled", "cpus_per_cell", "space", "folds", "baselines", "identity", "dataset", "resources", "machine"),
        *("versions", "git", "resumed"),
    ]


def test_the_identity_depends_only_on_settings_that_determine_results() -> None:
    assert replace(BUILT, name="other", circumstances=Circumstances()).with_identity().identity == BUILT.identity
    assert replace(BUILT, seed=4).with_identity().identity != BUILT.identity
    assert replace(BUILT, dataset=DatasetRecord(digest="other")).with_identity().identity != BUILT.identity


def test_a_resumption_keeps_everything_that_was_read() -> None:
    document = {**BUILT.as_dict(), "of another version": [1]}
    entry = Resumption("later", "again", "elsewhere", Circumstances(ResourcesRecord(8, 1, 0.0)))
    resumed = Manifest.from_dict(document).with_resumption(entry)
    assert resumed.as_dict() == {**document, "resumed": [entry.as_dict()]}
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
    assert read(pace={"generation": 2, "lag": 1}).recorded_search("here").pace.ahead is None


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
        ({"baselines": ["ridge", "ridge"]}, "here: baselines must be different ones of knn, .*got .'ridge', 'ridge'."),
    ],
)
def test_resuming_refuses_incomplete_or_wrong_manifests(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(**changes).recorded_search("here")
