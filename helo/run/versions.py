"""Versions of the packages that a result depends on: found, compared, and spelled."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from helo.errors import shorten

PACKAGES: Final = (
    "helo-search",
    "torch",
    "pot",
    "ray",
    "optuna",
    "numpy",
    "scipy",
    "scikit-learn",
    "pandas",
    "pyarrow",
    "plotly",
)
"""Distributions whose versions are recorded."""

DECISIVE: Final = ("helo-search", "torch", "pot", "optuna", "numpy", "scipy", "scikit-learn")
"""Packages whose version may change the result of a cell or the next configuration, in the least digits or in full."""

PYTHON: Final = "python"
"""Key of the version of Python among those of the packages."""


def package_versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Return the versions of Python and of packages in this process."""
    versions = {PYTHON: platform.python_version()}
    for package in packages:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return versions


def decisive_differences(before: Mapping[str, object], now: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Return each package of `DECISIVE` that has another version now, with both versions."""
    return {
        package: (str(before[package]), now[package])
        for package in DECISIVE
        if package in before and package in now and str(before[package]) != now[package]
    }


def worker_differences(driver: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Return what has another version in this process than in the driver of its search, with both versions.

    These are Python and the packages of `DECISIVE`. What follows a plus sign tells builds of one version apart, such as
    ``2.7.1+cpu``. It is not compared: the driver may run on a machine without a GPU, and computes no cells.

    Parameters
    ----------
    driver : mapping
        Name to version in the driver, from `package_versions`.

    Returns
    -------
    dict
        Name → version of the driver and of this process.
    """
    return {
        name: (driver[name], here)
        for name, here in package_versions(DECISIVE).items()
        if name in driver and _release(driver[name]) != _release(here)
    }


def _release(version: str) -> str:
    return version.partition("+")[0]


def spell_versions(changed: Mapping[str, tuple[str, ...]]) -> str:
    """Return changed versions as text.

    >>> spell_versions({"torch": ("2.6.0", "2.7.1"), "numpy": ("2.0", "2.1")})
    'torch 2.6.0 → 2.7.1, numpy 2.0 → 2.1'
    """
    return ", ".join(f"{package} {' → '.join(versions)}" for package, versions in changed.items())


def spell_nodes(nodes: Mapping[str, Mapping[str, tuple[str, ...]]]) -> str:
    """Return the versions of nodes that differ from those of their search as text.

    >>> spell_nodes({"gpu-2": {"torch": ("2.6.0", "2.7.1")}, "gpu-3": {"numpy": ("2.0", "2.1")}})
    'gpu-2: torch 2.6.0 → 2.7.1, gpu-3: numpy 2.0 → 2.1'
    """
    return shorten(f"{node}: {spell_versions(versions)}" for node, versions in nodes.items())
