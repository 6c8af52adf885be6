"""Features that say too much or nothing, and rows that are there twice: what a dataset may hide.

A feature that is a code of the person, the clip or the label makes scores that mean nothing. Whether one is can be
told from which windows share its value. Let a *cell* be the windows of one subject in one group (without groups: of
one subject with one label). A feature, over the windows that have it, is

- *constant*: it has one value;
- *personal*: it has one value in each subject, and not the same in all, where subjects have two windows or more on
  average;
- *revealing*: windows of one value have one label, although values repeat (at most two values for each distinct label,
  and half as many values as windows at most: a continuous feature, whose values do not repeat, "determines" any label),
  or, put in its order, the share of one emotion rises (or falls) throughout, never between equal values, and at half
  of the steps between different ones at least;
- *fixed in groups*: it has one value in each cell, where cells have two windows or more on average.

Each feature is named for the first of these that holds.
"""

from __future__ import annotations

import hashlib
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from helo.data.dataset import Dataset

_CONSTANT, _PERSONAL, _FIXED = "constant", "personal", "fixed in groups"

_FEATURES_AT_ONCE: Final = 16  # float32 values of a row that share a cache line
_ROWS_AT_ONCE: Final = 4096
_SAMPLE: Final = 20_000  # windows that decide first whether a feature can be revealing
_LABELS_TO_SAMPLE: Final = 50
_ROUNDING: Final = 2e-7  # of a share in single precision
_DISTINCT: Final = 10  # values, none of them twice, that agree in order with an emotion: by chance 2 / 10!


class Codes(NamedTuple):
    """Features by what is wrong with them (names, in the order of the schema), and counts of what is missing.

    `revealing` maps a feature to the emotion that it gives away, or None where it is the whole label.
    `missing`: (F,) windows without each feature.
    """

    constant: tuple[str, ...]
    personal: tuple[str, ...]
    revealing: dict[str, str | None]
    fixed_in_groups: tuple[str, ...]
    missing: NDArray[np.intp]


class Repeats(NamedTuple):
    """Windows whose features another window has too.

    - `across`: windows that equal one of another subject; `pair`: two such subjects, or None
    - `within`: other windows that equal an earlier one of the same subject
    """

    across: int
    pair: tuple[str, str] | None
    within: int


def row_keys(values: NDArray[np.floating]) -> NDArray[np.uint64]:
    """A 64-bit hash (N,) of each row (N, C): equal for equal rows, with 0 = -0 and NaN = NaN.

    Different rows share one by chance with probability 3e-8 in a million rows.
    """
    keys = np.empty(len(values), dtype=np.uint64)
    for start in range(0, len(values), _ROWS_AT_ONCE):
        rows = np.ascontiguousarray(values[start : start + _ROWS_AT_ONCE] + 0.0)  # -0 + 0 = 0
        rows[np.isnan(rows)] = np.nan
        digests = b"".join(hashlib.blake2b(row, digest_size=8).digest() for row in rows)
        keys[start : start + len(rows)] = np.frombuffer(digests, dtype=np.uint64)
    return keys


def find_repeats(dataset: Dataset, people: NDArray[np.intp]) -> Repeats:
    """Look for rows of features that are there twice; `people` (N,) numbers the subject of each window."""
    keys = row_keys(dataset.features)
    order = np.lexsort((people, keys))
    keys, who = keys[order], people[order]
    same_row = keys[1:] == keys[:-1]
    same_person = who[1:] == who[:-1]
    first = np.flatnonzero(np.concatenate([[True], ~same_row]))
    sizes = np.diff(np.append(first, len(keys)))
    # Rows of a run are sorted by person: the run has two people if its first and last differ.
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
    """Look at each feature once.

    - `people`, `cells`, `labels`: (N,) numbers from 0 of the subject, the cell (see above) and the distinct label of
      each window

    Memory beside the dataset: sixteen features at a time, and a few numbers per window.
    """
    features = dataset.features
    windows, width = features.shape
    spans, judge = _Spans(people, cells), _Judge(dataset, labels)
    found: dict[str, list[str]] = {_CONSTANT: [], _PERSONAL: [], _FIXED: []}
    revealing: dict[str, str | None] = {}
    missing = np.empty(width, dtype=np.intp)
    for begin in range(0, width, _FEATURES_AT_ONCE):
        block = np.ascontiguousarray(features[:, begin : begin + _FEATURES_AT_ONCE].T)
        for column, values in enumerate(block, start=begin):
            absent = np.isnan(values)
            missing[column] = absent.sum()
            name, kind = dataset.schema.features[column], spans.kind(values, windows - int(missing[column]))
            given = judge.gives_away(values, absent) if kind not in (_CONSTANT, _PERSONAL) else None
            if given is not None:
                revealing[name] = given or None
            elif kind is not None:
                found[kind].append(name)
    return Codes(
        constant=tuple(found[_CONSTANT]),
        personal=tuple(found[_PERSONAL]),
        revealing=revealing,
        fixed_in_groups=tuple(found[_FIXED]),
        missing=missing,
    )


