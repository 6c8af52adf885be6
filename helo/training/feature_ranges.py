"""Ranges of the features that a model was fitted to, which tell whether new windows are in other units.

A value in another unit need not be far from the mean: heart beats of 0.8 s lie within three standard deviations of a
mean of 800 ms. It is the spread within a subject that differs by a factor of 1000.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from helo.data.dataset import Signals

KEY: Final = "feature_ranges"
"""Key of the ranges in ``model.json``: feature → smallest and largest value, smallest and largest spread."""

SPREAD_FACTOR: Final = 10.0
"""Factor beyond the spreads within the subjects of the fit from which on a unit is doubted."""

VALUE_FACTOR: Final = 5.0
"""Factor between typical values from which on a unit is doubted, if no value is within the range of the fit."""

MIN_VALUES: Final = 5
"""Minimum number of values of a subject for a spread."""

_COLUMNS_AT_ONCE: Final = 16


def feature_ranges(signals: Signals) -> dict[str, list[float]]:
    """Return the range of each feature, and that of its standard deviations within subjects.

    Parameters
    ----------
    signals : Signals
        Windows that a model is fitted to.

    Returns
    -------
    dict
        Feature → smallest and largest value, median, smallest and largest standard deviation within a subject.
        Features without values, or without a subject with a spread, are left out.
    """
    found = {}
    for name, values, spreads in _columns(signals):
        if len(values) and len(spreads):
            numbers = (values.min(), values.max(), np.median(values), spreads.min(), spreads.max())
            found[name] = [float(number) for number in numbers]
    return found


def doubted_units(signals: Signals, ranges: Mapping[str, Any]) -> dict[str, str]:
    """Find features that seem to be in another unit than those of a fit.

    Parameters
    ----------
    signals : Signals
        Windows to predict.
    ranges : mapping
        Result of `feature_ranges` for the windows of the fit.

    Returns
    -------
    dict
        Feature → reason. Either the spread within subjects is `SPREAD_FACTOR` times below or above that of every
        subject of the fit, or all values are outside of the range of the fit, and `VALUE_FACTOR` times below or above.
    """
    found = {}
    for name, values, spreads in _columns(signals):
        if name not in ranges or not len(values):
            continue
        low, high, median, least, most = ranges[name]
        spread = float(np.median(spreads)) if len(spreads) else None
        if spread is not None and not least / SPREAD_FACTOR <= spread <= most * SPREAD_FACTOR:
            found[name] = f"spread {spread:.3g}, in the fit {least:.3g} to {most:.3g}"
            continue
        typical = float(np.median(values))
        is_similar = median * typical > 0 and 1 / VALUE_FACTOR <= typical / median <= VALUE_FACTOR
        if (values.max() < low or values.min() > high) and not is_similar:
            found[name] = f"{values.min():.3g} to {values.max():.3g}, in the fit {low:.3g} to {high:.3g}"
    return found


def _columns(signals: Signals) -> Iterator[tuple[str, NDArray[np.float64], NDArray[np.float64]]]:
    """Yield each feature with its values and its standard deviation within each subject, if it is not 0."""
    names: Sequence[str] = signals.schema.features
    rows = [signals.rows((subject,)) for subject in signals.subject_names]
    for start in range(0, len(names), _COLUMNS_AT_ONCE):
        block = signals.features[:, start : start + _COLUMNS_AT_ONCE].astype(np.float64)
        for name, column in zip(names[start : start + _COLUMNS_AT_ONCE], block.T, strict=True):
            present = ~np.isnan(column)
            own = [column[part[present[part]]] for part in rows]
            spreads = np.array([values.std() for values in own if len(values) >= MIN_VALUES])
            yield name, column[present], spreads[spreads > 0]
