"""Versions of packages, compared between the driver of a search and its workers."""

from __future__ import annotations

import platform
from importlib.metadata import version

from helo.run.versions import DECISIVE, package_versions, worker_differences


def test_versions_of_this_process() -> None:
    found = package_versions()
    assert found["python"] == platform.python_version()
    assert found["torch"] == version("torch")
    assert set(DECISIVE) < set(found)
    assert package_versions(["of-nobody"])["of-nobody"] == "not installed"


def test_a_worker_names_what_differs_from_the_driver() -> None:
    here = package_versions()
    assert worker_differences(here) == {}
    other = here | {"numpy": "1.0", "python": "2.7.18", "plotly": "1.0"}
    assert worker_differences(other) == {
        "numpy": ("1.0", here["numpy"]),
        "python": ("2.7.18", here["python"]),
    }
    assert worker_differences({"numpy": "1.0"}) == {"numpy": ("1.0", here["numpy"])}


def test_builds_of_one_version_are_equal() -> None:
    """The driver may run on a machine without a GPU."""
    torch = version("torch").partition("+")[0]
    assert worker_differences({"torch": f"{torch}+another"}) == {}
    assert "torch" in worker_differences({"torch": f"{torch}.1+another"})
