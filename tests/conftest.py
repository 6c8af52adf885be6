"""What tests in several folders share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from helo.data.dataset import Dataset
    from helo.folds import Fold


@pytest.hookimpl(wrapper=True)  # around pytest-xdist's own, which reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Iterator[None]:
    """One process runs all that is slow, one after the other: each takes the machine as if it were its own."""
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.xdist_group("slow"))
    yield


# Before torch is imported: its threads on the shared cores of a test machine wait for each other, which
# makes cells of a few windows ten times slower.
os.environ.setdefault("OMP_NUM_THREADS", "1")

WESAD = Path(__file__).parents[1].parent / "shared" / "data" / "wesad"


@pytest.fixture(scope="session")
def wesad_folder() -> Path:
    """The real recordings of WESAD, which lie beside the repository on some machines only."""
    if not (WESAD / "windows.csv").is_file():
        pytest.skip("the WESAD data are not here (they may not be passed on, so the project has none)")
    return WESAD


@pytest.fixture(scope="session")
def dataset() -> Dataset:
    """A few windows of four simulated subjects: enough for cells whose scores do not matter."""
    from helo.data.simulated import simulate

    return simulate(subjects=4, clips=3, windows=4)


@pytest.fixture(scope="session")
def fold(dataset: Dataset) -> Fold:
    """The first of its folds."""
    from helo.folds import loso_folds

    return loso_folds(dataset.subject_names, seed=0)[0]
