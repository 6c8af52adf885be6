"""Check of container images: pinned, and with the versions of Ray and Python that the project uses."""

from __future__ import annotations

import re
from importlib.metadata import version
from typing import Any

from helo.cluster.faults import Faults, Place

PYTHON = "3.11"
"""Python version that the project is tested with. All machines of a cluster must have the same."""


def ray_version() -> str:
    """Return the version of Ray on this machine. A cluster must have the same."""
    return version("ray")


def check_image(faults: Faults, place: Place, image: Any, gpu: bool) -> None:
    """Check an image of Ray, or an image built on it that keeps the tag ``VERSION-pyXY[-gpu]``."""
    right = f"{ray_version()}-py{PYTHON.replace('.', '')}{'-gpu' if gpu else ''}"
    if not isinstance(image, str):
        faults.add(place, f"must be an image such as rayproject/ray:{right}, got {image!r}")
        return
    tag = image.partition("@")[0].rpartition("/")[2].partition(":")[2]
    if not tag or tag in ("latest", "nightly") or tag.startswith(("latest-", "nightly-")):
        faults.add(place, f"must be pinned with the tag {right}, got {image}")
        return
    found = re.match(r"(\d+(?:\.\w+)+)(?:-py(\d)(\d+))?(-|$)", tag)
    if found is None:
        faults.add(place, f"must have a tag that starts with {right}, the versions of Ray and Python, got {tag}")
    elif found[1] != ray_version():
        faults.add(place, f"must have Ray {ray_version()}, tag {right}, got {image}")
    elif found[2] is None or f"{found[2]}.{found[3]}" != PYTHON:
        faults.add(place, f"must have Python {PYTHON}, tag {right}, got {image}")
    elif gpu and not re.search(r"-(gpu|cu\d+)", tag):
        faults.add(place, f"must be an image for GPUs, tag {right}, got {image}")
