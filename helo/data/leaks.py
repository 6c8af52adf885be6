"""Features that encode subject, clip or label, features without information, and repeated rows.

A feature that encodes the subject, the clip or the label makes scores meaningless. Such features are found by comparing
the windows that share a value. Let a *cell* be the windows of one subject in one group (without groups: of one subject
with one label). Over the windows in which it is not missing, a feature is

- *constant* if it has a single value;
- *personal* if it has a single value in each subject, and subjects have two windows or more on average;
- *revealing* if one of two conditions holds. Either all windows with the same value have the same label, and values
  repeat: there are at most two values per distinct label, and at most half as many values as windows. (A continuous
  feature, whose values do not repeat, determines any label.) Or the share of one emotion is a monotonic function of the
  feature, and changes at half or more of the steps between distinct values;
- *fixed in groups* if it has a single value in each cell, and cells have two windows or more on average.

Each feature is listed under the first of these kinds that applies.
"""

from __future__ import annotations

import hashlib
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from helo.data.dataset import Dataset

_CONSTANT, _PERSONAL, _FIXED = "constant", "personal", "fixed in groups"

_FEATURES_AT_ONCE: Final = 16  # number of float32 values that share a cache line
_ROWS_AT_ONCE: Final = 4096
_SAMPLE: Final = 20_000  # number of windows in the preliminary test for revealing features
_MIN_LABELS: Final = 50  # number of distinct labels from which the sample holds all windows of some labels
_ROUNDING: Final = 2e-7  # rounding error of a share in single precision
_MIN_DISTINCT: Final = 10  # number of distinct values in the order of an emotion; probability by chance: 2 / 10!


class Codes(NamedTuple):
    """Features by kind, in the order of the schema, and counts of missing values.

    Attributes
    ----------
    constant, personal, fixed_in_groups
        Names of features.
    revealing
        Name of a feature → the emotion that it reveals, or None for the whole label.
    missing
        Number of windows in which each feature is missing (F,).
    """

    constant: tuple[str, ...]
    personal: tuple[str, ...]
    revealing: dict[str, str | None]
    fixed_in_groups: tuple[str, ...]
    missing: NDArray[np.intp]


class Repeats(NamedTuple):
    """Windows with exactly the features of another window.

    Attributes
    ----------
    across
        Number of windows that equal a window of another subject.
    pair
        Names of two such subjects, or None.
    within
        Number of other windows that equal an earlier window of the same subject.
    """

    across: int
    pair: tuple[str, str] | None
    within: int


def row_keys(values: NDArray[np.floating]) -> NDArray[np.uint64]:
    """Return a 64-bit hash of each row, which is equal for equal rows (with 0 = -0 and NaN = NaN).

    Among a million distinct rows, the probability of a collision is 3e-8.

    Parameters
    ----------
    values
        Numbers (N, C).

    Returns
    -------
    ndarray
        Hashes (N,).
    """
    keys = np.empty(len(values), dtype=np.uint64)
    for start in range(0, len(values), _ROWS_AT_ONCE):
        rows = np.ascontiguousarray(values[start : start + _ROWS_AT_ONCE] + 0.0)  # -0 + 0 = 0
        rows[np.isnan(rows)] = np.nan
        digests = b"".join(hashlib.blake2b(row, digest_size=8).digest() for row in rows)
        keys[start : start + len(rows)] = np.frombuffer(digests, dtype=np.uint64)
    return keys


def find_repeats(dataset: Dataset, people: NDArray[np.intp]) -> Repeats:
    """Find repeated rows of features.

    Parameters
    ----------
    dataset
        The dataset.
    people
        Number of the subject of each window (N,), from 0.

    Returns
    -------
    Repeats
        Counts of repeated rows.
    """
    keys = row_keys(dataset.features)
    order = np.lexsort((people, keys))
    keys, who = keys[order], people[order]
    same_row = keys[1:] == keys[:-1]
    same_person = who[1:] == who[:-1]
    first = np.flatnonzero(np.concatenate([[True], ~same_row]))
    sizes = np.diff(np.append(first, len(keys)))
    # The rows of a run are sorted by subject, so it has several subjects if the first and the last differ.
    shared = who[first] != who[first + sizes - 1]
    pair = None
    if shared.any():
        run = int(np.argmax(shared))
        ends = who[[first[run], first[run] + sizes[run] - 1]]
        pair = (dataset.subject_names[ends[0]], dataset.subject_names[ends[1]])
    across = int(sizes[shared].sum())
    in_shared = np.repeat(shared, sizes)[1:]
    within = int((same_row & same_person & ~in_shared).sum())
    return Repeats(across, pair, within)


