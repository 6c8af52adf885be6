"""What tests in several folders share."""

from __future__ import annotations

from pathlib import Path

import pytest

WESAD = Path(__file__).parents[1].parent / "shared" / "data" / "wesad"


@pytest.fixture(scope="session")
def wesad_folder() -> Path:
    """The real recordings of WESAD, which lie beside the repository on some machines only."""
    if not (WESAD / "windows.csv").is_file():
        pytest.skip("the WESAD data are not here (they may not be passed on, so the project has none)")
    return WESAD
