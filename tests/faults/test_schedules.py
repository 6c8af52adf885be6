"""Searches through random faults: nothing is lost, and the results are those of an undisturbed search.

``HELO_TEST_FAULTS=100`` runs the schedules of 100 seeds, ``HELO_TEST_FAULTS=100:200`` those of the seeds from 100.
Those that have found a fault before run too. Without the variable none runs, because each takes a minute.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from faults.faults import missing_for
from faults.harness import WORDS, prepared, undergo, write_inputs
from faults.schedule import CELLS, FOUND, Kind, Schedule, draw
from searches import done
from storage_proxy import StorageProxy

from helo.run.directory import Run

pytestmark = pytest.mark.slow

SEEDS = range(*map(int, os.environ.get("HELO_TEST_FAULTS", "0").split(":")))
needs_order = pytest.mark.skipif("HELO_TEST_FAULTS" not in os.environ, reason="takes a minute; set HELO_TEST_FAULTS")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run of a search without faults."""
    folder = tmp_path_factory.mktemp("undisturbed")
    write_inputs(folder)
    done(*WORDS, "--out", "run", cwd=folder)
    assert len(Run.open(folder / "run").ledger) == CELLS
    return folder / "run"


@needs_order
@pytest.mark.parametrize("schedule", [*FOUND, *map(draw, SEEDS)], ids=lambda schedule: str(schedule.seed))
def test_a_search_comes_through_its_faults(
    schedule: Schedule, undisturbed: Path, object_storage: str, storage_proxy: StorageProxy, tmp_path: Path
) -> None:
    print(schedule)
    with prepared(schedule, tmp_path, object_storage, storage_proxy) as search:
        undergo(schedule, search, undisturbed)


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_of_fault_can_be_caused_here(kind: Kind) -> None:
    """Schedules leave out the others."""
    if reason := missing_for(kind):
        pytest.skip(reason)


def test_a_schedule_depends_on_its_seed_alone_and_all_kinds_occur() -> None:
    schedules = [draw(seed) for seed in range(len(Kind))]
    assert schedules == [draw(seed) for seed in range(len(Kind))]
    assert {fault.kind for schedule in schedules for fault in schedule.faults} == set(Kind)
    for schedule in schedules:
        assert list(schedule.faults) == sorted(schedule.faults, key=lambda fault: fault.point)
