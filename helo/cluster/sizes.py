"""Amounts of memory and CPU in the notation of Docker and Kubernetes."""

from __future__ import annotations

import re
from typing import Any

DOCKER = {"": 1, "b": 1, "k": 2**10, "kb": 2**10, "m": 2**20, "mb": 2**20, "g": 2**30, "gb": 2**30}
KUBERNETES = {"m": 1e-3, "": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12} | {
    f"{letter}i": 2 ** (10 * power) for power, letter in enumerate("KMGT", 1)
}


def in_bytes(text: str) -> float | None:
    """Return a size in the notation of Docker in bytes, or None if it cannot be parsed.

    >>> in_bytes("5g"), in_bytes("512M"), in_bytes("much")
    (5368709120.0, 536870912.0, None)
    """
    return _scaled(text.lower(), DOCKER)


def quantity(value: Any) -> float | None:
    """Return an amount of CPU or memory in the notation of Kubernetes, or None if it cannot be parsed.

    >>> quantity("500m"), quantity("2Gi"), quantity(4), quantity("2GB")
    (0.5, 2147483648.0, 4.0, None)
    """
    return _scaled(str(value), KUBERNETES)


def _scaled(text: str, units: dict[str, Any]) -> float | None:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([a-zA-Z]*)", text)
    return float(found[1]) * units[found[2]] if found and found[2] in units else None
