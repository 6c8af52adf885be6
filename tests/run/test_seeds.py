"""Directory of the runs of several seeds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from helo.errors import InputError
from helo.run.directory import Run
from helo.run.manifest import Manifest
from helo.run.seeds import SeedRuns, expand_seeds, has_seeds, parse_seeds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0,0", "names a seed twice"),
        ("1", "needs two or more seeds"),
        ("a,b", "must be whole numbers from 0"),
        ("0,-1", "must be whole numbers from 0"),
        ("0,", "must be whole numbers from 0"),
        ("٣,1", "must be whole numbers from 0"),
        ("0,99999999999999999999999", "must be whole numbers from 0"),
        ("0,9223372036854775808", "must be whole numbers from 0"),
    ],
)
def test_wrong_seeds_are_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=f"--seeds {message}"):
        parse_seeds(text, "--seeds")


def test_runs_are_found_by_seed(tmp_path: Path) -> None:
    runs = SeedRuns.create(tmp_path / "many", (3, 1), "helo-search --seeds 3,1")
    assert has_seeds(tmp_path / "many")
    assert not has_seeds(tmp_path)
    assert runs.started() == {}
    Run.create(runs.place(1), Manifest.from_dict({}), [])
    found = SeedRuns.open(tmp_path / "many")
    assert found.seeds == (3, 1)
    assert list(found.started()) == [1]
    expected = ["other", str(tmp_path / "many" / "seed-1")]
    assert expand_seeds(["other", str(tmp_path / "many")]) == expected
    found.delete_if_empty()
    assert has_seeds(tmp_path / "many")
    with pytest.raises(InputError, match="is already there"):
        SeedRuns.create(tmp_path / "many", (3, 1), "")


def test_a_directory_without_runs_can_be_deleted(tmp_path: Path) -> None:
    SeedRuns.create(tmp_path / "none", (0, 1), "").delete_if_empty()
    assert not (tmp_path / "none").exists()
    runs = SeedRuns.create(tmp_path / "other", (0, 1), "")
    (tmp_path / "other" / "notes.txt").write_text("of a user")
    runs.delete_if_empty()
    assert (tmp_path / "other" / "notes.txt").exists()


@pytest.mark.parametrize("seeds", [None, [], [0], [0, 0], [0, "1"], [0, True], [0, -1], [0, 2**63], {"0": 1}])
def test_a_wrong_file_is_refused(tmp_path: Path, seeds: object) -> None:
    (tmp_path / "seeds.json").write_text(json.dumps({"seeds": seeds}))
    with pytest.raises(
        InputError, match=r"seeds must be a list of two or more different seeds|a whole number must be from"
    ):
        SeedRuns.open(tmp_path)


def test_a_directory_of_seeds_is_no_run(tmp_path: Path) -> None:
    SeedRuns.create(tmp_path / "many", (0, 1), "")
    with pytest.raises(InputError, match="holds a run for each of several seeds; name one of them"):
        Run.open(tmp_path / "many")
