"""What a reader says of missing signals."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from helo.data.wesad.cache import SubjectWindows
from helo.data.wesad.schema import COLUMNS
from helo.errors import shorten


def describe_gaps(names: tuple[str, ...], parts: Mapping[str, SubjectWindows]) -> list[str]:
    """Describe which signals have gaps, and which features are missing because of them.

    Parameters
    ----------
    names
        Modalities in the order of the columns.
    parts
        Subject → windows.

    Returns
    -------
    list of str
        A line for each modality with missing samples or features.

    Examples
    --------
    >>> features = np.array([[30.0, 0.1, 0.0], [31.0, np.nan, np.nan]])
    >>> part = SubjectWindows(features, np.array(["Base", "Base"]), 0, np.array([0.05]))
    >>> describe_gaps(("temp",), {"S2": part})
    ['temp: 5.0 % of the samples in windows are missing; too little signal for Wrist_TEMP_Std in 1 of 2 windows, ...]
    """
    windows = sum(len(part.features) for part in parts.values())
    lines, first = [], 0
    for number, name in enumerate(names):
        own = slice(first, first + len(COLUMNS[name]))
        first = own.stop
        absent = sum(np.isnan(part.features[:, own]).sum(axis=0) for part in parts.values())
        weights = [max(1, len(part.features) + part.without_signal) for part in parts.values()]
        share = float(np.average([part.gaps[number] for part in parts.values()], weights=weights))
        counts = [
            f"{column} in {count:,} of {windows:,} windows"
            for column, count in zip(COLUMNS[name], np.asarray(absent).tolist(), strict=True)
            if count
        ]
        if share or counts:
            lines.append(
                f"{name}: {_percent(share)} of the samples in windows are missing"
                + (f"; too little signal for {shorten(counts)}" if counts else "")
            )
    return lines


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if not 0 < share < 0.0005 else "< 0.1 %"
