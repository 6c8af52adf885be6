"""What tests in several folders share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

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
