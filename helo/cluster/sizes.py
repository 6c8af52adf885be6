"""Sizes of memory as Docker and Kubernetes write them."""

from __future__ import annotations

import re
from typing import Any

DOCKER = {"": 1, "b": 1, "k": 2**10, "kb": 2**10, "m": 2**20, "mb": 2**20, "g": 2**30, "gb": 2**30}
KUBERNETES = {"m": 1e-3, "": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12} | {
    f"{letter}i": 2 ** (10 * power) for power, letter in enumerate("KMGT", 1)
}


def in_bytes(text: str) -> float | None:
    """A size as Docker writes it; None if it is none.

    >>> in_bytes("5g"), in_bytes("512M"), in_bytes("much")
    (5368709120.0, 536870912.0, None)
    """
    return _scaled(text.lower(), DOCKER)


def quantity(value: Any) -> float | None:
    """An amount of CPU or memory as Kubernetes writes it; None if it is none.

    >>> quantity("500m"), quantity("2Gi"), quantity(4), quantity("2GB")
    (0.5, 2147483648.0, 4.0, None)
    """
    return _scaled(str(value), KUBERNETES)


def _scaled(text: str, units: dict[str, Any]) -> float | None:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([a-zA-Z]*)", text)
    return float(found[1]) * units[found[2]] if found and found[2] in units else None