class _Spans:
    """Where a feature does not vary: anywhere, in a subject, in a cell."""

    def __init__(self, people: NDArray[np.intp], cells: NDArray[np.intp]) -> None:
        order = np.lexsort((cells, people))  # a subject's cells lie together
        self.starts = np.flatnonzero(np.r_[True, np.diff(cells[order]) != 0])
        self.person_starts = np.flatnonzero(np.r_[True, np.diff(people[order[self.starts]]) != 0])
        self.order = order if (np.diff(order) < 0).any() else None  # most data are in order: nothing to copy

    def kind(self, values: NDArray[np.float32], present: int) -> str | None:
        """What a feature (N,) is that `present` windows have, if it is constant, personal or fixed in groups."""
        values = values if self.order is None else values[self.order]
        # Of the values that are there; NaN where there is none, which is neither above nor below.
        low, high = np.fmin.reduceat(values, self.starts), np.fmax.reduceat(values, self.starts)
        person_low, person_high = np.fmin.reduceat(low, self.person_starts), np.fmax.reduceat(high, self.person_starts)
        if not np.fmax.reduce(person_high) > np.fmin.reduce(person_low):
            return _CONSTANT
        for name, lows, highs in ((_PERSONAL, person_low, person_high), (_FIXED, low, high)):
            if present >= 2 * np.count_nonzero(~np.isnan(lows)) and not (highs > lows).any():
                return name
        return None


class _Judge:
    """Whether a feature is revealing: on a sample, and only if that says so on all windows."""

    def __init__(self, dataset: Dataset, labels: NDArray[np.intp]) -> None:
        self.emotions = dataset.emotions
        # Single precision as in the features: a column copied from the labels must be equal.
        self.shares = dataset.labels.astype(np.float32).T
        self.labels = labels
        self.sample = _sample(labels) if len(labels) > _SAMPLE else None

    def gives_away(self, values: NDArray[np.float32], absent: NDArray[np.bool_]) -> str | None:
        """The emotion that a feature (N,) gives away, "" for the whole label, None for nothing."""
        if self.sample is not None:
            some = self.sample[~absent[self.sample]]
            if len(some) and self._verdict(values, some, slack=1.5) is None:
                return None
        return self._verdict(values, np.flatnonzero(~absent), slack=1.0)

    def _verdict(self, values: NDArray[np.float32], rows: NDArray[np.intp], slack: float) -> str | None:
        """As `gives_away`, on some windows; with slack above 1 on a sample: "" also where it cannot tell."""
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
        if repeats or distinct >= _DISTINCT:
            for emotion, column in zip(self.emotions, self.shares, strict=True):
                change = np.diff(column[ordered])
                moves = np.abs(change) > _ROUNDING
                if (moves & ~steps).any() or 2 * int(moves.sum()) < distinct - 1:
                    continue
                if not (change < -_ROUNDING).any() or not (change > _ROUNDING).any():
                    return emotion
        return None


def _sample(labels: NDArray[np.intp]) -> NDArray[np.intp]:
    """Windows (n,), some 20,000: all of some labels if those are fifty at least, so that values that repeat show."""
    generator = np.random.default_rng(0)
    sizes = np.bincount(labels)
    drawn = generator.permutation(len(sizes))
    chosen = drawn[np.cumsum(sizes[drawn]) <= _SAMPLE]
    if len(chosen) >= _LABELS_TO_SAMPLE:
        wanted = np.zeros(len(sizes), dtype=bool)
        wanted[chosen] = True
        return np.flatnonzero(wanted[labels])
    return np.sort(generator.choice(len(labels), _SAMPLE, replace=False))
