"""Container images: pinned, and with the project's versions of Ray and Python."""

from __future__ import annotations

import re
from importlib.metadata import version
from typing import Any

from helo.cluster.faults import Faults, Place

PYTHON = "3.11"
"""What the pinned versions are tested with; all machines of a cluster must have the same."""


def ray_version() -> str:
    """The Ray that is installed here, which drives a cluster from here: a cluster's must be the same."""
    return version("ray")


def check_image(faults: Faults, place: Place, image: Any, gpu: bool) -> None:
    """An image of Ray, or one built on it that keeps its tag, ``VERSION-pyXY[-gpu]``."""
    right = f"{ray_version()}-py{PYTHON.replace('.', '')}{'-gpu' if gpu else ''}"
    if not isinstance(image, str):
        faults.add(place, f"must be an image such as rayproject/ray:{right}, got {image!r}")
        return
    tag = image.partition("@")[0].rpartition("/")[2].partition(":")[2]
    if not tag or tag in ("latest", "nightly") or tag.startswith(("latest-", "nightly-")):
        faults.add(place, f"{image} is not pinned; take the tag {right}")
        return
    found = re.match(r"(\d+(?:\.\w+)+)(?:-py(\d)(\d+))?(-|$)", tag)
    if found is None:
        faults.add(place, f"the tag {tag} does not say which Ray and Python are inside; start it with {right}")
    elif found[1] != ray_version():
        faults.add(place, f"{image} has Ray {found[1]}, this project {ray_version()}; take the tag {right}")
    elif found[2] is None or f"{found[2]}.{found[3]}" != PYTHON:
        inside = f"Python {found[2]}.{found[3]}" if found[2] else "a Python it does not name"
        faults.add(place, f"{image} has {inside}, this project {PYTHON}; take the tag {right}")
    elif gpu and not re.search(r"-(gpu|cu\d+)", tag):
        faults.add(place, f"{image} is for machines without GPU; take the tag {right}")
