"""Values and names that look like mistakes: codes for missing values, and one person under several names."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import numpy as np

from helo.data.dataset import Signals, row_blocks

MISSING_CODES: Final = frozenset(
    sign * code for sign in (-1, 1) for code in (99, 999, 9999, 99999, 999999, 888, 8888, 777, 7777)
) | {-32768}
"""Numbers that programs and questionnaires write in place of a missing value."""

_SESSION: Final = re.compile(
    r"(?P<person>.+?)(?:[ _.\-]+|(?<=[0-9]))(?:ses|sess|session|run|day|visit|trial|take|rec|recording|part|block|week)"
    r"[ _.\-]*[0-9]{1,2}"
)


def find_missing_codes(signals: Signals) -> dict[str, tuple[float, int]]:
    """Find features with a code for missing values: a number of `MISSING_CODES` far from all other values.

    Far means farther from the nearest other value than the range of the others, or negative where no other value is.

    Parameters
    ----------
    signals
        The windows.

    Returns
    -------
    dict
        Feature → its code, and the number of windows with it.
    """
    columns = signals.features.shape[1]
    low, high = np.full(columns, np.nan), np.full(columns, np.nan)
    for block in row_blocks(*signals.features.shape):
        low = np.fmin(low, np.fmin.reduce(signals.features[block], axis=0))
        high = np.fmax(high, np.fmax.reduce(signals.features[block], axis=0))
    found = {}
    for position, name in enumerate(signals.schema.features):
        for code in {float(low[position]), float(high[position])} & MISSING_CODES:
            values = signals.features[:, position]
            others = values[(values != code) & ~np.isnan(values)]
            if not len(others):
                continue
            gap = np.abs(others - code).min()
            if gap > np.ptp(others) or (code < 0 and others.min() >= 0):
                found[name] = (code, int((values == code).sum()))
    return found


def find_shared_persons(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Find names that may belong to one person: they differ in leading zeros, a decimal point or a session only.

    Parameters
    ----------
    names
        Names of subjects.

    Returns
    -------
    list of tuple of str
        Groups of two names or more.

    >>> find_shared_persons(["1", "001", "2", "S3_ses1", "S3_ses2", "S4"])
    [('1', '001'), ('S3_ses1', 'S3_ses2')]
    """
    groups: dict[str, list[str]] = {}
    for name in names:
        plain = re.sub(r"(?<![0-9.])0+(?=[0-9])", "", name.strip().casefold())
        plain = re.sub(r"^([0-9]+)\.0+$", r"\1", plain)
        session = _SESSION.fullmatch(plain)
        groups.setdefault(session["person"] if session else plain, []).append(name)
    return [tuple(group) for group in groups.values() if len(group) > 1]