def find_codes(dataset: Dataset, people: NDArray[np.intp], cells: NDArray[np.intp], labels: NDArray[np.intp]) -> Codes:
    """Classify each feature as described in the module's docstring.

    The function needs memory for 16 features and a few numbers per window in addition to the dataset.

    Parameters
    ----------
    dataset
        The dataset.
    people, cells, labels
        Numbers of the subject, the cell and the distinct label of each window (N,), from 0.

    Returns
    -------
    Codes
        Features by kind, and counts of missing values.
    """
    features = dataset.features
    windows, width = features.shape
    constancy, revelation = _Constancy(people, cells), _Revelation(dataset, labels)
    found: dict[str, list[str]] = {_CONSTANT: [], _PERSONAL: [], _FIXED: []}
    revealing: dict[str, str | None] = {}
    missing = np.empty(width, dtype=np.intp)
    for begin in range(0, width, _FEATURES_AT_ONCE):
        block = np.ascontiguousarray(features[:, begin : begin + _FEATURES_AT_ONCE].T)
        for column, values in enumerate(block, start=begin):
            absent = np.isnan(values)
            missing[column] = absent.sum()
            name, kind = dataset.schema.features[column], constancy.kind(values, windows - int(missing[column]))
            revealed = revelation.revealed_by(values, absent) if kind not in (_CONSTANT, _PERSONAL) else None
            if revealed is not None:
                revealing[name] = revealed or None
            elif kind is not None:
                found[kind].append(name)
    return Codes(
        constant=tuple(found[_CONSTANT]),
        personal=tuple(found[_PERSONAL]),
        revealing=revealing,
        fixed_in_groups=tuple(found[_FIXED]),
        missing=missing,
    )


class _Constancy:
    """Test whether a feature is constant overall, within subjects or within cells."""

    def __init__(self, people: NDArray[np.intp], cells: NDArray[np.intp]) -> None:
        order = np.lexsort((cells, people))  # the cells of a subject are adjacent
        self.starts = np.flatnonzero(np.r_[True, np.diff(cells[order]) != 0])
        self.person_starts = np.flatnonzero(np.r_[True, np.diff(people[order[self.starts]]) != 0])
        self.order = order if (np.diff(order) < 0).any() else None  # most data are in order, and need no copy

    def kind(self, values: NDArray[np.float32], present: int) -> str | None:
        """Return whether a feature (N,) with `present` values is constant, personal or fixed in groups, or None."""
        values = values if self.order is None else values[self.order]
        # Missing values are ignored. A cell without values gives NaN, for which comparisons are false.
        low, high = np.fmin.reduceat(values, self.starts), np.fmax.reduceat(values, self.starts)
        person_low, person_high = np.fmin.reduceat(low, self.person_starts), np.fmax.reduceat(high, self.person_starts)
        if not np.fmax.reduce(person_high) > np.fmin.reduce(person_low):
            return _CONSTANT
        for name, lows, highs in ((_PERSONAL, person_low, person_high), (_FIXED, low, high)):
            if present >= 2 * np.count_nonzero(~np.isnan(lows)) and not (highs > lows).any():
                return name
        return None


class _Revelation:
    """Test whether a feature is revealing, first on a sample and, if it may be, on all windows."""

    def __init__(self, dataset: Dataset, labels: NDArray[np.intp]) -> None:
        self.emotions = dataset.emotions
        # Features have single precision, and a feature copied from the labels must equal them.
        self.shares = dataset.labels.astype(np.float32).T
        self.labels = labels
        self.sample = _sample(labels) if len(labels) > _SAMPLE else None

    def revealed_by(self, values: NDArray[np.float32], absent: NDArray[np.bool_]) -> str | None:
        """Return the emotion that a feature (N,) reveals, "" for the whole label, or None."""
        if self.sample is not None:
            rows = self.sample[~absent[self.sample]]
            if len(rows) and self._test(values, rows, slack=1.5) is None:
                return None
        return self._test(values, np.flatnonzero(~absent), slack=1.0)

    def _test(self, values: NDArray[np.float32], rows: NDArray[np.intp], slack: float) -> str | None:
        """Apply `revealed_by` to some windows.

        On a sample, `slack` above 1 loosens the limits, and the result is "" where the sample is inconclusive.
        """
        values = values[rows]
        order = np.argsort(values)
        steps = values[order[1:]] != values[order[:-1]]
        distinct = int(steps.sum()) + 1
        if distinct == 1:
            return "" if slack > 1 else None
        repeats = 2 * distinct <= slack * len(values)
        ordered = rows[order]
        labels = self.labels[ordered]
        if repeats:
            changes = labels[1:] != labels[:-1]
            if changes.any() and not (changes & ~steps).any() and distinct <= 2 * slack * len(np.unique(labels)):
                return ""
        if repeats or distinct >= _MIN_DISTINCT:
            for emotion, column in zip(self.emotions, self.shares, strict=True):
                change = np.diff(column[ordered])
                moves = np.abs(change) > _ROUNDING
                if (moves & ~steps).any() or 2 * int(moves.sum()) < distinct - 1:
                    continue
                if not (change < -_ROUNDING).any() or not (change > _ROUNDING).any():
                    return emotion
        return None


def _sample(labels: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return a sample of about 20,000 windows (n,).

    It holds all windows of some labels where these are at least 50 labels, so that repeated values are found.
    """
    generator = np.random.default_rng(0)
    sizes = np.bincount(labels)
    drawn = generator.permutation(len(sizes))
    chosen = drawn[np.cumsum(sizes[drawn]) <= _SAMPLE]
    if len(chosen) >= _MIN_LABELS:
        selected = np.zeros(len(sizes), dtype=bool)
        selected[chosen] = True
        return np.flatnonzero(selected[labels])
    return np.sort(generator.choice(len(labels), _SAMPLE, replace=False))
